"""The effective PSF (ePSF): fraction of a star's flux in a pixel, as a function of the offset between them.

Held as cubic B-spline coefficients on a grid with an integer number of points per pixel (Anderson & King
2000 introduced the ePSF; the spline makes it and its derivatives smooth). It comes from a rad ``epsf``
reference file, or is built from the exposures themselves (psf/build.py) on top of a radial model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from roman_assets.doors import reading
from roman_assets.errors import InputError
from roman_assets.exposures.level2.guards import guarded
from roman_assets.kernels.arrays import numbers
from roman_assets.kernels.photometry import MAX_HALF, MAX_OVERSAMPLE, SplinePsf

F64 = NDArray[np.float64]
#: Grid points per pixel of the ePSFs made here; the one of the rad reference files is read from them.
OVERSAMPLE = 4
#: Half size of the grid [px]: the wings of the brightest stars are subtracted out to here.
GRID_HALF_PX = 63
#: Radius [px] inside which the exposures fix the shape, and whose encircled energy is taken from the model.
CORE_RADIUS_PX = 7.0
#: Radius [px] of the light whose centroid is the star's position.
CENTRE_RADIUS_PX = 1.5


@dataclass(frozen=True)
class EffectivePsf:
    """An ePSF with where it comes from.

    Attributes
    ----------
    coefficients
        (N, N) float64 spline coefficients, odd N, centred on the star.
    oversample
        Grid points per pixel.
    origin
        Where the shape comes from: ``model``, ``reference`` or ``empirical``.
    normalisation
        Where the total flux comes from, for the product's record.
    """

    coefficients: F64
    oversample: int
    origin: str
    normalisation: str

    @cached_property
    def spline(self) -> SplinePsf:
        """The form the kernels use."""
        return SplinePsf(self.coefficients, self.oversample)

    @cached_property
    def radius(self) -> F64:
        """(N, N) distance of each grid point from the star [px]."""
        half = self.coefficients.shape[0] // 2
        axis = (np.arange(2 * half + 1) - half) / self.oversample
        return np.hypot(*np.meshgrid(axis, axis))

    @cached_property
    def values(self) -> F64:
        """(N, N) ePSF at the grid points [flux fraction per px]."""
        padded = np.pad(self.coefficients, 1)
        rows = (padded[:-2] + 4 * padded[1:-1] + padded[2:]) / 6
        return (rows[:, :-2] + 4 * rows[:, 1:-1] + rows[:, 2:]) / 6

    def encircled_energy(self, radius_px: float) -> float:
        """Fraction of the flux inside a circle [px] around the star."""
        return float(self.values[self.radius <= radius_px].sum()) / self.oversample**2

    @property
    def sharpness(self) -> float:
        """Sum of psi^2 over the pixels, averaged over sub-pixel phases [1 / px]: noise-equivalent area inverse."""
        return float((self.values**2).sum()) / self.oversample**2


def core_centroid(psf: EffectivePsf) -> tuple[float, float]:
    """Centroid (x, y) [px] of the light within CENTRE_RADIUS_PX of the star's nominal position."""
    half = psf.coefficients.shape[0] // 2
    axis = (np.arange(2 * half + 1) - half) / psf.oversample
    light = np.where(psf.radius <= CENTRE_RADIUS_PX, psf.values, 0)
    return float(light.sum(axis=0) @ axis / light.sum()), float(light.sum(axis=1) @ axis / light.sum())


def recentred(psf: EffectivePsf) -> tuple[EffectivePsf, tuple[float, float]]:
    """`psf` with the centroid of its core at the origin, and the shift (x, y) [px] that stars must follow.

    Shape and positions are degenerate under a common shift. The core, not the lopsided wings, defines the
    position: it agrees with the nominal position of the optical model to 0.01 px in F146 (0.05 px in F087).
    """
    from scipy.ndimage import shift

    total_x = total_y = 0.0
    current = psf
    for _ in range(4):
        dx, dy = core_centroid(current)
        total_x, total_y = total_x + dx, total_y + dy
        moved = shift(psf.values, (-total_y * psf.oversample, -total_x * psf.oversample), order=3, mode="nearest")
        current = EffectivePsf(spline_coefficients(moved), psf.oversample, psf.origin, psf.normalisation)
    return current, (total_x, total_y)


def spline_coefficients(values: ArrayLike) -> F64:
    """B-spline coefficients that interpolate `values` (N, N)."""
    from scipy.ndimage import spline_filter

    return np.asarray(spline_filter(np.asarray(values, dtype=np.float64), order=3, mode="mirror"))


@lru_cache(maxsize=64)
def _model_table(table: str, detector: str, optical_element: str) -> pl.DataFrame:
    source = resources.files("roman_assets.systems.msos") / "data" / table
    with resources.as_file(source) as path:
        rows = pl.read_parquet(path)
    found = rows.filter((pl.col("detector") == detector) & (pl.col("optical_element") == optical_element))
    if found.is_empty():
        known = ", ".join(rows["optical_element"].unique().sort())
        raise InputError(
            f"no PSF model for {detector} {optical_element}",
            field="optical_element",
            remedy=f"give an ePSF reference file; models exist for {known}",
        )
    return found


def _wings(detector: str, optical_element: str) -> pl.DataFrame:
    return _model_table("psf_wings.parquet", detector, optical_element).sort("radius_px")


