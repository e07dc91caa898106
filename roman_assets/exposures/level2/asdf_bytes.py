"""The byte layer of ASDF, read by us and not trusted: tree, blocks, index, to the last byte.

The default reader opens a truncated file as if it were whole, and expands a compressed block of any size.
Here every block header is walked to the end of the file and checked against it before anything is expanded.
Layout: ASDF standard 1.6, "Low-level file layout".
"""

from __future__ import annotations

import bz2
import hashlib
import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from roman_assets.exposures.rejection import DEFAULT_LIMITS, Limits, Reason, Rejected

MAGIC = b"\xd3BLK"
INDEX_HEADER = b"#ASDF BLOCK INDEX"
_STREAMED = 0x1
_HEADER = struct.Struct(">I4sQQQ16s")
_TREE_END = re.compile(rb"\r?\n\.\.\.(?:\r?\n|\Z)")
_PADDING = b" \n\r\0"
_TREE_GUESS = 64 << 10  # a tree has about 15 kB: one read finds its end
_CHUNK = 1 << 20
NO_COMPRESSION = b"\0\0\0\0"
COMPRESSIONS = (NO_COMPRESSION, b"zlib", b"bzp2", b"lz4\0")


class Data(Protocol):
    """``bytes``, or a file that is read in slices (``FileBytes``)."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> bytes: ...


@dataclass(frozen=True)
class Block:
    """One block: where its stored bytes are, and how large it says it becomes."""

    index: int
    offset: int
    data_offset: int
    used_bytes: int
    data_bytes: int
    compression: bytes
    md5: bytes


@dataclass(frozen=True)
class Layout:
    """What a walk over a whole file found: the span of the tree, and the blocks."""

    tree: tuple[int, int]
    blocks: tuple[Block, ...]


def read_tree(data: Data, file: object, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """The YAML tree, comments and directives included."""
    if len(data) == 0:
        raise Rejected(Reason.EMPTY, "the file is empty", file=file)
    if data[:6] != b"#ASDF ":
        raise Rejected(Reason.NOT_ASDF, "the file does not begin with '#ASDF'", file=file)
    for length in (_TREE_GUESS, limits.yaml_bytes + 8):
        text = data[:length]
        for found in _TREE_END.finditer(text):
            # Where the window cuts a line, "..." is not the end of the tree but the beginning of more.
            if found.end() < len(text) or text.endswith(b"\n") or len(text) == len(data):
                return text[: found.end()]
    if len(data) > limits.yaml_bytes:
        problem = f"the YAML tree is longer than {limits.yaml_bytes} bytes"
        raise Rejected(Reason.YAML_TOO_LARGE, problem, file=file)
    raise Rejected(Reason.TRUNCATED, "the file ends inside its YAML tree", file=file)


def walk(data: Data, file: object, limits: Limits = DEFAULT_LIMITS) -> Layout:
    """Walk every block to the end of the file.  Raises Rejected for anything that does not add up."""
    span = 0, len(read_tree(data, file, limits))
    position = _skip_padding(data, span[1], file, limits)
    blocks: list[Block] = []
    while data[position : position + 4] == MAGIC:
        if len(blocks) >= limits.blocks:
            raise Rejected(Reason.BAD_BLOCK, f"more than {limits.blocks} blocks", file=file)
        block, position = _block(data, position, len(blocks), file, limits)
        blocks.append(block)
    total = sum(block.data_bytes for block in blocks)
    if total > limits.total_bytes:
        problem = f"the blocks expand to {total} bytes, more than {limits.total_bytes}"
        raise Rejected(Reason.EXPANSION, problem, file=file)
    _check_rest(data, position, blocks, file)
    return Layout(span, tuple(blocks))


def _skip_padding(data: Data, position: int, file: object, limits: Limits) -> int:
    """Where the padding after the tree ends."""
    rest = data[position : position + limits.padding_bytes + 1]
    padding = len(rest) - len(rest.lstrip(_PADDING))
    if padding > limits.padding_bytes:
        problem = f"more than {limits.padding_bytes} bytes of padding follow the YAML tree"
        raise Rejected(Reason.TRAILING_BYTES, problem, file=file)
    return position + padding


def _block(data: Data, start: int, index: int, file: object, limits: Limits) -> tuple[Block, int]:
    where = f"block {index}"
    if len(data) < start + 6 + _HEADER.size:
        raise Rejected(Reason.TRUNCATED, "the file ends inside a block header", file=file, field=where)
    (header_size,) = struct.unpack(">H", data[start + 4 : start + 6])
    if header_size < _HEADER.size:
        problem = f"the block header says it has {header_size} bytes, fewer than {_HEADER.size}"
        raise Rejected(Reason.BAD_BLOCK, problem, file=file, field=where)
    flags, compression, allocated, used, size, md5 = _HEADER.unpack(data[start + 6 : start + 6 + _HEADER.size])
    block = Block(index, start, start + 6 + header_size, used, size, compression, md5)
    end = block.data_offset + allocated
    if flags & _STREAMED:
        problem = "a streamed block, whose length nothing tells"
        raise Rejected(Reason.BAD_BLOCK, problem, file=file, field=where, remedy="write plain blocks.")
    if compression not in COMPRESSIONS:
        problem = f"compression {compression!r} is not supported"
        raise Rejected(Reason.COMPRESSION, problem, file=file, field=where, remedy="use lz4, zlib or none.")
    if used > allocated or (compression == NO_COMPRESSION and used != size):
        problem = f"sizes disagree: allocated {allocated}, used {used}, data {size}"
        raise Rejected(Reason.BAD_BLOCK, problem, file=file, field=where)
    if end > len(data):
        problem = f"the block ends at byte {end}, the file at byte {len(data)}"
        raise Rejected(Reason.TRUNCATED, problem, file=file, field=where)
    _check_expansion(block, file, limits)
    return block, end


def _check_expansion(block: Block, file: object, limits: Limits) -> None:
    where = f"block {block.index}"
    if block.data_bytes > limits.block_bytes:
        problem = f"the block expands to {block.data_bytes} bytes, more than {limits.block_bytes}"
        raise Rejected(Reason.EXPANSION, problem, file=file, field=where)
    ratio = block.data_bytes / max(block.used_bytes, 1)
    if block.data_bytes > limits.free_expansion_bytes and ratio > limits.expansion_ratio:
        problem = f"the block expands {ratio:.0f} times, more than {limits.expansion_ratio:g}"
        raise Rejected(Reason.EXPANSION, problem, file=file, field=where)


def _check_rest(data: Data, position: int, blocks: list[Block], file: object) -> None:
    """After the last block: nothing, padding, or one complete block index that agrees with the walk."""
    if position == len(data):
        return
    rest = data[position : position + _CHUNK]
    if position + len(rest) < len(data):
        raise Rejected(Reason.TRAILING_BYTES, "bytes follow the last block", file=file)
    if not rest.strip(_PADDING):
        return
    if not rest.startswith(INDEX_HEADER):
        # A block or an index cut inside its first bytes looks like its beginning.
        short = MAGIC.startswith(rest) or INDEX_HEADER.startswith(rest)
        reason = Reason.TRUNCATED if short else Reason.TRAILING_BYTES
        raise Rejected(reason, f"{len(rest)} bytes that are no block follow the last block", file=file)
    lines = rest.rstrip(_PADDING).split(b"\n")
    if lines[-1].strip() != b"..." or len(lines) < 4:
        raise Rejected(Reason.TRUNCATED, "the file ends inside its block index", file=file)
    entries = re.findall(rb"[0-9]+", b"\n".join(lines[1:-1]).split(b"---", 1)[-1])
    # Compared as text: a number of a million digits would not be converted.
    if [entry.lstrip(b"0") for entry in entries] != [str(block.offset).encode() for block in blocks]:
        problem = "the block index does not agree with the blocks"
        raise Rejected(Reason.BAD_BLOCK, problem, file=file, field="block index")


def pieces(data: Data, start: int, stop: int) -> Iterator[bytes]:
    """``data[start:stop]``, a MiB at a time."""
    for position in range(start, stop, _CHUNK):
        yield data[position : min(position + _CHUNK, stop)]


def check_md5(data: Data, layout: Layout, file: object) -> None:
    """Compare each block that carries an MD5 checksum with its stored bytes."""
    for block in layout.blocks:
        if not any(block.md5):
            continue
        digest = hashlib.md5(usedforsecurity=False)
        for piece in pieces(data, block.data_offset, block.data_offset + block.used_bytes):
            digest.update(piece)
        if digest.digest() != block.md5:
            problem = "the bytes do not match the checksum of the block"
            raise Rejected(Reason.BLOCK_CHECKSUM, problem, file=file, field=f"block {block.index}")


def check_expansion(data: Data, layout: Layout, file: object) -> None:
    """Make sure that compressed blocks expand to exactly what they say, in bounded memory.

    The reader allocates what the header says, but zlib and bzip2 streams are expanded before their length is
    known; lz4 chunks carry their own length, so that their headers alone are walked.
    """
    for block in layout.blocks:
        if block.compression == NO_COMPRESSION:
            continue
        try:
            expanded = _lz4_size if block.compression == b"lz4\0" else _stream_size
            size = expanded(data, block)
        except (zlib.error, OSError, ValueError, EOFError, struct.error) as error:
            problem = f"the block cannot be expanded: {error}"
            raise Rejected(Reason.BAD_BLOCK, problem, file=file, field=f"block {block.index}") from error
        if size != block.data_bytes:
            more = size > block.data_bytes
            problem = f"the block expands to {'more than ' if more else ''}{size} bytes, not {block.data_bytes}"
            reason = Reason.EXPANSION if more else Reason.BAD_BLOCK
            raise Rejected(reason, problem, file=file, field=f"block {block.index}")


def _lz4_size(data: Data, block: Block) -> int:
    position, end, size = block.data_offset, block.data_offset + block.used_bytes, 0
    while position < end:
        (stored,) = struct.unpack(">I", data[position : position + 4])
        (expanded,) = struct.unpack("<I", data[position + 4 : position + 8])
        position += 4 + stored
        size += expanded
        if stored < 4 or position > end:
            raise ValueError("an lz4 chunk reaches beyond its block")
        if size > block.data_bytes:
            break
    return size


def _stream_size(data: Data, block: Block) -> int:
    """Expanded length of a zlib or bzip2 block, counted 1 MiB at a time, and not far past the stated one."""
    stop, size = block.data_bytes, 0
    stream = zlib.decompressobj() if block.compression == b"zlib" else bz2.BZ2Decompressor()
    for stored in pieces(data, block.data_offset, block.data_offset + block.used_bytes):
        for expanded in _expand(stream, stored):
            size += expanded
            if size > stop:
                return size
        if stream.eof:
            return size
    raise ValueError("the compressed stream has no end")


def _expand(stream: Any, stored: bytes) -> Iterator[int]:
    """Lengths of what ``stored`` expands to, each at most 1 MiB."""
    if isinstance(stream, bz2.BZ2Decompressor):
        yield len(stream.decompress(stored, _CHUNK))
        while not stream.eof and not stream.needs_input:
            yield len(stream.decompress(b"", _CHUNK))
        return
    while stored and not stream.eof:
        yield len(stream.decompress(stored, _CHUNK))
        stored = stream.unconsumed_tail
