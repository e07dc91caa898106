"""How far from a star its light is followed, and the smooth sky below all of them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.kernels.photometry import MAX_HALF, PaddedFrame, Stars
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf

#: Half sizes of stamps [px] (csrc/psf_stamp.h wants 4 k + 3).
HALF_SIZES = (3, 7, 11, 15, 23, 31, 47, 63)
#: Stamps of stars outside the image are no larger: the margin has no room for them.
NARROW = 31
#: Light below this share of a pixel's noise is left to the sky; farther than NARROW, where stamps are large, more of it.
SEEN, SEEN_FAR = 0.1, 0.2


def stamp_halves(flux: ArrayLike, noise: float, psf: EffectivePsf) -> NDArray[np.int32]:
    """Half size of each star's stamp [px]: the least outside which it adds less than can be seen.

    flux (n,) and noise (of one pixel) share units.
    """
    fluxes = np.abs(np.asarray(flux, dtype=np.float64))
    halves = np.full(fluxes.shape, HALF_SIZES[0], dtype=np.int32)
    for smaller, larger in pairwise(HALF_SIZES):
        ring = np.abs(psf.radius - smaller) < 0.5
        if not ring.any():  # a reference ePSF may end before
            break
        edge = float(psf.values[ring].mean())
        halves[fluxes * edge > (SEEN if smaller < NARROW else SEEN_FAR) * noise] = larger
    return halves


def placed(frame: PaddedFrame, x: NDArray[np.float64], y: NDArray[np.float64], half: ArrayLike) -> Stars:
    """Stars (n,) at x, y [px] with stamps of these half sizes, as far as the frame's margin has room for them.

    Far stars keep their place in the arrays: at the outer margin they see no pixel.
    """
    limit = frame.pad - NARROW - 2.0
    halves = np.broadcast_to(np.asarray(half, dtype=np.int32), x.shape)
    room = frame.pad - MAX_HALF - 1.0
    inside = (x > -room) & (x < frame.nx - 1 + room) & (y > -room) & (y < frame.ny - 1 + room)
    halves = np.where(inside, halves, np.minimum(halves, NARROW))
    return Stars.of(np.clip(x, -limit, frame.nx - 1 + limit), np.clip(y, -limit, frame.ny - 1 + limit), halves)


def sky_basis(frame: PaddedFrame, order: int = 1) -> NDArray[np.float32]:
    """Smooth sky terms, (terms, *frame.shape): all products of Legendre polynomials up to `order` (<= 2)."""
    y = np.linspace(-1, 1, frame.ny)[:, None] if frame.ny > 1 else np.zeros((1, 1))
    x = np.linspace(-1, 1, frame.nx)[None, :] if frame.nx > 1 else np.zeros((1, 1))
    legendre = (lambda u: np.ones_like(u), lambda u: u, lambda u: 1.5 * u**2 - 0.5)
    terms = [legendre[i](x) * legendre[j](y) for i in range(order + 1) for j in range(order + 1 - i)]
    return np.stack([frame.padded(np.broadcast_to(t, (frame.ny, frame.nx))) for t in terms])
