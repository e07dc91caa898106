"""Every row of the table of inputs that break the default readers, and the limits around it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.exposures.level2.guards import check_bytes, check_file, read_manifest
from roman_assets.exposures.rejection import Reason, Rejected
from roman_assets.storage.base import Unavailable
from tests.exposures.level2_files import NAME, SIDE, Parts, manifest_of, reason_of, take_apart, write


def test_valid_file_passes(parts, tmp_path):
    path = write(tmp_path, parts)
    checked = check_file(path)
    assert checked.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert checked.size == path.stat().st_size
    assert len(checked.layout.blocks) == len(parts.blocks)
    assert check_file(path, expected=manifest_of(path.read_bytes())).sha256 == checked.sha256


def test_parts_put_together_give_the_same_bytes(parts):
    assert take_apart(parts.bytes) == parts


def test_shared_files_pass(shared_data):
    paths = sorted(shared_data.glob("bulge_scene/*/*.asdf"))[::7]
    assert len(paths) >= 3
    for path in paths:
        check_file(path)


# ---- truncation ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.05, 0.3, 0.9, 0.99, 0.9999])
def test_truncated_file(parts, fraction):
    """The default reader opens a file cut at 90 to 99.99 % as if it were whole."""
    data = parts.bytes
    cut = data[: int(len(data) * fraction)]
    assert reason_of(cut) is Reason.TRUNCATED
    assert reason_of(cut, expected=manifest_of(data)) is Reason.TRUNCATED


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_no_truncation_passes(parts, data):
    """Wherever a file is cut, it is noticed, even with no manifest; only the index may be missing."""
    whole = parts.bytes
    cut = data.draw(st.integers(0, len(whole) - 2))
    at_index = whole.index(b"#ASDF BLOCK INDEX")
    if cut == at_index:
        check_bytes(whole[:cut], "cut.asdf")  # the index is optional: all data is there
    else:
        with pytest.raises(Rejected):
            check_bytes(whole[:cut], "cut.asdf")


def test_cut_at_a_block_boundary_misses_an_array(parts):
    cut = Parts(parts.tree, parts.blocks[:-1])
    assert reason_of(cut.bytes) is Reason.ARRAY_OUTSIDE_BLOCK


def test_empty_file(tmp_path):
    (tmp_path / NAME).touch()
    with pytest.raises(Rejected) as caught:
        check_file(tmp_path / NAME)
    assert caught.value.reason is Reason.EMPTY


def test_absent_file_is_not_judged(tmp_path):
    with pytest.raises(Unavailable, match="cannot be read"):
        check_file(tmp_path / NAME)


def test_not_asdf():
    assert reason_of(b"SIMPLE  =                    T") is Reason.NOT_ASDF


def test_bytes_after_the_end(parts):
    assert reason_of(parts.bytes + b"more") is Reason.TRUNCATED  # the index does not end the file
    without_index = parts.bytes[: parts.bytes.index(b"#ASDF BLOCK INDEX")]
    assert reason_of(without_index + b"garbage") is Reason.TRAILING_BYTES
    check_bytes(without_index + b"\0" * 100, "padded.asdf")


# ---- bit flips -------------------------------------------------------------------------------------------


def test_bit_flip_in_pixels(parts):
    """The default reader returns silently wrong pixels."""
    data = bytearray(parts.bytes)
    block = check_bytes(bytes(data), "x").layout.blocks[parts.source("data")]
    data[block.data_offset + 100] ^= 0x10
    flipped = bytes(data)
    assert reason_of(flipped) is Reason.BLOCK_CHECKSUM
    assert reason_of(flipped, expected=manifest_of(parts.bytes)) is Reason.SHA256_MISMATCH
    assert reason_of(flipped, sha256=manifest_of(parts.bytes).sha256) is Reason.SHA256_MISMATCH


def test_size_unlike_the_manifest(parts):
    entry = manifest_of(parts.bytes)
    assert reason_of(parts.bytes, expected=replace(entry, size=entry.size - 1)) is Reason.SIZE_MISMATCH


def test_blocks_without_checksum_pass(parts):
    check_bytes(parts.block(0, replace(parts.blocks[0], md5=bytes(16))).bytes, "x")


# ---- tags and references ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tag",
    [
        "!!python/object/apply:os.system",
        "!!python/name:os.system",
        "!<tag:example.org:evil/thing-1.0.0>",
        "!<asdf://stsci.edu/datamodels/romanx/tags/y-1.0.0>",
        "!local",
        "!!binary",
    ],
)
def test_unknown_tags(parts, tag):
    assert reason_of(parts.edit(("origin: STSCI/SOC", f"origin: {tag} [ls]")).bytes) is Reason.UNKNOWN_TAG
    assert reason_of(parts.edit(("origin: STSCI/SOC", f"{tag} origin: STSCI/SOC")).bytes) is Reason.UNKNOWN_TAG


def test_a_redefined_tag_prefix_gains_nothing(parts):
    """`!core/...` of a file that maps `!` elsewhere is somebody else's tag."""
    evil = parts.edit(("%TAG ! tag:stsci.edu:asdf/", "%TAG ! tag:example.org:asdf/"))
    assert reason_of(evil.bytes) is Reason.UNKNOWN_TAG


