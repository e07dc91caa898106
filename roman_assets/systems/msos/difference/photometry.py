"""Photometry of brightenings on the residual images, and what tells a source from an artefact.

Around every candidate the residuals of all exposures are cut out once. Its flux in each is fitted on them together
with those of varying neighbours; constant neighbours are subtracted already and cannot take its light. What the
position shows outside the brightening, light that the catalogue does not have, is its reference flux.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roman_assets.exposures.level2.frames import Frame
from roman_assets.kernels.photometry import SplinePsf, Stars, psf_stamps
from roman_assets.systems.msos.difference.residual import ConstantSky, Registration, Residual
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS
from roman_assets.systems.msos.photometry.exposure_fit import BAD_FIT, MODEL_FLOOR, NO_DATA, SATURATED, core_flags

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
Bools = NDArray[np.bool_]

#: Half size of the cut-outs, of the pixels fitted around each source, and of the ePSF of a neighbour [px].
HALF, CORE, WIDE = 7, 3, 15
SIDE = 2 * HALF + 1
#: Sources this close are fitted together [px].
TOGETHER_PX = 5.0
#: Relative error of the ePSF that the test of the shape allows, and chi2 per pixel above which an exposure is bad, in
#: units of its median over the season (never below one), once the position is known and before.
SHAPE_ERROR, BAD_CHI2, ROUGH_CHI2 = 0.05, 4.0, 40.0
#: Where the baseline's scatter says that errors are too small, they grow by at most this; points that it needs.
MOST_FACTOR, FACTOR_POINTS = 3.0, 40
#: Share of the season that must be left as a baseline on both sides of a brightening, else all outside it is.
BASELINE_SHARE, BASELINE_POINTS = 0.25, 8
#: Of a difference, a lost core and a bad fit leave nothing: its errors do not know of them.
UNUSED_DIFFERENCES = UNUSED_FLAGS | SATURATED | BAD_FIT


@dataclass
class Stamps:
    """Residuals around sources in every exposure, all on the reference zero point.

    residual, weight: (sources, exposures, SIDE, SIDE) [DN/s], [(DN/s)^-2]; x, y: (sources, exposures) place in each
    exposure [px]; gain: (sources, exposures) sensitivity there over the exposure's mean; flag: (sources, exposures)
    bits of msos/photometry.py; slope: (exposures,) Poisson variance per flux [DN/s].
    """

    residual: F32
    weight: F32
    x: F64
    y: F64
    gain: F64
    flag: U8
    slope: F64

    @classmethod
    def empty(cls, sources: int, exposures: int, folder: Path | None) -> Stamps:
        """Of no exposure yet; the images on disk in `folder` where one is given."""
        shape = (sources, exposures, SIDE, SIDE)

        def images(name: str) -> F32:
            if folder is None:
                return np.zeros(shape, dtype=np.float32)
            return np.lib.format.open_memmap(folder / f"stamp_{name}.npy", mode="w+", dtype=np.float32, shape=shape)

        x, y, flag = np.zeros(shape[:2]), np.zeros(shape[:2]), np.full(shape[:2], NO_DATA, dtype=np.uint8)
        return cls(images("residual"), images("weight"), x, y, np.ones(shape[:2]), flag, np.zeros(exposures))

    def cut(
        self,
        number: int,
        frame: Frame,
        residual: Residual,
        registration: Registration,
        sky: ConstantSky,
        ra: F64,
        dec: F64,
    ) -> None:
        """Cut one exposure out around the sources at ra, dec (sources,) [deg]."""
        ny, nx = frame.shape
        x, y = frame.to_pixels(ra, dec)
        x, y = x + registration.shift[0], y + registration.shift[1]
        self.x[:, number], self.y[:, number] = x, y
        inside = (x > -2) & (x < nx + 1) & (y > -2) & (y < ny + 1)
        rows = np.flatnonzero(inside)
        pad = residual.geometry.pad
        for k in rows:
            top, left = int(np.floor(y[k] + 0.5)) + pad - HALF, int(np.floor(x[k] + 0.5)) + pad - HALF
            window = slice(top, top + SIDE), slice(left, left + SIDE)
            self.residual[k, number], self.weight[k, number] = residual.image[window], residual.weight[window]
        core = Stars.of(x[rows], y[rows], CORE)
        good = residual.weight[residual.geometry.inner] > 0
        self.flag[rows, number], _ = core_flags(
            sky.psf, residual.geometry, core, good, frame.saturated, residual.cosmic_rays
        )
        terms = 1.0 if registration.terms is None else 1.0 + registration.terms(x[rows], y[rows])
        self.gain[rows, number] = terms * (1.0 + sky.phase_map(x[rows], y[rows]))
        self.slope[number] = float(np.median(frame.poisson_slope)) / registration.scale


@dataclass(frozen=True)
class Series:
    """Fluxes of a source in all exposures, (exposures,): flux, error [DN/s]; chi2 per pixel; flag."""

    flux: F64
    error: F64
    chi2: F64
    flag: U8

    @property
    def good(self) -> Bools:
        """Points that count."""
        return ((self.flag & UNUSED_DIFFERENCES) == 0) & np.isfinite(self.flux) & np.isfinite(self.error)


class Cutouts:
    """The cut-outs of one source, and places near it, as arrays over exposures and pixels."""

    def __init__(self, stamps: Stamps, source: int, psf: SplinePsf) -> None:
        self.psf, self.slope = psf, stamps.slope
        self.x, self.y = stamps.x[source], stamps.y[source]
        self.gain, self.flag = stamps.gain[source], stamps.flag[source]
        self.residual = np.asarray(stamps.residual[source], dtype=np.float64).reshape(len(self.x), -1)
        self.weight = np.asarray(stamps.weight[source], dtype=np.float64).reshape(len(self.x), -1)
        axis = np.arange(-HALF, HALF + 1)
        self.left, self.top = (np.floor(v + 0.5).astype(np.int64) - HALF for v in (self.x, self.y))
        self.columns = (np.tile(axis, SIDE) + HALF)[None, :] + self.left[:, None]
        self.rows = (np.repeat(axis, SIDE) + HALF)[None, :] + self.top[:, None]

    def shape(self, dx: float, dy: float, derivative: int = 0) -> F64:
        """ePSF of a source (dx, dy) px beside this one on its cut-outs, (exposures, pixels)."""
        x, y = self.x + dx, self.y + dy
        left, top = (np.floor(v + 0.5).astype(np.int64) - WIDE for v in (x, y))
        images = np.stack(psf_stamps(self.psf, Stars.of(x, y, WIDE), derivative)).astype(np.float64)
        row, column = self.rows - top[:, None], self.columns - left[:, None]
        seen = (row >= 0) & (row <= 2 * WIDE) & (column >= 0) & (column <= 2 * WIDE)
        at = np.arange(len(x))[:, None], np.clip(row, 0, 2 * WIDE), np.clip(column, 0, 2 * WIDE)
        return np.where(seen, images[at], 0.0)

    def core(self, dx: float, dy: float) -> Bools:
        """Pixels within CORE of such a place, (exposures, pixels)."""
        column, row = (np.floor(v + 0.5)[:, None] for v in (self.x + dx, self.y + dy))
        return np.asarray((np.abs(self.columns - column) <= CORE) & (np.abs(self.rows - row) <= CORE))

    def solve(self, places: list[tuple[float, float]]) -> tuple[F64, F64, F64]:
        """Fluxes of sources at these places, their errors (exposures, places), and weights (exposures, pixels).

        The weights count the photons and the ePSF error of the sources themselves, which the constant sky did not.
        """
        shapes = np.stack([self.shape(*place) for place in places], axis=1)
        mask = np.logical_or.reduce([self.core(*place) for place in places])
        weight = np.where(mask, self.weight, 0.0)
        flux = error = np.zeros(shapes.shape[:2])
        for _ in range(3):
            model = np.einsum("ek,ekp->ep", flux, shapes)
            extra = self.slope[:, None] * np.maximum(model, 0) + (MODEL_FLOOR * model) ** 2
            used = weight / (1.0 + weight * extra)
            weighted = shapes * used[:, None, :]
            matrix = np.einsum("ekp,elp->ekl", weighted, shapes)
            right = np.einsum("ekp,ep->ek", weighted, self.residual)
            diagonal = np.einsum("ekk->ek", matrix)
            blind = diagonal <= 0
            diagonal += np.where(blind, 1.0, 1e-9 * diagonal)
            inverse = np.linalg.inv(matrix)
            flux = np.einsum("ekl,el->ek", inverse, right)
            error = np.where(blind, np.inf, np.sqrt(np.maximum(np.einsum("ekk->ek", inverse), 0)))
        return flux, error, used

    def measure(
        self, place: tuple[float, float], neighbours: list[tuple[float, float]], bad_chi2: float = BAD_CHI2
    ) -> tuple[Series, F64, F64]:
        """The source's fluxes at a place near its first one, what its neighbours leave of the residuals, and weights."""
        places = [place, *neighbours]
        flux, error, weight = self.solve(places)
        rest = self.residual.copy()
        for k, other in enumerate(neighbours, 1):
            rest -= flux[:, k, None] * self.shape(*other)
        own = flux[:, 0, None] * self.shape(*place)
        core = self.core(*place)
        tolerant = np.where(core, weight / (1.0 + weight * (SHAPE_ERROR * own) ** 2), 0.0)
        count = np.maximum((tolerant > 0).sum(axis=1) - 1, 1)
        chi2 = (tolerant * (rest - own) ** 2).sum(axis=1) / count
        flag = self.flag.copy()
        flag[~np.isfinite(error[:, 0])] |= NO_DATA
        seen = (flag & NO_DATA) == 0
        flag[seen & (chi2 > bad_chi2 * max(float(np.median(chi2[seen])) if seen.any() else 1.0, 1.0))] |= BAD_FIT
        none = (flag & NO_DATA) != 0
        series = Series(np.where(none, np.nan, flux[:, 0]), np.where(none, np.nan, error[:, 0]), chi2, flag)
        return series, rest, weight

    def gradient(self, place: tuple[float, float], rest: F64, weight: F64, flux: F64) -> tuple[F64, F64]:
        """Pull on the position (exposures, 2) of residuals beyond these fluxes, and its information (exposures, 2, 2).

        Both for a source of unit flux, its flux being free.
        """
        own, *slopes = (self.shape(*place, derivative=d) for d in range(3))
        used = np.where(self.core(*place), weight, 0.0)
        left = rest - np.where(np.isfinite(flux), flux, 0.0)[:, None] * own
        norm = np.maximum((used * own * own).sum(axis=1), 1e-30)
        # The part of each slope that a change of flux does not explain.
        free = np.stack([s - ((used * own * s).sum(axis=1) / norm)[:, None] * own for s in slopes])
        return np.einsum("kep,ep,ep->ek", free, used, left), np.einsum("kep,ep,lep->ekl", free, used, free)

    def mean_system(self, rest: F64, chosen: Bools, shapes: list[F64]) -> tuple[F64, F64]:
        """Amplitudes of fixed shapes in the mean of some exposures, and their covariance."""
        core = self.core(0.0, 0.0)
        weight = np.where(core & chosen[:, None], self.weight, 0.0)
        stack = np.stack(shapes)
        matrix = np.einsum("kep,ep,lep->kl", stack, weight, stack)
        right = np.einsum("kep,ep,ep->k", stack, weight, rest)
        matrix[np.diag_indices(len(shapes))] *= 1.0 + 1e-9
        covariance = np.linalg.pinv(matrix, hermitian=True)
        return covariance @ right, covariance