def model_psf(detector: str, optical_element: str) -> EffectivePsf:
    """ePSF of the optical model: its core in two dimensions, azimuthally averaged wings around it.

    Made from GalSim's Roman module by simulate/psf_cores.py and simulate/wings.py.

    Raises
    ------
    InputError
        There is no model for this optical element.
    """
    table = _wings(detector, optical_element)
    axis = np.arange(-GRID_HALF_PX * OVERSAMPLE, GRID_HALF_PX * OVERSAMPLE + 1) / OVERSAMPLE
    radius = np.hypot(*np.meshgrid(axis, axis))
    profile = np.interp(radius, table["radius_px"].to_numpy(), table["profile"].to_numpy())
    farthest = float(table["radius_px"].max())  # type: ignore[arg-type]
    profile *= np.minimum(1.0, farthest / np.maximum(radius, farthest)) ** 3  # diffraction by an aperture falls as r^-3
    core = np.asarray(_model_table("psf_cores.parquet", detector, optical_element)["values"][0], dtype=np.float64)
    side = round(core.size**0.5)
    low = (profile.shape[0] - side) // 2
    inner = (slice(low, low + side),) * 2
    # From the core to the azimuthal wings without a step, over the core's outermost two pixels.
    share = np.clip((side / 2 / OVERSAMPLE - radius[inner]) / 2.0, 0, 1)
    profile[inner] = share * core.reshape(side, side) + (1 - share) * profile[inner]
    psf = EffectivePsf(spline_coefficients(profile), OVERSAMPLE, "model", "optical model")
    return normalised(psf, detector, optical_element)


def normalised(psf: EffectivePsf, detector: str, optical_element: str) -> EffectivePsf:
    """`psf` scaled so that the flux inside CORE_RADIUS_PX is what the optical model has there.

    An ePSF built from exposures carries no absolute normalisation: the light of its far wings is lost in
    the sky, so the fraction inside the core comes from the model, and the result says so.
    """
    table = _wings(detector, optical_element)
    wanted = float(np.interp(CORE_RADIUS_PX, table["radius_px"].to_numpy(), table["encircled_energy"].to_numpy()))
    factor = wanted / psf.encircled_energy(CORE_RADIUS_PX)
    source = f"encircled energy {wanted:.4f} inside {CORE_RADIUS_PX:g} px from the optical model"
    return EffectivePsf(psf.coefficients * factor, psf.oversample, psf.origin, source)


def reference_psf(path: str | Path, x: float = 2043.5, y: float = 2043.5) -> EffectivePsf:
    """ePSF of a rad ``epsf`` reference file at detector position (x, y) [0-based px].

    The grid of positions is interpolated bilinearly; focus and spectral type are the first of the file.

    Raises
    ------
    InputError
        The file is no ePSF reference file, or lacks a field.
    """
    remedy = "give a file of the rad epsf schema"
    with reading(path, "an ePSF reference file", remedy):
        stack, xs, ys, oversample = _reference_stack(path)
        if stack.ndim != 5 or not stack.size or stack.shape[2] != len(xs) or len(ys) != len(xs):
            raise InputError(f"psf of shape {stack.shape}", file=path, field="psf", remedy="see the rad epsf schema")
        if not 1 <= oversample <= MAX_OVERSAMPLE:
            raise InputError(f"oversample {oversample}", file=path, field="meta.oversample", remedy=remedy)
        for name, values in (("psf", stack[0, 0]), ("meta.pixel_x", xs), ("meta.pixel_y", ys)):
            if not np.isfinite(values).all():
                raise InputError("a value is not finite", file=path, field=name, remedy=remedy)
        return _psf_at(_interpolate_grid(stack[0, 0], xs, ys, x, y), oversample, path)


def _reference_stack(path: str | Path) -> tuple[F64, F64, F64, int]:
    """Images, their positions and oversampling, as the file has them."""
    import asdf

    with open(path, "rb"):  # a path of a user's that is not there is a mistake, where the guards think of a lost mount
        pass
    with guarded(path) as stream, asdf.open(stream, lazy_load=False, memmap=False) as opened:
        tree: Any = opened["roman"]
        meta = tree["meta"]
        xs, ys = (np.asarray([float(v) for v in meta[name]]) for name in ("pixel_x", "pixel_y"))
        return np.asarray(numbers("psf", tree["psf"]), dtype=np.float64), xs, ys, int(meta["oversample"])


def _psf_at(values: F64, oversample: int, path: str | Path) -> EffectivePsf:
    if values.shape[0] != values.shape[1] or values.shape[0] % 2 == 0:
        raise InputError(
            f"psf images of shape {values.shape} have no central sample for the star",
            file=path,
            field="psf",
            remedy="give square images with an odd side",
        )
    side = min(values.shape[0], 2 * (MAX_HALF - 1) * oversample + 1)
    low = (values.shape[0] - side) // 2
    values = values[low : low + side, low : low + side]
    # Reference ePSFs are normalised per oversampled pixel or per pixel; the sum tells which.
    total = values.sum()
    if 0.5 < total < 1.5:
        values = values * oversample**2
    return EffectivePsf(spline_coefficients(values), oversample, "reference", f"reference file {Path(path).name}")


def _interpolate_grid(stack: F64, xs: F64, ys: F64, x: float, y: float) -> F64:
    """Bilinear interpolation in the regular grid of positions (xs[k], ys[k]) of the images stack[k]."""
    weights = np.ones(len(xs))
    for positions, at in ((xs, x), (ys, y)):
        nodes = np.unique(positions)
        if len(nodes) > 1:
            clipped = np.clip(at, nodes[0], nodes[-1])
            spacing = np.diff(nodes).max()
            weights = weights * np.clip(1 - np.abs(positions - clipped) / spacing, 0, None)
    return np.tensordot(weights / weights.sum(), stack, axes=1)
