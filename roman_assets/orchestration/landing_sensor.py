"""The landing sensor: ingests what arrived and asks for runs of exactly the partitions that changed.

Two things make it safe to interrupt at any point.  What was ingested is known from the registry's delivery
log, not from the cursor, so that late and unordered arrivals are found.  What changed is known from the
registry's change numbers: the cursor only says up to which number runs were asked for, and a run key holds
the number, so that asking again after a crash starts nothing twice.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from dagster import (
    DefaultSensorStatus,
    RunRequest,
    SensorDefinition,
    SensorEvaluationContext,
    SensorResult,
    SkipReason,
    sensor,
)

from roman_assets.errors import InputError
from roman_assets.exposures.ingest import IngestReport, ingest
from roman_assets.exposures.landing import Landing
from roman_assets.exposures.quarantine import Quarantine
from roman_assets.exposures.registry import PartitionChange, Registry
from roman_assets.platform.sensors import default_status
from roman_assets.survey.calendar import BULGE, SPECTROSCOPIC, Calendar
from roman_assets.survey.partitions import Partitions, day_detector_key

LANDING = "ROMAN_LANDING"
REGISTRY = "ROMAN_REGISTRY_URL"
QUARANTINE = "ROMAN_QUARANTINE"
TICK_SECONDS = 35.0  # Dagster stops a tick at 60 s; the file in hand and the commit need some of it
RUNS_PER_TICK = 200
_SHOWN = 20


def landing_from_environment() -> Landing:
    """The landing place of $ROMAN_LANDING.  Raises InputError if it is not set."""
    return Landing(_environment(LANDING, "the folder or s3://bucket/prefix where deliveries arrive"))


def registry_from_environment() -> Registry:
    """The registry of $ROMAN_REGISTRY_URL.  Raises InputError if it is not set."""
    return Registry(_environment(REGISTRY, "sqlite:///PATH or postgresql+psycopg2://..."))


def quarantine_from_environment() -> Quarantine:
    """The quarantine of $ROMAN_QUARANTINE.  Raises InputError if it is not set."""
    return Quarantine(_environment(QUARANTINE, "a folder or s3://bucket/prefix for refused files"))


def _environment(name: str, meaning: str) -> str:
    value = os.environ.get(name)
    if not value:
        raise InputError("the environment variable is not set", field=name, remedy=f"set it to {meaning}.")
    return value


def build_landing_sensor(
    partitions: Partitions,
    calendar: Calendar,
    job_or_target: Any,
    *,
    spectroscopic_job: Any = None,
    open_landing: Callable[[], Landing] = landing_from_environment,
    open_registry: Callable[[], Registry] = registry_from_environment,
    open_quarantine: Callable[[], Quarantine] = quarantine_from_environment,
    withdraw: Callable[[], Sequence[str]] = lambda: (),
    name: str = "landing_sensor",
    full: bool = True,
    tick_seconds: float = TICK_SECONDS,
    runs_per_tick: int = RUNS_PER_TICK,
    minimum_interval_seconds: int = 60,
    status: DefaultSensorStatus | None = None,
) -> SensorDefinition:
    """A sensor over the landing place.

    Parameters
    ----------
    job_or_target
        Job on (day, detector), asked for imaging on microlensing days.  Without ``spectroscopic_job`` an
        asset selection will do.
    spectroscopic_job
        Job on (spectroscopic day, detector), asked for dispersed exposures and their direct images.  One job
        cannot mix the two partitions.
    open_landing, open_registry, open_quarantine
        Called at each tick; by default from ROMAN_LANDING, ROMAN_REGISTRY_URL and ROMAN_QUARANTINE.
    withdraw
        Called at each tick: makes invisible what the calendar does not have any more, and names those partitions.
    tick_seconds
        No file is begun after this time.
    """
    router = _Router(calendar, job_or_target, spectroscopic_job)
    jobs = {"jobs": [job_or_target, spectroscopic_job]} if spectroscopic_job else _target(job_or_target)

    @sensor(
        name=name,
        minimum_interval_seconds=minimum_interval_seconds,
        default_status=default_status() if status is None else status,
        description="Ingests new Level 2 exposures and requests their partitions.",
        **jobs,
    )
    def landing_sensor(context: SensorEvaluationContext) -> SensorResult | SkipReason:
        deadline = time.monotonic() + tick_seconds
        try:
            landing, quarantine, registry = open_landing(), open_quarantine(), open_registry()
        except InputError as error:
            return SkipReason(str(error))
        try:
            report = ingest(landing, registry, quarantine, calendar, full=full, deadline=deadline)
            _log(context, report)
            for partition in withdraw():
                context.log.warning(f"{partition} is not in the calendar any more: its products were withdrawn")
            return _requests(registry, router, context.cursor, runs_per_tick)
        finally:
            registry.close()

    return landing_sensor


def _target(job_or_target: Any) -> dict[str, Any]:
    from dagster import JobDefinition

    from roman_assets.platform.dagster_internals import UnresolvedAssetJobDefinition

    is_job = isinstance(job_or_target, JobDefinition | UnresolvedAssetJobDefinition)
    return {"job": job_or_target} if is_job else {"target": job_or_target}


def read_cursor(cursor: str | None) -> int:
    """The change number of a cursor; 0 if there is none or it cannot be read.

    From 0 everything is asked for again, which run keys make harmless.
    """
    try:
        change = json.loads(cursor or "{}").get("change", 0)
    except (ValueError, AttributeError):
        return 0
    return change if isinstance(change, int) and change >= 0 else 0


def _requests(registry: Registry, router: _Router, cursor: str | None, limit: int) -> SensorResult | SkipReason:
    start = read_cursor(cursor)
    if start > registry.last_change():  # another registry than the one the cursor is from
        start = 0
    changes = registry.changes_since(start, limit)
    if not changes:
        return SkipReason("nothing new in the registry")
    requests = list(router.requests(changes))
    newest = max(change.change for change in changes)
    return SensorResult(run_requests=requests, cursor=json.dumps({"change": newest}))


class _Router:
    """Which job makes which changed partition."""

    def __init__(self, calendar: Calendar, imaging_job: Any, spectroscopic_job: Any) -> None:
        self.calendar = calendar
        self.spectroscopic_days = frozenset(calendar.spectroscopic_days)
        self.imaging_job = getattr(imaging_job, "name", None) if spectroscopic_job else None
        self.spectroscopic_job = getattr(spectroscopic_job, "name", None)

    def requests(self, changes: Sequence[PartitionChange]) -> Iterator[RunRequest]:
        """One request per changed partition of the calendar; exposures outside it have no partition."""
        newest: dict[tuple[str, str, str | None], int] = {}
        for change in changes:
            if change.detector not in self.calendar.detectors:
                continue
            if change.survey == BULGE and self.calendar.season_of(change.day) is not None:
                key = (change.day, change.detector, self.imaging_job)
            elif (
                change.survey == SPECTROSCOPIC
                and self.spectroscopic_job is not None
                and change.day in self.spectroscopic_days
            ):
                key = (change.day, change.detector, self.spectroscopic_job)
            else:
                continue
            newest[key] = max(change.change, newest.get(key, 0))
        for (day, detector, job), number in newest.items():
            yield RunRequest(
                run_key=f"exposures:{job or 'day'}:{day}|{detector}@{number}",
                partition_key=day_detector_key(day, detector),
                job_name=job,
                tags={"roman/change": str(number)},
            )


def _log(context: SensorEvaluationContext, report: IngestReport) -> None:
    """Tell in the tick's log what was done and what was not."""
    context.log.info(
        f"{len(report.registered)} registered, {len(report.duplicates)} duplicates, "
        f"{len(report.conflicts)} conflicts, {len(report.quarantined)} quarantined, "
        f"{len(report.outside_calendar)} outside the calendar, {len(report.waiting)} still being written, "
        f"{len(report.missing)} announced but missing, {report.known} known, {report.remaining} left for "
        f"the next tick, in {report.seconds:.1f} s"
    )
    refused = [*report.conflicts, *report.quarantined]
    for item in refused[:_SHOWN]:
        context.log.warning(f"quarantined ({item.reason}): {item.message}")
    for problem in report.problems[:_SHOWN]:
        context.log.warning(problem)
