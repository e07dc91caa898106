"""What a stack's residuals say of the errors of its catalogue.

The joint fit knows the noise of the pixels and nothing of what is the same in every exposure: light of stars too faint to be
entries, blends split wrongly, the ePSF's own errors, halos. What the fit could not absorb of it stands in the residuals
between the stars.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.spatial import cKDTree

from roman_assets.systems.msos.catalogue.stack import DETECTION_GRID, DETECTION_MARGIN, StarList

F64 = NDArray[np.float64]

#: Window of the residuals that speak for a star [px]; how far from any star they stand [px]; a single one counts no more than
#: this [sigma]: variable stars leave light that is no error of others.
WINDOW_PX, BETWEEN_PX, MOST_SIGMA = 24, 1.2, 6.0
#: The joint fit absorbs part of what is wrong: errors of fluxes and of positions are those of the residuals times these,
#: measured on independent scenes (0.1 stars a pixel, bulge_scene and bulge_bright).
ABSORBED_FLUX, ABSORBED_POSITION = 1.5, 1.0
#: Errors of bright stars grow less: with this power of the error of the faint over their own, and not below this share.
BRIGHT_POWER, BRIGHT_SHARE = 0.15, 0.6


def doubt(snr: F64, stars: StarList) -> F64:
    """Scatter (n,) of the stack's residuals around each star, in units of what the noise of the pixels explains.

    snr is the matched-filter signal to noise of the residuals on the detection grid, (rows, cols).
    """
    y, x = np.indices(snr.shape, dtype=np.float64) / DETECTION_GRID - DETECTION_MARGIN
    distance, _ = cKDTree(np.stack([stars.x, stars.y], axis=1)).query(np.stack([x.ravel(), y.ravel()], axis=1))
    between = ((distance > BETWEEN_PX).reshape(snr.shape) & (snr != 0)).astype(np.float64)
    size = WINDOW_PX * DETECTION_GRID + 1
    square = uniform_filter(between * np.minimum(snr * snr, MOST_SIGMA**2), size, mode="nearest")
    share = uniform_filter(between, size, mode="nearest")
    scatter = np.sqrt(np.maximum(square, 0.0) / np.maximum(share, 1e-9))
    # Where stars leave nothing between them the mean of the field speaks.
    overall = float(np.sqrt((between * np.minimum(snr * snr, MOST_SIGMA**2)).sum() / max(between.sum(), 1.0)))
    scatter = np.where(share > 0.02, scatter, overall)
    rows = np.clip(np.rint((stars.y + DETECTION_MARGIN) * DETECTION_GRID).astype(int), 0, snr.shape[0] - 1)
    cols = np.clip(np.rint((stars.x + DETECTION_MARGIN) * DETECTION_GRID).astype(int), 0, snr.shape[1] - 1)
    return np.asarray(scatter[rows, cols])


def flux_factor(scatter: F64, flux_err: F64) -> F64:
    """By how much errors of fluxes (n,) are larger than the noise of the pixels says: at least 1."""
    finite = flux_err[np.isfinite(flux_err)]
    faint = float(np.percentile(finite, 25)) if finite.size else 1.0
    with np.errstate(invalid="ignore"):
        share = np.clip((faint / np.maximum(flux_err, faint)) ** BRIGHT_POWER, BRIGHT_SHARE, 1.0)
    return np.asarray(np.maximum(1.0, ABSORBED_FLUX * scatter * np.nan_to_num(share, nan=1.0)))


def position_factor(scatter: F64) -> F64:
    """The same of positions."""
    return np.asarray(np.maximum(1.0, ABSORBED_POSITION * scatter))
