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
#: Within a line, coefficients count from so many of their standard deviations.
_WITHIN_LINES = 2.0


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
    lines = _support(data, weights, noise, sigmas)
    # The continuum is found without the lines' pixels, bridged by the smoothing.
    rest = np.where(lines, 0, weights)
    details, smooth = _scales(data, rest, len(_SCALE_NOISE))
    continuum = smooth * _shrinkage(prior, np.hypot(_SCALE_NOISE[-1] * noise, systematic))
    bridge = smooth + sum(details[_FIRST_SMOOTH:], np.zeros(len(values)))
    for detail, factor in zip(details[_FIRST_SMOOTH:], _SCALE_NOISE[_FIRST_SMOOTH:], strict=False):
        kept = np.where(np.abs(detail) > sigmas * factor * noise, detail, 0)
        continuum += kept * _shrinkage(prior, np.hypot(factor * noise, systematic))
    excess = np.where(lines & known, data - bridge, 0)
    details, smooth = _scales(excess, weights, _FIRST_SMOOTH)
    narrow = smooth if lines.any() else np.zeros(len(values))
    for detail, factor in zip(details, _SCALE_NOISE, strict=False):
        narrow = narrow + np.where(np.abs(detail) > _WITHIN_LINES * factor * noise, detail, 0)
    return continuum + narrow


def _support(data: F64, weights: F64, noise: F64, sigmas: float) -> NDArray[np.bool_]:
    """Pixels of features narrower than the continuum's scales, with a margin as wide as the scale that shows them."""
    support = np.zeros(len(data), dtype=bool)
    details, _ = _scales(data, weights, _FIRST_SMOOTH)
    for scale, (detail, factor) in enumerate(zip(details, _SCALE_NOISE, strict=False)):
        peaks = np.abs(detail) > sigmas * factor * noise
        reach = 2 ** (scale + 1)
        support |= np.convolve(peaks, np.ones(2 * reach + 1), mode="same") > 0.5
    return support


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
