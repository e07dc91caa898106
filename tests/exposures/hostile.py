"""A corpus of hostile exposures, made from one small valid one: each a file, and what must be said of it.

``corpus`` gives the cases.  A case is refused with one of its reasons, or accepted with one of its caveats; there
is no third.  ``header`` tells whether the header alone is enough to refuse it.
"""

from __future__ import annotations

import bz2
import struct
import zlib
from collections.abc import Callable, Iterator

import lz4.block

from roman_assets.exposures.level2.asdf_bytes import walk
from roman_assets.exposures.rejection import Reason
from tests.exposures.hostile_cases import EXPOSURE_TIME, ORIGIN, SCALES, SHAPE, Case, Corpus
from tests.exposures.hostile_headers import headers, pixels, polynomials, scalars, skies
from tests.exposures.level2_files import SIDE, Parts, Payload, another, number_of

R = Reason


def corpus(parts: Parts) -> list[Case]:
    """All cases, made from the valid file's parts."""
    made = Corpus(parts)
    for group in (_cut, _bytes, _blocks, _bombs, _trees, scalars, headers, skies, pixels, _texts, _names):
        group(made)
    assert len({case.name for case in made.cases}) == len(made.cases)
    return made.cases


# ---- bytes -----------------------------------------------------------------------------------------------


def _cut(made: Corpus) -> None:
    made.add("empty", b"", R.EMPTY, header=True)
    for share, header in ((0.01, True), (0.3, True), (0.9, False), (0.99, False), (0.9999, False)):
        data = made.exposure().bytes
        made.add(f"cut at {share}", data[: int(len(data) * share)], R.TRUNCATED, header=header)
    whole = made.exposure()
    made.add("without its last block", Parts(whole.tree, whole.blocks[:-1]), R.ARRAY_OUTSIDE_BLOCK)


def _bytes(made: Corpus) -> None:
    made.add("FITS", b"SIMPLE  =                    T" + b" " * 2850, R.NOT_ASDF, header=True)
    made.add("a page of an error", b"<html><title>502 Bad Gateway</title></html>", R.NOT_ASDF, header=True)
    data = made.exposure().bytes
    made.add("more after the end", data[: data.index(b"#ASDF BLOCK INDEX")] + b"more", R.TRAILING_BYTES)
    made.add("zeros after the end", made.exposure().bytes + bytes(40 << 20), R.TRAILING_BYTES)
    whole = made.exposure()
    blocks = b"".join(block.pack() for block in whole.blocks)
    made.add("zeros after the tree", whole.tree + bytes(40 << 20) + blocks, R.TRAILING_BYTES)
    data = made.exposure().bytes
    offset = walk(data, "").blocks[made.parts.source("data")].data_offset + 50
    made.add("a flipped bit", data[:offset] + bytes([data[offset] ^ 16]) + data[offset + 1 :], R.BLOCK_CHECKSUM)
    data = made.exposure().bytes
    offset = walk(data, "").blocks[3].offset
    index = data.replace(f"- {offset}\n".encode(), f"- {offset + 1}\n".encode())
    made.add("an index that points elsewhere", index, R.BAD_BLOCK)
    data = made.exposure().bytes
    index = data.replace(f"- {walk(data, '').blocks[3].offset}\n".encode(), b"- " + b"9" * 5000 + b"\n")
    made.add("an index of long numbers", index, R.BAD_BLOCK)


