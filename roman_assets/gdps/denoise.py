"""What of a noisy one-dimensional correction is significant, at any scale: lines narrow, continua wide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
_KERNEL = np.array([1, 4, 6, 4, 1]) / 16
#: Noise of the wavelet scales of a B3 spline for unit white noise (Starck & Murtagh 1998, table of 1-D a trous).
_SCALE_NOISE = (0.723, 0.285, 0.177, 0.121, 0.085, 0.060, 0.042)
#: Scales from here on, 16 pixels, are continuum rather than lines.
_FIRST_SMOOTH = 4


def _smoothed(values: F64, step: int) -> F64:
    padded = np.pad(values, 2 * step, mode="reflect" if len(values) > 2 * step else "edge")
    n = len(values)
    return sum((w * padded[k * step : k * step + n] for k, w in enumerate(_KERNEL)), np.zeros(n))


def significant(values: F64, weight: F64, prior: F64, systematic: F64, sigmas: float = 3.0) -> F64:
    """The part of `values` that stands out of the noise, by an a trous wavelet transform with weights.

    Parameters
    ----------
    values
        (n,), evenly spaced.
    weight
        (n,) inverse variances; 0 where there is no value.
    prior
        (n,) standard deviation that smooth corrections are expected to have: from the fifth scale on they are shrunk
        by prior^2 / (prior^2 + noise^2).
    systematic
        (n,) error that does not average out along the spectrum; part of the noise of smooth corrections.
    sigmas
        A coefficient counts where it exceeds so many of its own standard deviations.

    Returns
    -------
    (n,) float64; 0 where nothing is known within the widest scale.
    """
    known = weight > 0
    if known.sum() < 8:
        return np.zeros(len(values))
    level, weights = np.where(known, values, 0.0), np.where(known, weight, 0.0)
    noise = 1 / np.sqrt(np.maximum(_smoothed(weights, 4), 1e-12 * weights.max()))
    result = np.zeros(len(values))
    current = level
    for scale, factor in enumerate(_SCALE_NOISE):
        step = 2**scale
        if 4 * step >= len(values):
            break
        total = _smoothed(weights, step)
        smooth = np.divide(_smoothed(current * weights, step), total, out=np.zeros_like(current), where=total > 0)
        detail = np.where(known, current - smooth, 0)
        kept = np.where(np.abs(detail) > sigmas * factor * noise, detail, 0)
        result += kept if scale < _FIRST_SMOOTH else kept * _shrinkage(prior, np.hypot(factor * noise, systematic))
        current = smooth
    return result + current * _shrinkage(prior, np.hypot(_SCALE_NOISE[-1] * noise, systematic))


def _shrinkage(prior: F64, noise: F64) -> F64:
    return prior**2 / np.maximum(prior**2 + noise**2, 1e-300)
