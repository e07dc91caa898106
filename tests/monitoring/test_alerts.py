"""The alert sensors: nothing lost when the channel is down, nothing told twice."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import dagster as dg
import pytest

from roman_assets.monitoring.alerts import REMIND_S, build_alert_sensors
from roman_assets.monitoring.webhook import WEBHOOK, WebhookError
from roman_assets.platform.workspace import Workspace
from tests.monitoring.conftest import Channel, arrive, at, materialize


@dg.op
def breaks() -> None:
    raise ValueError("no such star\nsecond line")


@dg.job
def process_day() -> None:
    breaks()


class Bench:
    """The sensors of an installation with a clock and a channel of the test's own."""

    def __init__(self, workspace: Workspace, instance: dg.DagsterInstance, now: float) -> None:
        self.instance, self.now, self.sent, self.down = instance, now, [], False
        sensors = build_alert_sensors(workspace, send=self.send, clock=lambda: self.now)
        self.sensors = {sensor.name: sensor for sensor in sensors}
        self.cursors: dict[str, str | None] = dict.fromkeys(self.sensors)

    def send(self, payload: Mapping[str, Any]) -> None:
        if self.down:
            raise WebhookError("down")
        self.sent.append(json.loads(json.dumps(payload)))

    def tick(self, name: str) -> Any:
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursors[name])
        result = self.sensors[name](context)
        if isinstance(result, dg.SensorResult) and result.cursor is not None:
            self.cursors[name] = result.cursor
        return result


def fail(instance: dg.DagsterInstance, tags: dict[str, str] | None = None) -> str:
    tags = {"dagster/partition": "2027-03-01|WFI01", **(tags or {})}
    return process_day.execute_in_process(instance=instance, raise_on_error=False, tags=tags).run_id


def test_failed_runs_are_told_once_with_partition_and_reason(
    workspace: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setenv("ROMAN_UI_URL", "https://dagster.example.org/")
    fail(instance)  # before the first tick: not ours to tell
    bench = Bench(workspace, instance, time.time())
    bench.tick("failure_alerts")
    before = {r.run_id for r in instance.get_runs()}
    run_id = fail(instance)
    fail(instance, {"dagster/will_retry": "true"})
    bench.tick("failure_alerts")
    bench.tick("failure_alerts")
    backfilled = {"dagster/partition": "", "dagster/asset_partition_range_start": "2027-03-01|WFI01"}
    fail(instance, {**backfilled, "dagster/asset_partition_range_end": "2027-03-02|WFI01"})
    bench.tick("failure_alerts")
    assert bench.sent.pop()["runs"][0]["partition"] == "2027-03-01|WFI01 to 2027-03-02|WFI01"
    told = [run["run_id"] for message in bench.sent for run in message["runs"]]
    assert run_id in told
    assert len(told) == len(set(told))
    message = bench.sent[-1]
    (ours,) = [run for run in message["runs"] if run["run_id"] not in before]
    assert ours["reason"] == "ValueError: no such star"
    assert ours["partition"] == "2027-03-01|WFI01"
    assert ours["url"] == f"https://dagster.example.org/runs/{run_id}"
    assert "process_day [2027-03-01|WFI01]: ValueError: no such star" in message["text"]


def test_an_outage_of_the_channel_delays_and_loses_nothing(workspace: Workspace, instance: dg.DagsterInstance) -> None:
    import time

    bench = Bench(workspace, instance, time.time() - 120)
    bench.tick("failure_alerts")
    failed = {fail(instance) for _ in range(12)}
    bench.down = True
    with pytest.raises(WebhookError):
        bench.tick("failure_alerts")
    bench.down = False
    bench.tick("failure_alerts")
    assert bench.sent[0]["count"] == 12
    assert len(bench.sent[0]["runs"]) == 10
    assert "and 2 more" in bench.sent[0]["text"]
    assert {run["run_id"] for run in bench.sent[0]["runs"]} < failed
    assert isinstance(bench.tick("failure_alerts"), dg.SensorResult | dg.SkipReason)
    assert len(bench.sent) == 1


def test_lateness_is_told_once_reminded_daily_and_its_end_is_told(
    workspace: Workspace, instance: dg.DagsterInstance
) -> None:
    for day in ("2027-03-01", "2027-03-02"):
        arrive(workspace, day, "WFI01")
    arrive(workspace, "2027-03-01", "WFI02")
    bench = Bench(workspace, instance, at("2027-03-02T06:00:00").timestamp())
    assert isinstance(bench.tick("lag_alerts"), dg.SkipReason)
    bench.now = at("2027-03-02T13:00:00").timestamp()  # exposures: 12 h
    bench.tick("lag_alerts")
    bench.tick("lag_alerts")
    (message,) = bench.sent
    assert [(x["asset"], x["cause"], x["late"], x["lag_hours"]) for x in message["late"]] == [
        ("exposures", "unprocessed", 2, 1.0)
    ]
    assert "2 of 2 partitions have not been made" in message["text"]
    bench.now += REMIND_S - 6 * 3600
    for asset in ("psf_photometry", "daily_light_curves"):
        materialize(instance, asset, "2027-03-01|WFI01", "2027-03-01|WFI02")
    bench.tick("lag_alerts")
    assert len(bench.sent) == 1
    bench.now += 6 * 3600
    bench.tick("lag_alerts")
    assert ("exposures", "unprocessed") in {(x["asset"], x["cause"]) for x in bench.sent[1]["late"]}
    materialize(instance, "exposures", "2027-03-01|WFI01", "2027-03-01|WFI02", "2027-03-02|WFI01")
    bench.tick("lag_alerts")
    assert "exposures/unprocessed" in bench.sent[2]["recovered"]
    assert "on time again" in bench.sent[2]["text"]


def test_without_a_webhook_the_sensors_are_off_and_say_why(
    workspace: Workspace, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(WEBHOOK, raising=False)
    sensors = build_alert_sensors(workspace)
    assert len(sensors) == 2
    for sensor in sensors:
        assert sensor.default_status == dg.DefaultSensorStatus.STOPPED
        result = sensor(dg.build_sensor_context(instance=instance))
        assert isinstance(result, dg.SkipReason)
        assert "ROMAN_ALERT_WEBHOOK is not set" in (result.skip_message or "")


def test_with_a_webhook_they_run_and_post_to_it(
    workspace: Workspace, instance: dg.DagsterInstance, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEBHOOK, channel.url)
    arrive(workspace, "2027-03-01", "WFI01")
    sensors = build_alert_sensors(workspace, clock=lambda: at("2027-06-01T00:00:00").timestamp())
    assert {s.default_status for s in sensors} == {dg.DefaultSensorStatus.RUNNING}
    (lag,) = [s for s in sensors if s.name == "lag_alerts"]
    lag(dg.build_sensor_context(instance=instance))
    assert channel.received[0]["kind"] == "lag"
