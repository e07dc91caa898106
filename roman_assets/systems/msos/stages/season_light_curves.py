"""Season light curves: a season's calibrated parts transposed to one row per object."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.making import withdraw_others
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS, SeriesBlock, list_column, rounded_errors
from roman_assets.systems.msos.photometry.calibration import ErrorModel, error_model
from roman_assets.systems.msos.stages.common import (
    CODE,
    Check,
    Progress,
    StageResult,
    archive_facts,
    season_partition,
    silent,
)
from roman_assets.systems.msos.stages.daily_light_curves import PART, Calibrated, stack


def transpose_season(workspace: Workspace, season_name: str, detector: str, progress: Progress = silent) -> StageResult:
    """Transpose a season's calibrated parts to light curves, with an error model from their scatter."""
    result = StageResult()
    partition = season_partition(season_name, detector)
    registered = workspace.registry.exposures(season=season_name, detector=detector, kind="imaging", survey="bulge")
    ids = {exposure.exposure_id for exposure in registered}
    # By the registry, not by the season that was written into them when they were made.
    records = [
        r for r in workspace.products.current(PART, None, season=season_name, detector=detector) if r.part in ids
    ]
    groups: dict[str, list[ProductRecord]] = defaultdict(list)
    used: list[ProductRecord] = []
    for record in records:
        groups[str(record.attributes["pointing"])].append(record)
    for catalogue in workspace.products.current("reference_catalog", partition):
        members = [r for r in groups.get(catalogue.part, []) if r.attributes["catalogue"] == catalogue.sha256]
        stale = len(groups.get(catalogue.part, [])) - len(members)
        if stale:
            text = f"{stale} exposures of a superseded catalogue left out: process their days"
            result.caveat(Code.SUPERSEDED, catalogue.part, text)
        used += members
        if members:
            _transpose_one(workspace, partition, season_name, catalogue, members, result)
            progress(f"{catalogue.part}: {len(members)} exposures")
    withdraw_others(workspace, ("season_light_curves", "season_epochs"), partition, result.records)
    _missing(registered, used, result)
    result.figures = {
        "objects": sum(r.rows or 0 for r in result.records if r.kind == "season_light_curves"),
        "epochs": sum(r.rows or 0 for r in result.records if r.kind == "season_epochs"),
        "days_with_data": len({r.attributes["day"] for r in used}),
    }
    return result


def _missing(exposures: Sequence[RegisteredExposure], records: Sequence[ProductRecord], result: StageResult) -> None:
    """Which registered exposures have no calibrated part: the season is made without them, and says so."""
    have = {r.part for r in records}
    lost: dict[str, int] = defaultdict(int)
    for exposure in exposures:
        if exposure.exposure_id not in have:
            lost[exposure.day] += 1
    for day, count in sorted(lost.items()):
        result.caveat(Code.MISSING, day, f"{count} registered exposures have no light-curve part")
    share = 1 - sum(lost.values()) / max(len(exposures), 1)
    result.checks.append(
        Check(
            "completeness",
            share >= 0.9 if exposures else None,
            "at least 90 % of the season's registered exposures are in the light curves",
            {"share": share, "missing_exposures": sum(lost.values())},
        )
    )


