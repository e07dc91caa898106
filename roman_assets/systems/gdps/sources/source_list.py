"""The sources of the direct image: where they are, what they look like, and what colours they have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from roman_assets.doors import reading
from roman_assets.errors import InputError
from roman_assets.systems.gdps.sources.morphology import Shape

F64 = NDArray[np.float64]
#: ICRS ra, dec [deg] to array pixels x, y.
SkyToPixels = Callable[[F64, F64], tuple[F64, F64]]
#: Pivot wavelengths [um] of the imaging elements (Roman WFI technical information).
PIVOTS = {
    "f062": 0.620,
    "f087": 0.869,
    "f106": 1.060,
    "f129": 1.293,
    "f146": 1.464,
    "f158": 1.577,
    "f184": 1.842,
    "f213": 2.125,
}
_NEEDED = ("id", "ra", "dec", "hlr_arcsec", "ellipticity", "pa_deg")
#: Bulge share of a galaxy whose direct image has not been looked at.
USUAL_BULGE = 0.15
#: Below this half-light radius [arcsec] a source is a point; with a star flag, below the second.
POINT_ARCSEC, RESOLVED_ARCSEC = 0.01, 0.1
ARCSEC = np.pi / 180 / 3600


def flux_density(ab_magnitude: ArrayLike, wavelength_um: ArrayLike) -> F64:
    """f_lambda [W m-2 nm-1] of AB magnitudes at pivot wavelengths [um] (Oke & Gunn 1983)."""
    nu = 10 ** (-0.4 * (np.asarray(ab_magnitude, dtype=np.float64) + 56.1))
    return nu * 2.99792458e8 / (np.asarray(wavelength_um) * 1e-6) ** 2 * 1e-9


def _numbers(column: pl.Series, missing: float = np.nan) -> F64:
    """(n,) values of a column, `missing` where there is none."""
    if not (column.dtype.is_numeric() or column.dtype in (pl.Boolean, pl.Null)):
        raise InputError(
            f"cannot be read as a source catalogue: holds {column.dtype}, not numbers",
            file="catalogue",
            field=column.name,
            remedy="store numbers",
        )
    return column.cast(pl.Float64).fill_null(missing).to_numpy()


@dataclass(frozen=True)
class SourceList:
    """n sources.

    Attributes
    ----------
    id
        (n,) int64.
    ra, dec
        (n,) ICRS [deg].
    half_light, ellipticity, angle
        (n,) half-light radius [arcsec] (0 for a point), 1 - b/a, and position angle [deg, E of N].
    bulge
        (n,) share of the light in the de Vaucouleurs profile.
    doubtful
        (n,) flagged as stars but of a size that stars do not have: extended, unless the direct image says otherwise.
    bands
        (b,) wavelengths [um] of the photometry, rising.
    photometry
        (n, b) f_lambda [W m-2 nm-1], NaN where there is none.
    """

    id: NDArray[np.int64]
    ra: F64
    dec: F64
    half_light: F64
    ellipticity: F64
    angle: F64
    bulge: F64
    doubtful: NDArray[np.bool_]
    bands: F64
    photometry: F64

    def __len__(self) -> int:
        return len(self.id)

    @classmethod
    def of(cls, catalogue: pl.DataFrame) -> SourceList:
        """From a catalogue: id, ra, dec, hlr_arcsec, ellipticity, pa_deg, mag_<filter> (AB); star_flag and bulge if there.

        Raises
        ------
        InputError
            A column is missing or is not numeric, there is no photometry, or a place is not finite.
        """
        with reading("catalogue", "a source catalogue", "store numbers"):
            return cls._of(catalogue)

    @classmethod
    def _of(cls, catalogue: pl.DataFrame) -> SourceList:
        missing = [c for c in _NEEDED if c not in catalogue.columns]
        if missing:
            raise InputError("columns are missing", file="catalogue", field=", ".join(missing), remedy="add them")
        filters = sorted((f for f in PIVOTS if f"mag_{f}" in catalogue.columns), key=lambda f: PIVOTS[f])
        if not filters:
            raise InputError(
                "there is no photometry", file="catalogue", field="mag_<filter>", remedy="add AB magnitudes"
            )
        columns = {c: _numbers(catalogue[c]) for c in _NEEDED[1:]}
        if not (np.isfinite(columns["ra"]).all() and np.isfinite(columns["dec"]).all()):
            raise InputError("a place is not finite", file="catalogue", field="ra, dec", remedy="drop such sources")
        star = np.zeros(len(catalogue), dtype=bool)
        if "star_flag" in catalogue.columns:
            star = catalogue["star_flag"].fill_null(False).cast(pl.Boolean).to_numpy()
        radius = np.nan_to_num(columns["hlr_arcsec"])
        point = radius < np.where(star, RESOLVED_ARCSEC, POINT_ARCSEC)
        bulge = np.full(len(catalogue), USUAL_BULGE)
        if "bulge" in catalogue.columns:
            bulge = np.clip(_numbers(catalogue["bulge"], USUAL_BULGE), 0, 1)
        bands = np.array([PIVOTS[f] for f in filters])
        magnitudes = np.stack([_numbers(catalogue[f"mag_{f}"]) for f in filters], axis=1)
        return cls(
            catalogue["id"].cast(pl.Int64).to_numpy(),
            columns["ra"],
            columns["dec"],
            np.where(point, 0, radius),
            np.where(point, 0, np.clip(np.nan_to_num(columns["ellipticity"]), 0, 0.95)),
            np.nan_to_num(columns["pa_deg"]),
            np.where(point, 0, bulge),
            star & ~point,
            bands,
            flux_density(magnitudes, bands),
        )

    def with_bulge(self, bulge: F64) -> SourceList:
        """The same sources with other bulge shares, (n,)."""
        return replace(self, bulge=np.where(self.half_light > 0, np.clip(bulge, 0, 1), 0))

    def as_points(self, which: NDArray[np.bool_]) -> SourceList:
        """The same sources, those of the mask (n,) without a size."""
        sizes = {n: np.where(which, 0.0, getattr(self, n)) for n in ("half_light", "ellipticity", "bulge")}
        return replace(self, **sizes)

    def select(self, which: ArrayLike) -> SourceList:
        """Some of the sources, by index or mask."""
        at = np.asarray(which)
        per_source = {n: getattr(self, n)[at] for n in self.__dataclass_fields__ if n != "bands"}
        return replace(self, **per_source)

    def spectrum(self, wavelength: ArrayLike) -> F64:
        """(n, m) f_lambda [W m-2 nm-1] at wavelengths (m,) [um] by the colours: log-linear between bands, flat outside.

        A source without any usable band gets 0.
        """
        wave = np.asarray(wavelength, dtype=np.float64)
        result = np.zeros((len(self), len(wave)))
        for row, fluxes in zip(result, self.photometry, strict=True):
            use = np.isfinite(fluxes) & (fluxes > 0)
            if use.any():
                row[:] = np.exp(np.interp(np.log(wave), np.log(self.bands[use]), np.log(fluxes[use])))
        return result

    def on(self, to_pixels: SkyToPixels) -> tuple[F64, F64, list[Shape]]:
        """Undispersed array pixels x, y (n,) and the profiles as they lie on an exposure."""
        x, y = to_pixels(self.ra, self.dec)
        step = 1.0  # arcsec, in which the tangent plane is flat
        north = np.stack(to_pixels(self.ra, self.dec + step / 3600)) - (x, y)
        east = np.stack(to_pixels(self.ra + step / 3600 / np.cos(np.deg2rad(self.dec)), self.dec)) - (x, y)
        angle = np.deg2rad(self.angle)
        major = np.cos(angle) * north + np.sin(angle) * east
        per_arcsec = np.sqrt(np.abs(north[0] * east[1] - north[1] * east[0])) / step
        shapes = [
            Shape(r * p, 1 - e, float(np.arctan2(m[1], m[0])), b)
            for r, p, e, m, b in zip(self.half_light, per_arcsec, self.ellipticity, major.T, self.bulge, strict=True)
        ]
        return x, y, shapes
