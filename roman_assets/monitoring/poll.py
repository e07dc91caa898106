"""Reading the instance, the index and the registry, so often and no oftener: the exporter's one poll loop.

Every part is read by itself: one that fails leaves the others and its own last reading. Event logs are followed from
where the last poll ended, never read from their beginning: a materialization may hold pictures of tens of kB.
"""

from __future__ import annotations

import copy
import datetime as dt
import logging
import time
from collections.abc import Callable, Sequence

import dagster as dg

from roman_assets.exposures.registry import Registry
from roman_assets.monitoring.freshness import Evidence, judge
from roman_assets.monitoring.readings import Queue, Readings, Runs, Sensor
from roman_assets.monitoring.throughput import Throughput
from roman_assets.platform.dagster_internals import InstigatorType
from roman_assets.products.index import Index
from roman_assets.survey.model import BULGE, SPECTROSCOPIC, Calendar
from roman_assets.systems.registry import GROUPS, JOBS, PROMISES

log = logging.getLogger("roman.exporter")

#: Ended runs are counted as long.
WINDOW_S = 24 * 3600.0
#: A run may be written late by a clock that is behind.
OVERLAP_S = 60.0
#: Numbers of products whose transactions may still be open while higher ones are visible.
OPEN_NUMBERS = 2000
ENDED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
GOING = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
)
PAGE = 500
#: Dagster's name for runs of assets without a job.
ASSET_JOB = "__ASSET_JOB"