def _transpose_one(
    workspace: Workspace,
    partition: str,
    season_name: str,
    catalogue: ProductRecord,
    members: Sequence[ProductRecord],
    result: StageResult,
) -> None:
    """Light curves and epochs of one pointing."""
    identity = Identity(tuple(r.sha256 for r in members), CODE["season_light_curves"], {"catalogue": catalogue.sha256})
    found = [
        workspace.products.lookup(kind, partition, part=catalogue.part, identity=identity)
        for kind in ("season_light_curves", "season_epochs")
    ]
    if all(record is not None for record in found):
        result.records.extend(record for record in found if record is not None)
        return
    reference = workspace.products.read_table(catalogue, ["object_id", "star", "ra", "dec"])
    attributes: dict[str, Any] = {
        **{k: catalogue.attributes[k] for k in ("season", "detector", "field", "pointing", "zero_point", "sequence")},
        "catalogue": catalogue.sha256,
    }
    curves, epochs = [], []
    for element in sorted({str(r.attributes["optical_element"]) for r in members}):
        chosen = sorted(
            (r for r in members if r.attributes["optical_element"] == element), key=lambda r: float(r.attributes["mjd"])
        )
        block = stack([Calibrated(r, workspace.products.read_table(r)) for r in chosen], reference.height)
        usable_flux = np.where((block.flag & UNUSED_FLAGS) == 0, block.flux.astype(np.float64), np.nan)
        model = error_model(usable_flux, block.flux_err.astype(np.float64))
        attributes[f"error_factor_{element}"], attributes[f"error_floor_{element}"] = (model.factor, model.floor)
        curves.append(_curves(reference, block, model, element, catalogue))
        epochs.append(_epochs(chosen, element, float(catalogue.attributes["zero_point"])))
    exposures = {
        e.exposure_id: e
        for e in workspace.registry.exposures(season=season_name, detector=str(catalogue.attributes["detector"]))
    }
    used = [exposures[r.part] for r in sorted(members, key=lambda r: float(r.attributes["mjd"])) if r.part in exposures]
    archive = archive_metadata(
        "light_curve", archive_facts(workspace, season_name, used, sequence=int(catalogue.attributes["sequence"]))
    )
    place = None if catalogue.ra is None or catalogue.dec is None else (catalogue.ra, catalogue.dec)
    # In order of the identifier any reader finds an object by the statistics of the row groups.
    by_object = pl.concat(curves).sort("object_id", maintain_order=True)
    for kind, table in (("season_light_curves", by_object), ("season_epochs", pl.concat(epochs))):
        result.records.append(
            workspace.products.put_table(
                kind,
                partition,
                table,
                identity,
                part=catalogue.part,
                attributes=attributes,
                sky=place,
                s_region=catalogue.s_region,
                archive=archive if kind == "season_light_curves" else None,
            )
        )


def _curves(
    reference: pl.DataFrame, block: SeriesBlock, model: ErrorModel, element: str, catalogue: ProductRecord
) -> pl.DataFrame:
    error = model.apply(block.flux.astype(np.float64), block.flux_err.astype(np.float64)).astype(np.float32)
    error = rounded_errors(error)
    good = ((block.flag & UNUSED_FLAGS) == 0) & np.isfinite(block.flux)
    return reference.with_columns(
        field=pl.lit(catalogue.attributes["field"]),
        detector=pl.lit(catalogue.attributes["detector"]),
        optical_element=pl.lit(element),
        n_good=pl.Series(good.sum(axis=1).astype(np.int32)),
        flux=list_column(block.flux, pl.Float32),
        flux_err=list_column(error, pl.Float32),
        flag=list_column(block.flag, pl.UInt8),
    )


def _epochs(records: Sequence[ProductRecord], element: str, reference: float) -> pl.DataFrame:
    """Facts of the exposures; `reference` is the AB zero point that the calibrated fluxes are on."""
    rows: list[Mapping[str, Any]] = [r.attributes for r in records]
    scale = np.array([r["scale"] for r in rows])
    few = np.array([r["calibrators"] < 50 for r in rows])
    poor = np.array([(r["chi2"] or 0) > 3 for r in rows])
    doubtful = np.array([bool(r.caveats) for r in records])
    return pl.DataFrame(
        {
            "epoch": np.arange(len(rows), dtype=np.int32),
            "exposure_id": [r["exposure_id"] for r in rows],
            "mjd": [r["mjd"] for r in rows],
            "day": [r["day"] for r in rows],
            "field": [r["field"] for r in rows],
            "detector": [r["detector"] for r in rows],
            "optical_element": [element] * len(rows),
            "zero_point": reference + 2.5 * np.log10(scale),
            "zero_point_err": 1.0857 * np.array([r["scale_err"] for r in rows]) / scale,
            "scale": 1.0 / scale,
            "sky": [r["sky"] if r["sky"] is not None else np.nan for r in rows],
            "exptime": [r["exptime_s"] for r in rows],
            "n_stars": [r["usable"] for r in rows],
            "scatter": [1.0857 * r["scatter"] if r["scatter"] is not None else np.nan for r in rows],
            "flag": (few * 1 + poor * 2 + doubtful * 4).astype(np.uint16),
        }
    )
