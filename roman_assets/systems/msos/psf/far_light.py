"""Light of very bright stars beyond their stamps: the azimuthal mean of what diffraction leaves there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roman_assets.kernels.photometry import PaddedFrame, Stars
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

#: Light at the edge of a stamp, and where it is followed to beyond, in units of a pixel's noise.
AT_EDGE, FOLLOWED = 0.2, 0.05


def far_light(psf: EffectivePsf, frame: PaddedFrame, stars: Stars, flux: F64, noise: float) -> F32:
    """What stars (n,) of these fluxes [DN/s] add outside their stamps, padded image [DN/s].

    It falls as r^-3 from what the ePSF has at the edge of the stamp, as light diffracted by an aperture does. Where the noise
    of a pixel [DN/s] hides it, there is none.
    """
    result = np.zeros(frame.shape, dtype=np.float32)
    level = {int(half): _ring(psf, float(half) - 1.0) for half in np.unique(stars.half)}
    edge = np.nan_to_num(flux) * np.array([level[int(half)] for half in stars.half])
    for star in np.flatnonzero(edge > AT_EDGE * noise):
        half, x, y = int(stars.half[star]), stars.x[star] + frame.pad, stars.y[star] + frame.pad
        reach = (half - 1.0) * np.cbrt(edge[star] / (FOLLOWED * noise))
        rows = np.arange(max(int(y - reach), frame.pad), min(int(y + reach) + 1, frame.pad + frame.ny))
        cols = np.arange(max(int(x - reach), frame.pad), min(int(x + reach) + 1, frame.pad + frame.nx))
        if not (rows.size and cols.size):
            continue
        dy, dx = rows[:, None] - y, cols[None, :] - x
        outside = (np.abs(rows - np.floor(y + 0.5))[:, None] > half) | (
            np.abs(cols - np.floor(x + 0.5))[None, :] > half
        )
        light = edge[star] * ((half - 1.0) / np.maximum(np.hypot(dx, dy), half - 1.0)) ** 3
        result[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] += np.where(outside, light, 0.0).astype(np.float32)
    return result


def _ring(psf: EffectivePsf, radius_px: float) -> float:
    """Mean of the ePSF at a radius [flux fraction per px]; beyond its grid it falls as r^-3."""
    inside = min(radius_px, psf.coefficients.shape[0] // 2 / psf.oversample - 1.0)
    ring = psf.values[np.abs(psf.radius - inside) < 0.5]
    return max(float(ring.mean()), 0.0) * (inside / radius_px) ** 3