class Poller:
    """Reads into `readings`, and after each poll leaves a copy of them in `snapshot`, which other threads may read.

    Parameters
    ----------
    index, registry
        Product index and exposure registry of the installation.
    since
        First day (YYYY-MM-DD) that is promised; None: the first with exposures.
    clock
        Seconds of 1970; tests give their own.
    """

    def __init__(
        self,
        instance: dg.DagsterInstance,
        index: Index,
        registry: Registry,
        calendar: Calendar,
        *,
        since: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.instance, self.index, self.registry, self.calendar = instance, index, registry, calendar
        self.since, self.clock = since, clock
        self._begun = clock()
        self.readings = Readings(begun=self._begun)
        self.throughput = Throughput(instance)
        self._runs: dict[str, tuple[str, str, str, float, float | None]] = {}
        self._counted: dict[str, float] = {}
        self._runs_since = self._begun - WINDOW_S
        # Zeros from the start: Prometheus sees no increase in a series that appears with its first run.
        for status in ENDED:
            for group, job in _jobs():
                self.readings.runs.ended[status.value, group, job] = 0
                self.readings.runs.seconds[status.value, group, job] = 0.0
        self._arrived: set[tuple[str, str, str | None]] = set()
        self._change = 0
        self._floor: int | None = None
        self._totals: dict[str, tuple[int, int]] = {}
        self._materialized: dict[str, tuple[int | None, set[str]]] = {}
        self._total = _partition_counts(calendar)
        self.readings.work = self.throughput.work
        self.snapshot = copy.deepcopy(self.readings)

    def poll(self) -> Readings:
        """Read everything once."""
        begun = time.monotonic()
        parts: tuple[tuple[str, Callable[[], None]], ...] = (
            ("queue", self._read_queue),
            ("runs", self._read_runs),
            ("arrivals", self._read_arrivals),
            ("partitions", self._read_partitions),
            ("throughput", self._read_throughput),
            ("sensors", self._read_sensors),
            ("daemons", self._read_daemons),
            ("products", self._read_products),
        )
        for name, read in parts:
            self.readings.errors.setdefault(name, 0)
            try:
                read()
                self.readings.read_at[name] = self.clock()
            except Exception as error:  # whatever a database or a network does, the loop goes on
                self.readings.errors[name] += 1
                log.warning("cannot read %s: %s", name, type(error).__name__, exc_info=log.isEnabledFor(logging.DEBUG))
        self.readings.polls += 1
        self.readings.poll_seconds = time.monotonic() - begun
        self.snapshot = copy.deepcopy(self.readings)
        return self.snapshot

    # -- the instance ----------------------------------------------------------------------------------

    def _read_queue(self) -> None:
        waiting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED])
        depth = self.instance.get_runs_count(waiting)
        oldest = self.instance.get_run_records(waiting, limit=1, ascending=True) if depth else []
        self.readings.queue = Queue(depth, oldest[0].create_timestamp.timestamp() if oldest else None)

    def _read_runs(self) -> None:
        now = self.clock()
        ended = self._records(ENDED, dt.datetime.fromtimestamp(self._runs_since - OVERLAP_S, dt.UTC))
        going = self._records(GOING, None)
        known = {run: facts for run, facts in self._runs.items() if facts[4] is not None and now - facts[4] < WINDOW_S}
        for record in (*ended, *going):
            run = record.dagster_run
            end = record.end_time if run.status in ENDED else None
            if run.status in ENDED and end is None:  # failed before it began: no end of its own
                end = record.update_timestamp.timestamp()
            group, job = _group(run.asset_selection, run.job_name), run.job_name
            known[run.run_id] = (run.status.value, group, job, record.start_time or now, end)
            if end is not None and end >= self._begun:  # what ended before is not our count's: it starts from 0
                self._count(run.run_id, known[run.run_id])
        self._counted = {run: end for run, end in self._counted.items() if now - end < 2 * WINDOW_S}
        runs = Runs(ended=self.readings.runs.ended, seconds=self.readings.runs.seconds)
        for status, group, job, _, end in known.values():
            if end is None or now - end < WINDOW_S:
                runs.now[status, group, job] = runs.now.get((status, group, job), 0) + 1
        self._runs, self._runs_since, self.readings.runs = known, now, runs

    def _records(self, statuses: Sequence[dg.DagsterRunStatus], after: dt.datetime | None) -> list[dg.RunRecord]:
        """All run records of these statuses, page by page, newest first."""
        wanted = dg.RunsFilter(statuses=list(statuses), updated_after=after)
        found: list[dg.RunRecord] = []
        cursor: str | None = None
        while True:
            page = list(self.instance.get_run_records(wanted, limit=PAGE, cursor=cursor))
            found += page
            if len(page) < PAGE:
                return found
            cursor = page[-1].dagster_run.run_id

    def _count(self, run_id: str, facts: tuple[str, str, str, float, float | None]) -> None:
        """Counts the end of a run, once."""
        status, group, job, start, end = facts
        if run_id in self._counted or end is None:
            return
        self._counted[run_id] = end
        runs = self.readings.runs
        runs.ended[status, group, job] = runs.ended.get((status, group, job), 0) + 1
        runs.seconds[status, group, job] = runs.seconds.get((status, group, job), 0.0) + max(end - start, 0.0)

    def _read_partitions(self) -> None:
        found = self.readings.partitions
        records = self.instance.get_asset_records([dg.AssetKey(name) for name in PROMISES])
        newest = {r.asset_entry.asset_key.to_user_string(): r.asset_entry for r in records}
        for name in PROMISES:
            entry = newest.get(name)
            last = entry.last_materialization if entry is not None else None
            number = entry.last_materialization_storage_id if entry is not None else None
            if last is not None:
                found.last[name] = last.timestamp
            if name not in self._materialized or self._materialized[name][0] != number or number is None:
                keys = self.instance.get_materialized_partitions(dg.AssetKey(name)) if entry is not None else set()
                self._materialized[name] = (number, set(keys))
        found.materialized = {name: len(keys) for name, (_, keys) in self._materialized.items()}
        found.total = self._total
        evidence = Evidence(
            {name: keys for name, (_, keys) in self._materialized.items()}, found.last, self._arrived, self.since
        )
        found.freshness = judge(self.calendar, evidence, dt.datetime.fromtimestamp(self.clock(), dt.UTC))

    def _read_throughput(self) -> None:
        self.throughput.follow()
        self.readings.work = self.throughput.work

    def _read_sensors(self) -> None:
        newest: dict[str, Sensor] = {}
        for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
            ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
            tick = ticks[0] if ticks else None
            sensor = Sensor(
                state.instigator_name,
                state.is_running,
                tick.timestamp if tick else None,
                tick.status.value if tick else "NONE",
                tick.consecutive_failure_count or 0 if tick else 0,
            )
            # The state of a code location that moved stays behind under the same name: the one that ticks is meant.
            known = newest.get(sensor.name)
            if known is None or (sensor.tick or 0.0) > (known.tick or 0.0):
                newest[sensor.name] = sensor
        self.readings.sensors = sorted(newest.values(), key=lambda sensor: sensor.name)

    def _read_daemons(self) -> None:
        beats = self.instance.get_daemon_heartbeats()
        self.readings.heartbeats = {name: beat.timestamp for name, beat in beats.items()}

    # -- registry and index ----------------------------------------------------------------------------

    def _read_arrivals(self) -> None:
        if self.registry.last_change() < self._change:  # another registry than before
            self._arrived, self._change = set(), 0
        for change in self.registry.changes_since(self._change):
            self._arrived.add((change.day, change.detector, change.survey))
            self._change = max(self._change, change.change)
        self.readings.arrived.exposures = self.registry.counts()["exposures"]
        self.readings.arrived.refused = {(o, r): n for (o, r), n in self.registry.refused().items()}

    def _read_products(self) -> None:
        """Totals from the index: whole once, then only what is new, so that a restart of ours is no fall in them."""
        if self._floor is None:
            self._floor = max(0, self.index.newest() - OPEN_NUMBERS)
            self._totals = self.index.totals(self._floor)
        recent = self.index.made_after(self._floor)
        totals = dict(self._totals)
        floor = max(self._floor, (recent[-1][0] if recent else 0) - OPEN_NUMBERS)
        for number, kind, size in recent:
            count, total = totals.get(kind, (0, 0))
            totals[kind] = (count + 1, total + size)
            if number <= floor:
                count, total = self._totals.get(kind, (0, 0))
                self._totals[kind] = (count + 1, total + size)
        self._floor = floor
        stored = self.readings.stored
        stored.products = {kind: count for kind, (count, _) in totals.items()}
        stored.size = {kind: size for kind, (_, size) in totals.items()}
        stored.caveats = self.index.count_caveats()
        stored.incidents = self.index.count_incidents()


