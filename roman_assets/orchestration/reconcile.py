"""Repairing the product index from the store, and Dagster's record from the index.

An index restored from a backup lacks what was made since; the store has it, each product with its row. The index is the
truth for Dagster: a run that was killed between the index commit and its event leaves products that Dagster does not know
of, and so does adopting them. Reconciling reports those, and says where the two disagree the other way.
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
from roman_assets.platform.system import AssetFacts
from roman_assets.platform.workspace import Workspace
from roman_assets.products.adoption import MOST_ROW_FILES, Adoption, complete
from roman_assets.products.records import ProductRecord, partition_keys
from roman_assets.survey.partitions import day_detector_key, season_detector_key
from roman_assets.systems.registry import ASSETS

Progress = Callable[[int, int, str], None]


@dataclass
class Reconciliation:
    """What was compared and found."""

    compared: int = 0
    reported: list[str] = field(default_factory=list)
    unbacked: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    adoption: Adoption = field(default_factory=Adoption)


def reconcile(
    workspace: Workspace,
    *,
    dry_run: bool = False,
    verify: bool = False,
    most_row_files: int = MOST_ROW_FILES,
    progress: Progress | None = None,
) -> Reconciliation:
    """Complete the index from the store; then compare it with the event log partition by partition, and report to Dagster
    what it does not know.

    Parameters
    ----------
    dry_run
        Only say what would be adopted and reported.
    verify
        Also read every product and compare its sha256; the index forgets those that are damaged, unless `dry_run`.
    most_row_files
        So many missing row files are written at most: see `products.adoption`.

    Raises
    ------
    Unavailable, DatabaseUnavailable
        Store or index do not answer now.
    """
    adoption = complete(workspace.products, dry_run=dry_run, most_row_files=most_row_files, progress=progress)
    found = Reconciliation(adoption=adoption)
    with dagster_instance(workspace) as instance:
        for number, asset in enumerate(ASSETS.values()):
            if progress:
                progress(number, len(ASSETS), asset.name)
            held = _by_partition(workspace, asset)
            known = instance.get_materialized_partitions(dg.AssetKey(asset.name))
            recorded = _recorded_versions(instance, asset.name)
            for key, records in sorted(held.items()):
                found.compared += 1
                version = content_version(records)
                if key not in known or recorded.get(key) != version:
                    found.reported.append(f"{asset.name} [{key}]")
                    if not dry_run:
                        instance.report_runless_asset_event(_event(asset.name, key, records, version))
                if verify:
                    found.damaged += _damage(workspace, records, mark=not dry_run)
            found.unbacked += [
                f"{asset.name} [{key}] is materialized in Dagster but has no product"
                for key in sorted(known - set(held))
                # A region without objects, say, succeeds without a product: that is no disagreement.
                if recorded.get(key) != content_version([])
            ]
    return found


def _by_partition(workspace: Workspace, asset: AssetFacts) -> dict[str, list[ProductRecord]]:
    held: dict[str, list[ProductRecord]] = defaultdict(list)
    for kind in asset.products:
        for record in workspace.products.current(kind):
            held[dagster_key(record.partition)].append(record)
    closing = asset.closes
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


def _damage(workspace: Workspace, records: list[ProductRecord], *, mark: bool) -> list[str]:
    damaged = []
    for record in records:
        try:
            workspace.products.verify(record, mark=mark)
        except (RomanError, OSError) as error:
            damaged.append(str(error))
    return damaged
