"""What the spectroscopic stages share: spectra as rows of tables, facts of archive records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.workspace import Workspace
from roman_assets.products.schemas import TableSchema
from roman_assets.systems.gdps import tables  # noqa: F401 - the stages store them
from roman_assets.systems.gdps.archive import SpectralFacts
from roman_assets.systems.gdps.extraction.combination import combine
from roman_assets.systems.gdps.spectra.spectrum import Spectrum
from roman_assets.systems.gdps.system import SYSTEM
from roman_assets.systems.gdps.tables import COMBINED_SPECTRA

#: Code versions of the assets.
CODE = SYSTEM.code
#: Spectra of an exposure.
SPECTRA = "spectra_1d_part"
#: Wavelengths that coverage counts, by element [nm].
BAND_NM = {"GRISM": (1000.0, 1930.0), "PRISM": (750.0, 1800.0)}


def spectrum_columns(spectrum: Spectrum, element: str) -> dict[str, Any]:
    """A spectrum as the columns of a table's row: lists, and what sums it up."""
    good = spectrum.good
    # A flagged pixel keeps what was measured: combining falls back on it where there is nothing better.
    measured = np.isfinite(spectrum.flux) & np.isfinite(spectrum.variance) & (spectrum.variance > 0)
    error = np.sqrt(np.where(measured, spectrum.variance, np.nan))
    low, high = BAND_NM[element]
    span = np.gradient(spectrum.wavelength) if len(spectrum) > 1 else np.zeros(1)
    inside = good & (spectrum.wavelength >= low) & (spectrum.wavelength <= high)
    flux, dirt = np.abs(spectrum.flux[good]).sum(), np.abs(spectrum.contamination[good]).sum()
    return {
        "snr": float(np.median(spectrum.flux[good] / error[good])) if good.any() else float("nan"),
        "coverage": float(min(span[inside].sum() / (high - low), 1.0)),
        "contaminated": float(dirt / (dirt + flux)) if flux + dirt > 0 else float("nan"),
        "wavelength": spectrum.wavelength.tolist(),
        "flux": np.where(measured, spectrum.flux, np.nan).tolist(),
        "flux_err": error.tolist(),
        "contamination": spectrum.contamination.tolist(),
        "flags": spectrum.flags.tolist(),
        "lsf_sigma": spectrum.lsf_sigma.tolist(),
        "point_source": spectrum.point_source,
    }


def spectrum_of(row: Mapping[str, Any]) -> Spectrum:
    """The spectrum of a table's row."""
    error = np.asarray(row["flux_err"], dtype=np.float64)
    flags = np.asarray(row["flags"], dtype=np.uint32)
    bare = ~np.isfinite(error)
    return Spectrum(
        np.asarray(row["wavelength"], dtype=np.float64),
        np.where(bare, 0.0, np.asarray(row["flux"], dtype=np.float64)),
        np.where(bare, np.inf, error**2),
        np.asarray(row["contamination"], dtype=np.float64),
        np.where(bare & (flags == 0), np.uint32(1), flags),
        np.asarray(row["lsf_sigma"], dtype=np.float64),
        row["point_source"],
    )


def spectral_facts(
    workspace: Workspace, exposures: Sequence[RegisteredExposure], asset: str, **more: Any
) -> SpectralFacts:
    """Facts of the archive record of a product made from these exposures."""
    ordered = sorted(exposures, key=lambda e: e.mid_mjd)
    low, high = BAND_NM.get(ordered[0].optical_element, BAND_NM["GRISM"])
    band = f"{low:.0f}-{high:.0f}"
    run = workspace.processing_release
    return SpectralFacts(ordered, run, software=CODE[asset], contamination_range=band, snr_range=band, **more)


def rows_table(rows: Sequence[Mapping[str, Any]], schema: TableSchema) -> pl.DataFrame:
    """Rows as a table of a schema; an empty table of it without rows."""
    return pl.DataFrame(rows, schema=schema.polars_schema) if rows else schema.empty()


def combined_table(table: pl.DataFrame, element: str) -> pl.DataFrame:
    """`combined_spectra` of rows of `spectra_1d_part` of several exposures, sorted by source and time."""
    rows = []
    for (source_id,), same in table.group_by(["source_id"], maintain_order=True):
        members = same.to_dicts()
        spectrum = combine([spectrum_of(row) for row in members])
        rows.append(
            {
                "source_id": source_id,
                "ra": members[0]["ra"],
                "dec": members[0]["dec"],
                "optical_element": element,
                "n_exposures": len(members),
                "position_angles": [m["position_angle"] for m in members],
                "first_mjd": members[0]["mjd"],
                "last_mjd": members[-1]["mjd"],
                "exptime": sum(m["exptime"] for m in members),
                **spectrum_columns(spectrum, element),
            }
        )
    return rows_table(rows, COMBINED_SPECTRA)
