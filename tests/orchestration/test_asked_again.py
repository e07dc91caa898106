"""What a failed run was asked for is asked for again: later, more and more rarely, and not for ever."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from roman_assets.orchestration.processing import dagster_instance
from roman_assets.platform.sensors import ASKED, FIRST_WAIT, LONGEST_WAIT, MOST_FAILURES, again_after_failures
from roman_assets.platform.workspace import Workspace

KEY = "catalogue:WFI01|s01:12"
REQUEST = dg.RunRequest(KEY, tags={"mine": "kept"})


@dg.asset
def nothing() -> None:
    """Something that is asked for."""


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with dagster_instance(Workspace(tmp_path)) as opened:
        yield opened


def run(instance: dg.DagsterInstance, asked: str, status: dg.DagsterRunStatus) -> dt.datetime:
    """A run that was asked for so, and when it came to its end."""
    job = dg.Definitions(assets=[nothing]).resolve_implicit_global_asset_job_def()
    made = instance.create_run_for_job(job, status=status, tags={ASKED: asked})
    (record,) = instance.get_run_records(dg.RunsFilter(run_ids=[made.run_id]))
    return record.update_timestamp


def key_at(instance: dg.DagsterInstance, now: dt.datetime) -> str | None:
    (request,) = again_after_failures(instance, [REQUEST], now)
    assert request.tags[ASKED] == KEY
    assert request.tags["mine"] == "kept"
    return request.run_key


def test_the_first_request_has_its_own_key(instance: dg.DagsterInstance) -> None:
    assert key_at(instance, dt.datetime.now(dt.UTC)) == KEY
    run(instance, "another", dg.DagsterRunStatus.FAILURE)
    assert key_at(instance, dt.datetime.now(dt.UTC) + LONGEST_WAIT) == KEY


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_after_a_failure_it_is_asked_for_once_more_and_later(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    ended = run(instance, KEY, status)
    assert key_at(instance, ended + FIRST_WAIT / 2) == KEY
    assert key_at(instance, ended + FIRST_WAIT) == f"{KEY}:again1"
    assert key_at(instance, ended + FIRST_WAIT * 5) == f"{KEY}:again1"  # which Dagster runs once
    ended = run(instance, KEY, status)
    assert key_at(instance, ended + FIRST_WAIT * 1.5) == f"{KEY}:again1"
    assert key_at(instance, ended + FIRST_WAIT * 2) == f"{KEY}:again2"


@pytest.mark.parametrize(
    "status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.SUCCESS]
)
def test_what_runs_or_is_done_is_not_asked_for_again(instance: dg.DagsterInstance, status: dg.DagsterRunStatus) -> None:
    run(instance, KEY, dg.DagsterRunStatus.FAILURE)
    ended = run(instance, KEY, status)
    assert key_at(instance, ended + LONGEST_WAIT * 2) == KEY


def test_it_ends(instance: dg.DagsterInstance) -> None:
    keys = set()
    for _ in range(MOST_FAILURES + 5):
        ended = run(instance, KEY, dg.DagsterRunStatus.FAILURE)
        keys.add(key_at(instance, ended + LONGEST_WAIT))
    assert keys == {f"{KEY}:again{number}" for number in range(1, MOST_FAILURES)}
