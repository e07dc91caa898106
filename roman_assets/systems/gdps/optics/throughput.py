"""Effective areas of the dispersing elements: how many electrons a spectrum gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from roman_assets.doors import reading, users_parquet
from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.traces import Origin, origin_of, read_reference

F64 = NDArray[np.float64]
PLANCK, LIGHT_SPEED = 6.62607015e-34, 2.99792458e8  # J s, m/s
#: Below this share of an order's largest effective area a flux is not worth its error.
FAINTEST_SHARE = 0.05


@dataclass(frozen=True)
class Throughput:
    """Effective areas of one element on one detector.

    Attributes
    ----------
    curves
        By order: rising wavelengths [um] and effective areas [m2]; nothing outside them.
    origin
        Where they come from.
    """

    curves: Mapping[str, tuple[F64, F64]]
    origin: Origin

    def __post_init__(self) -> None:
        for order, (wavelength, area) in self.curves.items():
            field = f"effective_area_m2, order {order}"
            if wavelength.ndim != 1 or wavelength.shape != area.shape or len(wavelength) < 2:
                raise InputError(
                    "the curve has fewer than two points",
                    file=self.origin.name,
                    field=field,
                    remedy="repair the throughput file",
                )
            if not (
                np.isfinite(wavelength).all()
                and np.isfinite(area).all()
                and (area >= 0).all()
                and (np.diff(wavelength) > 0).all()
            ):
                raise InputError(
                    "wavelengths do not rise, or an area is not finite and positive",
                    file=self.origin.name,
                    field=field,
                    remedy="repair the throughput file",
                )

    def area(self, order: str, wavelength: ArrayLike) -> F64:
        """Effective area [m2] at wavelengths [um]; 0 outside the curve or for an order without one."""
        if order not in self.curves:
            return np.zeros(np.shape(wavelength))
        return np.interp(np.asarray(wavelength, dtype=np.float64), *self.curves[order], left=0, right=0)

    def sensitivity(self, order: str, wavelength: ArrayLike) -> F64:
        """SENS = A lambda / (h c): electrons/s for each W m-2 at wavelengths [um] (Ryan et al. 2018, eq. 4, for energy)."""
        wave = np.asarray(wavelength, dtype=np.float64)
        return self.area(order, wave) * wave * 1e-6 / (PLANCK * LIGHT_SPEED)

    def band(self, order: str, share: float = FAINTEST_SHARE) -> tuple[float, float]:
        """Wavelengths [um] between which the area exceeds `share` of its largest value; InputError without a curve."""
        if order not in self.curves or not self.curves[order][1].max() > 0:
            raise InputError(f"no effective area of order {order}", file=self.origin.name, field="order")
        wavelength, area = self.curves[order]
        inside = wavelength[area >= share * area.max()]
        return float(inside[0]), float(inside[-1])

    def scaled(self, factor: float) -> Throughput:
        """The same curves times `factor`, for detectors that count in other units than electrons."""
        return Throughput({o: (w, factor * a) for o, (w, a) in self.curves.items()}, self.origin)

    def rates(self, order: str, edges: ArrayLike) -> F64:
        """Electrons/s in wavelength bins (edges [um]) of a source of 1 W m-2 nm-1: the mean SENS times the width [nm]."""
        edge = np.asarray(edges, dtype=np.float64)
        # Simpson's rule: curves are smooth on the scale of half a pixel.
        middle = self.sensitivity(order, (edge[1:] + edge[:-1]) / 2)
        ends = self.sensitivity(order, edge)
        return (4 * middle + ends[1:] + ends[:-1]) / 6 * np.diff(edge) * 1e3


def curves_of(table: pl.DataFrame) -> dict[str, tuple[F64, F64]]:
    """Curves by order of a table of wavelength_um, order, effective_area_m2."""
    curves = {}
    for (order,), rows in table.sort("wavelength_um").group_by(["order"], maintain_order=True):
        curves[str(order)] = (
            rows["wavelength_um"].to_numpy().astype(np.float64),
            rows["effective_area_m2"].to_numpy().astype(np.float64),
        )
    return curves


def read_throughput(path: str | Path, detector: str | None = None) -> Throughput:
    """Effective areas of a parquet file with the columns wavelength_um, order, effective_area_m2 (and detector).

    Raises
    ------
    InputError
        The file cannot be read, lacks a column or the detector, or its curves are unusable.
    """
    data = read_reference(path, "throughput file")
    with reading(path, "a throughput file", "give a parquet file"):
        return Throughput(_curves(users_parquet(data), path, detector), _origin(path, data))


def _origin(path: str | Path, data: bytes) -> Origin:
    return origin_of(path, data, "reference file")


def _curves(table: pl.DataFrame, path: str | Path, detector: str | None) -> dict[str, tuple[F64, F64]]:
    missing = {"wavelength_um", "order", "effective_area_m2"} - set(table.columns)
    if missing:
        raise InputError("columns are missing", file=path, field=", ".join(sorted(missing)), remedy="add them")
    if "detector" in table.columns and detector is not None:
        table = table.filter(pl.col("detector") == detector)
    if table.is_empty():
        raise InputError(f"no curve for {detector}", file=path, field="detector", remedy="give a file that has it")
    numbers = pl.col("wavelength_um", "effective_area_m2").cast(pl.Float64)
    table = table.with_columns(pl.col("order").cast(pl.String), numbers)
    return curves_of(table)
