"""Names of what a product has in its store: its bytes, and beside them its archive record and its row."""

from __future__ import annotations

import hashlib

from roman_assets.storage.base import check_key

ROW_SUFFIX = ".row.json"


def object_key(kind: str, partition: str, part: str, sha256: str, format_: str) -> str:
    """`kind/partition/part-<32 hex of the content hash>.format`; InputError for names unfit for a path."""
    stem = part.replace("/", "_") if part else kind
    return check_key(f"{kind}/{partition}/{stem}-{sha256[:32]}.{format_}")


def archive_key(key: str, sha256: str) -> str:
    """Key of the archive record of the object `key`, by the record's own hash."""
    return f"{key}.{sha256[:8]}.archive.json"


def row_key(key: str, part: str, identity: str) -> str:
    """Key of a product's row file; products that share an object have one each."""
    # Parts, too: `a/b` and `a_b` are one name in the store.
    digest = hashlib.sha256(f"{part}|{identity}".encode()).hexdigest()
    return f"{key}.{digest[:8]}{ROW_SUFFIX}"
