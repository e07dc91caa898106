"""Closing of seasons: when, how often, and what follows."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from roman_assets.errors import InputError
from roman_assets.exposures.registry import SeasonState
from roman_assets.orchestration.definitions import build_definitions
from roman_assets.orchestration.processing import plan, run_steps
from roman_assets.platform.sensors import SENSORS
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.survey import SimulatedSurvey
from roman_assets.systems.msos.closing import CLOSE_AFTER, _again, closing_requests, has_ended, quiet_time
from tests.mini_survey import Processed, fresh_workspace, take_in

LATER = dt.datetime(2040, 1, 1, tzinfo=dt.UTC)
QUIET = dt.timedelta(hours=48)


def jobs_of(workspace: Workspace, now: dt.datetime) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for request in closing_requests(workspace, now):
        assert request.run_key is not None
        found.setdefault(str(request.job_name), []).append(request.run_key)
    return found


def test_a_season_ends_by_calendar_and_quiet(processed: Processed) -> None:
    calendar = processed.workspace.calendar
    last = dt.datetime.fromisoformat(calendar.seasons[0].days[-1]).replace(tzinfo=dt.UTC)
    end = last + dt.timedelta(days=1)
    state = SeasonState("s01", "WFI01", 16, 16, last)
    assert not has_ended(calendar, state, end - dt.timedelta(seconds=1), dt.timedelta(0))
    assert not has_ended(calendar, state, last + QUIET - dt.timedelta(seconds=1), QUIET)
    assert has_ended(calendar, state, last + QUIET, QUIET)
    late = replace_state(state, registered_at=last + dt.timedelta(days=10))
    assert not has_ended(calendar, late, last + dt.timedelta(days=11), QUIET)
    assert has_ended(calendar, late, last + dt.timedelta(days=12), QUIET)
    assert not has_ended(calendar, replace_state(state, season="s09"), LATER, QUIET)


def replace_state(state: SeasonState, **changes: object) -> SeasonState:
    return state._replace(**changes)  # type: ignore[arg-type]


def test_what_a_closed_season_asks_for(processed: Processed) -> None:
    found = jobs_of(processed.workspace, LATER)
    assert set(found) == {"close_season", "join_survey"}, "the efficiency is of these light curves already"
    assert len(found["close_season"]) == 1
    assert "again" not in found["close_season"][0], "it is closed"
    assert jobs_of(processed.workspace, LATER) == found, "run keys are stable"
    assert "close_season" not in jobs_of(processed.workspace, dt.datetime(2027, 3, 2, tzinfo=dt.UTC))


def test_a_late_exposure_asks_again(survey: SimulatedSurvey, tmp_path: Path) -> None:
    paths = sorted(survey.exposures)
    workspace = fresh_workspace(tmp_path / "home", survey)
    take_in(workspace, paths[:-1])
    assert jobs_of(workspace, LATER) == {}, "nothing is calibrated yet"
    small = [step for step in plan(workspace) if step.job in ("process_day", "establish_catalogue")]
    assert run_steps(workspace, small, survey=False).failed == {}
    (first,) = jobs_of(workspace, LATER)["close_season"]
    assert first.endswith(":again14"), "not closed yet"
    take_in(workspace, paths[-1:])
    days = [step for step in plan(workspace) if step.job == "process_day"]
    assert run_steps(workspace, days, survey=False).failed == {}
    (second,) = jobs_of(workspace, LATER)["close_season"]
    assert second != first


def test_what_is_missing_is_asked_for_each_day() -> None:
    """A run that failed uses up its key: with one key the season would stay open for good."""
    hours = [_again(dt.timedelta(hours=h)) for h in (-1, 0, 23, 24, 47, 48, 24 * 14, 24 * 400)]
    assert hours == ["", "", "", ":again1", ":again1", ":again2", ":again14", ":again14"]


def test_hours_are_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quiet_time({}) == QUIET
    assert quiet_time({CLOSE_AFTER: "1.5"}) == dt.timedelta(minutes=90)
    for wrong in ("soon", "-1", "nan", "inf"):
        with pytest.raises(InputError, match="hours"):
            quiet_time({CLOSE_AFTER: wrong})


def test_the_pipelines_sensors_run_unless_switched_off(processed: Processed, monkeypatch: pytest.MonkeyPatch) -> None:
    for value, status in (("", dg.DefaultSensorStatus.RUNNING), ("off", dg.DefaultSensorStatus.STOPPED)):
        monkeypatch.setenv(SENSORS, value)
        sensors = {s.name: s for s in build_definitions(replace(processed.workspace)).sensors or ()}
        for name in ("landing_sensor", "season_sensor", "closing_sensor"):
            assert sensors[name].default_status == status, name