@pytest.mark.parametrize(
    "change",
    [
        ("    source: 0\n", "    source: ../secret.asdf\n"),
        ("    source: 0\n", "    source: 'http://169.254.169.254/latest'\n"),
        ("    source: 0\n", "    'source': \"file:///etc/passwd\"\n"),
        ("    source: 0\n", "    {source: 0}\n"),
        ("origin: STSCI/SOC", "origin: {$ref: '../secret.asdf#/roman'}"),
        ("origin: STSCI/SOC", "origin: {\"$ref\": 'http://169.254.169.254/'}"),
        ("origin: STSCI/SOC", "origin: {? $ref : 'x'}"),
        ("origin: STSCI/SOC", "origin: {source: x.asdf, datatype: float32, shape: [1]}"),
        ("origin: STSCI/SOC", "origin: !core/externalarray-1.0.0 {fileuri: /etc/passwd}"),
        ("    source: 0\n", "    source: -1\n"),
        ("    source: 0\n", "    source: 99\n"),
        ("    source: 0\n", "    source: 0.5\n"),
    ],
)
def test_references_out_of_the_file(parts, change):
    expected = {Reason.EXTERNAL_REFERENCE, Reason.ARRAY_OUTSIDE_BLOCK, Reason.YAML_INVALID}
    assert reason_of(parts.edit(change).bytes) in expected


def test_string_sources_have_their_own_reason(parts):
    evil = parts.edit(("    source: 0\n", "    source: ../secret.asdf\n"))
    assert reason_of(evil.bytes) is Reason.EXTERNAL_REFERENCE
    evil = parts.edit(("origin: STSCI/SOC", "origin: {$ref: '../secret.asdf#/roman'}"))
    assert reason_of(evil.bytes) is Reason.EXTERNAL_REFERENCE


# ---- headers that lie ------------------------------------------------------------------------------------


def test_array_larger_than_its_block(parts):
    for change in (
        (f"    shape: [{SIDE}, {SIDE}]", "    shape: [4088, 4088]"),
        ("datatype: float32", "datatype: float64"),
        ("    source: 0\n", "    source: 0\n    offset: 16\n"),
        ("    source: 0\n", "    source: 0\n    strides: [1000, 4]\n"),
        (f"    shape: [{SIDE}, {SIDE}]", "    shape: [-1, 32]"),
        (f"    shape: [{SIDE}, {SIDE}]", "    shape: ['*', 32]"),
        ("    source: 0\n", "    source: 0\n    strides: [-128, 4]\n"),
    ):
        assert reason_of(parts.edit(change).bytes) is Reason.ARRAY_OUTSIDE_BLOCK, change
    assert reason_of(parts.edit(("datatype: float32", "datatype: pickle")).bytes) is Reason.HEADER_INVALID


@pytest.mark.parametrize(
    ("field", "value"), [("allocated", 1 << 62), ("used", 1 << 40), ("data", 3), ("header", 10), ("flags", 1)]
)
def test_block_header_that_lies(parts, field, value):
    data = bytearray(parts.bytes)
    start = check_bytes(bytes(data), "x").layout.blocks[0].offset
    offset, form = {
        "header": (4, ">H"),
        "flags": (6, ">I"),
        "allocated": (14, ">Q"),
        "used": (22, ">Q"),
        "data": (30, ">Q"),
    }[field]
    struct.pack_into(form, data, start + offset, value)
    expected = {"allocated": Reason.TRUNCATED, "data": Reason.ARRAY_OUTSIDE_BLOCK}
    assert reason_of(bytes(data)) is expected.get(field, Reason.BAD_BLOCK)


def test_block_index_that_points_elsewhere(parts):
    data = parts.bytes
    offset = check_bytes(data, "x").layout.blocks[3].offset
    assert reason_of(data.replace(f"- {offset}\n".encode(), f"- {offset + 1}\n".encode())) is Reason.BAD_BLOCK


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_damaged_files_never_escape_the_guards(parts, data):
    """Any damage ends in a typed rejection or in a file that is consistent: no other exception."""
    whole = bytearray(parts.bytes)
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(whole) - 1))
        whole[position] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Rejected):
        check_bytes(bytes(whole), "damaged.asdf")


# ---- manifests -------------------------------------------------------------------------------------------


def test_manifest(parts):
    entry = manifest_of(parts.bytes)
    item = {"name": NAME, "size": entry.size, "sha256": entry.sha256.upper()}
    assert read_manifest(json.dumps({"files": [item]}), "m.json") == {NAME: entry}
    assert read_manifest(json.dumps([item, item]), "m.json") == {NAME: entry}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[" * 100_000,
        "{}",
        '{"files": 1}',
        "[1]",
        '[{"size": 1}]',
        json.dumps([{"name": NAME, "size": -1, "sha256": "0" * 64}]),
        json.dumps([{"name": NAME, "size": True, "sha256": "0" * 64}]),
        json.dumps([{"name": NAME, "size": 1, "sha256": "xyz"}]),
        json.dumps([{"name": "../x", "size": 1, "sha256": "0" * 64}]),
        json.dumps([{"name": NAME, "size": n, "sha256": "0" * 64} for n in (1, 2)]),
    ],
)
def test_bad_manifest(text):
    with pytest.raises(InputError, match="Remedy"):
        read_manifest(text, "m.json")


def test_nan_pixels_are_no_business_of_the_byte_guards(parts):
    nan = parts.pixels("data", np.full((SIDE, SIDE), np.nan, np.float32))
    check_bytes(nan.bytes, "x")
