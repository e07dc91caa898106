"""The landing sensor, tick by tick."""

from __future__ import annotations

import errno
import json
import os
import time

import pytest
from dagster import (
    AssetSelection,
    DagsterInstance,
    Definitions,
    SkipReason,
    asset,
    build_sensor_context,
    define_asset_job,
)

from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.landing import Landing
from roman_assets.exposures.quarantine import Quarantine
from roman_assets.exposures.registry import Registry
from roman_assets.orchestration.landing_sensor import build_landing_sensor, read_cursor
from roman_assets.survey.calendar import SHIPPED, load_calendar
from roman_assets.survey.partitions import build_partitions
from tests.exposures.level2_files import NAME, another, number_of, write
from tests.exposures.test_registry import arrival

CALENDAR = load_calendar(SHIPPED)
PARTITIONS = build_partitions(CALENDAR)


@asset(partitions_def=PARTITIONS.day_detector)
def exposures() -> None: ...


@asset(partitions_def=PARTITIONS.spectroscopic_day_detector)
def dispersed_exposures() -> None: ...


IMAGING = define_asset_job("imaging", AssetSelection.assets(exposures))
SPECTROSCOPIC = define_asset_job("spectroscopic", AssetSelection.assets(dispersed_exposures))


class Ticker:
    """Runs the sensor as the daemon does: cursor in, requests out, cursor kept."""

    def __init__(self, folder, **options) -> None:
        self.folder = folder
        self.landing = folder / "landing"
        self.landing.mkdir(exist_ok=True)
        self.url = f"sqlite:///{folder}/registry.sqlite"
        self.cursor: str | None = None
        options = {"spectroscopic_job": SPECTROSCOPIC, "full": False} | options
        self.sensor = build_landing_sensor(
            PARTITIONS,
            CALENDAR,
            IMAGING,
            open_landing=lambda: Landing(self.landing, settle_seconds=0),
            open_registry=lambda: Registry(self.url),
            open_quarantine=lambda: Quarantine(folder / "quarantine"),
            **options,
        )
        self.definitions = Definitions(
            assets=[exposures, dispersed_exposures], jobs=[IMAGING, SPECTROSCOPIC], sensors=[self.sensor]
        )

    def tick(self, commit: bool = True):
        with DagsterInstance.ephemeral() as instance:
            context = build_sensor_context(instance=instance, cursor=self.cursor, definitions=self.definitions)
            result = self.sensor(context)
        if isinstance(result, SkipReason):
            return []
        if commit:
            self.cursor = result.cursor
        return list(result.run_requests)


@pytest.fixture
def ticker(tmp_path):
    return Ticker(tmp_path)


def keys(requests) -> set[tuple[str, str]]:
    return {(request.job_name, str(request.partition_key)) for request in requests}


def test_requests_exactly_the_partitions_that_changed(ticker, parts):
    assert ticker.tick() == []
    write(ticker.landing, parts)
    write(ticker.landing, another(parts, 2), number_of(2, 1, 1))
    write(ticker.landing, another(parts, 3, detector=2), number_of(3, 1, 2))
    requests = ticker.tick()
    assert keys(requests) == {("imaging", "2027-03-01|WFI01"), ("imaging", "2027-03-01|WFI02")}
    assert ticker.tick() == []


def test_late_and_unordered_arrivals(ticker, parts):
    """A file with an earlier name and day than all before it is found: the cursor knows no names."""
    write(ticker.landing, another(parts, 50, day="2027-03-05"), number_of(50, 1, 1))
    ticker.tick()
    write(ticker.landing, parts)
    assert keys(ticker.tick()) == {("imaging", "2027-03-01|WFI01")}


def test_run_keys_are_stable_and_change_with_the_partition(ticker, parts):
    write(ticker.landing, parts)
    first = ticker.tick(commit=False)
    again = ticker.tick()
    assert [r.run_key for r in first] == [r.run_key for r in again] != []
    write(ticker.landing, another(parts, 2), number_of(2, 1, 1))
    third = ticker.tick()
    assert keys(third) == keys(first)
    assert third[0].run_key != first[0].run_key


def test_crash_between_registration_and_cursor(ticker, parts):
    """The files are registered, the tick died: the next one still asks for their partitions."""
    write(ticker.landing, parts)
    registry = Registry(ticker.url)
    ingest(Landing(ticker.landing, settle_seconds=0), registry, Quarantine(ticker.folder / "q"), CALENDAR)
    assert keys(ticker.tick()) == {("imaging", "2027-03-01|WFI01")}


def test_bad_files_ask_for_nothing(ticker, parts):
    write(ticker.landing, parts).write_bytes(parts.bytes[:4000])
    assert ticker.tick() == []
    assert [r.reason for r in Quarantine(ticker.folder / "quarantine").list()] == ["truncated"]
    assert Registry(ticker.url).counts()["quarantined"] == 1
    ticker.tick()
    assert Registry(ticker.url).deliveries()[0].count == 1  # not looked at again


