"""Promises against the calendar, at times of the tests' own."""

from __future__ import annotations

import datetime as dt

import pytest

from roman_assets.monitoring.freshness import NO_EXPOSURES, UNPROCESSED, Evidence, Freshness, judge
from roman_assets.systems.registry import GROUPS, JOBS, PROMISES
from tests.monitoring.conftest import CALENDAR, DAYS, at

ARRIVED = [(day, "WFI01", "bulge") for day in DAYS]


def state(asset: str, evidence: Evidence, now: dt.datetime) -> Freshness:
    (found,) = [f for f in judge(CALENDAR, evidence, now) if f.asset == asset]
    return found


def test_a_day_is_late_only_after_its_promise() -> None:
    """psf_photometry: 24 h after the end of the day, which is the next midnight."""
    evidence = Evidence({}, {}, ARRIVED)
    before = state("psf_photometry", evidence, at("2027-03-02T23:59:59"))
    assert (before.due, before.late[UNPROCESSED], before.lag_s[UNPROCESSED]) == (0, 0, 0.0)
    after = state("psf_photometry", evidence, at("2027-03-03T01:00:00"))
    assert (after.due, after.met) == (2, 0)
    assert after.late == {UNPROCESSED: 1, NO_EXPOSURES: 1}
    assert after.lag_s[UNPROCESSED] == 3600
    assert after.oldest == {UNPROCESSED: "2027-03-01|WFI01", NO_EXPOSURES: "2027-03-01|WFI02"}


def test_what_is_materialized_is_met() -> None:
    held = {"psf_photometry": {f"{day}|{d}" for day in DAYS for d in CALENDAR.detectors} - {"2027-03-02|WFI01"}}
    found = state("psf_photometry", Evidence(held, {}, ARRIVED), at("2027-03-10T00:00:00"))
    assert (found.due, found.met, found.late[UNPROCESSED], found.late[NO_EXPOSURES]) == (6, 5, 1, 0)
    assert found.oldest[UNPROCESSED] == "2027-03-02|WFI01"
    assert found.lag_s[UNPROCESSED] == 6 * 86400
    assert found.newest_day == "2027-03-03"


def test_an_installation_is_not_blamed_for_days_before_it() -> None:
    late = at("2027-03-10T00:00:00")
    assert state("exposures", Evidence({}, {}, []), late).due == 0
    assert state("exposures", Evidence({}, {}, [("2027-03-03", "WFI02", "bulge")]), late).due == 2
    assert state("exposures", Evidence({}, {}, [], since="2027-03-02"), late).due == 4


def test_seasons_are_counted_from_their_ends() -> None:
    evidence = Evidence({"season_events": {"WFI02|s01"}}, {}, ARRIVED)
    hours = PROMISES["season_events"].hours
    due = at("2027-03-04T00:00:00") + dt.timedelta(hours=hours)
    assert state("season_events", evidence, due - dt.timedelta(seconds=1)).due == 0
    found = state("season_events", evidence, due + dt.timedelta(hours=2))
    assert (found.due, found.met, found.oldest) == (2, 1, {UNPROCESSED: "WFI01|s01"})
    assert found.lag_s[UNPROCESSED] == 7200
    assert found.newest_day == "2027-03-03"


def test_catalogues_are_counted_from_the_first_day() -> None:
    evidence = Evidence({}, {}, ARRIVED)
    found = state("reference_catalog", evidence, at("2027-03-02T00:00:00") + dt.timedelta(hours=72, seconds=1))
    assert (found.late[UNPROCESSED], found.late[NO_EXPOSURES]) == (1, 1)


def test_regions_must_be_newer_than_the_last_closed_season() -> None:
    held = {"season_objects": {"WFI01|s01"}, "survey_objects": {"b01"}}
    now = at("2027-03-04T00:00:00") + dt.timedelta(hours=PROMISES["survey_objects"].hours + 1)
    old = Evidence(held, {"survey_objects": at("2027-03-03T12:00:00").timestamp()}, ARRIVED)
    assert state("survey_objects", old, now).lag_s[UNPROCESSED] == 3600
    new = Evidence(held, {"survey_objects": at("2027-03-05T00:00:00").timestamp()}, ARRIVED)
    assert (state("survey_objects", new, now).met, state("survey_objects", new, now).newest_day) == (1, "2027-03-03")
    assert state("survey_objects", Evidence({}, {}, ARRIVED), now).due == 0


def test_spectroscopic_days_have_exposures_of_their_own() -> None:
    bulge_only = Evidence({}, {}, [("2027-03-01", "WFI01", "bulge"), ("2027-03-10", "WFI01", "bulge")])
    assert state("spectra_1d", bulge_only, at("2027-04-01T00:00:00")).late == {UNPROCESSED: 0, NO_EXPOSURES: 2}
    both = Evidence({}, {}, [("2027-03-10", "WFI01", "spectroscopic")])
    assert state("spectra_1d", both, at("2027-04-01T00:00:00")).late == {UNPROCESSED: 1, NO_EXPOSURES: 1}


@pytest.mark.parametrize("asset", sorted(PROMISES))
def test_every_asset_shows_its_promise_and_group(asset: str, built: tuple[dict[str, object], dict[str, str]]) -> None:
    metadata, groups = built
    assert metadata[asset] == PROMISES[asset].text
    assert groups[asset] == GROUPS[asset]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, object], dict[str, str]]:
    """Promise in the metadata and group by asset, of the real code location."""
    from roman_assets.orchestration.definitions import build_definitions
    from roman_assets.platform.workspace import Workspace

    definitions = build_definitions(Workspace(tmp_path_factory.mktemp("home")))
    graph = definitions.resolve_asset_graph()
    keys = list(graph.materializable_asset_keys)
    assert {key.to_user_string() for key in keys} == set(PROMISES), "an asset without a promise, or the other way round"
    jobs = {job.name for job in definitions.jobs or []}
    assert jobs == set(JOBS)
    for job, asset in JOBS.items():
        selected = definitions.resolve_job_def(job).asset_layer.executable_asset_keys
        assert asset in {key.to_user_string() for key in selected}
    metadata = {key.to_user_string(): graph.get(key).metadata.get("promise") for key in keys}
    return metadata, {key.to_user_string(): str(graph.get(key).group_name) for key in keys}
