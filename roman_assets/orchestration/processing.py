"""Processing through Dagster without a daemon: what `roman process` and the demo run, in the caller's process.

One Dagster job cannot mix partition definitions, so processing is a loop of runs: exposures of all days, the
catalogue of each season, photometry and light curves of the days, the season's products, the survey's.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from roman_assets.errors import InputError
from roman_assets.orchestration.definitions import (
    DAY_ASSETS,
    EFFICIENCY_ASSETS,
    SEASON_ASSETS,
    SPECTRAL_DAY_ASSETS,
    SPECTRAL_REGION_ASSETS,
    SURVEY_ASSETS,
    build_definitions,
)
from roman_assets.platform.regions import regions_of
from roman_assets.platform.workspace import VARIABLES, Workspace
from roman_assets.survey.partitions import day_detector_key, season_detector_key

DAGSTER_YAML = """\
# Written by roman; edit freely: it is not overwritten.
telemetry:
  enabled: false
nux:
  enabled: false
run_retries:
  enabled: true
  max_retries: 1
run_monitoring:
  enabled: true
retention:
  sensor: &ticks
    purge_after_days: {skipped: 7, success: 30, failure: 90, started: -1}
  schedule: *ticks
concurrency:
  pools:
    default_limit: 2
  runs:
    max_concurrent_runs: 2
"""


@dataclass(frozen=True)
class Step:
    """One run: which job, which of its assets, which partition."""

    job: str
    assets: tuple[str, ...]
    partition: str | dg.MultiPartitionKey

    @property
    def label(self) -> str:
        """For people."""
        return f"{', '.join(self.assets)} [{self.partition}]"


@dataclass
class Outcome:
    """What the steps came to: steps done, failures with their reason, caveats by step."""

    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    caveats: dict[str, str] = field(default_factory=dict)
    failed_checks: list[str] = field(default_factory=list)


Progress = Callable[[int, int, str], None]


def prepare_dagster_home(workspace: Workspace) -> Path:
    """Dagster's home folder with its settings, made if absent."""
    home = workspace.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        part = settings.with_suffix(".part")
        part.write_text(DAGSTER_YAML)
        os.replace(part, settings)
    return home