def _jobs() -> set[tuple[str, str]]:
    """(group, job) that runs can have: the named jobs, and what backfills and the UI launch."""
    named = {(GROUPS[asset], job) for job, asset in JOBS.items()}
    return named | {(group, ASSET_JOB) for group in GROUPS.values()}


def _group(assets: object, job: str) -> str:
    """Group of a run: that of the last of its assets in the order of the pipeline, or of its job's last."""
    names = {key.to_user_string() for key in assets} if isinstance(assets, set | frozenset) else set()
    chosen = [name for name in PROMISES if name in names]
    last = chosen[-1] if chosen else JOBS.get(job)
    return GROUPS[last] if last else "other"


def _partition_counts(calendar: Calendar) -> dict[str, int]:
    """Partitions of every asset in the calendar."""
    detectors, seasons = len(calendar.detectors), len(calendar.seasons)
    counted = {
        "day": len(calendar.days) * detectors,
        "season": seasons * detectors,
        "season's first day": seasons * detectors,
        "bulge season": len(calendar.region_names(BULGE)),
        "spectroscopic day": len(calendar.spectroscopic_days) * detectors,
        "spectroscopic survey day": len(calendar.region_names(SPECTROSCOPIC)) if calendar.spectroscopic_days else 0,
    }
    return {name: counted[promise.start] for name, promise in PROMISES.items()}
