"""The spectroscopic assets: thin Dagster functions around the stages of gdps/stages."""

# Dagster reads the annotations of asset functions when they are defined: no postponed evaluation here.
from collections.abc import Iterator
from typing import Any

import dagster as dg

from roman_assets.platform.pods import LIGHT, POOL_IMAGES, POOL_SEASON, SEASON, SPECTRA
from roman_assets.platform.promises import promise_metadata
from roman_assets.platform.reporting import check_specs, stage_result
from roman_assets.platform.resource import WorkspaceResource
from roman_assets.survey.partitions import Partitions

GROUP = "gdps"
OWNERS = ["team:gdps"]
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)
#: Quality gates by asset: name, description, and whether it stops what is downstream.
CHECKS: dict[str, dict[str, tuple[str, bool]]] = {
    "dispersed_exposures": {},
    "contamination_models": {"residual": ("what the models leave of the exposures is noise", False)},
    "spectra_2d": {},
    "spectra_1d": {"completeness": ("all dispersed exposures of the day are extracted", False)},
    "combined_spectra": {},
    "spectral_series": {"constant_sources": ("most sources keep their brightness between visits", False)},
    "redshifts": {
        "honest_flags": ("sources without information are flagged", False),
        "normalised": ("probability densities integrate to one", False),
    },
}
#: What the step that extracts makes: they come from one fit.
EXTRACTED = {
    "contamination_models": "Per exposure: where spectra lie, and the image of all orders of all sources, fitted.",
    "spectra_2d": "Per exposure: decontaminated cut-outs with contamination, model, weights and wavelengths.",
    "spectra_1d": "Per exposure: optimally extracted spectra with errors, contamination and line-spread function.",
}


def _report(asset: str, stage: Any) -> dg.MaterializeResult:
    return stage_result(asset, stage, CHECKS[asset])


def _checks(asset: str) -> list[dg.AssetCheckSpec]:
    return check_specs(asset, CHECKS[asset])


def build_assets(p: Partitions) -> list[dg.AssetsDefinition]:
    """All spectroscopic assets of a calendar; none where it has no spectroscopic day."""
    if not p.spectroscopic_day_detector.get_partition_keys():
        return []
    return [*_day_assets(p), *_region_assets(p)]


def _day_assets(p: Partitions) -> list[dg.AssetsDefinition]:
    from roman_assets.systems.gdps.versions import CODE

    @dg.asset(
        name="dispersed_exposures",
        partitions_def=p.spectroscopic_day_detector,
        group_name=GROUP,
        owners=OWNERS,
        description="Validated grism and prism exposures of a day of a detector, from the registry.",
        kinds={"asdf", "json"},
        code_version=CODE["dispersed_exposures"],
        op_tags=LIGHT.op_tags(),
        retry_policy=RETRY,
        check_specs=_checks("dispersed_exposures"),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        metadata=promise_metadata("dispersed_exposures"),
    )
    def dispersed_exposures(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.gdps.stages.dispersed_exposures import collect

        return _report("dispersed_exposures", collect(workspace.get(), *_day(context), context.log.info))

    @dg.multi_asset(
        name="extract_spectra",
        partitions_def=p.spectroscopic_day_detector,
        pool=POOL_IMAGES,
        op_tags=SPECTRA.op_tags(),
        retry_policy=RETRY,
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        specs=[
            dg.AssetSpec(
                name,
                deps=["dispersed_exposures"],
                description=text,
                group_name=GROUP,
                owners=OWNERS,
                code_version=CODE[name],
                kinds={"c", "parquet" if name == "spectra_1d" else "asdf"},
                metadata=promise_metadata(name),
            )
            for name, text in EXTRACTED.items()
        ],
        check_specs=[spec for name in EXTRACTED for spec in _checks(name)],
    )
    def extract_spectra(
        context: dg.AssetExecutionContext, workspace: WorkspaceResource
    ) -> Iterator[dg.MaterializeResult]:
        from roman_assets.systems.gdps.stages.spectra import extract_day

        done = extract_day(workspace.get(), *_day(context), context.log.info)
        for name, stage in zip(EXTRACTED, (done.models, done.cutouts, done.spectra), strict=True):
            yield _report(name, stage)

    return [dispersed_exposures, extract_spectra]


def _region_assets(p: Partitions) -> list[dg.AssetsDefinition]:
    from roman_assets.systems.gdps.versions import CODE

    # Which days see a region depends on pointing: lineage maps all, the index chooses the real inputs.
    @dg.asset(
        name="combined_spectra",
        partitions_def=p.spectroscopic_region,
        group_name=GROUP,
        owners=OWNERS,
        description="Spectra of the sources of a sky region, combined over exposures and rolls.",
        kinds={"polars", "parquet"},
        code_version=CODE["combined_spectra"],
        op_tags=SEASON.op_tags(),
        pool=POOL_SEASON,
        retry_policy=RETRY,
        check_specs=_checks("combined_spectra"),
        deps=[dg.AssetDep("spectra_1d", partition_mapping=dg.AllPartitionMapping())],
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        metadata=promise_metadata("combined_spectra"),
    )
    def combined_spectra(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.gdps.stages.combined_spectra import combine_region

        return _report("combined_spectra", combine_region(workspace.get(), context.partition_key, context.log.info))

    @dg.asset(
        name="redshifts",
        partitions_def=p.spectroscopic_region,
        group_name=GROUP,
        owners=OWNERS,
        description="Redshifts with probability densities, classes, warnings and emission lines of a sky region.",
        kinds={"c", "parquet"},
        code_version=CODE["redshifts"],
        op_tags=SEASON.op_tags(),
        pool=POOL_SEASON,
        retry_policy=RETRY,
        check_specs=_checks("redshifts"),
        deps=[dg.AssetDep("combined_spectra")],
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        metadata=promise_metadata("redshifts"),
    )
    def redshifts(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.gdps.stages.redshifts import redshifts_of_region

        return _report("redshifts", redshifts_of_region(workspace.get(), context.partition_key, context.log.info))

    @dg.asset(
        name="spectral_series",
        partitions_def=p.spectroscopic_region,
        group_name=GROUP,
        owners=OWNERS,
        description="Spectra by visit of the sources of a sky region, and which of them vary.",
        kinds={"polars", "parquet"},
        code_version=CODE["spectral_series"],
        op_tags=SEASON.op_tags(),
        pool=POOL_SEASON,
        retry_policy=RETRY,
        check_specs=_checks("spectral_series"),
        deps=[dg.AssetDep("spectra_1d", partition_mapping=dg.AllPartitionMapping())],
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        metadata=promise_metadata("spectral_series"),
    )
    def spectral_series(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.gdps.stages.spectral_series import series_of_region

        return _report("spectral_series", series_of_region(workspace.get(), context.partition_key, context.log.info))

    return [combined_spectra, spectral_series, redshifts]


def _day(context: dg.AssetExecutionContext) -> tuple[str, str]:
    key = context.partition_key
    assert isinstance(key, dg.MultiPartitionKey), "the asset has two partition dimensions"
    return key.keys_by_dimension["day"], key.keys_by_dimension["detector"]
