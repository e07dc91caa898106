"""The object catalogue of a season of a detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from roman_assets.platform.making import withdraw_others
from roman_assets.platform.workspace import Workspace
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.survey.instrument import PIXEL_MAS
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.objects.statistics import statistics
from roman_assets.systems.msos.stages.common import Check, Progress, StageResult, season_partition, silent
from roman_assets.systems.msos.stages.season_curves import (
    CATALOGUE,
    difference_curves,
    identity_of,
    kept_attributes,
    open_curves,
    place_of,
    season_curves,
    season_facts,
)


def objects(workspace: Workspace, season: str, detector: str, progress: Progress = silent) -> StageResult:
    """The object catalogue of a season of a detector."""
    result = StageResult()
    partition = season_partition(season, detector)
    frames = []
    for curves_record in season_curves(workspace, partition, result):
        extra = difference_curves(workspace, curves_record, result.caveats)
        identity = identity_of(curves_record, extra, "season_objects")
        record = workspace.products.lookup("season_objects", partition, part=curves_record.part, identity=identity)
        if record is None:
            record = _make_objects(workspace, partition, season, curves_record, extra, identity)
        result.records.append(record)
        frames.append(workspace.products.read_table(record))
        progress(f"{record.part}: {record.rows} objects")
    withdraw_others(workspace, ("season_objects",), partition, result.records)
    _summarise_objects(result, frames, f"{season} {detector}")
    return result


def _make_objects(
    workspace: Workspace,
    partition: str,
    season: str,
    curves_record: ProductRecord,
    extra: ProductRecord | None,
    identity: Identity,
) -> ProductRecord:
    curves = open_curves(workspace, curves_record, extra)
    made = workspace.products.history("reference_catalog", partition, curves_record.part)
    catalogue = next(r for r in made if r.sha256 == curves_record.attributes["catalogue"])
    reference = _reference(workspace, catalogue, season)
    zero_point = float(curves_record.attributes["zero_point"])
    frames = []
    for element, block in curves.blocks.items():
        measured = statistics(block, zero_point)
        frames.append(
            pl.concat([curves.objects, measured], how="horizontal")
            .with_columns(season=pl.lit(season), optical_element=pl.lit(element))
            .join(reference, on="star", how="left", maintain_order="left")
            .with_columns(pl.col("crowding").fill_null(float("nan")), pl.col("flag").fill_null(0))
        )
    facts = season_facts(workspace, season, curves_record)
    return workspace.products.put_table(
        "season_objects",
        partition,
        pl.concat(frames),
        identity,
        part=curves_record.part,
        attributes=kept_attributes(curves_record),
        sky=place_of(curves_record),
        s_region=curves_record.s_region,
        archive=archive_metadata("object_fiducial", facts),
    )


def _reference(workspace: Workspace, catalogue: ProductRecord, season: str) -> pl.DataFrame:
    """What the object catalogue takes from the reference catalogue, with the epoch of its positions."""
    exposures = workspace.registry.exposures(season=season, detector=str(catalogue.attributes["detector"]))
    epochs = [e.mid_mjd for e in exposures if e.sha256 in catalogue.inputs]
    x_err, y_err = pl.col("x_err").cast(pl.Float64), pl.col("y_err").cast(pl.Float64)
    table = workspace.products.read_table(catalogue, ["star", "crowding", "flag", "x_err", "y_err"])
    return table.select(
        "star",
        "crowding",
        "flag",
        position_err=(PIXEL_MAS * ((x_err**2 + y_err**2) / 2).sqrt()).cast(pl.Float32),
        position_mjd=pl.lit(float(np.mean(epochs)) if epochs else None, dtype=pl.Float64),
    )


def _summarise_objects(result: StageResult, frames: Sequence[pl.DataFrame], title: str) -> None:
    from roman_assets.systems.msos.plots import scatter_figure

    if not frames:
        result.figures = {"objects": 0}
        result.not_judged("photometric_scatter", "variable_share")
        return
    every = pl.concat(frames)
    table = every.filter(pl.col("origin") == CATALOGUE)
    constant = table.filter((pl.col("n") >= 4) & (pl.col("crowding") < 0.5) & pl.col("mag").is_not_nan())
    bright = constant.filter(pl.col("mag").is_between(18, 21))
    ratio = (bright["scatter"] / bright["expected_scatter"]).median() if bright.height else None
    counts = dict(table["variability_class"].value_counts().iter_rows())
    result.figures = {
        "objects": every.height,
        "difference_sources": every.height - table.height,
        **{f"class_{name}": count for name, count in sorted(counts.items())},
        "scatter_over_noise_18_21": float(ratio) if isinstance(ratio, float) else float("nan"),
        "median_points": float(table["n"].cast(pl.Float64).median() or 0),  # type: ignore[arg-type]
    }
    result.picture(
        "scatter",
        scatter_figure,
        constant["mag"].to_numpy().astype(float),
        (constant["scatter"] / constant["flux"]).to_numpy().astype(float),
        (constant["expected_scatter"] / constant["flux"]).to_numpy().astype(float),
        f"{title}: scatter of light curves",
    )
    judged = table.filter(pl.col("n") >= 8).height
    variable = 1 - counts.get("constant", 0) / max(judged, 1)
    result.checks += [
        Check(
            "photometric_scatter",
            None if ratio is None else float(ratio) < 1.5,  # type: ignore[arg-type]
            "stars of 18 to 21 mag scatter less than 1.5 times their errors",
            {"ratio": ratio},
        ),
        Check(
            "variable_share",
            variable < 0.2 if judged else None,
            "less than 20 % of the objects are called variable: more means a calibration problem",
            {"share": variable},
        ),
    ]
