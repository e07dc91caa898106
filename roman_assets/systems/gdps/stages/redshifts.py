"""Redshifts, their probability densities and emission lines, of a region of the sky."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from roman_assets.platform.making import withdraw_others
from roman_assets.platform.stage import Check, Progress, StageResult, finite, region_partition, silent
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.gdps.archive import spectral_metadata
from roman_assets.systems.gdps.stages.common import BAND_NM, CODE, SPECTRA, spectrum_of
from roman_assets.systems.gdps.tables import EMISSION_LINES, REDSHIFTS

if TYPE_CHECKING:
    from roman_assets.systems.gdps.redshift.posterior import RedshiftConfig

from roman_assets.systems.gdps.stages.combined_spectra import facts_of

#: Pictures of at most this many redshifts go into the asset's metadata.
SHOWN_REDSHIFTS = 4

QUALITY = "redshift_quality"

REDSHIFT_KINDS = ("redshifts", "emission_lines", QUALITY)


def redshifts_of_region(workspace: Workspace, region: str, progress: Progress = silent) -> StageResult:
    """Redshifts, their probability densities and emission lines of a region's combined spectra."""
    result = StageResult()
    partition = region_partition(region)
    combined = workspace.products.current("combined_spectra", partition)
    if not combined:
        result.caveat(Code.NOTHING, region, "there are no combined spectra")
        result.figures = {"sources": 0}
        result.not_judged("honest_flags", "normalised")
        withdraw_others(workspace, REDSHIFT_KINDS, partition, ())
        return result
    for record in combined:
        identities = {kind: Identity((record.sha256,), CODE["redshifts"], {"kind": kind}) for kind in REDSHIFT_KINDS}
        found = [
            workspace.products.lookup(kind, partition, part=record.part, identity=identity)
            for kind, identity in identities.items()
        ]
        kept = [r for r in found if r is not None]
        result.records += kept if len(kept) == len(identities) else _measure(workspace, record, identities, progress)
    withdraw_others(workspace, REDSHIFT_KINDS, partition, result.records)
    tables = [workspace.products.read_table(r) for r in result.records if r.kind == "redshifts"]
    every = pl.concat(tables)
    sure = every.filter(pl.col("zwarn") == 0)
    result.figures = {
        "sources": every.height,
        "without_warning": sure.height,
        **{f"class_{name}": count for name, count in sorted(sure["class"].value_counts().iter_rows())},
        "lines": sum(r.rows or 0 for r in result.records if r.kind == "emission_lines"),
    }
    empty = every.filter(pl.col("z").is_nan())
    result.checks += [
        Check("honest_flags", bool((empty["zwarn"] != 0).all()), "sources without information are flagged"),
        Check("normalised", _normalised(every), "probability densities integrate to one", {"sources": every.height}),
    ]
    _pictures(workspace, combined, every, result)
    return result


def _normalised(table: pl.DataFrame) -> bool:
    seen = table.filter(pl.col("z").is_not_nan()).select("pdf_z", "pdf").iter_rows()
    return all(abs(float(np.trapezoid(density, z)) - 1.0) < 0.01 for z, density in seen)


def config_of(element: str) -> RedshiftConfig:
    """Settings for spectra of an element: coverage refers to its band."""
    from roman_assets.systems.gdps.redshift.posterior import RedshiftConfig

    return RedshiftConfig(band=BAND_NM[element])


def _measure(
    workspace: Workspace, record: ProductRecord, identities: Mapping[str, Identity], progress: Progress
) -> list[ProductRecord]:
    from roman_assets.systems.gdps.redshift.measure import measure

    spectra = workspace.products.read_table(record)
    config = config_of(str(record.attributes["optical_element"]))
    measured = measure((spectrum_of(row) for row in spectra.iter_rows(named=True)), config)
    progress(f"{record.part}: {measured.height} redshifts")
    tables = redshift_tables(spectra.select("source_id", "ra", "dec", "optical_element"), measured)
    partition = record.partition
    # The spectra that it was made from, not those there are by now.
    facts = facts_of(
        workspace, [r for r in workspace.products.current(SPECTRA) if r.sha256 in record.inputs], "redshifts"
    )
    common: dict[str, Any] = {
        "part": record.part,
        "attributes": dict(record.attributes),
        "sky": None if record.ra is None or record.dec is None else (record.ra, record.dec),
    }
    made = [
        workspace.products.put_table(
            kind,
            partition,
            tables[kind],
            identities[kind],
            archive=spectral_metadata("spec_catalog", replace(facts, number=number)),
            **common,
        )
        for number, kind in enumerate(("redshifts", "emission_lines"), start=1)
    ]
    quality = workspace.products.put_json(
        QUALITY,
        partition,
        _quality(tables["redshifts"]),
        identities[QUALITY],
        archive=spectral_metadata("spec_catalog_dqa", facts),
        **common,
    )
    return [*made, quality]


def _quality(table: pl.DataFrame) -> dict[str, Any]:
    """Report on a catalogue of redshifts: how many have which warning and class, coverage and contamination."""
    from roman_assets.systems.gdps.redshift.zwarn import ZWarn

    classes = dict(sorted(table["class"].value_counts().iter_rows()))
    return {
        "sources": table.height,
        "without_warning": int((table["zwarn"] == 0).sum()),
        "warnings": {flag.name: int((table["zwarn"] & int(flag) != 0).sum()) for flag in ZWarn},
        "classes": classes,
        "coverage_median": finite(np.median(table["coverage"])) if table.height else None,
        "contamination_median": finite(np.nanmedian(table["contamination"])) if table.height else None,
    }


def redshift_tables(sources: pl.DataFrame, measured: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """`redshifts` and `emission_lines` of sources (source_id, ra, dec, optical_element) and `measure`'s rows of them."""
    solutions = {
        f"solution_{name}": pl.col("solutions").list.eval(pl.element().struct.field(field))
        for name, field in (("z", "z"), ("z_min", "z_min"), ("z_max", "z_max"), ("probability", "probability"))
    }
    classes = {f"p_{name}": pl.col("class_probability").struct.field(name) for name in ("galaxy", "qso", "star")}
    whole = pl.concat([sources, measured.with_columns(**solutions, **classes)], how="horizontal")
    lines = whole.select("source_id", "ra", "dec", "z", "lines").explode("lines").drop_nulls("lines").unnest("lines")
    return {
        "redshifts": whole.select(REDSHIFTS.names),
        "emission_lines": lines.rename({"name": "line"}).select(EMISSION_LINES.names),
    }


def _pictures(
    workspace: Workspace, combined: Sequence[ProductRecord], every: pl.DataFrame, result: StageResult
) -> None:
    """The redshifts that show most: without a warning and with the best-measured lines."""
    from roman_assets.systems.gdps.redshift.figure import redshift_figure
    from roman_assets.systems.gdps.redshift.measure import measure_redshift

    sure = every.filter((pl.col("zwarn") == 0) & (pl.col("class") == "galaxy"))
    wanted = set(sure.sort("bic", descending=True).head(SHOWN_REDSHIFTS)["source_id"].to_list())
    for record in combined:
        table = workspace.products.read_table(record).filter(pl.col("source_id").is_in(wanted))
        for row in table.iter_rows(named=True):
            spectrum = spectrum_of(row)
            title = f"source {row['source_id']} ({row['optical_element']})"
            found = measure_redshift(spectrum, config_of(row["optical_element"]))
            result.picture(title, redshift_figure, spectrum, found, title)
