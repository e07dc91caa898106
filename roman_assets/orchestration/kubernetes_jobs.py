"""Cleaning up after runs in a cluster: Jobs that nothing waits for any more.

Kubernetes removes finished Jobs by their TTL and a run's step Jobs with the run's pod (owner references); Dagster's
run monitoring fails runs whose worker is gone. What is left is cleaned here: step Jobs of runs that are over (the
worker's pod failed but is kept), the worker's Job of a run that was failed before it started, Jobs of runs that
Dagster does not know, finished Jobs where no TTL is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from roman_assets.platform.pods import KEEP_FINISHED_S

RUN_LABEL = "dagster/run-id"
COMPONENT_LABEL = "app.kubernetes.io/component"
#: Between the end of a run and the end of its Jobs: what is being stopped has its grace period and more.
SETTLE_S = 300.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class JobState:
    """What the decision needs to know of a Job; times are UTC, `finished` is None while it is active."""

    name: str
    run_id: str
    component: str
    created: datetime
    finished: datetime | None


@dataclass(frozen=True)
class RunState:
    """What the decision needs to know of a run; `ended` is None while it is not over."""

    status: str
    ended: datetime | None


def superfluous(
    jobs: Iterable[JobState],
    runs: Mapping[str, RunState],
    now: datetime,
    *,
    settle_s: float = SETTLE_S,
    keep_s: float = KEEP_FINISHED_S,
) -> dict[str, str]:
    """Names of the Jobs to delete, with the reason. A Job of a run that goes on is never among them."""
    doomed: dict[str, str] = {}
    for job in jobs:
        run = runs.get(job.run_id)
        if job.finished is not None:
            if (now - job.finished).total_seconds() > keep_s:
                doomed[job.name] = f"finished {job.finished:%Y-%m-%d %H:%M} UTC and kept long enough"
        elif run is None:
            if (now - job.created).total_seconds() > settle_s:
                doomed[job.name] = f"its run {job.run_id} is unknown to Dagster"
        elif run.ended is not None and (now - run.ended).total_seconds() > settle_s:
            doomed[job.name] = f"its run {job.run_id} is over ({run.status})"
    return doomed


def clean_jobs(
    batch: Any,
    instance: dg.DagsterInstance,
    namespace: str,
    *,
    say: Say,
    dry_run: bool = False,
    settle_s: float = SETTLE_S,
    keep_s: float = KEEP_FINISHED_S,
) -> list[str]:
    """Delete the superfluous Jobs of a namespace, with their pods; returns their names.

    `batch` is the cluster's `kubernetes.client.BatchV1Api`.
    """
    jobs = [_job_state(job) for job in batch.list_namespaced_job(namespace, label_selector=RUN_LABEL).items]
    runs = {run_id: _run_state(instance, run_id) for run_id in {job.run_id for job in jobs}}
    known = {run_id: run for run_id, run in runs.items() if run is not None}
    doomed = superfluous(jobs, known, datetime.now(UTC), settle_s=settle_s, keep_s=keep_s)
    for name, reason in sorted(doomed.items()):
        say(f"{name}: {reason}")
        if not dry_run:
            _delete(batch, name, namespace)
    return sorted(doomed)


def _delete(batch: Any, name: str, namespace: str) -> None:
    from kubernetes.client.exceptions import ApiException

    try:
        batch.delete_namespaced_job(name, namespace, propagation_policy="Background")
    except ApiException as error:
        if error.status != 404:  # gone already: another clean-up, or its TTL
            raise


def _job_state(job: Any) -> JobState:
    labels = job.metadata.labels
    ends = [c.last_transition_time for c in job.status.conditions or [] if c.type in ("Complete", "Failed")]
    return JobState(
        job.metadata.name,
        labels[RUN_LABEL],
        labels.get(COMPONENT_LABEL, ""),
        job.metadata.creation_timestamp,
        max(ends, default=None),
    )


def _run_state(instance: dg.DagsterInstance, run_id: str) -> RunState | None:
    record = instance.get_run_record_by_id(run_id)
    if record is None:
        return None
    run = record.dagster_run
    if not run.is_finished:
        return RunState(run.status.value, None)
    ended = record.end_time if record.end_time is not None else record.update_timestamp.timestamp()
    return RunState(run.status.value, datetime.fromtimestamp(ended, UTC))
