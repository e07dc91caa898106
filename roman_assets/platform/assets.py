"""Dagster's assets and jobs from the rows of a system: the one place where they are made.

Heavy imports happen when an asset runs: every run and step of the deployment pays the import path of this module.
"""

# Dagster reads the annotations of asset functions when they are defined: no postponed evaluation here.
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import groupby
from typing import Any

import dagster as dg

from roman_assets.platform.pods import PRIORITY
from roman_assets.platform.reporting import check_specs, stage_result
from roman_assets.platform.resource import WorkspaceResource
from roman_assets.platform.system import AssetFacts, Over, PartitionKind, System
from roman_assets.platform.workspace import Workspace
from roman_assets.survey.partitions import Partitions

#: Transient trouble (storage, database, memory) is raised and tried again; what data are never raises.
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)


def system_definitions(system: System, partitions: Partitions, workspace: Workspace) -> dg.Definitions:
    """Assets, jobs and sensors of a system; assets whose kind of partition the calendar does not have are left out."""
    spectroscopy = bool(workspace.calendar.spectroscopic_days)
    held = tuple(a for a in system.assets if spectroscopy or not a.partition.startswith("spectroscopic"))
    assets = build_assets(system, partitions, held)
    jobs: dict[str, Any] = {}
    for job in system.jobs:
        members = [asset for asset in held if asset.job == job.name]
        if members:
            # One Dagster job cannot mix partition definitions: there is a job per kind of partition.
            jobs[job.name] = dg.define_asset_job(
                job.name,
                dg.AssetSelection.assets(*(asset.name for asset in members)),
                partitions_def=keys_of(partitions, members[0].partition),
                description=job.description,
                tags={PRIORITY: job.priority},
            )
    sensors = _load(system.package, system.sensors)(partitions, workspace, jobs) if jobs else []
    return dg.Definitions(assets=assets, jobs=list(jobs.values()), sensors=sensors)


def keys_of(partitions: Partitions, kind: PartitionKind) -> dg.PartitionsDefinition[Any]:
    """The keys of a kind of partition."""
    return {
        "day": partitions.day_detector,
        "season": partitions.season_detector,
        "bulge region": partitions.bulge_region,
        "spectroscopic day": partitions.spectroscopic_day_detector,
        "spectroscopic region": partitions.spectroscopic_region,
    }[kind]


def build_assets(system: System, partitions: Partitions, assets: Sequence[AssetFacts]) -> list[dg.AssetsDefinition]:
    """Assets of a system; those of one step come from one fit and are made together."""
    return [
        _step(system, partitions, step, tuple(members))
        for step, members in groupby(assets, key=lambda asset: asset.step or asset.name)
    ]


def _step(system: System, partitions: Partitions, step: str, members: tuple[AssetFacts, ...]) -> dg.AssetsDefinition:
    first = members[0]
    made: dg.AssetsDefinition = dg.multi_asset(
        name=step,
        specs=[_spec(system, partitions, asset) for asset in members],
        check_specs=[spec for asset in members for spec in check_specs(asset.name, asset.gates)],
        partitions_def=keys_of(partitions, first.partition),
        op_tags=first.profile.op_tags(),
        pool=first.pool,
        retry_policy=RETRY,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
    )(_compute(system, members))
    return made


def _spec(system: System, partitions: Partitions, asset: AssetFacts) -> dg.AssetSpec:
    return dg.AssetSpec(
        asset.name,
        deps=[dg.AssetDep(name, partition_mapping=_mapping(partitions, over)) for name, over in asset.made_of.items()],
        description=asset.description,
        group_name=system.group_of(asset),
        owners=[system.owner],
        code_version=asset.code,
        kinds=set(asset.kinds),
        metadata={"promise": asset.promise.text},
    )


def _mapping(partitions: Partitions, over: Over) -> dg.PartitionMapping | None:
    # Which seasons and days see a region depends on pointing: lineage maps all partitions, and the real inputs are
    # chosen through the index, whose hashes enter the product's identity.
    return {
        "same": None,
        "its days": partitions.day_to_season,
        "its season": partitions.season_to_day,
        "all": dg.AllPartitionMapping(),
    }[over]


def _compute(system: System, members: tuple[AssetFacts, ...]) -> Callable[..., Any]:
    """The function of a step: reads the keys, calls the stage, reports what it came to."""
    first = members[0]

    def run(context: dg.AssetExecutionContext, workspace: WorkspaceResource, *settings: Any) -> Iterator[Any]:
        stage = _load(f"{system.package}.stages", first.stage)
        done = stage(workspace.get(), *_keys(context), *settings, context.log.info)
        for asset, result in zip(members, done.stages if len(members) > 1 else (done,), strict=True):
            yield stage_result(asset.name, result, asset.gates)

    if first.settings is None:

        def plain(context: dg.AssetExecutionContext, workspace: WorkspaceResource):  # type: ignore[no-untyped-def]
            yield from run(context, workspace)

        return plain

    def with_settings(context, config, workspace):  # type: ignore[no-untyped-def]
        yield from run(context, workspace, config.for_stage())

    with_settings.__annotations__ = {
        "context": dg.AssetExecutionContext,
        "config": _load(system.package, first.settings),
        "workspace": WorkspaceResource,
    }
    return with_settings


def _keys(context: dg.AssetExecutionContext) -> tuple[str, ...]:
    """Keys of the partition: (day or season, detector), or (region,)."""
    key = context.partition_key
    if isinstance(key, dg.MultiPartitionKey):
        found = key.keys_by_dimension
        return found.get("day") or found["season"], found["detector"]
    return (key,)


def _load(package: str, name: str) -> Any:
    """``module:attribute`` of a package."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(f"{package}.{module}"), attribute)
