"""What follows from the registry over time: catalogues when a season has enough exposures, days that waited."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import dagster as dg

from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.sensors import default_status, in_turns
from roman_assets.platform.workspace import Workspace
from roman_assets.products.records import ProductRecord
from roman_assets.survey.partitions import Partitions, day_detector_key, season_detector_key
from roman_assets.systems.msos.closing import build_closing_sensor

#: A pointing gets its catalogue when it has this many exposures in the season's main filter.
EXPOSURES_FOR_CATALOGUE = 12


def build_sensors(partitions: Partitions, workspace: Workspace, jobs: Mapping[str, Any]) -> list[dg.SensorDefinition]:
    """The sensors of the system; `jobs` by name."""
    season = build_season_sensor(workspace, jobs["establish_catalogue"], jobs["process_day"])
    return [season, build_closing_sensor(workspace, jobs)]


def build_season_sensor(workspace: Workspace, catalogue_job: Any, day_job: Any) -> dg.SensorDefinition:
    """A sensor that requests catalogues once they can be made, and then the days that waited for them.

    What is missing follows from registry and index, and run keys, which hold how much is missing, make asking
    twice harmless; the cursor only says where the last tick's share of the requests ended.
    """

    @dg.sensor(
        name="season_sensor",
        jobs=[catalogue_job, day_job],
        minimum_interval_seconds=120,
        default_status=default_status(),
        description="Requests reference catalogues, days that waited for one, and alerts again after late earlier days.",
    )
    def season_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        requests = list(_requests(workspace, catalogue_job.name, day_job.name))
        return in_turns(context, requests, "every season with enough exposures has its catalogue and its photometry")

    return season_sensor


def _requests(workspace: Workspace, catalogue_job: str, day_job: str) -> Iterator[dg.RunRequest]:
    """Catalogues that can be made now, and days with exposures that their catalogue was not yet applied to."""
    from roman_assets.systems.msos.stages.common import pointings, season_partition
    from roman_assets.systems.msos.stages.reference_catalog import catalogue_of, main_element

    by_season: dict[tuple[str, str], list[RegisteredExposure]] = defaultdict(list)
    for exposure in workspace.registry.exposures(kind="imaging", survey="bulge"):
        if exposure.season is not None:
            by_season[exposure.season, exposure.detector].append(exposure)
    for (season, detector), exposures in sorted(by_season.items()):
        catalogues = workspace.products.current("reference_catalog", season_partition(season, detector))
        element = main_element(exposures)
        groups = pointings([e for e in exposures if e.optical_element == element])
        ready = [g for g in groups if len(g) >= EXPOSURES_FOR_CATALOGUE and catalogue_of(catalogues, g[0]) is None]
        if ready:
            key = season_detector_key(season, detector)
            settings = {"config": {"minimum_exposures": EXPOSURES_FOR_CATALOGUE}}
            yield dg.RunRequest(
                f"catalogue:{key}:{sum(len(g) for g in ready)}",
                partition_key=key,
                job_name=catalogue_job,
                run_config={"ops": {"reference_catalog": settings}},
            )
        if catalogues:
            asked = list(_waiting(workspace, season, detector, exposures, catalogues, day_job))
            yield from asked
            if not asked:
                yield from _behind(workspace, season, detector, catalogues, day_job)


def _waiting(
    workspace: Workspace,
    season: str,
    detector: str,
    exposures: Sequence[RegisteredExposure],
    catalogues: Sequence[ProductRecord],
    day_job: str,
) -> Iterator[dg.RunRequest]:
    """Days with exposures that were not measured with the catalogue that covers them now."""
    from roman_assets.systems.msos.stages.reference_catalog import catalogue_of

    parts = workspace.products.current("psf_photometry_part", season=season, detector=detector)
    measured = {(r.part, r.attributes["catalogue"]) for r in parts}
    waiting: dict[str, list[str]] = defaultdict(list)
    for exposure in exposures:
        catalogue = catalogue_of(catalogues, exposure)
        if catalogue is not None and (exposure.exposure_id, catalogue.sha256) not in measured:
            waiting[exposure.day].append(exposure.exposure_id)
    state = "-".join(sorted(r.sha256[:8] for r in catalogues))
    for day, ids in sorted(waiting.items()):
        key = day_detector_key(day, detector)
        yield dg.RunRequest(f"waited:{key}:{state}:{len(ids)}", partition_key=key, job_name=day_job)


def _behind(
    workspace: Workspace, season: str, detector: str, catalogues: Sequence[ProductRecord], day_job: str
) -> Iterator[dg.RunRequest]:
    """Days whose alerts look back on other days than there are by now: earlier ones came late, or were made again."""
    from roman_assets.systems.msos.stages.daily_light_curves import ALERTS, SUMS, earlier_sums

    # Alerts are of the catalogue's own filter.
    searched = {(record.sha256, record.attributes["optical_element"]) for record in catalogues}
    sums = [
        record
        for record in workspace.products.current(SUMS, None, season=season, detector=detector)
        if (record.attributes["catalogue"], record.attributes["optical_element"]) in searched
    ]
    for alerts in workspace.products.current(ALERTS, None, season=season, detector=detector):
        day = str(alerts.attributes["day"])
        mine = [record for record in sums if record.attributes["day"] == day]
        wanted = {earlier.sha256 for record in mine for earlier in earlier_sums(sums, record)}
        if set(alerts.inputs) & {record.sha256 for record in sums} == wanted:
            continue
        state = hashlib.sha256("".join(sorted(wanted)).encode()).hexdigest()[:12]
        key = day_detector_key(day, detector)
        yield dg.RunRequest(f"behind:{key}:{state}", partition_key=key, job_name=day_job)
