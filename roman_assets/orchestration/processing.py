"""Processing through Dagster without a daemon: what `roman process` and the demo run, in the caller's process.

One Dagster job cannot mix partition definitions, so processing is a loop of runs: exposures of all days, the
catalogue of each season, photometry and light curves of the days, the season's products, the survey's.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from roman_assets.errors import Damaged, InputError
from roman_assets.orchestration.dead_runs import LOOK_S, PROCESS_TAG, bury_the_dead, this_process
from roman_assets.orchestration.definitions import build_definitions
from roman_assets.platform.making import withdraw_strays
from roman_assets.platform.regions import regions_of
from roman_assets.platform.stage import day_partition
from roman_assets.platform.stopping import asked_to_stop, stoppable
from roman_assets.platform.workspace import VARIABLES, Workspace
from roman_assets.survey.partitions import day_detector_key, season_detector_key
from roman_assets.systems.registry import ASSETS, SYSTEMS

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
  # Places in a pool that a killed run held.
  free_slots_after_run_end_seconds: 90
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
    """What the steps came to: steps done, failures with their reason, caveats by step; `damaged`: failures whose inputs
    are damaged; `stopped`: the signal that ended the processing before its end; `withdrawn`: partitions that the
    calendar no longer has; `exposures`: imaging exposures of the days of the steps, `measured`: those with photometry.
    """

    done: int = 0
    planned: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    caveats: dict[str, str] = field(default_factory=dict)
    failed_checks: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    withdrawn: list[str] = field(default_factory=list)
    exposures: int = 0
    measured: int = 0
    stopped: int | None = None


Progress = Callable[[int, int, str], None]


def prepare_dagster_home(workspace: Workspace) -> Path:
    """Dagster's home folder with its settings, made if absent."""
    home = workspace.dagster_home
    home.mkdir(parents=True, exist_ok=True)
    settings = home / "dagster.yaml"
    if not settings.exists():
        part = settings.with_suffix(f".{os.getpid()}.part")
        part.write_text(DAGSTER_YAML)
        os.replace(part, settings)
    return home


def _opened(home: Path) -> dg.DagsterInstance:
    """The instance, its tables made: by one process at a time, since two that make them at once leave them with two heads."""
    with ExitStack() as stack:
        try:
            lock = stack.enter_context((home / "opening.lock").open("a"))
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:  # nobody makes tables in a folder that cannot be written
            stack.close()
        instance = dg.DagsterInstance.from_config(str(home))
        for storage in ("run_storage", "event_log_storage", "schedule_storage"):
            getattr(instance, storage)  # made when first asked for
        return instance


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
        with _opened(home) as instance:
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
    without: Sequence[str] = (),
) -> list[Step]:
    """Runs that process what the registry holds of these seasons, days and detectors (None: all), `without` some assets.

    Raises
    ------
    InputError
        A name is not in the calendar, or there is no such asset.
    """
    calendar = workspace.calendar
    for name in without:
        if name not in ASSETS:
            raise InputError(f"there is no asset {name!r}", field="without", remedy=f"use {', '.join(sorted(ASSETS))}")
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
    keys: dict[str, list[dg.MultiPartitionKey]] = {kind: [] for kind in ("day", "season", "spectroscopic day")}
    held = {
        (e.season, e.day, e.detector)
        for e in workspace.registry.exposures(kind="imaging", survey="bulge")
        if e.season is not None
        and (not seasons or e.season in seasons)
        and (not days or e.day in days)
        and (not detectors or e.detector in detectors)
    }
    keys["day"] = [day_detector_key(*key) for key in sorted((day, detector) for _, day, detector in held)]
    of_season = sorted({(str(season), detector) for season, _, detector in held})
    keys["season"] = [season_detector_key(*key) for key in of_season]
    if not seasons:
        keys["spectroscopic day"] = _spectroscopic_keys(workspace, days, detectors)
    return [
        Step(job, names, key)
        for system in SYSTEMS
        for job, batch in system.batches()
        if (names := tuple(asset.name for asset in batch if asset.name not in without))
        for key in keys.get(batch[0].partition, ())
    ]


def _spectroscopic_keys(
    workspace: Workspace, days: Sequence[str] | None, detectors: Sequence[str] | None
) -> list[dg.MultiPartitionKey]:
    calendar = workspace.calendar
    held = {
        (e.day, e.detector)
        for e in workspace.registry.exposures(kind="spectral")
        if e.day in calendar.spectroscopic_days
        and e.detector in calendar.detectors
        and (not days or e.day in days)
        and (not detectors or e.detector in detectors)
    }
    return [day_detector_key(*key) for key in sorted(held)]


def survey_steps(workspace: Workspace, without: Sequence[str] = ()) -> list[Step]:
    """Runs for the sky regions that have products of what their assets are made of, `without` some assets."""
    steps = []
    for system in SYSTEMS:
        for job, batch in system.batches():
            if batch[0].partition in ("bulge region", "spectroscopic region"):
                (made_of, *_) = batch[0].made_of
                regions = _regions(workspace, ASSETS[made_of].products[-1])
                names = tuple(asset.name for asset in batch if asset.name not in without)
                steps += [Step(job, names, region) for region in regions if names]
    return steps


