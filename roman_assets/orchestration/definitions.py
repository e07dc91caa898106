"""The code location: assets, jobs, sensors, schedules, resources and executor of one installation."""

from __future__ import annotations

import os
import warnings
from dataclasses import replace
from typing import Any

import dagster as dg

from roman_assets.exposures.registry import Registry
from roman_assets.monitoring.alerts import build_alert_sensors
from roman_assets.orchestration.landing_sensor import build_landing_sensor
from roman_assets.platform.assets import system_definitions
from roman_assets.platform.making import withdraw_strays
from roman_assets.platform.resource import WorkspaceResource
from roman_assets.platform.workspace import Workspace
from roman_assets.survey.partitions import build_partitions
from roman_assets.systems.registry import SYSTEMS

#: Set in the deployed code location: one pod per step. Elsewhere steps share the run's process.
K8S = "ROMAN_K8S"
#: Service account of the steps, which need the buckets but nothing of Kubernetes; default: that of the runs.
STEP_ACCOUNT = "ROMAN_STEP_SERVICE_ACCOUNT"


def build_definitions(workspace: Workspace | None = None) -> dg.Definitions:
    """Definitions of an installation, those of its systems merged; None takes it from the environment."""
    # Multi-partition mappings and backfill policies are beta in name; the family's version is pinned.
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    place = workspace or Workspace.from_environment()
    partitions = build_partitions(place.calendar)
    systems = [system_definitions(system, partitions, place) for system in SYSTEMS]
    jobs = {job.name: job for made in systems for job in made.jobs or ()}
    resource = WorkspaceResource.of(place) if workspace is not None else WorkspaceResource.by_environment()
    landing = build_landing_sensor(
        partitions,
        place.calendar,
        jobs["process_day"],
        spectroscopic_job=jobs.get("extract_spectra_of_day"),
        open_landing=lambda: place.landing,
        open_registry=lambda: _registry(place),
        open_quarantine=lambda: place.quarantine,
        withdraw=lambda: withdraw_strays(place),
    )
    shared = dg.Definitions(
        sensors=[landing, *build_alert_sensors(replace(place))], resources={"workspace": resource}, executor=_executor()
    )
    return dg.Definitions.merge(shared, *systems)


def _registry(place: Workspace) -> Registry:
    """A registry of its own for a tick, which closes it."""
    return replace(place).registry


def _executor() -> dg.ExecutorDefinition | dg.Executor:
    if os.environ.get(K8S):
        from dagster_k8s import k8s_job_executor

        # A step's Job belongs to the run's pod: deleting that deletes the steps, too, and the run is retried.
        settings: dict[str, Any] = {"enable_owner_references": True}
        if os.environ.get(STEP_ACCOUNT):
            settings["service_account_name"] = os.environ[STEP_ACCOUNT]
        return k8s_job_executor.configured(settings, name="k8s")
    return dg.in_process_executor
