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
_TURNS = 6


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
    data, weights = np.where(known, values, 0.0), np.where(known, weight, 0.0)
    noise = 1 / np.sqrt(np.maximum(_smoothed(weights, 4), 1e-12 * weights.max()))
    # A line is in all scales. What the narrow ones have of it is taken out, until nothing stands out in them: else
    # the shrinkage of the wide ones would cut it.
    narrow = np.zeros(len(values))
    for _ in range(_TURNS):
        details, _ = _scales(np.where(known, data - narrow, 0), weights, _FIRST_SMOOTH)
        found = sum(
            (np.where(np.abs(d) > sigmas * f * noise, d, 0) for d, f in zip(details, _SCALE_NOISE, strict=False)),
            np.zeros(len(values)),
        )
        if not found.any():
            break
        narrow += found
    details, smooth = _scales(np.where(known, data - narrow, 0), weights, len(_SCALE_NOISE))
    result = narrow + smooth * _shrinkage(prior, np.hypot(_SCALE_NOISE[-1] * noise, systematic))
    for detail, factor in zip(details[_FIRST_SMOOTH:], _SCALE_NOISE[_FIRST_SMOOTH:], strict=False):
        kept = np.where(np.abs(detail) > sigmas * factor * noise, detail, 0)
        result += kept * _shrinkage(prior, np.hypot(factor * noise, systematic))
    return result


def _scales(values: F64, weights: F64, end: int) -> tuple[list[F64], F64]:
    """Details of the scales up to `end`, and what is left; a scale wider than the data ends them."""
    details, current = [], values
    for scale in range(end):
        step = 2**scale
        if 4 * step >= len(values):
            break
        total = _smoothed(weights, step)
        smooth = np.divide(_smoothed(current * weights, step), total, out=np.zeros_like(current), where=total > 0)
        details.append(np.where(weights > 0, current - smooth, 0))
        current = smooth
    return details, current


def _shrinkage(prior: F64, noise: F64) -> F64:
    return prior**2 / np.maximum(prior**2 + noise**2, 1e-300)
