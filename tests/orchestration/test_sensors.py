"""From a landing place to run requests, and from a registry to catalogues: the code location's sensors."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dagster as dg
import pytest

from roman_assets.exposures.level2.reader import read_header
from roman_assets.orchestration.definitions import build_definitions
from roman_assets.orchestration.processing import dagster_instance
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.survey import SimulatedSurvey
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.survey.calendar_file import write_calendar
from roman_assets.systems.msos.stages.daily_light_curves import daily
from roman_assets.systems.msos.stages.psf_photometry import measure
from roman_assets.systems.msos.stages.reference_catalog import establish
from tests.mini_survey import fresh_workspace, take_in


@pytest.fixture
def workspace(survey: SimulatedSurvey, tmp_path: Path) -> Workspace:
    """An empty installation whose landing place holds three old files."""
    place = fresh_workspace(tmp_path / "home", survey)
    landing = place.home / "landing"
    landing.mkdir()
    for path in sorted(survey.exposures)[:3]:
        target = Path(shutil.copy(path, landing / path.name))
        os.utime(target, (1e9, 1e9))  # long settled
    return place


def tick(workspace: Workspace, name: str, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """One evaluation of a sensor of the code location."""
    definitions = build_definitions(workspace)
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions)
    outcome = definitions.resolve_sensor_def(name)(context)
    return outcome if isinstance(outcome, dg.SensorResult) else dg.SensorResult(run_requests=[])


def test_landing_requests_the_day_that_changed_and_nothing_twice(workspace: Workspace) -> None:
    with dagster_instance(workspace) as instance:
        first = tick(workspace, "landing_sensor", instance)
        assert [str(r.partition_key) for r in first.run_requests or []] == ["2027-03-01|WFI01"]
        second = tick(workspace, "landing_sensor", instance, first.cursor)
        assert not second.run_requests
    assert len(workspace.registry.exposures()) == 3


def test_requested_runs_execute(workspace: Workspace) -> None:
    """The job that the sensor names runs on the partition that it names."""
    definitions = build_definitions(workspace)
    with dagster_instance(workspace) as instance:
        (request,) = tick(workspace, "landing_sensor", instance).run_requests or []
        outcome = definitions.resolve_job_def("process_day").execute_in_process(
            partition_key=request.partition_key, instance=instance
        )
        assert outcome.success
        event = instance.get_latest_materialization_event(dg.AssetKey("psf_photometry"))
        assert event is not None
        assert event.asset_materialization is not None
        assert "waits for a reference catalogue" in str(event.asset_materialization.metadata["caveats"].value)


def test_season_sensor_asks_for_the_catalogue_and_then_for_the_days_that_waited(
    workspace: Workspace, survey: SimulatedSurvey
) -> None:
    with dagster_instance(workspace) as instance:
        take_in(workspace, sorted(survey.exposures)[:11])
        assert not tick(workspace, "season_sensor", instance).run_requests
        take_in(workspace, sorted(survey.exposures)[11:13])
        asked = tick(workspace, "season_sensor", instance).run_requests or []
        assert [(r.job_name, str(r.partition_key)) for r in asked] == [("establish_catalogue", "WFI01|s01")]
        establish(workspace, "s01", "WFI01")
        waited = tick(workspace, "season_sensor", instance).run_requests or []
        assert [str(r.partition_key) for r in waited] == ["2027-03-01|WFI01", "2027-03-02|WFI01"]
        measure(workspace, "2027-03-01", "WFI01")
        left = tick(workspace, "season_sensor", instance).run_requests or []
        assert [str(r.partition_key) for r in left] == ["2027-03-02|WFI01"]


def test_alerts_are_asked_for_again_when_an_earlier_day_comes_late(
    workspace: Workspace, survey: SimulatedSurvey
) -> None:
    """The second day was done first: its alerts did not look back on the first."""
    with dagster_instance(workspace) as instance:
        take_in(workspace, sorted(survey.exposures)[:13])
        establish(workspace, "s01", "WFI01")
        for day in ("2027-03-02", "2027-03-01"):
            measure(workspace, day, "WFI01")
            daily(workspace, day, "WFI01")
        asked = tick(workspace, "season_sensor", instance).run_requests or []
        assert [(r.job_name, str(r.partition_key)) for r in asked] == [("process_day", "2027-03-02|WFI01")]
        again = tick(workspace, "season_sensor", instance).run_requests or []
        assert again[0].run_key == asked[0].run_key
        daily(workspace, "2027-03-02", "WFI01")
        assert not tick(workspace, "season_sensor", instance).run_requests


def test_products_that_left_the_calendar_are_withdrawn_by_the_landing_sensor(
    workspace: Workspace, survey: SimulatedSurvey
) -> None:
    """Where sensors alone drive the platform nobody runs `roman process`."""
    take_in(workspace, sorted(survey.exposures)[:13])
    establish(workspace, "s01", "WFI01")
    for day in ("2027-03-01", "2027-03-02"):
        measure(workspace, day, "WFI01")
    headers = [read_header(path) for path in sorted(survey.exposures)[:8]]
    assert {header.day for header in headers} == {"2027-03-01"}
    write_calendar(calendar_for_files(headers, "less"), workspace.home / "calendar.toml")
    less = Workspace(workspace.home)
    with dagster_instance(less) as instance:
        tick(less, "landing_sensor", instance)
    assert {r.partition for r in less.products.current("psf_photometry")} == {"day=2027-03-01/detector=WFI01"}
