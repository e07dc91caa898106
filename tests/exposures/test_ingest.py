"""Ingestion from end to end: what is registered, refused, reported, and safe to interrupt."""

from __future__ import annotations

import hashlib
import json
import os
import time

import numpy as np
import pytest

from roman_assets.exposures.ingest import ingest, release
from roman_assets.exposures.landing import Landing
from roman_assets.exposures.quarantine import Quarantine
from roman_assets.exposures.registry import Outcome, Registry
from roman_assets.storage.base import Unavailable
from roman_assets.survey.calendar import SHIPPED, load_calendar
from tests.exposures.fake_s3 import FakeS3
from tests.exposures.level2_files import NAME, SIDE, another, number_of, write

CALENDAR = load_calendar(SHIPPED)


class Place:
    """A landing folder with its registry and quarantine."""

    def __init__(self, folder) -> None:
        self.landing = folder / "landing"
        self.landing.mkdir()
        self.registry = Registry(f"sqlite:///{folder}/registry.sqlite")
        self.quarantine = Quarantine(folder / "quarantine")

    def put(self, parts, name: str = NAME, data: bytes | None = None):
        path = write(self.landing, parts, name)
        if data is not None:
            path.write_bytes(data)
        return path

    def run(self, source=None, **options):
        source = Landing(self.landing, settle_seconds=0) if source is None else source
        return ingest(source, self.registry, self.quarantine, CALENDAR, **options)


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    place.registry.close()


def test_good_files(place, parts):
    place.put(parts)
    place.put(another(parts, 2, detector=2), number_of(2, 1, 2))
    seen = []
    report = place.run(progress=lambda *args: seen.append(args))
    assert report.registered == ["r0000201001001001001_0001_wfi01_f146", "r0000201001001001002_0001_wfi02_f146"]
    assert report.quarantined == report.conflicts == report.problems == []
    assert report.outside_calendar == []
    assert [(done, total) for _, done, total in seen] == [(1, 2), (2, 2)]
    found = place.registry.exposures(day="2027-03-01", detector="WFI02")
    assert [e.uri for e in found] == [str(place.landing / number_of(2, 1, 2))]


def test_bad_files_do_not_stop_the_good_ones(place, parts):
    """Each of the default reader's blind spots, and one good file, in one delivery."""
    whole = parts.bytes
    call = "!!python/object/apply:os.system [ls]"
    nan, bright = (np.full((SIDE, SIDE), value, np.float32) for value in (np.nan, 1e9))
    bad = {
        1: (parts, whole[: int(len(whole) * 0.9)], "truncated"),
        2: (parts, b"", "empty"),
        3: (parts.edit(("origin: STSCI/SOC", f"origin: {call}")), None, "unknown_tag"),
        4: (parts.edit(("    source: 0\n", "    source: ../x.asdf\n")), None, "external_reference"),
        5: (another(parts, 77), None, "name_header_mismatch"),
        6: (another(parts, 6).pixels("data", nan), None, "finite_fraction"),
        7: (another(parts, 7).pixels("data", bright), None, "sky_level"),
        8: (another(parts, 8).sub(r"\n    telescope: ROMAN", ""), None, "schema"),
    }
    for visit, (content, data, _) in bad.items():
        place.put(content, number_of(visit, 1, 1), data)
    place.put(parts, "not_a_roman_name.asdf")
    place.put(another(parts, 9), number_of(9, 1, 1))
    report = place.run()
    assert report.registered == ["r0000201001001001009_0001_wfi01_f146"]
    reasons = {refused.name: refused.reason for refused in report.quarantined}
    assert reasons == {number_of(v, 1, 1): reason for v, (_, _, reason) in bad.items()} | {
        "not_a_roman_name.asdf": "bad_name"
    }
    assert len(place.quarantine.list()) == len(bad) + 1
    assert all("Remedy" in refused.message for refused in report.quarantined)
    assert place.registry.counts()["quarantined"] == len(bad) + 1
    assert len(list(place.landing.iterdir())) == len(bad) + 2  # nothing is deleted or moved


