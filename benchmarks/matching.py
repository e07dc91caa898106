"""Matching a catalogue with the truth of a simulated scene, and what counts as isolated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

F64 = NDArray[np.float64]
#: A true star and an entry are the same if closer than this [px] and of like brightness [mag].
RADIUS_PX, TOLERANCE_MAG = 0.5, 0.5
#: A star is isolated without a neighbour of this fraction of its flux within this distance [px].
NEIGHBOUR_FLUX, NEIGHBOUR_PX = 0.1, 1.5


def match(
    x: F64, y: F64, mag: F64, cat_x: F64, cat_y: F64, cat_mag: F64, *, faintest: float = 24.0
) -> NDArray[np.int64]:
    """Index of the entry that is each true star, or -1; (true stars,).

    One to one, the brightest true stars choosing first, each the nearest entry within RADIUS_PX [px] and
    TOLERANCE_MAG [mag]; true stars fainter than `faintest` are not matched.
    """
    found = np.full(len(x), -1, dtype=np.int64)
    tree = cKDTree(np.column_stack([cat_x, cat_y]))
    free = np.ones(len(cat_x), dtype=bool)
    for star in np.argsort(mag, kind="stable"):
        if mag[star] > faintest:
            break
        near = np.array(tree.query_ball_point((x[star], y[star]), RADIUS_PX), dtype=np.int64)
        near = near[free[near] & (np.abs(cat_mag[near] - mag[star]) < TOLERANCE_MAG)]
        if near.size:
            best = near[np.argmin(np.hypot(cat_x[near] - x[star], cat_y[near] - y[star]))]
            found[star] = best
            free[best] = False
    return found


def isolated(x: F64, y: F64, mag: F64) -> NDArray[np.bool_]:
    """Stars without a neighbour of NEIGHBOUR_FLUX of their flux within NEIGHBOUR_PX."""
    result = np.ones(len(x), dtype=bool)
    limit = -2.5 * np.log10(NEIGHBOUR_FLUX)
    for a, b in cKDTree(np.column_stack([x, y])).query_pairs(NEIGHBOUR_PX):
        result[a] &= mag[b] > mag[a] + limit
        result[b] &= mag[a] > mag[b] + limit
    return result


def robust_scatter(values: F64, axis: int = 0) -> F64:
    """1.4826 median absolute deviation along an axis, NaN left out, corrected for the fitted median."""
    with np.errstate(all="ignore"):
        count = np.isfinite(values).sum(axis=axis)
        deviation = np.abs(values - np.nanmedian(values, axis=axis, keepdims=True))
        return np.asarray(1.4826 * np.nanmedian(deviation, axis=axis) * np.sqrt(count / np.maximum(count - 1, 1)))
