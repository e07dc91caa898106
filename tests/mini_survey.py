"""A small simulated survey, processed once through Dagster, shared by the end-to-end tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.level2.reader import read_header
from roman_assets.orchestration.processing import Outcome, plan, run_steps
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import SimulatedSurvey, simulate_survey
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.survey.calendar_file import write_calendar

CONFIG = MiniSurvey(seed=7, detectors=("WFI01",), days=2, visits_per_day=8, size_px=96, n_events=3, n_variables=2)


@dataclass(frozen=True)
class Processed:
    """A workspace that was processed, the survey it comes from, and what the processing came to."""

    workspace: Workspace
    survey: SimulatedSurvey
    outcome: Outcome


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSurvey:
    """Two days of one detector, eight visits a day."""
    return simulate_survey(CONFIG, tmp_path_factory.mktemp("survey"), workers=2)


def fresh_workspace(folder: Path, survey: SimulatedSurvey) -> Workspace:
    """An empty installation with a calendar for the survey."""
    folder.mkdir(parents=True, exist_ok=True)
    write_calendar(calendar_for_files([read_header(p) for p in survey.exposures], "test"), folder / "calendar.toml")
    return Workspace(folder)


def take_in(workspace: Workspace, paths: list[Path]) -> None:
    """Ingest files; all of them must be registered or known."""
    report = ingest(paths, workspace.registry, workspace.quarantine, workspace.calendar, full=False)
    assert not report.quarantined
    assert not report.conflicts


@pytest.fixture(scope="session")
def processed(tmp_path_factory: pytest.TempPathFactory, survey: SimulatedSurvey) -> Processed:
    """The survey, processed by all assets."""
    workspace = fresh_workspace(tmp_path_factory.mktemp("home"), survey)
    take_in(workspace, list(survey.exposures))
    outcome = run_steps(workspace, plan(workspace))
    return Processed(workspace, survey, outcome)
