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
from roman_assets.platform.pods import PRIORITY, PRIORITY_CATALOGUE, PRIORITY_DAY, PRIORITY_EFFICIENCY, PRIORITY_SEASON
from roman_assets.platform.resource import WorkspaceResource
from roman_assets.platform.workspace import Workspace
from roman_assets.survey.partitions import Partitions, build_partitions
from roman_assets.systems.gdps.assets import build_assets as build_spectral_assets
from roman_assets.systems.gdps.sensors import build_region_sensor
from roman_assets.systems.msos.assets import build_assets
from roman_assets.systems.msos.sensors import build_season_sensor

DAY_ASSETS = ("exposures", "psf_photometry", "daily_light_curves")
SEASON_ASSETS = ("season_light_curves", "difference_sources", "season_objects", "season_events")
EFFICIENCY_ASSETS = ("detection_efficiency",)
SURVEY_ASSETS = ("survey_objects", "survey_events")
SPECTRAL_DAY_ASSETS = ("dispersed_exposures", "contamination_models", "spectra_2d", "spectra_1d")
SPECTRAL_REGION_ASSETS = ("combined_spectra", "spectral_series", "redshifts")
#: Set in the deployed code location: one pod per step. Elsewhere steps share the run's process.
K8S = "ROMAN_K8S"
#: Service account of the steps, which need the buckets but nothing of Kubernetes; default: that of the runs.
STEP_ACCOUNT = "ROMAN_STEP_SERVICE_ACCOUNT"


def build_definitions(workspace: Workspace | None = None) -> dg.Definitions:
    """Definitions of an installation; None takes it from the environment.

    One Dagster job cannot mix partition definitions: there is a job per kind of partition.
    """
    # Multi-partition mappings and backfill policies are beta in name; the family's version is pinned.
    warnings.filterwarnings("ignore", category=dg.BetaWarning)
    warnings.filterwarnings("ignore", category=dg.PreviewWarning)
    place = workspace or Workspace.from_environment()
    partitions = build_partitions(place.calendar)
    spectral = build_spectral_assets(partitions)
    assets = [*build_assets(partitions), *spectral]
    day_job = dg.define_asset_job(
        "process_day",
        dg.AssetSelection.assets(*DAY_ASSETS),
        partitions_def=partitions.day_detector,
        description="Exposures, photometry and light curves of a day of a detector.",
        tags={PRIORITY: PRIORITY_DAY},
    )
    catalogue_job = dg.define_asset_job(
        "establish_catalogue",
        dg.AssetSelection.assets("reference_catalog"),
        partitions_def=partitions.season_detector,
        description="Reference catalogue of a season of a detector.",
        tags={PRIORITY: PRIORITY_CATALOGUE},
    )
    season_job = dg.define_asset_job(
        "close_season",
        dg.AssetSelection.assets(*SEASON_ASSETS),
        partitions_def=partitions.season_detector,
        description="Light curves, difference sources, objects and events of a season of a detector, with what is there.",
        tags={PRIORITY: PRIORITY_SEASON},
    )
    efficiency_job = dg.define_asset_job(
        "measure_efficiency",
        dg.AssetSelection.assets(*EFFICIENCY_ASSETS),
        partitions_def=partitions.season_detector,
        description="Injection and recovery of events in a closed season of a detector.",
        tags={PRIORITY: PRIORITY_EFFICIENCY},
    )
    survey_job = dg.define_asset_job(
        "join_survey",
        dg.AssetSelection.assets(*SURVEY_ASSETS),
        partitions_def=partitions.bulge_region,
        description="Objects and events of a sky region over all seasons.",
        tags={PRIORITY: PRIORITY_SEASON},
    )
    spectral_jobs = _spectral_jobs(partitions) if spectral else []
    resource = WorkspaceResource.of(place) if workspace is not None else WorkspaceResource()
    landing = build_landing_sensor(
        partitions,
        place.calendar,
        day_job,
        spectroscopic_job=spectral_jobs[0] if spectral_jobs else None,
        open_landing=lambda: place.landing,
        open_registry=lambda: _registry(place),
        open_quarantine=lambda: place.quarantine,
    )
    sensors = [landing, build_season_sensor(partitions, place, catalogue_job, day_job)]
    if spectral_jobs:
        sensors.append(build_region_sensor(place, spectral_jobs[1]))
    return dg.Definitions(
        assets=assets,
        jobs=[day_job, catalogue_job, season_job, efficiency_job, survey_job, *spectral_jobs],
        sensors=[*sensors, *build_alert_sensors(replace(place))],
        resources={"workspace": resource},
        executor=_executor(),
    )


def _spectral_jobs(partitions: Partitions) -> list[Any]:
    """Jobs of the spectroscopic wing: a day of a detector, a region of the sky."""
    spectra = dg.define_asset_job(
        "extract_spectra_of_day",
        dg.AssetSelection.assets(*SPECTRAL_DAY_ASSETS),
        partitions_def=partitions.spectroscopic_day_detector,
        description="Contamination models, 2D and 1D spectra of the dispersed exposures of a day of a detector.",
        tags={PRIORITY: PRIORITY_DAY},
    )
    redshifts = dg.define_asset_job(
        "measure_redshifts",
        dg.AssetSelection.assets(*SPECTRAL_REGION_ASSETS),
        partitions_def=partitions.spectroscopic_region,
        description="Combined spectra, time series and redshifts of a sky region, with what is there.",
        tags={PRIORITY: PRIORITY_SEASON},
    )
    return [spectra, redshifts]


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