def test_again_is_a_no_op(place, parts):
    place.put(parts)
    place.put(parts, "bad.asdf")
    place.run()
    exposures, records = place.registry.exposures(), place.quarantine.list()
    report = place.run()
    assert (report.known, report.registered, report.quarantined) == (2, [], [])
    assert place.registry.exposures() == exposures
    assert place.quarantine.list() == records
    # the user names the folder: what is here is a duplicate, what was refused is looked at again
    report = place.run(place.landing)
    assert report.duplicates == ["r0000201001001001001_0001_wfi01_f146"]
    assert [refused.name for refused in report.quarantined] == ["bad.asdf"]
    assert place.quarantine.list() == records


def test_duplicate_and_conflict(place, parts):
    place.put(parts)
    place.run()
    place.put(parts, f"again/{NAME}")
    other = parts.edit(("exposure_time: 66.0", "exposure_time: 67.0"))
    place.put(other, f"other/{NAME}")
    report = place.run()
    assert report.duplicates == ["r0000201001001001001_0001_wfi01_f146"]
    assert [(refused.name, refused.reason) for refused in report.conflicts] == [(NAME, "conflict")]
    assert [e.exptime_s for e in place.registry.exposures()] == [66.0]
    (record,) = place.quarantine.list()
    assert place.quarantine.read(record.sha256) == other.bytes
    assert place.run().known == 3


def test_conflict_within_one_batch(place, parts):
    place.put(parts)
    place.put(parts.edit(("exposure_time: 66.0", "exposure_time: 67.0")), f"z/{NAME}")
    report = place.run()
    assert len(report.registered) == len(report.conflicts) == 1


def test_released_conflict_replaces_the_first(place, parts):
    place.put(parts)
    place.run()
    place.put(parts.edit(("exposure_time: 66.0", "exposure_time: 67.0")), f"other/{NAME}")
    place.run()
    (record,) = place.quarantine.list()
    release(place.registry, place.quarantine, record.sha256, "conflict", reviewer="me", note="the right one")
    report = place.run()
    assert report.replaced == ["r0000201001001001001_0001_wfi01_f146"]
    assert [(e.exptime_s, e.change) for e in place.registry.exposures()] == [(67.0, 2)]
    assert place.run().known == 2


def test_released_sky_is_registered_with_a_caveat(place, parts):
    place.put(parts.pixels("data", np.full((SIDE, SIDE), 1e6, np.float32)))
    (refused,) = place.run().quarantined
    assert refused.reason == "sky_level"
    (record,) = place.quarantine.list()
    release(place.registry, place.quarantine, record.sha256, "sky_level", reviewer="me", note="a bright star")
    report = place.run()
    (exposure_id,) = report.registered
    assert report.caveats[exposure_id] == ("constant_image", "released_sky_level")
    assert place.registry.exposures()[0].caveats == report.caveats[exposure_id]


def test_manifest(place, parts):
    flipped = bytearray(another(parts, 2).bytes)
    flipped[-700] ^= 1
    entries = []
    for visit in (1, 2, 3):
        whole = another(parts, visit).bytes
        name = number_of(visit, 1, 1)
        entries.append({"name": name, "size": len(whole), "sha256": hashlib.sha256(whole).hexdigest()})
    place.put(another(parts, 1))
    place.put(parts, number_of(2, 1, 1), bytes(flipped))
    (place.landing / "manifest.json").write_text(json.dumps({"files": entries}))
    report = place.run()
    assert report.registered == ["r0000201001001001001_0001_wfi01_f146"]
    assert [refused.reason for refused in report.quarantined] == ["sha256_mismatch"]
    assert report.missing == [number_of(3, 1, 1)]


def test_outside_the_calendar_is_registered_and_reported(place, parts):
    place.put(another(parts, 1, day="2026-12-01"))
    report = place.run()
    assert report.registered == report.outside_calendar == ["r0000201001001001001_0001_wfi01_f146"]
    assert place.registry.exposures()[0].season is None


def test_caveats_are_reported(place, parts):
    place.put(parts.edit(("pixel_area: 2.8e-13", "pixel_area: -2.8e-13")))
    report = place.run()
    assert report.caveats == {"r0000201001001001001_0001_wfi01_f146": ("photometry_not_positive",)}


def test_without_full_no_pixel_is_read(place, parts):
    place.put(parts.pixels("data", np.full((SIDE, SIDE), np.nan, np.float32)))
    assert len(place.run(full=False).registered) == 1


