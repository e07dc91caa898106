"""Everything that is checked before a file is trusted: delivery manifest, bytes, tree, arrays.

The file is read in pieces, whatever its size; a file that changes between the first piece and the last is not
judged.  One that arrives with its sha256 in a delivery manifest needs no second digest; without it, the MD5
checksums of its blocks are verified.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from roman_assets.errors import InputError
from roman_assets.exposures.level2.asdf_bytes import Data, Layout, check_expansion, check_md5, pieces, read_tree, walk
from roman_assets.exposures.level2.asdf_tree import MappingNode, arrays, compose, plain
from roman_assets.exposures.level2.file_bytes import opened
from roman_assets.exposures.names import plain_name
from roman_assets.exposures.rejection import DEFAULT_LIMITS, Limits, Reason, Rejected

_SHA256 = re.compile(r"[0-9a-f]{64}")
MANIFEST_BYTES = 8 << 20  # some 50,000 files; parsing it takes 30 times as much memory at worst
_MAX_DIMENSIONS = 32
_ITEM_BYTES = {
    "int8": 1,
    "uint8": 1,
    "bool8": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}


@dataclass(frozen=True)
class ManifestEntry:
    """What a delivery manifest says of one file."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class CheckedFile:
    """A file whose bytes, tree and arrays are consistent.  ``tree`` is the root node; nothing is expanded."""

    size: int
    sha256: str
    layout: Layout
    tree: MappingNode


