"""Everything that is checked before a file is trusted: delivery manifest, bytes, tree, arrays.

The file is read once; digest, block walk and parser work on the same bytes.  A file that arrives with its
sha256 in a delivery manifest needs no second digest; without one, the MD5 checksums of its blocks are
verified.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roman_assets.errors import InputError
from roman_assets.exposures.level2.asdf_bytes import Layout, check_expansion, check_md5, tree_ends, tree_span, walk
from roman_assets.exposures.level2.asdf_tree import MappingNode, arrays, compose, plain
from roman_assets.exposures.names import plain_name
from roman_assets.exposures.rejection import DEFAULT_LIMITS, Limits, Reason, Rejected
from roman_assets.storage.folder import unreadable

_SHA256 = re.compile(r"[0-9a-f]{64}")
_MANIFEST_BYTES = 64 << 20
_TREE_GUESS = 64 << 10  # a tree has about 15 kB: one read finds its end
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

    if len(text) > _MANIFEST_BYTES:
        raise fail(f"the manifest is larger than {_MANIFEST_BYTES} bytes")
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
            raise fail(f"{size!r} is not a size in bytes", f"{where}.size")
        if not _SHA256.fullmatch(digest):
            raise fail(f"{digest[:80]!r} is not a sha256 in hexadecimal", f"{where}.sha256")
        name = plain_name(item["name"])
        entry = ManifestEntry(name, size, digest)
        if entries.setdefault(name, entry) != entry:
            raise fail(f"{name} is listed twice with different contents", where)
    return entries


def load(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """All bytes of a file, read once: what is checked is what is parsed, whatever happens to the file.

    Mapping the file would save 5 % of the time, and kill the process if the sender truncates it meanwhile.
    Raises Rejected (empty, too_large), or Unavailable if the file cannot be read now.
    """
    try:
        with open(path, "rb", buffering=0) as stream:
            size = os.fstat(stream.fileno()).st_size
            if size > limits.file_bytes:
                raise Rejected(Reason.TOO_LARGE, f"{size} bytes, more than {limits.file_bytes}", file=path)
            data = stream.read()
    except OSError as error:
        raise unreadable(path, error) from error
    if not data:
        raise Rejected(Reason.EMPTY, "the file is empty", file=path)
    return data


def load_tree(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> MappingNode:
    """The checked YAML tree of a file, without reading its blocks."""
    try:
        with open(path, "rb", buffering=0) as stream:
            data = stream.read(_TREE_GUESS)
            if not tree_ends(data):
                data += stream.read(limits.yaml_bytes + _TREE_GUESS - len(data)) or b""
    except OSError as error:
        raise unreadable(path, error) from error
    start, end = tree_span(data, path, limits)
    return compose(data[start:end], path, limits)


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
    """
    return check_bytes(load(path, limits), path, expected=expected, sha256=sha256, limits=limits)


def check_bytes(
    data: bytes,
    file: object,
    *,
    expected: ManifestEntry | None = None,
    sha256: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> CheckedFile:
    """``check_file`` on bytes that are already loaded."""
    size = len(data)
    if expected is not None and size != expected.size:
        reason = Reason.TRUNCATED if size < expected.size else Reason.SIZE_MISMATCH
        raise Rejected(reason, f"{size} bytes, but {expected.size} in the delivery manifest", file=file)
    wanted = sha256 or (expected.sha256 if expected else None)
    # Structure before digest: a walk is cheap, and what it says of a bad file is more useful.
    layout = walk(data, file, limits) if wanted is None else None
    digest = hashlib.sha256(data).hexdigest()
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


def check_arrays(tree: MappingNode, layout: Layout, file: object, limits: Limits = DEFAULT_LIMITS) -> None:
    """Every array must lie inside the block it names; inline arrays are bounded with the tree."""
    for node in arrays(tree):
        array = {key.value: plain(value) for key, value in node.value if key.value not in ("data", "mask")}
        if "source" not in array:
            continue
        where = f"array at line {node.start_mark.line + 1}"
        source = array["source"]
        if not isinstance(source, int) or not 0 <= source < len(layout.blocks):
            problem = f"it names block {source}, but the file has {len(layout.blocks)} blocks"
            raise Rejected(Reason.ARRAY_OUTSIDE_BLOCK, problem, file=file, field=where)
        extent = _extent(array, where, file)
        held = layout.blocks[source].data_bytes
        if extent > held:
            problem = f"it needs {extent} bytes of block {source}, which holds {held}"
            raise Rejected(Reason.ARRAY_OUTSIDE_BLOCK, problem, file=file, field=where)


def _extent(array: Mapping[str, Any], where: str, file: object) -> int:
    """Bytes from the start of the block to the end of the array."""
    shape, offset, strides = array.get("shape"), array.get("offset", 0), array.get("strides")
    if not _counts(shape) or not _counts([offset]):
        problem = f"shape {shape!r} or offset {offset!r} is not made of whole numbers"
        raise Rejected(Reason.ARRAY_OUTSIDE_BLOCK, problem, file=file, field=where)
    item = _item_bytes(array.get("datatype"), where, file)
    if strides is None:
        return int(offset) + item * math.prod(shape or [])
    if not _counts(strides) or len(strides) != len(shape or []):
        problem = f"strides {strides!r} do not fit shape {shape!r}"
        raise Rejected(Reason.ARRAY_OUTSIDE_BLOCK, problem, file=file, field=where)
    return int(offset) + item + sum((n - 1) * stride for n, stride in zip(shape or [], strides, strict=True))


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)


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
    raise Rejected(Reason.HEADER_INVALID, f"unknown datatype {datatype!r}", file=file, field=where)
