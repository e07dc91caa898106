"""Which Jobs of a cluster are superfluous, and that exactly those are deleted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from kubernetes import client
from kubernetes.client.exceptions import ApiException

from roman_assets.orchestration.kubernetes_jobs import (
    COMPONENT_LABEL,
    RUN_LABEL,
    JobState,
    RunState,
    clean_jobs,
    superfluous,
)

NOW = datetime(2027, 3, 1, 12, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("created", "finished", "run", "doomed"),
    [
        (9000, None, RunState("STARTED", None), False),  # a step at work
        (9000, None, RunState("QUEUED", None), False),
        (9000, None, RunState("FAILURE", ago(400)), True),  # its run is over
        (9000, None, RunState("CANCELED", ago(200)), False),  # within its grace
        (9000, None, None, True),  # nobody knows its run
        (100, None, None, False),  # a run that is just being made
        (200_000, ago(90_000), RunState("SUCCESS", ago(90_000)), True),  # kept a day
        (9000, ago(8000), RunState("SUCCESS", ago(8000)), False),
        (9000, ago(8000), RunState("STARTED", None), False),  # a finished step of a run that goes on
    ],
)
def test_what_is_superfluous(created: float, finished: datetime | None, run: RunState | None, doomed: bool) -> None:
    job = JobState("job", "run", "step_worker", ago(created), finished)
    found = superfluous([job], {} if run is None else {"run": run}, NOW)
    assert (set(found) == {"job"}) is doomed


class Batch:
    """The two calls of BatchV1Api that cleaning makes."""

    def __init__(self, *jobs: client.V1Job) -> None:
        self.jobs = {job.metadata.name: job for job in jobs}
        self.deleted: list[str] = []

    def list_namespaced_job(self, namespace: str, label_selector: str) -> Any:
        assert (namespace, label_selector) == ("roman", RUN_LABEL)
        return client.V1JobList(items=list(self.jobs.values()))

    def delete_namespaced_job(self, name: str, namespace: str, propagation_policy: str) -> None:
        assert propagation_policy == "Background", "pods go with their Job"
        self.deleted.append(name)
        if name.endswith("gone"):
            raise ApiException(status=404)


def job(name: str, run_id: str, *, finished: bool = False) -> client.V1Job:
    old = datetime.now(UTC) - timedelta(days=3)
    ended = [client.V1JobCondition(type="Complete", status="True", last_transition_time=old)] if finished else None
    labels = {RUN_LABEL: run_id, COMPONENT_LABEL: "step_worker"}
    return client.V1Job(
        metadata=client.V1ObjectMeta(name=name, labels=labels, creation_timestamp=old),
        status=client.V1JobStatus(conditions=ended),
    )


@dg.op
def nothing() -> None: ...


@dg.job
def empty() -> None:
    nothing()


def test_jobs_of_runs_that_are_over_are_deleted() -> None:
    with dg.instance_for_test() as instance:
        over = empty.execute_in_process(instance=instance).run_id
        going = instance.create_run_for_job(empty, status=dg.DagsterRunStatus.STARTED).run_id
        batch = Batch(
            job("over", over),
            job("over-finished", over, finished=True),
            job("going", going),
            job("unknown-and-gone", "nobody"),
        )
        said: list[str] = []
        assert clean_jobs(batch, instance, "roman", say=said.append, settle_s=-1, dry_run=True) == [
            "over",
            "over-finished",
            "unknown-and-gone",
        ]
        assert batch.deleted == []
        clean_jobs(batch, instance, "roman", say=said.append, settle_s=-1)
        assert batch.deleted == ["over", "over-finished", "unknown-and-gone"]
        assert any("is over (SUCCESS)" in line for line in said)


def test_a_refusal_of_the_cluster_is_not_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    batch = Batch(job("unknown", "nobody"))

    def refuse(*_: object, **__: object) -> None:
        raise ApiException(status=403, reason="Forbidden")

    monkeypatch.setattr(batch, "delete_namespaced_job", refuse)
    with dg.instance_for_test() as instance, pytest.raises(ApiException, match="Forbidden"):
        clean_jobs(batch, instance, "roman", say=lambda _text: None)
