"""The MSOS assets: thin Dagster functions around the stages of msos/stages.

`build_assets` takes the survey's partitions, so that a replaced calendar replaces every key at once. Heavy
imports happen when an asset runs: every run and step of the deployment pays the import path of this module.
"""

# Dagster reads the annotations of asset functions when they are defined: no postponed evaluation here.
from collections.abc import Callable
from typing import Any

import dagster as dg

from roman_assets.platform.pods import BIGMEM, IMAGES, LIGHT, POOL_IMAGES, POOL_SEASON, SEASON, PodProfile
from roman_assets.platform.promises import promise_metadata
from roman_assets.platform.reporting import OWNERS, check_specs, stage_result
from roman_assets.platform.resource import WorkspaceResource
from roman_assets.survey.partitions import Partitions

EXPOSURES_GROUP, MSOS_GROUP = "exposures", "msos"
#: Transient trouble (storage, database) is retried; bad data never raises.
RETRY = dg.RetryPolicy(max_retries=2, delay=5, backoff=dg.Backoff.EXPONENTIAL)

#: Quality gates by asset: name and description; True stops what is downstream in the same run.
CHECKS: dict[str, dict[str, tuple[str, bool]]] = {
    "exposures": {"photometry_keywords": ("every exposure says how DN/s relate to flux densities", False)},
    "reference_catalog": {
        "catalogue_density": ("stars per pixel are believable", True),
        "catalogue_exists": ("the season of this detector has a catalogue", False),
    },
    "psf_photometry": {
        "completeness": ("the day's exposures are measured", False),
        "fit_quality": ("chi2 per core pixel of every exposure is near one", False),
    },
    "daily_light_curves": {
        "zero_point_stability": ("zero points agree over the day and with the reference", False),
        "photometric_bias": ("faint stars agree with the reference", False),
        "photometric_scatter": ("bright stars scatter as their noise", False),
    },
    "season_light_curves": {"completeness": ("the season's exposures are in the light curves", False)},
    "difference_sources": {
        "false_brightenings": ("dips of the residuals hardly ever reach the threshold", False),
        "source_rate": ("the number of sources is plausible", False),
    },
    "season_objects": {
        "photometric_scatter": ("stars of 18 to 21 mag scatter as their errors", False),
        "variable_share": ("few objects are variable", False),
    },
    "season_events": {"candidate_rate": ("the number of events is plausible", False)},
    "detection_efficiency": {
        "false_events": ("curves without a signal are not called microlensing", False),
        "media_agree": ("signals injected into images are found as those injected into light curves", False),
    },
    "survey_objects": {},
    "survey_events": {"models": ("every candidate has a model", False)},
}


def _report(asset: str, stage: Any) -> dg.MaterializeResult:
    return stage_result(asset, stage, CHECKS[asset])


