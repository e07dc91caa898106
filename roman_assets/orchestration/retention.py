"""What may go of an installation: event logs of old runs, products superseded long ago, orphans.

Dagster prunes ticks but never event logs, and deleting a run deletes its materializations with it: partitions would
be missing again. So runs stay, with the events that say what was made, checked and how it ended; what is deleted of
an old run is its log. The product index is never pruned: the row of a removed product says when its bytes went.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

from roman_assets.errors import InputError
from roman_assets.platform.dagster_internals import event_log_schema, is_local_compute_log, sql_event_log

#: Kept for ever: what was made and checked, what was planned (partitions that failed show as such), how runs ended
#: and why steps failed.
KEPT = tuple(
    event.value
    for event in (
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_OBSERVATION,
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
        dg.DagsterEventType.ASSET_CHECK_EVALUATION,
        dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED,
        dg.DagsterEventType.RUN_START,
        dg.DagsterEventType.RUN_SUCCESS,
        dg.DagsterEventType.RUN_FAILURE,
        dg.DagsterEventType.RUN_CANCELED,
        dg.DagsterEventType.STEP_FAILURE,
    )
)
RUNS_PER_TRANSACTION = 50
_PAGE = 500
#: Up to when the runs of each kind have been pruned, so that a night looks at a day's runs.
_CURSOR = "roman/retention/{}"
ENDED_WELL = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.CANCELED)

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Policy:
    """For how many days what is kept; None: for ever.

    Attributes
    ----------
    logs_days, failed_logs_days
        Logs of runs that ended well (or were stopped), and of those that failed.
    superseded_days
        Bytes of products that were superseded.
    orphans_hours
        Objects that no index row names: longer than any write takes.
    """

    logs_days: float | None = 30.0
    failed_logs_days: float | None = 90.0
    superseded_days: float | None = 180.0
    orphans_hours: float = 24.0


@dataclass
class Pruned:
    """Runs whose logs were (or would be) deleted, and the number of their events."""

    runs: int = 0
    events: int = 0
    by_status: dict[str, int] = field(default_factory=dict)


def prune_logs(
    instance: dg.DagsterInstance,
    policy: Policy,
    now: dt.datetime,
    *,
    dry_run: bool = True,
    progress: Progress | None = None,
) -> Pruned:
    """Delete the logs of runs that ended long ago.

    Raises
    ------
    InputError
        The instance keeps its events elsewhere than in a SQL database.
    """
    storage = _sql_storage(instance)
    pruned = Pruned()
    for name, statuses, days in (
        ("well", ENDED_WELL, policy.logs_days),
        ("failed", (dg.DagsterRunStatus.FAILURE,), policy.failed_logs_days),
    ):
        if days is None:
            continue
        limit = now - dt.timedelta(days=days)
        done = _cursor(instance, name)
        for batch in _batches(_runs(instance, statuses, done, limit)):
            pruned.events += _prune(storage, [run.run_id for run in batch], dry_run=dry_run)
            pruned.runs += len(batch)
            for run in batch:
                pruned.by_status[run.status.value] = pruned.by_status.get(run.status.value, 0) + 1
                if not dry_run:
                    _delete_compute_logs(instance, run.run_id)
            if progress:
                progress(f"{pruned.runs} runs, {pruned.events} events")
        if not dry_run:
            key = _CURSOR.format(name)
            instance.daemon_cursor_storage.set_cursor_values({key: limit.isoformat()})
    return pruned


def _sql_storage(instance: dg.DagsterInstance) -> Any:
    storage = instance.event_log_storage
    if sql_event_log(storage) is None:
        raise InputError(
            f"no way to prune a {type(storage).__name__}", field="storage", remedy="keep events in SQLite or PostgreSQL"
        )
    return storage


def _cursor(instance: dg.DagsterInstance, name: str) -> dt.datetime | None:
    key = _CURSOR.format(name)
    text = instance.daemon_cursor_storage.get_cursor_values({key}).get(key)
    return dt.datetime.fromisoformat(text) if text else None


def _runs(
    instance: dg.DagsterInstance,
    statuses: Sequence[dg.DagsterRunStatus],
    after: dt.datetime | None,
    before: dt.datetime,
) -> Iterator[dg.DagsterRun]:
    """Runs that ended between two times."""
    if after is not None:
        after -= dt.timedelta(hours=1)  # clocks of writers differ; pruning twice does no harm
    wanted = dg.RunsFilter(statuses=list(statuses), updated_after=after, updated_before=before)
    cursor: str | None = None
    while True:
        page = list(instance.get_run_records(wanted, limit=_PAGE, cursor=cursor))
        yield from (record.dagster_run for record in page)
        if len(page) < _PAGE:
            return
        cursor = page[-1].dagster_run.run_id


def _batches(runs: Iterator[dg.DagsterRun]) -> Iterator[list[dg.DagsterRun]]:
    batch: list[dg.DagsterRun] = []
    for run in runs:
        batch.append(run)
        if len(batch) == RUNS_PER_TRANSACTION:
            yield batch
            batch = []
    if batch:
        yield batch


def _prune(storage: Any, run_ids: Sequence[str], *, dry_run: bool) -> int:
    """Deletes (counts) the events of runs that are not kept; SQLite has a file for each run."""
    if not storage.is_run_sharded:
        with storage.index_connection() as connection:
            return _change(connection, run_ids, dry_run)
    count = 0
    for run_id in run_ids:
        shard = Path(storage.path_for_shard(run_id))  # type: ignore[attr-defined]
        if not shard.exists():
            continue
        with storage.run_connection(run_id) as connection:
            changed = _change(connection, [run_id], dry_run)
        if changed and not dry_run:
            _vacuum(storage, run_id)
        count += changed
    return count


def _vacuum(storage: Any, run_id: str) -> None:
    """Gives the room of deleted rows back to the disk, which SQLite does not do by itself."""
    engine = sa.create_engine(storage.conn_string_for_shard(run_id), isolation_level="AUTOCOMMIT")  # type: ignore[attr-defined]
    with engine.connect() as connection:
        connection.exec_driver_sql("VACUUM")
    engine.dispose()


def _change(connection: Any, run_ids: Sequence[str], dry_run: bool) -> int:
    table = event_log_schema().SqlEventLogStorageTable
    kind = table.c.dagster_event_type
    these = sa.and_(table.c.run_id.in_(list(run_ids)), sa.or_(kind.is_(None), kind.not_in(KEPT)))
    if dry_run:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table).where(these)).scalar_one())
    return int(connection.execute(table.delete().where(these)).rowcount)


def _delete_compute_logs(instance: dg.DagsterInstance, run_id: str) -> None:
    """Output of steps on this disk; in S3 the bucket's lifecycle does it."""

    manager = instance.compute_log_manager
    if is_local_compute_log(manager):
        manager.delete_logs(prefix=[run_id])
