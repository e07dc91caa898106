"""What follows from the registry over time: catalogues when a season has enough exposures, days that waited."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import dagster as dg

from roman_assets.platform.workspace import Workspace
from roman_assets.survey.partitions import Partitions, day_detector_key, season_detector_key

#: A catalogue is established when a season of a detector has this many exposures.
EXPOSURES_FOR_CATALOGUE = 12


def build_season_sensor(
    partitions: Partitions, workspace: Workspace, catalogue_job: Any, day_job: Any
) -> dg.SensorDefinition:
    """A sensor that requests catalogues once they can be made, and then the days that waited for them.

    It keeps no cursor: what is missing follows from registry and index, and run keys make asking twice harmless.
    """

    @dg.sensor(
        name="season_sensor", jobs=[catalogue_job, day_job], minimum_interval_seconds=120,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description="Requests reference catalogues and the photometry of days that waited for one.",
    )  # fmt: skip
    def season_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        requests = list(_requests(workspace, catalogue_job.name, day_job.name))
        if not requests:
            return dg.SkipReason("every season with enough exposures has its catalogue and its photometry")
        context.log.info(f"{len(requests)} partitions requested")
        return dg.SensorResult(run_requests=requests[:200])

    return season_sensor


def _requests(workspace: Workspace, catalogue_job: str, day_job: str) -> list[dg.RunRequest]:
    by_season: dict[tuple[str, str], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for exposure in workspace.registry.exposures(kind="imaging", survey="bulge"):
        if exposure.season is not None:
            by_season[exposure.season, exposure.detector][exposure.day].add(exposure.exposure_id)
    requests = []
    for (season, detector), days in sorted(by_season.items()):
        partition = f"season={season}/detector={detector}"
        catalogues = workspace.products.current("reference_catalog", partition)
        count = sum(len(ids) for ids in days.values())
        if not catalogues:
            if count >= EXPOSURES_FOR_CATALOGUE:
                key = season_detector_key(season, detector)
                requests.append(dg.RunRequest(f"catalogue:{key}", partition_key=key, job_name=catalogue_job))
            continue
        state = "-".join(sorted(r.sha256[:8] for r in catalogues))
        measured = {
            r.part
            for r in workspace.products.current("psf_photometry_part", season=season, detector=detector)
        }
        for day, ids in sorted(days.items()):
            if not ids & measured:
                key = day_detector_key(day, detector)
                requests.append(dg.RunRequest(f"waited:{key}:{state}", partition_key=key, job_name=day_job))
    return requests