def _asset(
    name: str,
    partitions: dg.PartitionsDefinition[Any],
    description: str,
    kinds: set[str],
    profile: PodProfile,
    *,
    group: str = MSOS_GROUP,
    deps: list[dg.AssetDep] | None = None,
    pool: str | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    from roman_assets.systems.msos.stages.common import CODE

    return dg.asset(
        name=name,
        partitions_def=partitions,
        description=description,
        kinds=kinds,
        group_name=group,
        deps=deps or [],
        owners=OWNERS,
        code_version=CODE[name],
        op_tags=profile.op_tags(),
        pool=pool,
        retry_policy=RETRY,
        check_specs=check_specs(name, CHECKS[name]),
        backfill_policy=dg.BackfillPolicy.multi_run(1),
        metadata=promise_metadata(name),
    )


class CatalogueSettings(dg.Config):
    """Run configuration of reference_catalog."""

    exposures: int = 12
    optical_element: str | None = None
    minimum_exposures: int = 1
    tile_px: int = 1024
    reestablish: bool = False


class DifferenceSettings(dg.Config):
    """Run configuration of difference_sources: length of a bin of time [d], and false sources let through."""

    bin_days: float = 0.25
    false_per_megapixel: float = 1.0


class InjectionSettings(dg.Config):
    """Run configuration of detection_efficiency: injections per cell of the maps, curves without a signal, and signals
    injected into the images of a window of a pointing."""

    per_cell: int = 8
    planets_per_cell: int = 20
    controls: int = 1000
    image_injections: int = 24
    image_px: int = 512


def build_assets(partitions: Partitions) -> list[dg.AssetsDefinition]:
    """All MSOS assets of a calendar."""
    return [*_day_assets(partitions), *_season_assets(partitions), *_survey_assets(partitions)]


def _day_assets(p: Partitions) -> list[dg.AssetsDefinition]:
    @_asset(
        "exposures",
        p.day_detector,
        "Validated Level 2 exposures of a day of a detector, from the registry.",
        {"asdf", "json"},
        LIGHT,
        group=EXPOSURES_GROUP,
    )
    def exposures(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.msos.stages.exposures import collect

        day, detector = _keys(context, "day", "detector")
        return _report("exposures", collect(workspace.get(), day, detector, context.log.info))

    @_asset(
        "psf_photometry",
        p.day_detector,
        "Joint PSF fit of every catalogued star in every exposure: one part per exposure, and their manifest.",
        {"c", "parquet"},
        IMAGES,
        pool=POOL_IMAGES,
        deps=[dg.AssetDep("exposures"), dg.AssetDep("reference_catalog", partition_mapping=p.season_to_day)],
    )
    def psf_photometry(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.msos.stages.psf_photometry import measure

        day, detector = _keys(context, "day", "detector")
        return _report("psf_photometry", measure(workspace.get(), day, detector, context.log.info))

    @_asset(
        "daily_light_curves",
        p.day_detector,
        "Photometry on the reference zero point, additive sums per object, and alerts of rising objects.",
        {"polars", "parquet"},
        LIGHT,
        deps=[dg.AssetDep("psf_photometry")],
    )
    def daily_light_curves(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.msos.stages.daily_light_curves import daily

        day, detector = _keys(context, "day", "detector")
        return _report("daily_light_curves", daily(workspace.get(), day, detector, context.log.info))

    return [exposures, psf_photometry, daily_light_curves]


def _season_assets(p: Partitions) -> list[dg.AssetsDefinition]:
    @_asset(
        "reference_catalog",
        p.season_detector,
        "Stars to measure: found blind on a stack of the season's first exposures, then frozen. Run with "
        "`reestablish: true` to make it anew under the next sequence.",
        {"c", "parquet"},
        IMAGES,
        pool=POOL_IMAGES,
        deps=[dg.AssetDep("exposures", partition_mapping=p.day_to_season)],
    )
    def reference_catalog(
        context: dg.AssetExecutionContext, config: CatalogueSettings, workspace: WorkspaceResource
    ) -> dg.MaterializeResult:
        from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig, establish

        season, detector = _keys(context, "season", "detector")
        settings = CatalogueConfig(**config.model_dump())
        return _report("reference_catalog", establish(workspace.get(), season, detector, settings, context.log.info))

    @_asset(
        "season_light_curves",
        p.season_detector,
        "The season's calibrated parts transposed to one row per object, with list columns; epochs stored once.",
        {"polars", "parquet"},
        SEASON,
        pool=POOL_SEASON,
        deps=[dg.AssetDep("daily_light_curves", partition_mapping=p.day_to_season), dg.AssetDep("reference_catalog")],
    )
    def season_light_curves(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.msos.stages.season_light_curves import transpose_season

        season, detector = _keys(context, "season", "detector")
        return _report("season_light_curves", transpose_season(workspace.get(), season, detector, context.log.info))

    @_asset(
        "difference_sources",
        p.season_detector,
        "Sources that the catalogue does not have and that brightened: found on residuals in time and space, with "
        "difference light curves.",
        {"c", "parquet"},
        BIGMEM,
        pool=POOL_IMAGES,
        deps=[
            dg.AssetDep("season_light_curves"),
            dg.AssetDep("reference_catalog"),
            dg.AssetDep("daily_light_curves", partition_mapping=p.day_to_season),
        ],
    )
    def difference_sources(
        context: dg.AssetExecutionContext, config: DifferenceSettings, workspace: WorkspaceResource
    ) -> dg.MaterializeResult:
        from roman_assets.systems.msos.difference.search import DifferenceConfig
        from roman_assets.systems.msos.stages.difference_sources import difference_sources as search

        season, detector = _keys(context, "season", "detector")
        settings = DifferenceConfig(**config.model_dump())
        return _report("difference_sources", search(workspace.get(), season, detector, settings, context.log.info))

    @_asset(
        "season_objects",
        p.season_detector,
        "Object catalogue of a season, difference sources included: mean fluxes, scatter, variability.",
        {"polars", "parquet"},
        SEASON,
        pool=POOL_SEASON,
        deps=[dg.AssetDep("season_light_curves"), dg.AssetDep("difference_sources")],
    )
    def season_objects(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.msos.stages.season_objects import objects

        season, detector = _keys(context, "season", "detector")
        return _report("season_objects", objects(workspace.get(), season, detector, context.log.info))

    @_asset(
        "season_events",
        p.season_detector,
        "Microlensing candidates of a season: two-template search, point-lens fits, vetoes, class with a reason.",
        {"c", "parquet"},
        SEASON,
        pool=POOL_SEASON,
        deps=[dg.AssetDep("season_light_curves"), dg.AssetDep("difference_sources")],
    )
    def season_events(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.msos.stages.season_events import events

        season, detector = _keys(context, "season", "detector")
        return _report("season_events", events(workspace.get(), season, detector, context.log.info))

    @_asset(
        "detection_efficiency",
        p.season_detector,
        "Share of point lenses and planets, injected into the season's light curves and images, that the search finds; "
        "false events.",
        {"c", "parquet"},
        SEASON,
        pool=POOL_SEASON,
        deps=[dg.AssetDep("season_light_curves"), dg.AssetDep("season_events")],
    )
    def detection_efficiency(
        context: dg.AssetExecutionContext, config: InjectionSettings, workspace: WorkspaceResource
    ) -> dg.MaterializeResult:
        from roman_assets.systems.msos.efficiency.injection import InjectionConfig
        from roman_assets.systems.msos.stages.detection_efficiency import detection_efficiency as measure

        season, detector = _keys(context, "season", "detector")
        settings = InjectionConfig(**config.model_dump())
        return _report("detection_efficiency", measure(workspace.get(), season, detector, settings, context.log.info))

    return [
        reference_catalog,
        season_light_curves,
        difference_sources,
        season_objects,
        season_events,
        detection_efficiency,
    ]


def _survey_assets(p: Partitions) -> list[dg.AssetsDefinition]:
    # Which seasons and detectors see a region depends on pointing: lineage maps all partitions, and the real
    # inputs are chosen through the index, whose hashes enter the product's identity.
    everything = dg.AllPartitionMapping()

    @_asset(
        "survey_objects",
        p.bulge_region,
        "Objects of a sky region matched over all seasons.",
        {"polars", "parquet"},
        SEASON,
        pool=POOL_SEASON,
        deps=[dg.AssetDep("season_objects", partition_mapping=everything)],
    )
    def survey_objects(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.msos.stages.survey_objects import objects

        return _report("survey_objects", objects(workspace.get(), context.partition_key, context.log.info))

    @_asset(
        "survey_events",
        p.bulge_region,
        "Events of a sky region with joint models over all seasons.",
        {"c", "parquet"},
        SEASON,
        pool=POOL_SEASON,
        deps=[dg.AssetDep("season_events", partition_mapping=everything), dg.AssetDep("survey_objects")],
    )
    def survey_events(context: dg.AssetExecutionContext, workspace: WorkspaceResource) -> dg.MaterializeResult:
        from roman_assets.systems.msos.stages.survey_events import events

        return _report("survey_events", events(workspace.get(), context.partition_key, context.log.info))

    return [survey_objects, survey_events]


def _keys(context: dg.AssetExecutionContext, *dimensions: str) -> tuple[str, ...]:
    """Keys of the partition by dimension."""
    key = context.partition_key
    assert isinstance(key, dg.MultiPartitionKey), "the asset has two partition dimensions"
    return tuple(key.keys_by_dimension[d] for d in dimensions)
