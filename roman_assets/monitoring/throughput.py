"""How fast the kernels work: what a step made anew, over the seconds of the step, from Dagster's event log."""

from __future__ import annotations

from typing import Any

import dagster as dg

from roman_assets.monitoring.readings import Labels, Work
from roman_assets.systems.registry import PROMISES

#: Materializations taken in per asset and poll; the rest waits for the next.
LIMIT = 200
_STEP = {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.STEP_FAILURE}


class Throughput:
    """Follows materializations from the latest one at the first poll on."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        self.instance = instance
        zeros: dict[Labels, float] = {(name, promise.unit): 0.0 for name, promise in PROMISES.items() if promise.work}
        self.work = Work(dict(zeros), dict(zeros))
        self._cursor: dict[str, int] = {}
        self._pending: list[tuple[str, float, str, str]] = []

    def follow(self) -> None:
        """Take in what was materialized since."""
        counted = {name: promise for name, promise in PROMISES.items() if promise.work}
        entries = {
            record.asset_entry.asset_key.to_user_string(): record.asset_entry
            for record in self.instance.get_asset_records([dg.AssetKey(name) for name in counted])
        }
        for name, promise in counted.items():
            entry = entries.get(name)
            newest = entry.last_materialization_storage_id if entry is not None else None
            if newest is None or newest <= self._cursor.get(name, -1):
                continue
            after = self._cursor.get(name, newest - 1)
            wanted = dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), after_storage_id=after)
            for record in self.instance.fetch_materializations(wanted, limit=LIMIT, ascending=True).records:
                self._cursor[name] = record.storage_id
                made = record.asset_materialization
                done = _amount(made.metadata, str(promise.work)) if made is not None else 0.0
                log = record.event_log_entry
                if done > 0 and log.run_id and log.step_key:
                    self._pending.append((name, done, log.run_id, log.step_key))
        self._finish()

    def _finish(self) -> None:
        """Counts those whose step has ended; the others wait for the next poll, as long as their run goes on."""
        waiting, spans = [], {}
        for name, done, run_id, step in self._pending:
            if run_id not in spans:
                spans[run_id] = self._spans(run_id)
            seconds = spans[run_id].get(step)
            if seconds is None:
                run = self.instance.get_run_by_id(run_id)
                if run is not None and not run.is_finished:
                    waiting.append((name, done, run_id, step))
            elif seconds > 0:
                self._add((name, PROMISES[name].unit), done, seconds)
        self._pending = waiting

    def _spans(self, run_id: str) -> dict[str, float]:
        """Seconds of each step of a run that ended: the last start to the end."""
        begun: dict[str, float] = {}
        spans: dict[str, float] = {}
        for entry in self.instance.all_logs(run_id, of_type=_STEP):
            event, key = entry.dagster_event, entry.step_key
            if event is None or key is None:
                continue
            if event.event_type == dg.DagsterEventType.STEP_START:
                begun[key] = entry.timestamp
            elif key in begun:
                spans[key] = entry.timestamp - begun[key]
        return spans

    def _add(self, key: tuple[str, str], done: float, seconds: float) -> None:
        work = self.work
        work.done[key] = work.done.get(key, 0.0) + done
        work.seconds[key] = work.seconds.get(key, 0.0) + seconds
        work.latest[key] = done / seconds


def _amount(metadata: Any, work: str) -> float:
    """The number that a metadata entry, or a kind within `new_rows`, holds; 0 if there is none."""
    name, _, kind = work.partition(":")
    value = getattr(metadata.get(name), "value", None)
    if kind:
        value = value.get(kind) if isinstance(value, dict) else None
    return float(value) if isinstance(value, int | float) else 0.0
