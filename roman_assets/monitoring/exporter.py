"""The exporter: one process, one poll loop, metrics from its latest readings.

A scrape never touches a database: however often Prometheus asks, the instance is read once in `interval` seconds.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.gc_collector import GCCollector
from prometheus_client.process_collector import ProcessCollector

from roman_assets.monitoring.freshness import end_of
from roman_assets.monitoring.poll import Poller
from roman_assets.monitoring.readings import Labels, Readings
from roman_assets.systems.registry import GROUPS, PROMISES

log = logging.getLogger("roman.exporter")
#: /healthz fails when no poll has ended for as many intervals.
HEALTHY_INTERVALS = 5


class ReadingsCollector:
    """Turns readings into metrics."""

    def __init__(self, readings: Callable[[], Readings], clock: Callable[[], float] = time.time) -> None:
        self.readings, self.clock = readings, clock

    def collect(self) -> Iterator[Metric]:
        """All metric families."""
        now, r = self.clock(), self.readings()
        yield from _runs(r, now)
        yield from _partitions(r)
        yield from _work(r)
        yield from _sensors(r, now)
        yield from _stored(r)
        yield from _self(r, now)


def _gauge(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=list(labels))
    for key, value in values:
        family.add_metric(list(key), value)
    return family


def _counter(name: str, text: str, labels: Labels, values: Iterable[tuple[Labels, float]]) -> Metric:
    family = CounterMetricFamily(name, text, labels=list(labels))
    for key, value in values:
        family.add_metric(list(key), value)
    return family


def _runs(r: Readings, now: float) -> Iterator[Metric]:
    labels = ("status", "group", "dagster_job")  # `job` is Prometheus's own
    yield _gauge("roman_runs", "Runs that go on or ended within 24 h", labels, r.runs.now.items())
    yield _counter("roman_runs_ended", "Runs that ended while the exporter watched", labels, r.runs.ended.items())
    yield _counter("roman_run_seconds", "Seconds of the runs that ended", labels, r.runs.seconds.items())
    yield _gauge("roman_queue_depth", "Queued runs", (), [((), r.queue.depth)])
    age = 0.0 if r.queue.oldest is None else max(now - r.queue.oldest, 0.0)
    yield _gauge("roman_queue_oldest_age_seconds", "Age of the oldest queued run, 0 if none", (), [((), age)])


def _partitions(r: Readings) -> Iterator[Metric]:
    p, labels = r.partitions, ("asset", "group")

    def named(values: dict[str, Any]) -> list[tuple[Labels, float]]:
        return [((name, GROUPS[name]), float(value)) for name, value in values.items()]

    promised = {name: promise.hours * 3600 for name, promise in PROMISES.items()}
    yield _gauge("roman_partitions", "Partitions of the calendar", labels, named(p.total))
    yield _gauge("roman_partitions_materialized", "Materialized partitions", labels, named(p.materialized))
    yield _gauge("roman_last_materialization_timestamp_seconds", "Latest materialization", labels, named(p.last))
    yield _gauge("roman_promise_seconds", "Promise, from the end of the day or season", labels, named(promised))
    yield _gauge(
        "roman_partitions_due",
        "Partitions whose promise has fallen due",
        labels,
        named({f.asset: f.due for f in p.freshness}),
    )
    yield _gauge(
        "roman_partitions_met",
        "Partitions that are due and there",
        labels,
        named({f.asset: f.met for f in p.freshness}),
    )
    days = {f.asset: end_of(f.newest_day).timestamp() for f in p.freshness if f.newest_day}
    yield _gauge(
        "roman_newest_day_timestamp_seconds", "End of the newest day that is materialized", labels, named(days)
    )
    by_cause = ("asset", "group", "cause")
    late = [((f.asset, GROUPS[f.asset], cause), float(n)) for f in p.freshness for cause, n in f.late.items()]
    lag = [((f.asset, GROUPS[f.asset], cause), s) for f in p.freshness for cause, s in f.lag_s.items()]
    yield _gauge("roman_partitions_late", "Partitions past their promise", by_cause, late)
    yield _gauge("roman_lag_seconds", "How long the oldest late partition is past its promise", by_cause, lag)


def _work(r: Readings) -> Iterator[Metric]:
    labels = ("asset", "unit")
    yield _counter("roman_work", "Work that steps did while the exporter watched", labels, r.work.done.items())
    yield _counter("roman_work_seconds", "Seconds of those steps", labels, r.work.seconds.items())
    yield _gauge("roman_throughput", "Work per second of the latest step", labels, r.work.latest.items())


def _sensors(r: Readings, now: float) -> Iterator[Metric]:
    yield _gauge(
        "roman_sensor_running",
        "1 if the sensor is switched on",
        ("sensor",),
        [((s.name,), float(s.running)) for s in r.sensors],
    )
    ticks = [((s.name,), s.tick) for s in r.sensors if s.tick is not None]
    yield _gauge("roman_sensor_last_tick_timestamp_seconds", "Latest tick", ("sensor",), ticks)
    yield _gauge(
        "roman_sensor_last_tick_status",
        "1 for the status of the latest tick",
        ("sensor", "status"),
        [((s.name, s.status), 1.0) for s in r.sensors],
    )
    yield _gauge(
        "roman_sensor_failures",
        "Failed ticks in a row",
        ("sensor",),
        [((s.name,), float(s.failures)) for s in r.sensors],
    )
    yield _gauge(
        "roman_daemon_heartbeat_age_seconds",
        "Age of the latest heartbeat",
        ("daemon",),
        [((name,), max(now - beat, 0.0)) for name, beat in r.heartbeats.items()],
    )


def _stored(r: Readings) -> Iterator[Metric]:
    products = [((kind,), float(n)) for kind, n in r.stored.products.items()]
    size = [((kind,), float(n)) for kind, n in r.stored.size.items()]
    yield _counter("roman_products_made", "Products ever made, from the index", ("kind",), products)
    yield _counter("roman_product_bytes_made", "Their bytes", ("kind",), size)
    doubts = sorted(r.stored.caveats.items())
    yield _gauge("roman_product_caveats", "Caveats of visible products", ("kind", "code"), [(k, n) for k, n in doubts])
    yield _gauge("roman_product_incidents", "One identity with two contents", (), [((), r.stored.incidents)])
    yield _gauge("roman_exposures", "Registered exposures", (), [((), r.arrived.exposures)])
    yield _gauge(
        "roman_quarantined_files",
        "Refused files that nobody released",
        ("outcome", "reason"),
        [(key, float(n)) for key, n in r.arrived.refused.items()],
    )


def _self(r: Readings, now: float) -> Iterator[Metric]:
    yield _counter("roman_exporter_polls", "Polls", (), [((), r.polls)])
    yield _gauge("roman_exporter_poll_duration_seconds", "Duration of the latest poll", (), [((), r.poll_seconds)])
    yield _counter(
        "roman_exporter_errors", "Readings that failed", ("part",), [((part,), n) for part, n in r.errors.items()]
    )
    yield _gauge(
        "roman_exporter_reading_age_seconds",
        "Age of the latest good reading",
        ("part",),
        [((part,), max(now - r.read_at.get(part, r.begun), 0.0)) for part in r.errors],
    )


class Exporter:
    """Poll loop and HTTP server of one installation: /metrics, and /healthz for probes."""

    def __init__(self, poller: Poller, *, interval: float = 30.0, host: str = "127.0.0.1", port: int = 9464) -> None:
        self.poller, self.interval = poller, interval
        self.registry = CollectorRegistry()
        self.registry.register(ReadingsCollector(lambda: poller.snapshot))  # type: ignore[arg-type]
        ProcessCollector(registry=self.registry)
        GCCollector(registry=self.registry)
        self._stop = threading.Event()
        self._polled = time.monotonic()
        metrics = make_wsgi_app(self.registry)

        def application(environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
            if environment.get("PATH_INFO") == "/healthz":
                well = self.healthy()
                start("200 OK" if well else "503 Service Unavailable", [("Content-Type", "text/plain")])
                return [b"ok\n" if well else b"no poll ended for too long\n"]
            return metrics(environment, start)

        self.server = make_server(host, port, application, _Server, _Quiet)
        self.port = int(self.server.server_port)

    def healthy(self) -> bool:
        """Whether polls end: a database that is away is told by metrics, not by a restart of ours."""
        return time.monotonic() - self._polled < HEALTHY_INTERVALS * self.interval + 60

    def serve(self) -> None:
        """Answer scrapes in a thread of their own."""
        threading.Thread(target=self.server.serve_forever, daemon=True, name="http").start()

    def close(self) -> None:
        """End answering."""
        self.server.shutdown()
        self.server.server_close()

    def run(self) -> None:
        """Serve and poll until `stop`."""
        self.serve()
        try:
            while not self._stop.is_set():
                readings = self.poller.poll()
                self._polled = time.monotonic()
                log.debug("polled in %.2f s", readings.poll_seconds)
                self._stop.wait(max(self.interval - readings.poll_seconds, 1.0))
        finally:
            self.close()

    def stop(self) -> None:
        """End `run` after the poll in hand."""
        self._stop.set()


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 16


class _Quiet(WSGIRequestHandler):
    timeout = 10  # a client that says nothing does not hold the server

    def log_message(self, format: str, *args: Any) -> None:
        """Scrapes are not worth a line each."""
