"""What the exporter serves, of an instance whose every number is known; what it costs."""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import pytest
from prometheus_client import CollectorRegistry

from roman_assets.monitoring.exporter import Exporter, ReadingsCollector
from roman_assets.monitoring.poll import Poller
from roman_assets.platform.workspace import Workspace
from tests.monitoring import scene
from tests.monitoring.conftest import CALENDAR, DAYS, arrive, at, materialize
from tests.postgresql import postgresql_server


class Clock:
    """The real time, moved to the end of the season."""

    def __init__(self) -> None:
        self.offset = at("2027-03-20T00:00:00").timestamp() - time.time()

    def __call__(self) -> float:
        return time.time() + self.offset


class Metrics:
    """Metrics of a poller, by name and labels."""

    def __init__(self, poller: Poller) -> None:
        self.poller = poller
        self.registry = CollectorRegistry()
        self.registry.register(ReadingsCollector(lambda: poller.snapshot, poller.clock))  # type: ignore[arg-type]

    def __call__(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@pytest.fixture
def metrics(workspace: Workspace, instance: dg.DagsterInstance) -> Metrics:
    """An exporter that began before anything happened."""
    metrics = Metrics(Poller(instance, workspace.index, workspace.registry, CALENDAR))
    metrics.poller.poll()
    assert not any(metrics.poller.snapshot.errors.values())
    return metrics


def test_an_empty_installation_has_zeros(metrics: Metrics) -> None:
    assert metrics("roman_queue_depth") == 0
    assert metrics("roman_partitions", asset="psf_photometry", group="msos") == 8
    assert metrics("roman_partitions", asset="season_events", group="msos") == 4
    assert metrics("roman_partitions_due", asset="psf_photometry", group="msos") == 0
    assert metrics("roman_runs_ended_total", status="FAILURE", group="msos", dagster_job="close_season") == 0
    assert metrics("roman_work_total", asset="psf_photometry", unit="star measurements") == 0


def test_what_happens_is_counted(workspace: Workspace, instance: dg.DagsterInstance, metrics: Metrics) -> None:
    scene.fill(workspace, instance)
    metrics.poller.poll()
    assert metrics("roman_runs", status="QUEUED", group="msos", dagster_job="process_day") == 2
    assert metrics("roman_runs", status="FAILURE", group="msos", dagster_job="close_season") == 1
    assert metrics("roman_runs_ended_total", status="FAILURE", group="msos", dagster_job="close_season") == 1
    assert metrics("roman_queue_depth") == 2
    assert 0 <= (metrics("roman_queue_oldest_age_seconds") or -1) < 60
    assert metrics("roman_partitions_materialized", asset="exposures", group="exposures") == 3
    assert metrics("roman_exposures") == 3
    assert metrics("roman_quarantined_files", outcome="quarantined", reason="checksum") == 1
    assert metrics("roman_products_made_total", kind="season_events") == 1
    assert (metrics("roman_product_bytes_made_total", kind="season_events") or 0) > 5
    assert metrics("roman_sensor_running", sensor="landing_sensor") == 1
    assert metrics("roman_sensor_failures", sensor="landing_sensor") == 2
    assert metrics("roman_sensor_last_tick_status", sensor="landing_sensor", status="FAILURE") == 1
    assert 4 < (metrics("roman_daemon_heartbeat_age_seconds", daemon="SENSOR") or 0) < 60
    scene.queue(instance, 1)
    scene.fail(instance)
    scene.succeed(instance)
    metrics.poller.poll()
    assert metrics("roman_queue_depth") == 3
    assert metrics("roman_runs_ended_total", status="SUCCESS", group="msos", dagster_job="process_day") == 1
    assert metrics("roman_runs_ended_total", status="FAILURE", group="msos", dagster_job="close_season") == 2


def test_of_a_sensor_that_moved_the_one_that_ticks_is_meant(instance: dg.DagsterInstance, metrics: Metrics) -> None:
    scene.start_sensor(instance, failed=False)
    scene.start_sensor(instance, failed=True, repository="of_last_year", at=time.time() - 1e6)
    metrics.poller.poll()
    assert metrics("roman_sensor_failures", sensor="landing_sensor") == 0
    assert (metrics("roman_sensor_last_tick_timestamp_seconds", sensor="landing_sensor") or 0) > time.time() - 600


def test_no_label_is_one_that_prometheus_sets_itself(
    workspace: Workspace, instance: dg.DagsterInstance, metrics: Metrics
) -> None:
    """A metric's own `job` would come back as `exported_job`, and every query would miss it."""
    scene.fill(workspace, instance)
    metrics.poller.poll()
    names = {label for family in metrics.registry.collect() for sample in family.samples for label in sample.labels}
    assert "asset" in names
    assert names.isdisjoint({"job", "instance"})


def test_throughput_is_new_work_over_the_seconds_of_its_step(
    workspace: Workspace, instance: dg.DagsterInstance, metrics: Metrics
) -> None:
    scene.measure(instance, DAYS[0])
    metrics.poller.poll()
    rate = metrics("roman_throughput", asset="psf_photometry", unit="star measurements")
    assert rate is not None
    assert 2000 < rate < 3000 / 0.3
    assert metrics("roman_work_total", asset="psf_photometry", unit="star measurements") == 3000
    materialize(instance, "psf_photometry", f"{DAYS[1]}|WFI01")  # reconciled: no step, no work
    scene.measure(instance, DAYS[2])
    metrics.poller.poll()
    metrics.poller.poll()
    assert metrics("roman_work_total", asset="psf_photometry", unit="star measurements") == 6000


def test_lag_is_against_the_promise(workspace: Workspace, instance: dg.DagsterInstance) -> None:
    scene.fill(workspace, instance)
    poller = Poller(instance, workspace.index, workspace.registry, CALENDAR, clock=Clock())
    poller.poll()
    metrics = Metrics(poller)
    labels = {"asset": "psf_photometry", "group": "msos"}
    assert metrics("roman_partitions_due", **labels) == 6
    assert metrics("roman_partitions_met", **labels) == 1
    assert metrics("roman_partitions_late", **labels, cause="unprocessed") == 2
    lag = metrics("roman_lag_seconds", **labels, cause="unprocessed")
    assert lag == pytest.approx(at("2027-03-20T00:00:00").timestamp() - at("2027-03-04T00:00:00").timestamp(), abs=60)
    assert metrics("roman_newest_day_timestamp_seconds", **labels) == at("2027-03-02T00:00:00").timestamp()


def test_a_part_that_cannot_be_read_leaves_the_others_and_gets_old(
    workspace: Workspace, instance: dg.DagsterInstance, metrics: Metrics, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone() -> dict[str, int]:
        raise OSError("the database is away")

    arrive(workspace, DAYS[0], "WFI01")
    metrics.poller.poll()
    monkeypatch.setattr(workspace.registry, "counts", gone)
    scene.queue(instance, 1)
    time.sleep(0.05)
    metrics.poller.poll()
    assert metrics("roman_exporter_errors_total", part="arrivals") == 1
    assert metrics("roman_exporter_errors_total", part="queue") == 0
    assert metrics("roman_queue_depth") == 1
    assert metrics("roman_exposures") == 1
    old, fresh = (metrics("roman_exporter_reading_age_seconds", part=p) for p in ("arrivals", "queue"))
    assert old is not None
    assert fresh is not None
    assert old > fresh


def test_product_counts_survive_a_restart_and_late_commits(workspace: Workspace, instance: dg.DagsterInstance) -> None:
    """Counters come from the index; a transaction that commits after higher numbers did is counted too."""
    import sqlalchemy as sa

    from roman_assets.products.index_tables import products

    for number in range(1, 4):
        scene.product(workspace, number)
    first = Metrics(Poller(instance, workspace.index, workspace.registry, CALENDAR))
    first.poller.poll()
    scene.product(workspace, 4)
    first.poller.poll()
    assert first("roman_products_made_total", kind="season_events") == 4
    move = sa.update(products).where(products.c.id == 4).values(id=9)
    workspace.index.database.write(lambda connection: connection.execute(move))
    first.poller.poll()
    workspace.index.database.write(lambda c: c.execute(sa.update(products).where(products.c.id == 9).values(id=4)))
    first.poller.poll()
    again = Metrics(Poller(instance, workspace.index, workspace.registry, CALENDAR))
    again.poller.poll()
    for metrics in (first, again):
        assert metrics("roman_products_made_total", kind="season_events") == 4
        assert metrics("roman_product_bytes_made_total", kind="season_events") == sum(
            r.size for r in workspace.products.current("season_events")
        )


@contextmanager
def running(poller: Poller) -> Iterator[Exporter]:
    """An exporter in a thread."""
    exporter = Exporter(poller, interval=1, host="127.0.0.1", port=0)
    thread = threading.Thread(target=exporter.run)
    thread.start()
    try:
        yield exporter
    finally:
        exporter.stop()
        thread.join(120)
        assert not thread.is_alive()


def test_it_listens_on_this_machine_only_unless_told_otherwise(
    workspace: Workspace, instance: dg.DagsterInstance
) -> None:
    import inspect

    from roman_assets.cli.operate import exporter as command

    exporter = Exporter(Poller(instance, workspace.index, workspace.registry, CALENDAR), port=0)
    try:
        assert exporter.server.server_address[0] == "127.0.0.1"
    finally:
        exporter.server.server_close()
    assert inspect.signature(command).parameters["host"].default == "127.0.0.1"


def fetch(exporter: Exporter, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}{path}", timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_scrapes_cost_no_poll_and_health_follows_the_loop(
    workspace: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    poller = Poller(instance, workspace.index, workspace.registry, CALENDAR)
    with running(poller) as exporter:
        deadline = time.monotonic() + 120
        while not poller.snapshot.polls and time.monotonic() < deadline:
            time.sleep(0.05)
        exporter.interval = 600
        polls = poller.readings.polls
        for _ in range(20):
            status, text = fetch(exporter, "/metrics")
            assert status == 200
        assert "roman_queue_depth 0.0" in text
        assert "process_resident_memory_bytes" in text
        assert poller.readings.polls <= polls + 2
        assert fetch(exporter, "/healthz") == (200, "ok\n")
        exporter.interval, exporter._polled = 1, time.monotonic() - 100
        assert fetch(exporter, "/healthz")[0] == 503


@pytest.mark.slow
def test_thousands_of_materializations_cost_little(workspace: Workspace, instance: dg.DagsterInstance) -> None:
    """1,500 events with 20 kB of pictures each: a poll reads what is new, not what there is."""
    import psutil

    keys = [f"{2027 + n // 360}-{n % 360}|WFI{d:02d}" for n in range(84) for d in range(1, 19)]
    blob = {"picture": dg.MetadataValue.md("x" * 20_000)}
    materialize(instance, "exposures", *keys, metadata=blob)
    poller = Poller(instance, workspace.index, workspace.registry, CALENDAR)
    process = psutil.Process()
    before = process.memory_info().rss
    poller.poll()
    materialize(instance, "exposures", *keys[:20], metadata=blob)
    begun = process.cpu_times()
    for _ in range(5):
        poller.poll()
    ended = process.cpu_times()
    each = (ended.user + ended.system - begun.user - begun.system) / 5
    assert Metrics(poller)("roman_partitions_materialized", asset="exposures", group="exposures") == len(keys)
    assert each < 0.3, f"{each:.2f} CPU s a poll"
    assert process.memory_info().rss - before < 60e6


def test_on_postgresql_and_after_its_connections_were_cut(tmp_path: Path) -> None:
    """All three databases in one server, as in production; a restart costs one reading at most."""
    import sqlalchemy as sa

    with postgresql_server() as url:
        admin = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        name = f"roman_{uuid.uuid4().hex[:12]}"
        with admin.connect() as connection:
            connection.exec_driver_sql(f"CREATE DATABASE {name}")
        own = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
        place = Workspace(tmp_path / "home", index_url=own, registry_url=own)
        place.__dict__["calendar"] = CALENDAR
        overrides = {"telemetry": {"enabled": False}, "storage": {"postgres": {"postgres_url": own}}}
        try:
            with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
                poller = Poller(instance, place.index, place.registry, CALENDAR)
                metrics = Metrics(poller)
                scene.fill(place, instance)
                poller.poll()
                assert not any(poller.snapshot.errors.values()), poller.snapshot.errors
                assert metrics("roman_partitions_materialized", asset="exposures", group="exposures") == 3
                assert metrics("roman_products_made_total", kind="season_events") == 1
                assert metrics("roman_queue_depth") == 2
                with admin.connect() as connection:
                    cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = :name"
                    connection.execute(sa.text(cut), {"name": name})
                scene.product(place, 2)
                poller.poll()
                poller.poll()
                assert max(poller.snapshot.errors.values()) <= 1
                assert metrics("roman_products_made_total", kind="season_events") == 2
        finally:
            place.registry.close()
            place.index.database.dispose()
            with admin.connect() as connection:
                connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")
            admin.dispose()
