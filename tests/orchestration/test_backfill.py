"""Backfills through a running instance, with a day killed in the middle: what operators do on a bad night."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import dagster as dg
import pytest

from roman_assets.orchestration.backfill import launch, partition_keys, wait
from roman_assets.orchestration.processing import dagster_instance, plan, run_steps
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.survey import SimulatedSurvey
from tests.dagster_server import dagster_server
from tests.mini_survey import Processed, fresh_workspace, take_in

pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
DAY = ["psf_photometry", "daily_light_curves"]
SEASON = ["season_light_curves", "season_objects", "season_events"]


def _wait_for_backfill(workspace: Workspace, backfill_id: str | None, seconds: float = 240) -> None:
    assert backfill_id is not None
    deadline = time.monotonic() + seconds
    with dagster_instance(workspace) as instance:
        while time.monotonic() < deadline:
            backfill = instance.get_backfill(backfill_id)
            if backfill is not None and not backfill.status.value.startswith(("REQUESTED", "CANCELING", "FAILING")):
                return
            time.sleep(1)
    raise AssertionError("the backfill did not end")


def _kill_a_run(workspace: Workspace, seconds: float = 120) -> str:
    """SIGKILL the process of the first run that executes a photometry step; returns its identifier."""
    deadline = time.monotonic() + seconds
    with dagster_instance(workspace) as instance:
        while time.monotonic() < deadline:
            for run in instance.get_runs(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
                logs = instance.all_logs(run.run_id)
                started = any(e.dagster_event and e.dagster_event.is_step_start for e in logs)
                found = [m for e in logs for m in re.findall(r"pid: (\d+)", e.user_message or "")]
                if started and found:
                    os.kill(int(found[-1]), signal.SIGKILL)
                    return run.run_id
            time.sleep(0.05)
    raise AssertionError("no run was seen executing")


def test_backfill_of_a_season_after_a_killed_day(survey: SimulatedSurvey, processed: Processed, tmp_path: Path) -> None:
    """The killed day fails alone; a backfill of what is missing completes it; the products are the same."""
    workspace = fresh_workspace(tmp_path / "home", survey)
    take_in(workspace, list(survey.exposures))
    calendar = workspace.calendar
    first = [step for step in plan(workspace) if step.assets in (("exposures",), ("reference_catalog",))]
    assert run_steps(workspace, first, survey=False).failed == {}
    with dagster_server(workspace) as url:
        launched = launch(url, DAY, partition_keys(calendar, DAY))
        _kill_a_run(workspace)
        _wait_for_backfill(workspace, launched.backfill_id)
        again = launch(url, DAY, partition_keys(calendar, DAY), only_missing=True)
        if again.backfill_id is not None:  # the instance's own retry may have been faster
            _wait_for_backfill(workspace, again.backfill_id)
        launched = launch(url, SEASON, partition_keys(calendar, SEASON))
        assert wait(url, str(launched.backfill_id), patience_s=240, interval_s=1) == "COMPLETED_SUCCESS"
        assert launch(url, DAY, partition_keys(calendar, DAY), only_missing=True).partitions == 0
    kinds = ("psf_photometry_part", "daily_light_curves_part", "season_light_curves", "season_objects", "season_events")
    made = {(r.kind, r.part): r.sha256 for k in kinds for r in workspace.products.current(k)}
    expected = {(r.kind, r.part): r.sha256 for k in kinds for r in processed.workspace.products.current(k)}
    assert made == expected
    assert workspace.products.incidents() == []
