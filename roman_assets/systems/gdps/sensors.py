"""Redshifts follow spectra: regions whose spectra have changed, and then come to rest, are measured again."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg

from roman_assets.platform.sensors import default_status, in_turns
from roman_assets.platform.stage import region_partition
from roman_assets.platform.workspace import Workspace
from roman_assets.products.records import ProductRecord
from roman_assets.survey.partitions import Partitions

#: A region is measured when its newest spectra are this old: a pointing has several exposures, and rolls follow.
SETTLED = timedelta(minutes=30)


def build_sensors(_partitions: Partitions, workspace: Workspace, jobs: Mapping[str, Any]) -> list[dg.SensorDefinition]:
    """The sensors of the system; `jobs` by name."""
    return [build_region_sensor(workspace, jobs["measure_redshifts"])] if "measure_redshifts" in jobs else []


def build_region_sensor(workspace: Workspace, redshift_job: Any, settled: timedelta = SETTLED) -> dg.SensorDefinition:
    """A sensor that requests combined spectra, series and redshifts of regions with spectra that they do not have yet.

    What is missing follows from the index; run keys hold which spectra there are, so that asking twice is harmless.
    """

    @dg.sensor(
        name="region_sensor",
        job=redshift_job,
        minimum_interval_seconds=300,
        default_status=default_status(),
        description="Requests combined spectra and redshifts of sky regions whose spectra have changed.",
    )
    def region_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        requests = list(_requests(workspace, datetime.now(UTC) - settled))
        return in_turns(
            context, requests, "every region has the redshifts of its spectra, or its spectra are still arriving"
        )

    return region_sensor


def _requests(workspace: Workspace, before: datetime) -> Iterator[dg.RunRequest]:
    """Regions whose spectra, all made before a time, are not those that their combined spectra were made from."""
    from roman_assets.platform.regions import regions_of
    from roman_assets.systems.gdps.stages.common import SPECTRA

    by_region: dict[str, list[ProductRecord]] = defaultdict(list)
    for record in workspace.products.current(SPECTRA):
        for region in regions_of(workspace, record):
            by_region[region].append(record)
    for region, records in sorted(by_region.items()):
        combined = workspace.products.current("combined_spectra", region_partition(region))
        done = {sha256 for made in combined for sha256 in made.inputs}
        there = sorted(record.sha256 for record in records)
        if set(there) == done or max(record.created_at for record in records) > before:
            continue
        digest = hashlib.sha256("".join(there).encode()).hexdigest()[:12]
        yield dg.RunRequest(f"spectra:{region}:{digest}", partition_key=region)
