"""An installation with a bit of everything that the exporter reports."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import dagster as dg
from dagster._core.test_utils import create_run_for_test

from roman_assets.exposures.records import Delivery, Outcome
from roman_assets.platform.workspace import Workspace
from roman_assets.products.identity import Identity
from tests.monitoring.conftest import DAYS, arrive, materialize


@dg.op
def works() -> None:
    """Nothing."""


@dg.job
def process_day() -> None:
    works()


@dg.op
def breaks() -> None:
    raise ValueError("no such star")


@dg.job
def close_season() -> None:
    breaks()


def product(workspace: Workspace, number: int, kind: str = "season_events") -> None:
    """A product of a few bytes."""
    workspace.products.put_json(
        kind, f"season=s01/detector=WFI{number:02d}", {"n": number}, Identity((f"{number}",), "1")
    )


def refuse(workspace: Workspace, name: str, reason: str) -> None:
    """A file in quarantine, as the delivery log has it."""
    delivery = Delivery(
        uri=name,
        size=1,
        version="1",
        name=name,
        sha256="0" * 64,
        outcome=Outcome.QUARANTINED,
        reason=reason,
        message="refused",
        exposure_id=None,
    )
    workspace.registry.log([delivery])


def measure(instance: dg.DagsterInstance, day: str) -> None:
    """A photometry step of 0.3 s that measures 3,000 stars anew."""

    @dg.asset(partitions_def=dg.StaticPartitionsDefinition([f"{day}|WFI01"]))
    def psf_photometry() -> dg.MaterializeResult:
        time.sleep(0.3)
        rows = dg.MetadataValue.json({"psf_photometry_part": 3000, "psf_photometry": 1})
        return dg.MaterializeResult(metadata={"new_rows": rows})

    assert dg.materialize([psf_photometry], partition_key=f"{day}|WFI01", instance=instance).success


def succeed(instance: dg.DagsterInstance) -> None:
    """A run that ends well."""
    assert process_day.execute_in_process(instance=instance).success


def fail(instance: dg.DagsterInstance) -> None:
    """A run that fails."""
    assert not close_season.execute_in_process(instance=instance, raise_on_error=False).success


def origin(name: str, repository_name: str = "__repository__") -> Any:
    """Where a job or a sensor of a code location comes from."""
    from dagster._core.remote_origin import InProcessCodeLocationOrigin, RemoteRepositoryOrigin
    from dagster._core.types.loadable_target_origin import LoadableTargetOrigin

    location = InProcessCodeLocationOrigin(LoadableTargetOrigin(module_name="roman_assets.orchestration.code_location"))
    repository = RemoteRepositoryOrigin(location, repository_name)
    return repository.get_instigator_origin(name) if name.endswith("sensor") else repository.get_job_origin(name)


def queue(instance: dg.DagsterInstance, number: int) -> None:
    """Queued runs."""
    for _ in range(number):
        create_run_for_test(
            instance, job_name="process_day", status=dg.DagsterRunStatus.QUEUED, remote_job_origin=origin("process_day")
        )


def start_sensor(
    instance: dg.DagsterInstance, *, failed: bool, repository: str = "__repository__", at: float = 0.0
) -> None:
    """A sensor that is on, with one tick (by default now)."""
    from dagster._core.scheduler import instigation as i
    from dagster._utils.error import SerializableErrorInfo

    source = origin("landing_sensor", repository)
    kind = i.InstigatorType.SENSOR
    data = i.SensorInstigatorData(min_interval=60)
    instance.add_instigator_state(i.InstigatorState(source, kind, i.InstigatorStatus.RUNNING, data))
    status = i.TickStatus.FAILURE if failed else i.TickStatus.SKIPPED
    selector = source.get_selector().get_id()
    failures = 2 if failed else 0
    tick = i.TickData(
        source.get_id(),
        "landing_sensor",
        kind,
        status,
        at or time.time(),
        selector_id=selector,
        failure_count=failures,
        consecutive_failure_count=failures,
        error=SerializableErrorInfo("broken", [], None) if failed else None,
    )
    instance.create_tick(tick)


def beat(instance: dg.DagsterInstance) -> None:
    """A heartbeat of the sensor daemon."""
    from dagster._daemon.types import DaemonHeartbeat

    instance.add_daemon_heartbeat(DaemonHeartbeat(time.time() - 5, "SENSOR", None, []))


def fill(workspace: Workspace, instance: dg.DagsterInstance, days: Sequence[str] = DAYS) -> None:
    """Everything at once."""
    for day in days:
        arrive(workspace, day, "WFI01")
    materialize(instance, "exposures", *(f"{day}|WFI01" for day in days))
    materialize(instance, "daily_light_curves", f"{days[0]}|WFI01")
    materialize(instance, "season_objects", "WFI01|s01")
    measure(instance, days[0])
    fail(instance)
    queue(instance, 2)
    refuse(workspace, "a.asdf", "checksum")
    product(workspace, 1)
    start_sensor(instance, failed=True)
    beat(instance)