def test_what_cannot_be_read_now_is_tried_at_the_next_tick(ticker, parts, monkeypatch):
    write(ticker.landing, parts)
    write(ticker.landing, another(parts, 2, detector=2), number_of(2, 1, 2))
    busy = (ticker.landing / NAME).stat().st_ino
    pread = os.pread

    def fails(descriptor, *args):
        if os.fstat(descriptor).st_ino == busy:
            raise OSError(errno.EIO, "Input/output error")
        return pread(descriptor, *args)

    monkeypatch.setattr(os, "pread", fails)
    assert keys(ticker.tick()) == {("imaging", "2027-03-01|WFI02")}
    assert Registry(ticker.url).counts()["quarantined"] == 0
    assert ticker.tick() == []
    monkeypatch.undo()
    assert keys(ticker.tick()) == {("imaging", "2027-03-01|WFI01")}


def test_surveys_go_to_their_own_jobs(ticker):
    registry = Registry(ticker.url, CALENDAR)
    registry.register(
        [
            arrival(1),
            arrival(2, day="2027-10-01"),
            arrival(3, day="2027-10-01", ra_center=150.1, dec_center=2.2),
            arrival(4, day="2027-10-01", optical_element="GRISM", exposure_type="WFI_SPECTRAL"),
            arrival(5, day="2026-01-01"),
        ]
    )
    assert keys(ticker.tick()) == {
        ("imaging", "2027-03-01|WFI01"),
        ("imaging", "2027-10-01|WFI01"),
        ("spectroscopic", "2027-10-01|WFI01"),
    }


def test_without_a_spectroscopic_job_it_is_not_asked_for(tmp_path):
    ticker = Ticker(tmp_path, spectroscopic_job=None)
    Registry(ticker.url, CALENDAR).register(
        [arrival(1), arrival(4, day="2027-10-01", optical_element="GRISM", exposure_type="WFI_SPECTRAL")]
    )
    assert keys(ticker.tick()) == {(None, "2027-03-01|WFI01")}


def test_an_asset_selection_is_a_target_too(tmp_path):
    sensor = build_landing_sensor(PARTITIONS, CALENDAR, AssetSelection.assets(exposures))
    Definitions(assets=[exposures], sensors=[sensor]).get_repository_def()


def test_many_changes_come_in_pieces(tmp_path):
    ticker = Ticker(tmp_path, runs_per_tick=2)
    batch = [arrival(i, detector=f"WFI{i:02d}") for i in range(1, 6)]
    Registry(ticker.url, CALENDAR).register(batch)
    pieces = [len(ticker.tick()) for _ in range(4)]
    assert pieces == [2, 2, 1, 0]


def test_time_budget_leaves_files_for_the_next_tick(tmp_path, parts):
    ticker = Ticker(tmp_path, tick_seconds=-1.0)
    write(ticker.landing, parts)
    assert ticker.tick() == []
    assert Registry(ticker.url).counts()["exposures"] == 0


def test_not_configured_is_a_skip(monkeypatch):
    for name in ("ROMAN_LANDING", "ROMAN_REGISTRY_URL", "ROMAN_QUARANTINE"):
        monkeypatch.delenv(name, raising=False)
    sensor = build_landing_sensor(PARTITIONS, CALENDAR, IMAGING)
    with DagsterInstance.ephemeral() as instance:
        result = sensor(build_sensor_context(instance=instance))
    assert isinstance(result, SkipReason)
    assert "ROMAN_LANDING" in result.skip_message


def test_configured_by_the_environment(tmp_path, parts, monkeypatch):
    (tmp_path / "in").mkdir()
    monkeypatch.setenv("ROMAN_LANDING", str(tmp_path / "in"))
    monkeypatch.setenv("ROMAN_REGISTRY_URL", f"sqlite:///{tmp_path}/r.sqlite")
    monkeypatch.setenv("ROMAN_QUARANTINE", str(tmp_path / "q"))
    write(tmp_path / "in", parts)
    sensor = build_landing_sensor(PARTITIONS, CALENDAR, IMAGING)
    with DagsterInstance.ephemeral() as instance:
        result = sensor(build_sensor_context(instance=instance))
    assert isinstance(result, SkipReason)  # too young: it may still be written
    assert Registry(f"sqlite:///{tmp_path}/r.sqlite").counts()["exposures"] == 0


@pytest.mark.parametrize("cursor", [None, "", "{", "[]", '{"change": "x"}', '{"change": -1}', "null"])
def test_unreadable_cursor_starts_over(cursor):
    assert read_cursor(cursor) == 0


def test_cursor_of_another_registry_starts_over(ticker):
    """A registry that was made anew has smaller numbers: following the old cursor would miss everything."""
    Registry(ticker.url, CALENDAR).register([arrival(1)])
    ticker.cursor = json.dumps({"change": 1_000_000})
    assert keys(ticker.tick()) == {("imaging", "2027-03-01|WFI01")}


def test_tick_over_many_known_objects_is_quick(tmp_path):
    """25,000 objects, nothing new: below 5 s of this process (a tick may take 60 s); others on the machine do not count."""
    ticker = Ticker(tmp_path)
    count = 25_000
    for i in range(count):
        (ticker.landing / f"{i:05d}.asdf").touch()
    landing = Landing(ticker.landing, settle_seconds=0)
    registry = Registry(ticker.url)
    from roman_assets.exposures.registry import Delivery, Outcome

    registry.log([Delivery(f.name, f.uri, f.size, f.version, Outcome.QUARANTINED) for f in landing.list().files])
    start = time.process_time()
    assert ticker.tick() == []
    assert time.process_time() - start < 5.0
    assert NAME not in {d.name for d in registry.deliveries()}
    assert registry.counts()["quarantined"] == count
