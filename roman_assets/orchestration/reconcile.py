"""Repairing Dagster's record from the product index.

The index is the truth: a run that was killed between the index commit and its event leaves products that
Dagster does not know of. Reconciling reports those, and says where the two disagree the other way.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from roman_assets.errors import RomanError
from roman_assets.orchestration.processing import dagster_instance
from roman_assets.platform.reporting import content_version
from roman_assets.platform.workspace import Workspace
from roman_assets.products.records import ProductRecord, partition_keys
from roman_assets.survey.partitions import day_detector_key, season_detector_key

#: Kinds of products that make up each asset's partition.
ASSET_KINDS: dict[str, tuple[str, ...]] = {
    "exposures": ("exposures",),
    "reference_catalog": ("reference_catalog",),
    "psf_photometry": ("psf_photometry_part", "psf_photometry"),
    "daily_light_curves": ("daily_light_curves_part", "daily_sums", "alerts", "daily_light_curves"),
    "season_light_curves": ("season_light_curves", "season_epochs"),
    "difference_sources": ("difference_sources", "difference_light_curves"),
    "season_objects": ("season_objects",),
    "season_events": ("season_events",),
    "detection_efficiency": ("detection_efficiency",),
    "survey_objects": ("survey_objects",),
    "survey_events": ("survey_events",),
    "dispersed_exposures": ("dispersed_exposures",),
    "contamination_models": ("location_table", "contamination_models"),
    "spectra_2d": ("spectra_2d",),
    "spectra_1d": ("spectra_1d_part",),
    "combined_spectra": ("combined_spectra",),
    "spectral_series": ("spectral_series", "spectral_variability"),
    "redshifts": ("redshifts", "emission_lines", "redshift_quality"),
}
#: Assets whose partition is complete only with this kind (written last).
CLOSING = {
    "psf_photometry": "psf_photometry",
    "daily_light_curves": "daily_light_curves",
    "difference_sources": "difference_light_curves",
}

Progress = Callable[[int, int, str], None]


@dataclass
class Reconciliation:
    """What was compared and found."""

    compared: int = 0
    reported: list[str] = field(default_factory=list)
    unbacked: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def reconcile(
    workspace: Workspace, *, dry_run: bool = False, verify: bool = False, progress: Progress | None = None
) -> Reconciliation:
    """Compare index and event log partition by partition; report to Dagster what it does not know.

    Parameters
    ----------
    dry_run
        Only say what would be reported.
    verify
        Also read every product and compare its sha256.
    """
    found = Reconciliation()
    with dagster_instance(workspace) as instance:
        for number, (asset, kinds) in enumerate(ASSET_KINDS.items()):
            if progress:
                progress(number, len(ASSET_KINDS), asset)
            held = _by_partition(workspace, asset, kinds)
            known = instance.get_materialized_partitions(dg.AssetKey(asset))
            recorded = _recorded_versions(instance, asset)
            for key, records in sorted(held.items()):
                found.compared += 1
                version = content_version(records)
                if key not in known or recorded.get(key) != version:
                    found.reported.append(f"{asset} [{key}]")
                    if not dry_run:
                        instance.report_runless_asset_event(_event(asset, key, records, version))
                if verify:
                    found.damaged += _damage(workspace, records)
            found.unbacked += [
                f"{asset} [{key}] is materialized in Dagster but has no product"
                for key in sorted(known - set(held))
                # A region without objects, say, succeeds without a product: that is no disagreement.
                if recorded.get(key) != content_version([])
            ]
    return found


def _by_partition(workspace: Workspace, asset: str, kinds: tuple[str, ...]) -> dict[str, list[ProductRecord]]:
    held: dict[str, list[ProductRecord]] = defaultdict(list)
    for kind in kinds:
        for record in workspace.products.current(kind):
            held[dagster_key(record.partition)].append(record)
    closing = CLOSING.get(asset)
    return {key: records for key, records in held.items() if closing is None or any(r.kind == closing for r in records)}


def dagster_key(partition: str) -> str:
    """Dagster's text of a partition such as ``day=2027-03-01/detector=WFI01``."""
    keys = partition_keys(partition)
    if "day" in keys:
        return str(day_detector_key(keys["day"], keys["detector"]))
    if "season" in keys:
        return str(season_detector_key(keys["season"], keys["detector"]))
    return keys["region"]


def _recorded_versions(instance: dg.DagsterInstance, asset: str) -> dict[str, str]:
    """The data version that was last recorded of each partition; one query, for an asset may have thousands."""
    tag = "dagster/data_version"
    tags = instance.event_log_storage.get_latest_tags_by_partition(
        dg.AssetKey(asset), dg.DagsterEventType.ASSET_MATERIALIZATION, [tag]
    )
    return {key: found[tag] for key, found in tags.items()}


def _event(asset: str, key: str, records: list[ProductRecord], version: str) -> dg.AssetMaterialization:
    metadata: dict[str, Any] = {
        "reconciled": True,
        "dagster/row_count": sum(r.rows or 0 for r in records),
        "size_bytes": sum(r.size for r in records),
        "products": len(records),
    }
    return dg.AssetMaterialization(
        asset_key=asset,
        partition=key,
        metadata=metadata,
        tags={"dagster/data_version": version},
        description="reported by `roman reconcile` from the product index",
    )


def _damage(workspace: Workspace, records: list[ProductRecord]) -> list[str]:
    damaged = []
    for record in records:
        try:
            workspace.products.verify(record)
        except (RomanError, OSError) as error:
            damaged.append(str(error))
    return damaged
