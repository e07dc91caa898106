"""Retention: logs of old runs go, what they made stays known; superseded products go by their age."""

import datetime as dt
import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import sqlalchemy as sa
from dagster._core.storage.event_log import schema

from roman_assets.orchestration.retention import Policy, prune_logs
from tests.postgresql import postgresql_server

NOW = dt.datetime.now(dt.UTC)
TABLE = schema.SqlEventLogStorageTable
KEYS = ("2027-03-01|WFI01", "2027-03-02|WFI01")


@dg.asset(
    name="psf_photometry",
    partitions_def=dg.StaticPartitionsDefinition(list(KEYS)),
    check_specs=[dg.AssetCheckSpec("completeness", asset="psf_photometry")],
)
def photometry(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
    for number in range(30):
        context.log.info(f"exposure {number}")
    return dg.MaterializeResult(
        metadata={"measurements": 7},
        data_version=dg.DataVersion("abc"),
        check_results=[dg.AssetCheckResult(check_name="completeness", passed=True)],
    )


@dg.asset(name="season_events")
def broken() -> None:
    raise ValueError("no such star")


@pytest.fixture(params=["sqlite", "postgresql"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with two good runs and a failed one."""
    home = tmp_path / "dagster"
    home.mkdir()
    overrides: dict[str, object] = {"telemetry": {"enabled": False}}
    if request.param == "postgresql":
        overrides["storage"] = {"postgres": {"postgres_url": request.getfixturevalue("database_url")}}
    with dg.DagsterInstance.local_temp(str(home), overrides=overrides) as made:
        for key in KEYS:
            assert dg.materialize([photometry], partition_key=key, instance=made).success
        dg.materialize([broken], instance=made, raise_on_error=False)
        yield made


@pytest.fixture(scope="module")
def server_url() -> Iterator[str]:
    """A PostgreSQL server."""
    with postgresql_server() as url:
        yield url


@pytest.fixture
def database_url(server_url: str) -> Iterator[str]:
    """A database of the test's own."""
    name = f"roman_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(server_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
        yield sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
    engine.dispose()


def events(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    with instance.event_log_storage.run_connection(run.run_id) as connection:  # type: ignore[attr-defined]
        rows = connection.execute(TABLE.select().where(TABLE.c.run_id == run.run_id)).fetchall()
    return [str(row.dagster_event_type) for row in rows]


def test_logs_go_and_what_was_made_stays(instance: dg.DagsterInstance) -> None:
    key = dg.AssetKey("psf_photometry")
    failed, *good = instance.get_runs()
    before = {run.run_id: events(instance, run) for run in (failed, *good)}
    later = NOW + dt.timedelta(days=31)

    dry = prune_logs(instance, Policy(), later, dry_run=True)
    assert (dry.runs, dry.by_status) == (2, {"SUCCESS": 2})
    assert {run.run_id: events(instance, run) for run in (failed, *good)} == before

    done = prune_logs(instance, Policy(), later, dry_run=False)
    assert (done.runs, done.events) == (2, dry.events)
    assert done.events > 60
    for run in good:
        left = events(instance, run)
        assert len(left) == len(before[run.run_id]) - done.events / 2
        assert {"ASSET_MATERIALIZATION", "ASSET_CHECK_EVALUATION", "PIPELINE_SUCCESS"} <= set(left)
        assert "None" not in left
        assert "STEP_START" not in left
    assert events(instance, failed) == before[failed.run_id]

    assert instance.get_materialized_partitions(key) == set(KEYS)
    (latest,) = instance.fetch_materializations(key, limit=1).records
    assert latest.asset_materialization is not None
    assert latest.asset_materialization.metadata["measurements"].value == 7
    assert (latest.asset_materialization.tags or {})["dagster/data_version"] == "abc"
    assert instance.get_run_by_id(good[0].run_id) is not None


def test_failed_runs_are_kept_longer_and_their_reason_for_ever(instance: dg.DagsterInstance) -> None:
    prune_logs(instance, Policy(), NOW + dt.timedelta(days=91), dry_run=False)
    failed = next(r for r in instance.get_runs() if r.status == dg.DagsterRunStatus.FAILURE)
    left = set(events(instance, failed))
    assert {"STEP_FAILURE", "PIPELINE_FAILURE"} <= left
    assert "STEP_START" not in left


def test_a_second_night_looks_at_new_runs_only(instance: dg.DagsterInstance) -> None:
    later = NOW + dt.timedelta(days=31)
    assert prune_logs(instance, Policy(), later, dry_run=False).runs == 2
    assert prune_logs(instance, Policy(), later + dt.timedelta(days=1), dry_run=False).runs == 0
    assert prune_logs(instance, Policy(logs_days=None, failed_logs_days=None), later, dry_run=False).runs == 0


def test_young_runs_are_not_touched(instance: dg.DagsterInstance) -> None:
    assert prune_logs(instance, Policy(), NOW + dt.timedelta(days=29), dry_run=False).runs == 0


def test_disk_is_given_back(tmp_path: Path) -> None:
    """SQLite keeps one file per run; it shrinks, and the output of its steps goes."""

    @dg.asset
    def talkative(context: dg.AssetExecutionContext) -> None:
        for number in range(800):
            context.log.info(f"{number} {'x' * 500}")

    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as instance:
        run_id = dg.materialize([talkative], instance=instance).run_id
        shard = Path(instance.event_log_storage.path_for_shard(run_id))  # type: ignore[attr-defined]
        logs = [p for p in tmp_path.rglob("*.err") if run_id in str(p)]
        before = shard.stat().st_size
        prune_logs(instance, Policy(), NOW + dt.timedelta(days=31), dry_run=False)
        assert shard.stat().st_size < before / 4
        assert logs
        assert not any(p.exists() for p in logs)
