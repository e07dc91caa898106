"""The inter-pixel residual map: how a measured flux depends on where in its pixel a star falls.

Shape and positions are found from the same undersampled exposures, and with few dithers part of an error of
one can hide in the other ("pixel-phase error", Anderson & King 2000). What is left shows as fluxes that depend
on the sub-pixel phase, the same for all stars of a detector, and is divided out: a smooth periodic function
fitted to the constant stars, their mean fluxes being free.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
#: Waves per pixel and axis, and the amplitude they may have [relative flux].
ORDER, PRIOR_AMPLITUDE = 2, 0.003
#: Stars that take part: error of a single measurement [relative].
MAX_RELATIVE_ERROR = 0.03


@dataclass(frozen=True)
class PhaseMap:
    """flux measured = flux true * (1 + map(phase)); coefficients (terms,), empty for no correction."""

    coefficients: F64

    def __call__(self, x: F64, y: F64) -> F64:
        """The map at pixel positions x, y [px], any shape."""
        if self.coefficients.size == 0:
            return np.zeros(np.shape(x))
        return np.asarray(_terms(x, y) @ self.coefficients)

    @property
    def amplitude(self) -> float:
        """Root mean square of the map over a pixel."""
        return float(np.sqrt(0.5 * (self.coefficients**2).sum()))


NO_MAP = PhaseMap(np.zeros(0))


def _terms(x: F64, y: F64) -> F64:
    """Cosines and sines of the phase, (..., terms), without the constant."""
    angle_x, angle_y = 2 * np.pi * np.asarray(x), 2 * np.pi * np.asarray(y)
    columns = []
    for i in range(-ORDER, ORDER + 1):
        for j in range(ORDER + 1):
            if j == 0 and i <= 0:
                continue
            angle = i * angle_x + j * angle_y
            columns += [np.cos(angle), np.sin(angle)]
    return np.stack(columns, axis=-1)


def fit_phase_map(x: F64, y: F64, flux: F64, flux_err: F64, usable: NDArray[np.bool_], iterations: int = 4) -> PhaseMap:
    """Fit the map to stars measured on several exposures.

    Parameters
    ----------
    x, y
        (exposures, stars) positions [px].
    flux, flux_err
        (exposures, stars) fluxes on one zero point, and errors.
    usable
        (exposures, stars) measurements without flags.

    Returns
    -------
    PhaseMap
        NO_MAP where fewer than ten measurements per coefficient take part. Outliers (variables, cosmic rays)
        lose weight; a Gaussian prior keeps waves that the data do not see at zero.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # stars without a usable measurement
        mean = np.nanmedian(np.where(usable, flux, np.nan), axis=0)
        good = usable & np.isfinite(flux) & (flux_err < MAX_RELATIVE_ERROR * mean)
    good &= (good.sum(axis=0) >= 3)[None, :]
    _exposure, star = np.nonzero(good)
    terms = _terms(x[good], y[good])
    count = terms.shape[1]
    if star.size < 10 * count:
        return NO_MAP
    value = flux[good] / mean[star]
    sigma = np.hypot(flux_err[good] / mean[star], 0.001)
    weight = 1 / sigma**2
    coefficients = np.zeros(count)
    for _ in range(iterations):
        # Each star's mean flux is free: it and the terms are taken relative to their weighted means.
        total = np.bincount(star, weight, minlength=flux.shape[1])[star]
        centred = value - np.bincount(star, weight * value, minlength=flux.shape[1])[star] / total
        waves = np.stack(
            [column - np.bincount(star, weight * column, minlength=flux.shape[1])[star] / total for column in terms.T],
            axis=1,
        )
        normal = waves.T @ (weight[:, None] * waves) + np.eye(count) / PRIOR_AMPLITUDE**2
        coefficients = np.linalg.solve(normal, waves.T @ (weight * centred))
        pull = (centred - waves @ coefficients) / sigma
        weight = 1 / (sigma**2 * (1 + (pull / 3) ** 2))  # Cauchy weights: a variable star is no calibrator
    return PhaseMap(coefficients)
