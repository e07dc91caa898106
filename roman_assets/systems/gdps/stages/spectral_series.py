"""Time series of spectra of a region of the sky: a spectrum per source and visit, and which sources vary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from roman_assets.platform.making import withdraw_others
from roman_assets.platform.regions import region_identity
from roman_assets.platform.stage import Check, Progress, StageResult, region_partition, silent
from roman_assets.platform.workspace import Workspace
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.gdps.archive import spectral_metadata
from roman_assets.systems.gdps.extraction.time_series import source_series, variability, visits_of
from roman_assets.systems.gdps.stages.combined_spectra import facts_of, inside, middle_of, parts_of_region
from roman_assets.systems.gdps.stages.common import CODE, rows_table, spectrum_columns, spectrum_of
from roman_assets.systems.gdps.tables import SPECTRAL_SERIES, SPECTRAL_VARIABILITY

KINDS = ("spectral_series", "spectral_variability")
#: A source is called variable if a constant one would look as variable with less than this chance.
VARIABLE_CHANCE = 1e-4
#: Sources drawn.
SHOWN = 2


def series_of_region(workspace: Workspace, region: str, progress: Progress = silent) -> StageResult:
    """Spectra by visit and variability of a region's sources, for each element that visited it more than once."""
    result = StageResult()
    partition = region_partition(region)
    by_element: dict[str, list[ProductRecord]] = {}
    for record in parts_of_region(workspace, region):
        by_element.setdefault(str(record.attributes["optical_element"]), []).append(record)
    for element, used in sorted(by_element.items()):
        identities = {
            kind: Identity(
                tuple(r.sha256 for r in used),
                CODE["spectral_series"],
                {**region_identity(workspace.calendar, region), "optical_element": element, "kind": kind},
            )
            for kind in KINDS
        }
        found = [
            workspace.products.lookup(kind, partition, part=element.lower(), identity=identity)
            for kind, identity in identities.items()
        ]
        kept = [r for r in found if r is not None]
        result.records += kept if len(kept) == len(KINDS) else _make(workspace, region, element, used, identities)
        progress(f"{element}: {result.records[-1].rows} sources in several visits")
    withdraw_others(workspace, KINDS, partition, result.records)
    _summarise(workspace, result)
    return result


def _make(
    workspace: Workspace, region: str, element: str, used: Sequence[ProductRecord], identities: dict[str, Identity]
) -> list[ProductRecord]:
    tables = [workspace.products.read_table(record) for record in used]
    every = pl.concat([t.filter(pl.Series(inside(workspace, region, t))) for t in tables])
    series, varying = series_tables(every, element)
    facts = facts_of(workspace, used, "spectral_series")
    common: dict[str, Any] = {
        "part": element.lower(),
        "attributes": {
            "region": region,
            "optical_element": element,
            "exposures": len(used),
            "visits": int(visits_of(every["mjd"].to_numpy()).max(initial=-1)) + 1,
        },
        "sky": middle_of(every),
    }
    put, partition = workspace.products, region_partition(region)
    archive = spectral_metadata("spec_combined_1d", facts)
    return [
        put.put_table(KINDS[0], partition, series, identities[KINDS[0]], archive=archive, **common),
        put.put_table(KINDS[1], partition, varying, identities[KINDS[1]], **common),
    ]


def series_tables(exposures: pl.DataFrame, element: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """`spectral_series` and `spectral_variability` of rows of `spectra_1d_part`; sources seen in one visit are left out."""
    table = exposures.with_columns(visit=pl.Series(visits_of(exposures["mjd"].to_numpy()))).sort("source_id", "mjd")
    rows: list[dict[str, Any]] = []
    varying: list[dict[str, Any]] = []
    for (source_id,), same in table.group_by(["source_id"], maintain_order=True):
        members = same.to_dicts()
        series = source_series([spectrum_of(row) for row in members], same["visit"].to_numpy())
        if len(series.visit) < 2:
            continue
        head = {"source_id": source_id, "ra": members[0]["ra"], "dec": members[0]["dec"], "optical_element": element}
        for k, number in enumerate(series.visit):
            mine = [m for m in members if m["visit"] == number]
            rows.append(
                {
                    **head,
                    "visit": int(number),
                    "mjd": float(np.average([m["mjd"] for m in mine], weights=[m["exptime"] for m in mine])),
                    "exptime": sum(m["exptime"] for m in mine),
                    "n_exposures": len(mine),
                    "position_angles": [m["position_angle"] for m in mine],
                    "brightness": series.brightness[k],
                    "brightness_err": series.brightness_err[k],
                    **spectrum_columns(series.spectra[k], element),
                }
            )
        whole = spectrum_columns(series.mean, element)
        dirt = float(np.nan_to_num(whole["contaminated"]))
        found = variability(series, dirt)
        varying.append(
            {
                **head,
                "n_visits": len(series.visit),
                "first_mjd": members[0]["mjd"],
                "last_mjd": members[-1]["mjd"],
                "snr": whole["snr"],
                "contaminated": whole["contaminated"],
                "chi2": found.chi2,
                "dof": found.dof,
                "chance": found.chance,
                "change": found.change,
            }
        )
    return rows_table(rows, SPECTRAL_SERIES), rows_table(varying, SPECTRAL_VARIABILITY)


def _summarise(workspace: Workspace, result: StageResult) -> None:
    """Figures, the check, and pictures of the sources that vary most."""
    from roman_assets.systems.gdps.plots import series_figure

    tables = {r.part: workspace.products.read_table(r) for r in result.records if r.kind == KINDS[1]}
    every = pl.concat(tables.values()) if tables else SPECTRAL_VARIABILITY.empty()
    variable = every.filter(pl.col("chance") < VARIABLE_CHANCE)
    result.figures = {
        "sources": every.height,
        "variable": variable.height,
        "visits_most": int(every["n_visits"].max() or 0),  # type: ignore[arg-type]
    }
    # Most sources do not vary: if many seem to, it is the calibration.
    constant = every.height - variable.height
    result.checks.append(
        Check(
            "constant_sources",
            constant >= variable.height if every.height else None,
            "most sources keep their brightness",
            {"variable": variable.height, "sources": every.height},
        )
    )
    for record in (r for r in result.records if r.kind == KINDS[0]):
        chosen = tables[record.part].sort("chance", nulls_last=True).head(SHOWN)["source_id"].to_list()
        table = workspace.products.read_table(record).filter(pl.col("source_id").is_in(chosen))
        for (source_id,), rows in table.group_by(["source_id"], maintain_order=True):
            members = rows.to_dicts()
            title = f"source {source_id} ({record.attributes['optical_element']}, {len(members)} visits)"
            result.picture(title, series_figure, members, title)