@contextmanager
def dagster_instance(workspace: Workspace) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a workspace, whose places the environment names while it is open."""
    home = prepare_dagster_home(workspace)
    wanted = {**workspace.environment(), "DAGSTER_HOME": str(home)}
    before = {name: os.environ.get(name) for name in {*wanted, *VARIABLES.values()}}
    for name in before:  # places that the workspace leaves to its home must not come from the caller's environment
        os.environ.pop(name, None)
    os.environ.update(wanted)
    try:
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield instance
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def plan(
    workspace: Workspace,
    *,
    seasons: Sequence[str] | None = None,
    days: Sequence[str] | None = None,
    detectors: Sequence[str] | None = None,
) -> list[Step]:
    """Runs that process what the registry holds of these seasons, days and detectors (None: all).

    Raises
    ------
    InputError
        A name is not in the calendar.
    """
    calendar = workspace.calendar
    for name in seasons or ():
        calendar.season(name)
    for day in days or ():
        if calendar.season_of(day) is None and day not in calendar.spectroscopic_days:
            raise InputError(f"{day} is not a day of the calendar", field="day", remedy="see `roman calendar show`")
    for detector in detectors or ():
        if detector not in calendar.detectors:
            raise InputError(
                f"unknown detector {detector}", field="detector", remedy=f"use {', '.join(calendar.detectors)}"
            )
    held = {
        (e.season, e.day, e.detector)
        for e in workspace.registry.exposures(kind="imaging", survey="bulge")
        if e.season is not None
        and (not seasons or e.season in seasons)
        and (not days or e.day in days)
        and (not detectors or e.detector in detectors)
    }
    day_keys = sorted((day, detector) for _, day, detector in held)
    season_keys = sorted({(str(season), detector) for season, _, detector in held})
    steps = [Step("process_day", DAY_ASSETS[:1], day_detector_key(*key)) for key in day_keys]
    steps += [Step("establish_catalogue", ("reference_catalog",), season_detector_key(*key)) for key in season_keys]
    steps += [Step("process_day", DAY_ASSETS[1:], day_detector_key(*key)) for key in day_keys]
    steps += [Step("close_season", SEASON_ASSETS, season_detector_key(*key)) for key in season_keys]
    steps += [Step("measure_efficiency", EFFICIENCY_ASSETS, season_detector_key(*key)) for key in season_keys]
    return [*steps, *([] if seasons else _spectral_steps(workspace, days, detectors))]


def _spectral_steps(workspace: Workspace, days: Sequence[str] | None, detectors: Sequence[str] | None) -> list[Step]:
    calendar = workspace.calendar
    held = {
        (e.day, e.detector)
        for e in workspace.registry.exposures(kind="spectral")
        if e.day in calendar.spectroscopic_days
        and e.detector in calendar.detectors
        and (not days or e.day in days)
        and (not detectors or e.detector in detectors)
    }
    return [Step("extract_spectra_of_day", SPECTRAL_DAY_ASSETS, day_detector_key(*key)) for key in sorted(held)]


def survey_steps(workspace: Workspace) -> list[Step]:
    """Runs for the sky regions that have season catalogues or spectra."""
    joined = [Step("join_survey", SURVEY_ASSETS, region) for region in _regions(workspace, "season_objects")]
    measured = [
        Step("measure_redshifts", SPECTRAL_REGION_ASSETS, region) for region in _regions(workspace, "spectra_1d_part")
    ]
    return joined + measured


def _regions(workspace: Workspace, kind: str) -> list[str]:
    """Sky regions with rows in products of a kind."""
    return sorted({name for record in workspace.products.current(kind) for name in regions_of(workspace, record)})


def run_steps(
    workspace: Workspace, steps: Sequence[Step], *, progress: Progress | None = None, survey: bool = True
) -> Outcome:
    """Run steps one after the other; a step that fails does not stop the others."""
    outcome = Outcome()
    definitions = build_definitions(workspace)
    with dagster_instance(workspace) as instance:
        total = len(steps)
        for number, step in enumerate(steps):
            if progress:
                progress(number, total, step.label)
            _run(definitions, instance, step, outcome)
        extra = survey_steps(workspace) if survey else []
        for number, step in enumerate(extra):
            if progress:
                progress(total + number, total + len(extra), step.label)
            _run(definitions, instance, step, outcome)
        if progress:
            progress(total + len(extra), total + len(extra), "done")
    return outcome


def _run(definitions: dg.Definitions, instance: dg.DagsterInstance, step: Step, outcome: Outcome) -> None:
    job = definitions.resolve_job_def(step.job)
    selection = [dg.AssetKey(name) for name in step.assets]
    finished: Any = job.execute_in_process(
        partition_key=step.partition,
        instance=instance,
        asset_selection=selection,
        raise_on_error=False,
        # The event log keeps everything; the terminal belongs to the progress bar and the report after it.
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
    )
    if not finished.success:
        outcome.failed[step.label] = _reason(finished)
        return
    outcome.done += 1
    for event in finished.get_asset_materialization_events():
        caveats = event.materialization.metadata.get("caveats")
        if caveats is not None:
            outcome.caveats[f"{event.asset_key.to_user_string()} [{step.partition}]"] = str(caveats.value)
    for evaluation in finished.get_asset_check_evaluations():
        if not evaluation.passed:
            name = f"{evaluation.asset_key.to_user_string()} {evaluation.check_name} [{step.partition}]"
            outcome.failed_checks.append(name)


def _reason(finished: Any) -> str:
    for event in finished.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error.cause is not None else error
            return str(cause.message).strip()
    return "the run failed before a step began"