def _regions(workspace: Workspace, kind: str) -> list[str]:
    """Sky regions with rows in products of a kind."""
    return sorted({name for record in workspace.products.current(kind) for name in regions_of(workspace, record)})


def run_steps(
    workspace: Workspace,
    steps: Sequence[Step],
    *,
    progress: Progress | None = None,
    survey: bool = True,
    without: Sequence[str] = (),
) -> Outcome:
    """Run steps one after the other; a step that fails does not stop the others.

    Steps that met damaged products are done again with all others: what is damaged is made again on the way. SIGINT and
    SIGTERM end the processing at the next unit of work. Those of the sky regions follow if `survey`, `without` some assets.
    """

    def later() -> Sequence[Step]:
        return survey_steps(workspace, without) if survey else ()

    outcome = Outcome()
    outcome.withdrawn = withdraw_strays(workspace)
    definitions = build_definitions(workspace)
    with dagster_instance(workspace) as instance, stoppable():
        bury_the_dead(instance)
        _run_all(definitions, instance, steps, later, outcome, progress)
        if outcome.damaged and outcome.stopped is None:
            again = Outcome(withdrawn=outcome.withdrawn)
            _run_all(definitions, instance, steps, later, again, progress)
            again.damaged = outcome.damaged
            outcome = again
    outcome.exposures, outcome.measured = _measured(workspace, steps)
    return outcome


def _measured(workspace: Workspace, steps: Sequence[Step]) -> tuple[int, int]:
    """Imaging exposures that the registry has of the days of these steps, and those of them with photometry now."""
    days = {str(step.partition) for step in steps if "psf_photometry" in step.assets}
    there = [
        exposure
        for exposure in (workspace.registry.exposures(kind="imaging", survey="bulge") if days else [])
        if str(day_detector_key(exposure.day, exposure.detector)) in days
    ]
    partitions = sorted({day_partition(exposure.day, exposure.detector) for exposure in there})
    parts = {r.part for partition in partitions for r in workspace.products.current("psf_photometry_part", partition)}
    return len(there), sum(exposure.exposure_id in parts for exposure in there)


def _run_all(
    definitions: dg.Definitions,
    instance: dg.DagsterInstance,
    steps: Sequence[Step],
    later: Callable[[], Sequence[Step]],
    outcome: Outcome,
    progress: Progress | None,
) -> None:
    """The steps, and then those that follow from what there is by then."""
    number, outcome.planned = 0, len(steps)
    for group in (lambda: steps, later):
        todo = group() if outcome.stopped is None else []
        outcome.planned = max(outcome.planned, number + len(todo))
        for step in todo:
            if progress:
                progress(number, outcome.planned, step.label)
            _run(definitions, instance, step, outcome)
            outcome.stopped = outcome.stopped or asked_to_stop()
            if outcome.stopped is not None:
                return
            number += 1
    if progress:
        progress(number, number, "done")


def _run(definitions: dg.Definitions, instance: dg.DagsterInstance, step: Step, outcome: Outcome) -> None:
    finished = _in_thread(definitions, instance, step)
    if not finished.success:
        if asked_to_stop() is None:
            outcome.failed[step.label] = _reason(finished)
            if _is_damage(finished):
                outcome.damaged.append(step.label)
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


def _in_thread(definitions: dg.Definitions, instance: dg.DagsterInstance, step: Step) -> Any:
    """Runs a step in a thread of its own: in the main one Dagster takes the handlers of signals away from us."""
    job = definitions.resolve_job_def(step.job)
    selection = [dg.AssetKey(name) for name in step.assets]
    answer: list[Any] = []
    failure: list[BaseException] = []

    def work() -> None:
        try:
            answer.append(
                job.execute_in_process(
                    partition_key=step.partition,
                    instance=instance,
                    asset_selection=selection,
                    raise_on_error=False,
                    tags={PROCESS_TAG: this_process()},
                    # The event log keeps everything; the terminal belongs to the progress bar and the report after it.
                    run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
                )
            )
        except BaseException as error:
            failure.append(error)

    thread = threading.Thread(target=work, name=step.label, daemon=True)
    thread.start()
    looked = time.monotonic()
    while thread.is_alive():
        thread.join(0.2)  # a join without end would not let signals be handled
        if time.monotonic() - looked > LOOK_S:  # the step may wait for a place in a pool that a killed run holds
            bury_the_dead(instance)
            looked = time.monotonic()
    if failure:
        raise failure[0]
    return answer[0]


def _is_damage(finished: Any) -> bool:
    """Whether a run failed because stored bytes are missing or wrong."""
    for event in finished.all_events:
        error = event.step_failure_data.error if event.is_step_failure else None
        while error is not None:
            if error.cls_name == Damaged.__name__:
                return True
            error = error.cause
    return False


def _reason(finished: Any) -> str:
    for event in finished.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            cause = error.cause if error.cause is not None else error
            return str(cause.message).strip()
    return "the run failed before a step began"
