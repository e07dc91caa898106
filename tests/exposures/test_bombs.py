"""Files that are small and would be large: compression, nesting, aliases, and YAML that is none."""

from __future__ import annotations

import bz2
import struct
import subprocess
import sys
import zlib
from dataclasses import replace

import lz4.block
import pytest

from roman_assets.exposures.level2.guards import check_bytes
from roman_assets.exposures.rejection import Limits, Reason
from tests.exposures.level2_files import SIDE, Payload, reason_of


@pytest.fixture(scope="module")
def zlib_bomb() -> bytes:
    """4 GiB of zeros in 4 MB: a whole zlib stream, made by repeating the compressed form of 16 MiB."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, wbits=-15)
    piece = packer.compress(bytes(16 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, wbits=-15).flush()
    adler = struct.pack(">HH", (4 << 30) % 65521, 1)
    return head + piece * 256 + end + adler


def test_the_bomb_is_real(zlib_bomb):
    small = zlib.decompressobj()
    size, rest = 0, zlib_bomb
    while rest and size < 64 << 20:
        size += len(small.decompress(rest, 1 << 20))
        rest = small.unconsumed_tail
    assert size >= 64 << 20
    assert len(zlib_bomb) < 5 << 20


def test_zlib_bomb_that_tells_its_size(parts, zlib_bomb):
    bomb = Payload(zlib_bomb, b"zlib", data_bytes=4 << 30)
    assert reason_of(parts.block(0, bomb).bytes) is Reason.EXPANSION


def test_zlib_bomb_that_lies_about_its_size(parts, zlib_bomb):
    """A header that says 4 kB passes every cap; the stream is counted in pieces and stopped."""
    code = (
        "import re, sys; from roman_assets.exposures.level2.guards import check_file\n"
        "try: check_file(sys.argv[1])\n"
        "except Exception as error: print(error.reason)\n"
        "print(int(re.search('VmHWM:\\\\s+([0-9]+)', open('/proc/self/status').read())[1]) // 1024)"
    )
    data = parts.block(0, Payload(zlib_bomb, b"zlib", data_bytes=SIDE * SIDE * 4)).bytes
    assert reason_of(data) is Reason.EXPANSION
    done = subprocess.run([sys.executable, "-c", code, "/dev/stdin"], input=data, capture_output=True, check=True)
    found, memory_mb = done.stdout.decode().split()
    assert found == "expansion"
    assert int(memory_mb) < 100


def test_ratio_is_capped_beyond_one_plane(parts):
    limits = Limits(free_expansion_bytes=1 << 20)
    stored = zlib.compress(bytes(2 << 20))
    bomb = parts.block(0, Payload(stored, b"zlib", data_bytes=2 << 20)).bytes
    assert reason_of(bomb, limits=limits) is Reason.EXPANSION
    check_bytes(bomb, "x")  # an empty plane of 2 MiB is believed


def test_many_blocks_below_the_cap_are_capped_together(parts):
    limits = Limits(total_bytes=SIDE * SIDE * 4)
    assert reason_of(parts.bytes, limits=limits) is Reason.EXPANSION
    assert reason_of(parts.bytes, limits=Limits(blocks=3)) is Reason.BAD_BLOCK


def lz4_chunks(data: bytes, size: int = 1000) -> bytes:
    chunks = [lz4.block.compress(data[i : i + size]) for i in range(0, len(data), size)]
    return b"".join(struct.pack(">I", len(chunk)) + chunk for chunk in chunks)


@pytest.mark.parametrize(("label", "pack"), [(b"zlib", zlib.compress), (b"bzp2", bz2.compress), (b"lz4\0", lz4_chunks)])
def test_honest_compression_passes_and_lies_do_not(parts, label, pack):
    plain = parts.blocks[0].stored
    stored = pack(plain)
    check_bytes(parts.block(0, Payload(stored, label, len(plain))).bytes, "x")
    longer = reason_of(parts.block(0, Payload(stored, label, len(plain) + 4)).bytes)
    assert longer is Reason.BAD_BLOCK
    more = pack(plain + b"1234")
    assert reason_of(parts.block(0, Payload(more, label, len(plain))).bytes) is Reason.EXPANSION
    broken = reason_of(parts.block(0, Payload(stored[: len(stored) // 2], label, len(plain))).bytes)
    assert broken is Reason.BAD_BLOCK


def test_unknown_compression(parts):
    assert reason_of(parts.block(0, replace(parts.blocks[0], compression=b"zip!")).bytes) is Reason.COMPRESSION


@pytest.mark.parametrize("nesting", ["flow", "compact", "block"])
def test_deep_nesting(parts, nesting):
    """Composing such a tree recurses in C and would end the process."""
    deep = {
        "flow": "[" * 200_000 + "]" * 200_000,
        "compact": "\n" + "- " * 100_000 + "x",
        "block": "".join("\n" + " " * (6 + i) + "a:" for i in range(200)) + " x",
    }[nesting]
    found = reason_of(parts.edit(("origin: STSCI/SOC", f"origin: {deep}")).bytes)
    assert found in (Reason.YAML_TOO_DEEP, Reason.YAML_INVALID)
    if nesting != "compact":
        assert found is Reason.YAML_TOO_DEEP


def test_alias_bomb(parts):
    lines = ["bomb0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for i in range(1, 12):
        lines.append(f"bomb{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 5)}]")
    evil = parts.edit(("roman: !<asdf", "\n".join(lines) + "\nroman: !<asdf"))
    assert reason_of(evil.bytes) is Reason.ALIAS_BOMB
    # also with few enough aliases that only the expanded size tells
    assert reason_of(evil.bytes, limits=Limits(yaml_aliases=1000)) is Reason.ALIAS_BOMB


def test_an_alias_that_holds_itself(parts):
    evil = parts.edit(("origin: STSCI/SOC", "origin: &me [*me]"))
    assert reason_of(evil.bytes) is Reason.ALIAS_BOMB


def test_a_few_aliases_are_harmless(parts):
    check_bytes(parts.edit(("origin: STSCI/SOC", "origin: &o STSCI/SOC\n    again: *o")).bytes, "x")


def test_long_yaml(parts):
    long = parts.edit(("origin: STSCI/SOC", "origin: " + "x" * 5_000_000))
    assert reason_of(long.bytes) is Reason.YAML_TOO_LARGE


@pytest.mark.parametrize(
    "change",
    [
        ("origin: STSCI/SOC", "origin: STSCI/SOC\n    origin: STSCI/SOC"),
        ("origin: STSCI/SOC", "origin: [unclosed"),
        ("origin: STSCI/SOC", "? [a, b]\n    : 1"),
        ("origin: STSCI/SOC", "origin: *nowhere"),
    ],
)
def test_invalid_yaml(parts, change):
    assert reason_of(parts.edit(change).bytes) is Reason.YAML_INVALID


def test_yaml_that_is_no_mapping(parts):
    assert reason_of(b"#ASDF 1.0.0\n%YAML 1.1\n--- [1, 2]\n...\n") is Reason.YAML_INVALID