def baseline_of(good: Bools, first: int, last: int) -> Bools:
    """Exposures that show a source as it is outside a brightening of exposures first to last - 1, (exposures,)."""
    length, number = last - first, np.arange(len(good))
    outside = good & ((number < first) | (number >= last))
    far = outside & ((number < first - length) | (number >= last + length))
    enough = max(BASELINE_POINTS, round(BASELINE_SHARE * int(good.sum())))
    return far if far.sum() >= enough else outside


def clipped_mean(flux: F64, error: F64) -> tuple[float, float]:
    """Weighted mean of points (n,) and its error, those beyond 4 sigma left out; NaN of no points."""
    if not len(flux):
        return float("nan"), float("nan")
    keep = np.ones(len(flux), dtype=bool)
    mean = float(np.median(flux))
    for _ in range(3):
        near = np.abs(flux - mean) < 4 * error
        keep = near if near.any() else keep
        weight = error[keep] ** -2.0
        mean = float((weight * flux[keep]).sum() / weight.sum())
    return mean, float(weight.sum() ** -0.5)


def error_factor(flux: F64, error: F64) -> float:
    """By how much successive points (n,) differ more than their errors say, between 1 and MOST_FACTOR.

    Differences of neighbours in time: the wings of a long event are no noise.
    """
    if len(flux) < FACTOR_POINTS:
        return 1.0
    pull = np.diff(flux) / np.hypot(error[1:], error[:-1])
    return float(np.clip(1.4826 * np.median(np.abs(pull)), 1.0, MOST_FACTOR))
