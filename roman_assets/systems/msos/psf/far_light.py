"""Light of very bright stars beyond their stamps: what diffraction leaves there between the spikes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roman_assets.kernels.photometry import PaddedFrame, Stars
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf
from roman_assets.systems.msos.psf.stamps import NARROW

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

#: Light at the edge of a stamp, and where it is followed to beyond, in units of a pixel's noise.
AT_EDGE, FOLLOWED = 0.2, 0.05
#: It is followed no farther than this: what is beyond is smooth enough for the sky's own terms [px].
FARTHEST_PX = 100.0


def far_light(psf: EffectivePsf, frame: PaddedFrame, stars: Stars, flux: F64, noise: float) -> F32:
    """What stars (n,) of these fluxes [DN/s] add outside their stamps, padded image [DN/s].

    It falls as r^-3 from what the ePSF has at the edge of the stamp, as light diffracted by an aperture does. Where the noise
    of a pixel [DN/s] hides it, there is none.
    """
    result = np.zeros(frame.shape, dtype=np.float32)
    # Smaller stamps end where the light of their stars does.
    wide = np.flatnonzero(stars.half >= NARROW)
    level = {int(half): _ring(psf, float(half) - 1.0) for half in np.unique(stars.half[wide])}
    edge = np.zeros(len(stars))
    edge[wide] = np.nan_to_num(flux)[wide] * np.array([level[int(half)] for half in stars.half[wide]])
    for star in np.flatnonzero(edge > AT_EDGE * noise):
        half, x, y = int(stars.half[star]), stars.x[star] + frame.pad, stars.y[star] + frame.pad
        reach = min((half - 1.0) * np.cbrt(edge[star] / (FOLLOWED * noise)), FARTHEST_PX)
        rows = np.arange(max(int(y - reach), frame.pad), min(int(y + reach) + 1, frame.pad + frame.ny))
        cols = np.arange(max(int(x - reach), frame.pad), min(int(x + reach) + 1, frame.pad + frame.nx))
        if not (rows.size and cols.size):
            continue
        dy, dx = rows[:, None] - y, cols[None, :] - x
        outside = (np.abs(rows - np.floor(y + 0.5))[:, None] > half) | (
            np.abs(cols - np.floor(x + 0.5))[None, :] > half
        )
        outside &= np.hypot(dx, dy) < reach
        light = edge[star] * ((half - 1.0) / np.maximum(np.hypot(dx, dy), half - 1.0)) ** 3
        result[rows[0] : rows[-1] + 1, cols[0] : cols[-1] + 1] += np.where(outside, light, 0.0).astype(np.float32)
    return result


def _ring(psf: EffectivePsf, radius_px: float) -> float:
    """The ePSF at a radius, between its spikes [flux fraction per px]; beyond its grid it falls as r^-3."""
    inside = min(radius_px, psf.coefficients.shape[0] // 2 / psf.oversample - 1.0)
    ring = psf.values[np.abs(psf.radius - inside) < 0.5]
    return max(float(np.median(ring)), 0.0) * (inside / radius_px) ** 3
