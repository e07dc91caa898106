"""Tables and cut-outs of the spectra of an exposure."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from roman_assets.exposures.level2.frames import Frame
from roman_assets.exposures.level2.header import ExposureHeader
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.systems.gdps.extraction.exposure import ExposureSpectra
from roman_assets.systems.gdps.stages.common import rows_table, spectrum_columns
from roman_assets.systems.gdps.tables import LOCATION_TABLE, SPECTRA_1D_PART


def source_ids(spectra: ExposureSpectra, table: pl.DataFrame) -> np.ndarray[Any, Any]:
    every = table["id"].to_numpy()
    return every[[s.index for s in spectra.model.scene.sources]]


def cutout_tree(source: Any) -> dict[str, Any]:
    cutout = source.cutout
    names = ("science", "contamination", "model", "weights", "wavelength")
    return {"row": int(cutout.box.row), "column": int(cutout.box.column), **{n: getattr(cutout, n) for n in names}}


def spectra_table(
    spectra: ExposureSpectra, exposure: RegisteredExposure | ExposureHeader, angle: float, table: pl.DataFrame
) -> pl.DataFrame:
    """`spectra_1d_part` of an exposure; angle: position angle [deg], table: the catalogue of its sources."""
    places = {int(i): (float(ra), float(dec)) for i, ra, dec in table.select("id", "ra", "dec").iter_rows()}
    rows = [
        {
            "source_id": s.source_id,
            "ra": places[s.source_id][0],
            "dec": places[s.source_id][1],
            "position_angle": angle,
            "mjd": exposure.mid_mjd,
            "exptime": exposure.exptime_s,
            **spectrum_columns(s.spectrum, exposure.optical_element),
        }
        for s in spectra.sources
    ]
    return rows_table(rows, SPECTRA_1D_PART)


def locations(spectra: ExposureSpectra, frame: Frame, table: pl.DataFrame) -> pl.DataFrame:
    x, y = frame.to_pixels(table["ra"].to_numpy(), table["dec"].to_numpy())
    every = table.select("id", "ra", "dec").rows()
    rows = []
    for source in spectra.model.scene.sources:
        source_id, ra, dec = every[source.index]
        for order, placed in source.orders.items():
            ends = {
                name: (float(values[0]), float(values[-1]))
                for name, values in (("x", np.asarray(placed.trace.x)), ("y", np.asarray(placed.trace.y)))
            }
            rows.append(
                {
                    "source_id": source_id,
                    "ra": ra,
                    "dec": dec,
                    "order": order,
                    "x": float(x[source.index]),
                    "y": float(y[source.index]),
                    "x_start": ends["x"][0],
                    "y_start": ends["y"][0],
                    "x_end": ends["x"][1],
                    "y_end": ends["y"][1],
                }
            )
    return rows_table(rows, LOCATION_TABLE)


def position_angle(frame: Frame) -> float:
    """Position angle of +y at the middle of a frame, east of north [deg], 0 to 360."""
    ny, nx = frame.shape
    (ra, dec), (ra2, dec2) = (frame.wcs((nx - 1) / 2, (ny - 1) / 2 + step) for step in (0.0, 1.0))
    east = (float(ra2) - float(ra)) * np.cos(np.deg2rad(float(dec)))
    return float(np.rad2deg(np.arctan2(east, float(dec2) - float(dec))) % 360.0)
