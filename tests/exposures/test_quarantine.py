"""The quarantine keeps bytes and reasons, once, and gives back only what may be given back."""

from __future__ import annotations

import hashlib
import json

import pytest

from roman_assets.errors import InputError
from roman_assets.exposures.quarantine import Quarantine
from roman_assets.exposures.rejection import Reason, Rejected
from tests.exposures.fake_s3 import FakeS3

DATA = b"some bytes"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(params=["folder", "bucket"])
def quarantine(request, tmp_path):
    if request.param == "folder":
        return Quarantine(tmp_path / "quarantine")
    return Quarantine("s3://bucket/quarantine", client=FakeS3())


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "r0000201001001001001_0001_wfi01_f146_cal.asdf"
    path.write_bytes(DATA)
    return path


def rejected(reason: Reason = Reason.SKY_LEVEL) -> Rejected:
    return Rejected(reason, "the median is absurd", file="x.asdf", field="data")


def test_keeps_bytes_and_reason(quarantine, path):
    assert quarantine.list() == []
    record = quarantine.put(path, rejected(), uri="s3://in/x.asdf")
    assert quarantine.list() == [record]
    assert (record.sha256, record.size, record.reason) == (SHA256, len(DATA), "sky_level")
    assert (record.name, record.uri, record.field) == (path.name, "s3://in/x.asdf", "data")
    assert "Remedy" in record.message
    assert record.remedy
    assert quarantine.read(SHA256) == DATA
    assert path.exists()
    with quarantine.open(record) as found:
        assert (found.name, found.read_bytes()) == (path.name, DATA)


def test_twice_is_once(quarantine, path):
    first = quarantine.put(path, rejected())
    assert quarantine.put(path, rejected()) == first
    quarantine.put(path, rejected(Reason.CONFLICT))
    assert [r.reason for r in quarantine.list()] == ["conflict", "sky_level"]


def test_release(quarantine, path, tmp_path):
    quarantine.put(path, rejected())
    assert quarantine.waived(SHA256) == frozenset()
    landing = tmp_path / "landing"
    record = quarantine.release(SHA256, "sky_level", reviewer="someone", note="a nebula", destination=landing)
    assert (record.released_by, record.note) == ("someone", "a nebula")
    assert record.released_at
    assert quarantine.waived(SHA256) == {Reason.SKY_LEVEL}
    assert (landing / path.name).read_bytes() == DATA
    assert quarantine.list() == []
    assert quarantine.list(released=None) == quarantine.list(released=True) == [record]
    assert quarantine.read(SHA256) == DATA  # nothing is deleted


@pytest.mark.parametrize("reason", ["truncated", "unknown_tag", "external_reference", "expansion", "bad_name"])
def test_structural_faults_cannot_be_waived(quarantine, path, reason):
    quarantine.put(path, rejected(Reason(reason)))
    with pytest.raises(InputError, match="cannot be waived"):
        quarantine.release(SHA256, reason, reviewer="x", note="")
    assert quarantine.waived(SHA256) == frozenset()


def test_release_of_what_is_not_there(quarantine):
    with pytest.raises(InputError, match="no file"):
        quarantine.release(SHA256, "sky_level", reviewer="x", note="")
    with pytest.raises(InputError, match="is no reason"):
        quarantine.release(SHA256, "whatever", reviewer="x", note="")


def test_hostile_name_stays_in_the_record(quarantine, tmp_path):
    path = tmp_path / "\u202efdsa.evil\u2044..asdf"
    path.write_bytes(DATA)
    record = quarantine.put(path, rejected(Reason.BAD_NAME))
    assert record.name == path.name
    assert quarantine.list()[0].name == path.name
    with pytest.raises(InputError), quarantine.open(record):
        pass


def test_damaged_record_is_named(tmp_path, path):
    quarantine = Quarantine(tmp_path / "q")
    quarantine.put(path, rejected())
    (record,) = (tmp_path / "q").rglob("*.json")
    assert json.loads(record.read_text())["reason"] == "sky_level"
    record.write_text("{")
    with pytest.raises(InputError, match=r"sky_level\.json"):
        quarantine.list()