def _blocks(made: Corpus) -> None:
    for label, offset, form, value, reason in (
        ("allocated", 14, ">Q", 1 << 62, R.TRUNCATED),
        ("used", 22, ">Q", 1 << 40, R.BAD_BLOCK),
        ("data size", 30, ">Q", 3, R.ARRAY_OUTSIDE_BLOCK),
        ("header size", 4, ">H", 10, R.BAD_BLOCK),
        ("streamed", 6, ">I", 1, R.BAD_BLOCK),
        ("compression", 10, "4s", b"zip!", R.COMPRESSION),
    ):
        data = bytearray(made.exposure().bytes)
        struct.pack_into(form, data, walk(bytes(data), "").blocks[0].offset + offset, value)
        made.add(f"a block that lies about its {label}", bytes(data), reason)
    stored = zlib.compress(bytes(SIDE * SIDE * 4))
    half = Payload(stored[: len(stored) // 2], b"zlib", SIDE * SIDE * 4)
    made.add("half a zlib stream", made.exposure().block(0, half), R.BAD_BLOCK)
    chunk = lz4.block.compress(bytes(SIDE * SIDE * 4))
    lying = Payload(struct.pack(">I", len(chunk) + 1000) + chunk, b"lz4\0", SIDE * SIDE * 4)
    made.add("an lz4 chunk beyond its block", made.exposure().block(0, lying), R.BAD_BLOCK)
    broken = struct.pack(">I", 44) + struct.pack("<I", SIDE * SIDE * 4) + b"\xff" * 40
    made.add("a broken lz4 chunk", made.exposure().block(0, Payload(broken, b"lz4\0", SIDE * SIDE * 4)), R.UNREADABLE)


def zlib_bomb() -> bytes:
    """4 GiB of zeros in 4 MB: a whole zlib stream, made by repeating the compressed form of 16 MiB."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, wbits=-15).flush()
    return head + piece * 256 + end + struct.pack(">HH", (4 << 30) % 65521, 1)


def _bombs(made: Corpus) -> None:
    bomb, plane = zlib_bomb(), SIDE * SIDE * 4
    made.add("a zlib bomb", made.exposure().block(0, Payload(bomb, b"zlib", 4 << 30)), R.EXPANSION)
    made.add("a zlib bomb that lies", made.exposure().block(0, Payload(bomb, b"zlib", plane)), R.EXPANSION)
    packed = bz2.compress(bytes(64 << 20))
    made.add("a bzip2 bomb that lies", made.exposure().block(0, Payload(packed, b"bzp2", plane)), R.EXPANSION)
    huge = "    shape: [1000000, 1000000]\n    strides: [0, 0]"
    made.add(
        "an array without strides", made.exposure().edit((SHAPE, huge)), R.EXPANSION, R.HEADER_INVALID, header=True
    )
    big = Payload(bytes(32 << 20))
    quantity = f"{ORIGIN}\n    more: !unit/quantity-1.2.0 {{unit: !unit/unit-1.0.0 m, value: !core/ndarray-1.1.0 "
    quantity += f"{{source: 0, datatype: float64, byteorder: little, shape: [{4 << 20}]}}}}"
    made.add("a large quantity", made.exposure().block(0, big).edit((ORIGIN, quantity)), R.EXPANSION)
    lines = ["bomb0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"bomb{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 5)}]" for i in range(1, 12)]
    made.edited("an alias bomb", "roman: !<asdf", "\n".join(lines) + "\nroman: !<asdf", R.ALIAS_BOMB)
    made.edited("an alias that holds itself", ORIGIN, "origin: &me [*me]", R.ALIAS_BOMB)
    made.edited("deep nesting", ORIGIN, f"origin: {'[' * 100_000}{']' * 100_000}", R.YAML_TOO_DEEP)
    made.edited("2 million scalars", ORIGIN, f"origin: [{'1,' * 2_000_000}]", R.YAML_TOO_LARGE)
    made.edited(
        "2 million keys", ORIGIN, "origin: {" + ",".join(f"a{i}" for i in range(500_000)) + "}", R.YAML_TOO_LARGE
    )
    made.edited("a long text", ORIGIN, "origin: " + "x" * 5_000_000, R.YAML_TOO_LARGE)
    tags = "".join(f"%TAG !{i}! tag:example.org,2000:{i}/\n" for i in range(100_000))
    made.edited("100,000 directives", "%TAG ! ", f"{tags}%TAG ! ", R.YAML_TOO_LARGE)
    made.edited("an integer in base 60", ORIGIN, "origin: 1" + ":59" * 1_000_000, R.HEADER_INVALID)
    rows = ",".join("[" + ",".join(["0"] * 60) + "]" for _ in range(60))
    made.edited("a polynomial of degree 59", SCALES, polynomials(f"[{rows}]", f"[{rows}]"), R.HEADER_INVALID)
    array = "!core/ndarray-1.1.0 {source: 0, datatype: int8, byteorder: little, shape: [301, 301]}"
    polynomial = made.exposure().edit((SCALES, polynomials(array, array))).block(0, Payload(bytes(301 * 301)))
    made.add("a polynomial of degree 300", polynomial, R.HEADER_INVALID, header=True)
    shifts = "- !transform/shift-1.4.0 {inputs: [x], offset: 0.0, outputs: [y]}\n"
    many = f"{ORIGIN}\n    more:\n" + ("    " + shifts) * 5_000
    made.edited("5,000 transforms", f"{ORIGIN}\n", many, R.YAML_TOO_LARGE)
    frame = "!<tag:astropy.org:astropy/coordinates/frames/icrs-1.1.0> {frame_attributes: {}}"
    made.edited("2,000 frames", ORIGIN, f"{ORIGIN}\n    more: [{', '.join([frame] * 2_000)}]", R.YAML_TOO_LARGE)


# ---- tree ------------------------------------------------------------------------------------------------


def _trees(made: Corpus) -> None:
    for label, new, reason in (
        ("a call", "origin: !!python/object/apply:os.system [ls]", R.UNKNOWN_TAG),
        ("a local tag", "origin: !<tag:example.org:evil/thing-1.0.0> x", R.UNKNOWN_TAG),
        ("binary", "origin: !!binary aGVsbG8=", R.UNKNOWN_TAG),
        ("a reference", "origin: {$ref: '../secret.asdf#/roman'}", R.EXTERNAL_REFERENCE),
        ("a reference to a server", "origin: {$ref: 'http://169.254.169.254/'}", R.EXTERNAL_REFERENCE),
        ("an external array", "origin: !core/externalarray-1.0.0 {fileuri: /etc/passwd}", R.EXTERNAL_REFERENCE),
        ("a key given twice", f"{ORIGIN}\n    {ORIGIN}", R.YAML_INVALID),
        ("unclosed", "origin: [unclosed", R.YAML_INVALID),
        ("a key that is a list", "? [a, b]\n    : 1", R.YAML_INVALID),
        ("an alias of nothing", "origin: *nowhere", R.YAML_INVALID),
        ("a merge", "origin: {<<: {a: 1}}", R.UNKNOWN_TAG),
    ):
        made.edited(label, ORIGIN, new, reason)
    source = "    source: 0\n"
    made.edited("a source outside", source, "    source: ../secret.asdf\n", R.EXTERNAL_REFERENCE)
    made.add("a source that is not there", made.exposure().edit((source, "    source: 99\n")), R.ARRAY_OUTSIDE_BLOCK)
    made.add("a list", b"#ASDF 1.0.0\n%YAML 1.1\n--- [1, 2]\n...\n", R.YAML_INVALID, header=True)
    made.add("not UTF-8", made.exposure().bytes.replace(b"STSCI/SOC", b"\xff\xfeSCI/SOC"), R.YAML_INVALID, header=True)
    for label, shape in (("large", "[4088, 4088]"), ("negative", "[-1, 32]"), ("open", "['*', 32]")):
        changed = made.exposure().edit((SHAPE, f"    shape: {shape}"))
        made.add(f"a {label} shape", changed, R.ARRAY_OUTSIDE_BLOCK, R.HEADER_INVALID, header=True)
    made.edited("another datatype", "datatype: float32", "datatype: int32", R.HEADER_INVALID)
    made.edited("a plane of another shape", f"datatype: float16\n    byteorder: little\n{SHAPE}",
                "datatype: float16\n    byteorder: little\n    shape: [16, 16]", R.HEADER_INVALID)  # fmt: skip


# ---- what files say, and are called ----------------------------------------------------------------------


def _texts(made: Corpus) -> None:
    """Values that end up in messages, reports and databases."""
    for label, value in (
        ("markup", "'[red]WFI01[/] [/] [link=http://example.org]x'"),
        ("escape codes", '"\\e[31mWFI01\\a"'),
        ("NUL", '"WFI01\\0"'),
        ("a right-to-left override", '"WFI\\u202e10"'),
        ("200,000 characters", "x" * 200_000),
    ):
        made.edited(f"{label} as detector", "detector: WFI01", f"detector: {value}", R.HEADER_INVALID)
        made.edited(f"{label} as type", "type: WFI_IMAGE", f"type: {value}", R.HEADER_INVALID)
        made.edited(f"{label} as visit", "visit_id: '0000201001001001", f"visit_id: {value} #", R.NAME_HEADER_MISMATCH,
                    R.YAML_INVALID)  # fmt: skip
    made.edited("a type of 100 letters", "type: WFI_IMAGE", f"type: {'X' * 100}", R.HEADER_INVALID)


def _names(made: Corpus) -> None:
    for label, name in (
        ("markup", b"[red]bold [link=x].asdf"),
        ("a closing tag", b"[bold].asdf"),
        ("an emoji code", b":bomb:.asdf"),
        ("a right-to-left override", "r\u202efdsa_cal.asdf".encode()),
        ("look-alike letters", made.name.replace(b"wfi", "wf\u0456".encode())),
        ("bytes that are not UTF-8", b"r\xff\xfe_cal.asdf"),
        ("a new line", b"r0000\nINFO all is well_cal.asdf"),
        ("escape codes", b"r\x1b[2J\x1b]0;x\x07_cal.asdf"),
        ("backslashes", b"x\\..\\..\\y_cal.asdf"),
        ("dots", b"r..x_cal.asdf"),
        ("an option", b"--home_cal.asdf"),
        ("250 characters", b"r" * 240 + b"_cal.asdf"),
        ("a detector that is none", made.name.replace(b"wfi01", b"wfi99")),
        ("capital letters", made.name.upper().replace(b"ASDF", b"asdf")),
    ):
        made.add(f"a name with {label}", made.exposure(), R.BAD_NAME, name=name, header=True)
    made.add("a folder that is not UTF-8", made.exposure(), R.BAD_NAME, name=b"\xfe/" + made.name)
    twin = another(made.parts, 1).edit((EXPOSURE_TIME, "exposure_time: 65.0"))
    made.add("other bytes of a good one", twin, R.CONFLICT, name=b"z/" + number_of(1, 1, 1).encode())


def good_files(parts: Parts) -> Iterator[tuple[str, Callable[[], Parts]]]:
    """Names and makers of the good files that lie among the hostile ones; visit 1 is among them."""
    for visit in (1, 2, 3):
        yield number_of(visit, 1, 1), lambda visit=visit: another(parts, visit)
