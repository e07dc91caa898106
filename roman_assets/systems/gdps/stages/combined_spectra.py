"""Spectra combined over exposures and rolls, of a region of the sky."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from roman_assets.platform.making import withdraw_others
from roman_assets.platform.regions import region_identity, regions_of
from roman_assets.platform.stage import Progress, StageResult, region_partition, silent
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.gdps.archive import SpectralFacts, spectral_metadata
from roman_assets.systems.gdps.stages.common import CODE, SPECTRA, combined_table, spectral_facts

if TYPE_CHECKING:
    pass


def combine_region(workspace: Workspace, region: str, progress: Progress = silent) -> StageResult:
    """One spectrum per source of a region and element, from all its exposures."""
    result = StageResult()
    parts = parts_of_region(workspace, region)
    if not parts:
        result.caveat(Code.NOTHING, region, "no spectrum lies here")
        result.figures = {"sources": 0}
        withdraw_others(workspace, ("combined_spectra",), region_partition(region), ())
        return result
    by_element: dict[str, list[ProductRecord]] = {}
    for made in parts:
        by_element.setdefault(str(made.attributes["optical_element"]), []).append(made)
    partition = region_partition(region)
    for element, used in sorted(by_element.items()):
        place = {**region_identity(workspace.calendar, region), "optical_element": element}
        identity = Identity(tuple(r.sha256 for r in used), CODE["combined_spectra"], place)
        record = workspace.products.lookup("combined_spectra", partition, part=element.lower(), identity=identity)
        if record is None:
            table = _combined(workspace, region, element, used)
            record = workspace.products.put_table(
                "combined_spectra",
                partition,
                table,
                identity,
                part=element.lower(),
                attributes={"region": region, "optical_element": element, "exposures": len(used)},
                archive=spectral_metadata("spec_combined_1d", facts_of(workspace, used, "combined_spectra")),
                sky=middle_of(table),
            )
        result.records.append(record)
        progress(f"{element}: {record.rows} sources from {len(used)} exposures")
    withdraw_others(workspace, ("combined_spectra",), partition, result.records)
    tables = [workspace.products.read_table(r, ["n_exposures", "snr", "coverage"]) for r in result.records]
    every = pl.concat(tables)
    result.figures = {
        "sources": every.height,
        "exposures": len(parts),
        "in_several_exposures": int((every["n_exposures"] > 1).sum()),
        "snr_median": float(every["snr"].fill_nan(None).median() or 0.0),  # type: ignore[arg-type]
        "coverage_median": float(every["coverage"].median() or 0.0),  # type: ignore[arg-type]
    }
    return result


def parts_of_region(workspace: Workspace, region: str) -> list[ProductRecord]:
    """Spectra of exposures with a source in the region, in a fixed order."""
    found = []
    for record in sorted(workspace.products.current(SPECTRA), key=lambda r: (r.partition, r.part)):
        if region in regions_of(workspace, record):
            found.append(record)
    return found


def inside(workspace: Workspace, region: str, table: pl.DataFrame) -> np.ndarray[Any, Any]:
    """Which rows (with ra, dec) lie in a region, (n,) bool."""
    names = workspace.calendar.regions_of(table["ra"].to_numpy(), table["dec"].to_numpy())
    return np.array([name == region for name in names], dtype=bool)


def _combined(workspace: Workspace, region: str, element: str, used: Sequence[ProductRecord]) -> pl.DataFrame:
    tables = []
    for record in used:
        table = workspace.products.read_table(record)
        tables.append(table.filter(pl.Series(inside(workspace, region, table))))
    return combined_table(pl.concat(tables).sort("source_id", "mjd"), element)


def facts_of(workspace: Workspace, used: Sequence[ProductRecord], asset: str) -> SpectralFacts:
    """Facts for the archive record of what is made from spectra of exposures."""
    names = [str(r.attributes["exposure_id"]) for r in used]
    exposures = [e for name in names if (e := workspace.registry.exposure(name)) is not None]
    return spectral_facts(workspace, exposures, asset)


def middle_of(table: pl.DataFrame) -> tuple[float, float]:
    """Mean place of rows with ra, dec [deg]."""
    return float(table["ra"].to_numpy().mean()), float(table["dec"].to_numpy().mean())
