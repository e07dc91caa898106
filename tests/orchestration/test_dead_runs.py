"""Places in pools that killed runs held: without anybody who frees them, a later processing would wait for ever."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from roman_assets.orchestration import processing
from roman_assets.orchestration.dead_runs import PROCESS_TAG, bury_the_dead, process_tag, this_process
from roman_assets.orchestration.processing import Step, dagster_instance
from roman_assets.platform.workspace import Workspace

POOL = "images"


@dg.asset(pool=POOL, partitions_def=dg.StaticPartitionsDefinition(["a"]))
def pooled() -> None:
    """Something that needs a place in a pool."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dagster_instance(Workspace(tmp_path)) as opened:
        opened.event_log_storage.initialize_concurrency_limit_to_default(POOL)
        yield opened


def holder(instance: dg.DagsterInstance, process: str, status: dg.DagsterRunStatus) -> dg.DagsterRun:
    """A run of a process that holds a place in the pool."""
    run = instance.create_run_for_job(dg.define_asset_job("job").resolve(asset_graph=GRAPH), status=status)
    instance.add_run_tags(run.run_id, {PROCESS_TAG: process})
    assert instance.event_log_storage.claim_concurrency_slot(POOL, run.run_id, "step").is_claimed
    return run


GRAPH = dg.Definitions(assets=[pooled]).resolve_asset_graph()
DEFINITIONS = dg.Definitions(assets=[pooled], jobs=[dg.define_asset_job("days", [pooled])])


def places(instance: dg.DagsterInstance) -> set[str]:
    return set(instance.event_log_storage.get_concurrency_run_ids())


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTED])
def test_a_killed_run_fails_and_gives_back_its_place(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    dead = holder(instance, f"{socket.gethostname()}:999999999:1", status)
    alive = holder(instance, this_process(), dg.DagsterRunStatus.STARTED)
    bury_the_dead(instance)
    assert places(instance) == {alive.run_id}
    statuses = [instance.get_run_by_id(run.run_id).status for run in (dead, alive)]
    assert statuses == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED]


def test_what_lives_on_another_host_is_left_alone(instance: dg.DagsterInstance) -> None:
    elsewhere = holder(instance, "another-host:1:1", dg.DagsterRunStatus.STARTED)
    bury_the_dead(instance)
    assert places(instance) == {elsewhere.run_id}


def test_places_of_runs_that_ended_or_are_gone_are_free(instance: dg.DagsterInstance) -> None:
    ended = holder(instance, "another-host:1:1", dg.DagsterRunStatus.CANCELED)
    assert instance.event_log_storage.claim_concurrency_slot(POOL, "no-such-run", "step").is_claimed
    assert places(instance) == {ended.run_id, "no-such-run"}
    bury_the_dead(instance)
    assert places(instance) == set()


def test_a_step_that_waits_for_a_run_killed_meanwhile_goes_on(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processings at once, and one of them is killed while the other waits for its places."""
    monkeypatch.setattr(processing, "LOOK_S", 0.5)
    other = subprocess.Popen(["sleep", "600"])
    try:
        for _ in range(2):
            holder(instance, process_tag(other.pid), dg.DagsterRunStatus.STARTED)
        threading.Timer(2.0, other.kill).start()  # and nobody waits for it: it stays a zombie
        answer = processing._in_thread(DEFINITIONS, instance, Step("days", ("pooled",), "a"))
    finally:
        other.kill()
        other.wait()
    assert answer.success
    assert places(instance) == set()