def read_manifest(text: str | bytes, file: object) -> dict[str, ManifestEntry]:
    """Entries of a delivery manifest by name: JSON ``{"files": [{"name", "size", "sha256"}]}``, or the list.

    Raises InputError naming the entry at fault.
    """

    def fail(problem: str, field: str | None = None) -> InputError:
        remedy = 'write {"files": [{"name": ..., "size": ..., "sha256": ...}]}.'
        return InputError(problem, file=file, field=field, remedy=remedy)

    if len(text) > MANIFEST_BYTES:
        raise fail(f"the manifest is larger than {MANIFEST_BYTES} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fail(f"the manifest is not JSON: {error}") from error
    items = document.get("files") if isinstance(document, Mapping) else document
    if not isinstance(items, list):
        raise fail("the manifest lists no files")
    entries: dict[str, ManifestEntry] = {}
    for i, item in enumerate(items):
        where = f"files[{i}]"
        if not isinstance(item, Mapping) or not isinstance(item.get("name"), str):
            raise fail("the entry has no name", where)
        size, digest = item.get("size"), str(item.get("sha256", "")).lower()
        if not isinstance(size, int) or isinstance(size, bool) or size < 0:
            raise fail(f"{str(size)[:80]!r} is not a size in bytes", f"{where}.size")
        if not _SHA256.fullmatch(digest):
            raise fail(f"{digest[:80]!r} is not a sha256 in hexadecimal", f"{where}.sha256")
        name = plain_name(item["name"])
        entry = ManifestEntry(name, size, digest)
        if entries.setdefault(name, entry) != entry:
            raise fail(f"{name} is listed twice with different contents", where)
    return entries


def load_tree(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> MappingNode:
    """The checked YAML tree of a file, without reading its blocks."""
    with opened(path, limits) as data:
        return compose(read_tree(data, path, limits), path, limits)


def check_file(
    path: str | Path,
    *,
    expected: ManifestEntry | None = None,
    sha256: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> CheckedFile:
    """Run every guard over a file.

    Parameters
    ----------
    expected
        Size and sha256 of the delivery manifest, if there is one.
    sha256
        Digest the file must have (of the registry), if known.

    Raises
    ------
    Rejected
        With the reason; nothing of the file has been expanded or constructed by then.
    Unavailable
        If it cannot be read now.
    """
    with opened(path, limits) as data:
        return check_bytes(data, path, expected=expected, sha256=sha256, limits=limits)


@contextmanager
def guarded(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[BinaryIO]:
    """A stream over a file that passed every guard, for asdf to read; the errors are those of ``check_file``."""
    with opened(path, limits) as data:
        check_bytes(data, path, limits=limits)
        with data.open() as stream:
            yield stream


def check_bytes(
    data: Data,
    file: object,
    *,
    expected: ManifestEntry | None = None,
    sha256: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> CheckedFile:
    """``check_file`` on the bytes of a file that is open, or loaded."""
    size = len(data)
    if expected is not None and size != expected.size:
        reason = Reason.TRUNCATED if size < expected.size else Reason.SIZE_MISMATCH
        raise Rejected(reason, f"{size} bytes, but {expected.size} in the delivery manifest", file=file)
    wanted = sha256 or (expected.sha256 if expected else None)
    # Structure before digest: a walk is cheap, and what it says of a bad file is more useful.
    layout = walk(data, file, limits) if wanted is None else None
    digest = _sha256(data)
    if wanted is not None and digest != wanted:
        problem = f"the sha256 is {digest[:16]}..., not {wanted[:16]}... as announced"
        raise Rejected(Reason.SHA256_MISMATCH, problem, file=file)
    layout = layout or walk(data, file, limits)
    if wanted is None:
        check_md5(data, layout, file)
    tree = compose(data[layout.tree[0] : layout.tree[1]], file, limits)
    check_arrays(tree, layout, file, limits)
    check_expansion(data, layout, file)
    return CheckedFile(size, digest, layout, tree)


def _sha256(data: Data) -> str:
    digest = hashlib.sha256()
    for piece in pieces(data, 0, len(data)):
        digest.update(piece)
    return digest.hexdigest()


def check_arrays(tree: MappingNode, layout: Layout, file: object, limits: Limits = DEFAULT_LIMITS) -> None:
    """Every array must lie inside the block it names; inline arrays are bounded with the tree.

    What the reader makes of an array that is a part of an object (a quantity, a time, a transform) is a copy of
    it: those must be small.
    """
    for node, of_object in arrays(tree):
        array = {key.value: plain(value) for key, value in node.value if key.value not in ("data", "mask")}
        if "source" not in array:
            continue
        where = f"array at line {node.start_mark.line + 1}"
        source = array["source"]
        if not isinstance(source, int) or not 0 <= source < len(layout.blocks):
            problem = f"it names block {str(source)[:40]}, but the file has {len(layout.blocks)} blocks"
            raise Rejected(Reason.ARRAY_OUTSIDE_BLOCK, problem, file=file, field=where)
        extent, size = _extent(array, where, file)
        held = layout.blocks[source].data_bytes
        if extent > held:
            problem = f"it needs {extent} bytes of block {source}, which holds {held}"
            raise Rejected(Reason.ARRAY_OUTSIDE_BLOCK, problem, file=file, field=where)
        most = limits.object_array_bytes if of_object else limits.block_bytes
        if size > most:
            problem = f"it expands to {size} bytes, more than {most}"
            raise Rejected(Reason.EXPANSION, problem, file=file, field=where)


def _extent(array: Mapping[str, Any], where: str, file: object) -> tuple[int, int]:
    """Bytes from the start of the block to the end of the array, and bytes of the array once it is a copy."""
    shape, offset, strides = array.get("shape"), array.get("offset", 0), array.get("strides")
    if not _counts(shape) or not _counts([offset]):
        problem = f"shape {str(shape)[:80]} or offset {str(offset)[:40]} is not made of whole numbers"
        raise Rejected(Reason.ARRAY_OUTSIDE_BLOCK, problem, file=file, field=where)
    item = _item_bytes(array.get("datatype"), where, file)
    size = item * math.prod(shape or [])
    if strides is None:
        return int(offset) + size, size
    if not _counts(strides) or len(strides) != len(shape or []):
        problem = f"strides {str(strides)[:80]} do not fit shape {str(shape)[:80]}"
        raise Rejected(Reason.ARRAY_OUTSIDE_BLOCK, problem, file=file, field=where)
    last = sum((n - 1) * stride for n, stride in zip(shape or [], strides, strict=True))
    return int(offset) + item + last, size


def _counts(values: Any) -> bool:
    return (
        isinstance(values, list)
        and len(values) <= _MAX_DIMENSIONS
        and all(type(value) is int and value >= 0 for value in values)
    )


def _item_bytes(datatype: Any, where: str, file: object) -> int:
    if isinstance(datatype, str) and datatype in _ITEM_BYTES:
        return _ITEM_BYTES[datatype]
    if isinstance(datatype, list) and len(datatype) == 2 and datatype[0] in ("ascii", "ucs4"):
        if _counts([datatype[1]]):
            return int(datatype[1]) * (4 if datatype[0] == "ucs4" else 1)
    elif isinstance(datatype, list) and datatype:
        fields = [item if isinstance(item, dict) else {"datatype": item} for item in datatype]
        shapes = [item.get("shape", []) for item in fields]
        if all(_counts(shape) for shape in shapes):
            sizes = [_item_bytes(item.get("datatype"), where, file) for item in fields]
            return sum(size * math.prod(shape) for size, shape in zip(sizes, shapes, strict=True))
    raise Rejected(Reason.HEADER_INVALID, f"unknown datatype {str(datatype)[:80]!r}", file=file, field=where)