def test_files_being_written_wait(place, parts):
    place.put(parts)
    report = place.run(Landing(place.landing))
    assert (report.registered, report.waiting) == ([], [NAME])
    os.utime(place.landing / NAME, (time.time() - 60,) * 2)
    assert len(place.run(Landing(place.landing)).registered) == 1


def test_deadline_leaves_the_rest(place, parts):
    for visit in (1, 2, 3):
        place.put(another(parts, visit), number_of(visit, 1, 1))
    report = place.run(deadline=time.monotonic() - 1)
    assert (report.registered, report.remaining) == ([], 3)
    assert len(place.run().registered) == 3


@pytest.mark.parametrize("step", ["put", "register", "log"])
def test_interrupted_anywhere_the_next_run_does_the_rest(place, parts, monkeypatch, step):
    """SIGKILL between any two steps: nothing is lost, nothing is done twice."""
    place.put(parts)
    place.put(parts, "bad.asdf")
    owner = place.quarantine if step == "put" else place.registry
    original = getattr(owner, step)

    def dies(*args, **kwargs):
        if step != "register":  # dies after the step took effect; before it in the case of a transaction
            original(*args, **kwargs)
        raise KeyboardInterrupt

    monkeypatch.setattr(owner, step, dies)
    with pytest.raises(KeyboardInterrupt):
        place.run()
    monkeypatch.undo()
    place.run()
    assert len(place.registry.exposures()) == 1
    assert place.registry.last_change() == 1
    assert [record.name for record in place.quarantine.list()] == ["bad.asdf"]
    assert place.run().known == 2


def test_full_disk_of_the_quarantine_is_a_problem_not_a_loss(place, parts, monkeypatch):
    place.put(parts)
    place.put(parts, "bad.asdf")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(place.quarantine, "put", full)
    report = place.run()
    assert len(report.registered) == 1
    assert "No space left" in report.problems[0]
    monkeypatch.undo()
    assert [refused.name for refused in place.run().quarantined] == ["bad.asdf"]


def test_unreadable_file_is_tried_again(place, parts, monkeypatch):
    path = place.put(parts)
    landing = Landing(place.landing, settle_seconds=0)
    listing = landing.list()
    monkeypatch.setattr(landing, "list", lambda: listing)
    path.rename(path.with_suffix(".away"))
    report = place.run(landing)
    assert len(report.problems) == 1
    assert report.quarantined == []
    path.with_suffix(".away").rename(path)
    assert len(place.run().registered) == 1


def test_from_a_bucket(place, parts):
    s3 = FakeS3()
    s3.objects = {f"in/{NAME}": parts.bytes, f"in/{number_of(2, 1, 1)}": parts.bytes[:5000]}
    report = place.run(Landing("s3://bucket/in", client=s3))
    assert len(report.registered) == 1
    assert [refused.reason for refused in report.quarantined] == ["truncated"]
    assert place.registry.exposures()[0].uri == f"s3://bucket/in/{NAME}"
    assert place.registry.deliveries("quarantined")[0].outcome is Outcome.QUARANTINED
    s3.broken = True
    with pytest.raises(Unavailable, match="cannot list"):
        place.run(Landing("s3://bucket/in", client=s3))


def test_hostile_keys_in_a_bucket_stop_nothing(place, parts):
    s3 = FakeS3()
    long = "x" * 900 + ".asdf"
    s3.objects = {
        "in/a/../../evil.asdf": parts.bytes,
        f"in/{long}": parts.bytes,
        "in/\u202efdsa.asdf": parts.bytes,
        f"in/{NAME}": parts.bytes,
    }
    report = place.run(Landing("s3://bucket/in", client=s3))
    assert report.registered == ["r0000201001001001001_0001_wfi01_f146"]
    assert {refused.name for refused in report.quarantined} == {long, "\u202efdsa.asdf"}
    assert {refused.reason for refused in report.quarantined} == {"bad_name"}
    assert len(report.problems) == 1
    assert "evil.asdf" in report.problems[0]


def test_shared_files(place, shared_data):
    report = place.run([shared_data / "bulge_scene" / "wfi02"])
    assert len(report.registered) == 4
    assert report.quarantined == report.outside_calendar == []
    assert {e.field for e in place.registry.exposures(season="s01")} == {"f03"}
