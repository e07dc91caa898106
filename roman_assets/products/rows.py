"""Row files: beside every product's bytes, what the index says of it, so that a lost index is completed from the store.

A row file is written when bytes and archive record are there and before the index is changed; it says what the product
is, not whether it is visible.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

from roman_assets.errors import Damaged
from roman_assets.products.caveats import Caveat
from roman_assets.products.keys import object_key, row_key
from roman_assets.products.records import NewProduct, ProductRecord
from roman_assets.storage.base import Absent, Blobs, Unavailable

_FIELDS = tuple(field.name for field in fields(NewProduct))


def row_of(record: ProductRecord, archive_key: str | None = None) -> NewProduct:
    """What a record says beside its place among others; with an archive record if it had none."""
    values = {name: getattr(record, name) for name in _FIELDS}
    return NewProduct(**{**values, "archive_key": record.archive_key or archive_key})


def write_row(store: Blobs, new: NewProduct) -> None:
    """Writes the row file of a product, in one step, and reads it again.

    Raises
    ------
    Damaged
        What comes back is not the row of this product.
    Unavailable
        It cannot be written or read now.
    """
    key = row_key(new.key, new.part, new.identity)
    store.write(key, _encode(new))
    try:
        found = read_row(store, key)
    except Absent as error:
        raise Unavailable("a file that was just written is not there", file=store.location(key)) from error
    # Not the same bytes: another worker may have made the same product a moment later, and its row says so.
    if (found.identity, found.sha256) != (new.identity, new.sha256):
        raise Damaged(f"{store.location(key)} is the row of another product")


def read_row(store: Blobs, key: str) -> NewProduct:
    """The row in a file of this name.

    Raises
    ------
    Damaged
        It is not what was written, or of another product than its name says.
    Absent, Unavailable
        There is no such file; it cannot be read now.
    """
    content = store.read(key)
    try:
        document = json.loads(content)
        row = document["row"]
        if hashlib.sha256(_text(row).encode()).hexdigest() != document["sha256"]:
            raise ValueError("its checksum differs")
        values = {name: row[name] for name in _FIELDS}
        values["created_at"] = datetime.fromisoformat(row["created_at"]).astimezone(UTC)
        values["inputs"] = tuple(row["inputs"])
        values["caveats"] = tuple(Caveat.read(caveat) for caveat in row["caveats"])
        new = NewProduct(**values)
        if key != row_key(new.key, new.part, new.identity) or new.key != object_key(
            new.kind, new.partition, new.part, new.sha256, new.format
        ):
            raise ValueError("it is of another product")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"{store.location(key)} is no row of a product: {error}") from error
    return new


def _encode(new: NewProduct) -> bytes:
    row: dict[str, Any] = {name: getattr(new, name) for name in _FIELDS}
    row["created_at"] = new.created_at.astimezone(UTC).isoformat()
    row["inputs"] = list(new.inputs)
    row["caveats"] = [caveat.stored() for caveat in new.caveats]
    row["config"], row["attributes"] = dict(new.config), dict(new.attributes)
    digest = hashlib.sha256(_text(row).encode()).hexdigest()
    return json.dumps({"row": row, "sha256": digest}, sort_keys=True, indent=1).encode()


def _text(row: dict[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, separators=(",", ":"))
