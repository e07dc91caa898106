"""Profiles as sums of few products of a factor along the trace and one across it, which are drawn at less cost.

The samples of all planes side by side are a matrix, of which the singular vectors with the largest singular values are
taken, as many as bound the error. Smooth profiles need one or two dozen; a profile of many clumps needs nearly all, and
is drawn as it is.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from roman_assets.kernels.dispersion import FACTORS, Factors

F64 = NDArray[np.float64]
#: Largest error of the image of a line, of its peak, and of a sum along the trace of errors however signed, of the
#: largest such sum: the error of any spectrum's image. Both are of places at the samples; between them it is no larger.
PEAK_ERROR, LINE_ERROR = 3e-4, 5e-4
#: Factors, as a share of the samples across, beyond which drawing the samples themselves costs less.
MOST_FACTORS = 0.8


@lru_cache(maxsize=16)
def spline_matrix(count: int) -> F64:
    """(count, count): from values to coefficients of the quintic B-spline through them, mirrored at the ends."""
    from scipy.ndimage import spline_filter1d

    return np.asarray(spline_filter1d(np.eye(count), order=5, axis=0, mode="mirror"))


@lru_cache(maxsize=16)
def _phases(count: int, over: int) -> tuple[F64, F64]:
    """Sums of coefficients over the samples of each phase, from values (count, over); and profiles (over - 1, count)
    that shift light from phase to phase, smoothly along the samples."""
    of_phase = (np.arange(count)[:, None] % over == np.arange(over)).astype(np.float64)
    window = np.sin(np.pi * (np.arange(count) + 0.5) / count) ** 2
    shifting = (of_phase[:, 1:] - of_phase[:, :1]).T * window
    matrix = spline_matrix(count)
    return matrix.T @ of_phase, np.linalg.solve(matrix, shifting.T).T


def factored(values: F64, over: int) -> Factors | None:
    """Factors of samples that are within PEAK_ERROR and LINE_ERROR of them, or None if too many were needed.

    Parameters
    ----------
    values
        (planes, height, width) samples of a profile in each plane, rows along the trace.
    over
        Samples per pixel across the trace.

    Returns
    -------
    factors
        Spline coefficients; their product has the sums over pixels of the samples' own coefficients, in every row and
        phase.
    """
    planes, height, width = values.shape
    peak = values.max(axis=(1, 2))[:, None, None]
    line = values.sum(axis=1).max(axis=1)[:, None]
    if not (np.isfinite(values).all() and peak.min() > 0 and line.min() > 0):
        return None
    matrix = np.ascontiguousarray(values.reshape(planes * height, width))
    squares, vectors = np.linalg.eigh(matrix.T @ matrix)
    squares, vectors = np.maximum(squares[::-1], 0), vectors[:, ::-1]
    # What is left out is about evenly spread: a fair guess of where to begin.
    left_out = np.sqrt(np.cumsum(squares[::-1])[::-1] / squares.sum())
    enough = np.flatnonzero(left_out < 2 * PEAK_ERROR)
    first = -(-(int(enough[0]) if len(enough) else width) // FACTORS) * FACTORS
    for rank in range(max(first, FACTORS), int(MOST_FACTORS * width) + 1, FACTORS):
        along, across, missing = _of_rank(matrix, vectors, rank, over)
        off = np.abs(missing).reshape(values.shape)
        if (off <= PEAK_ERROR * peak).all() and (off.sum(axis=1) <= LINE_ERROR * line).all():
            along = spline_matrix(height) @ along.reshape(planes, height, rank)
            return Factors(along, across @ spline_matrix(width).T)
    return None


def _of_rank(matrix: F64, vectors: F64, rank: int, over: int) -> tuple[F64, F64, F64]:
    """Values of factors along and across, and what they miss of the matrix."""
    width = matrix.shape[1]
    sums, shifting = _phases(width, over)
    across = np.concatenate([vectors[:, : rank - len(shifting)].T, shifting])
    along = np.zeros((len(matrix), rank))
    along[:, : rank - len(shifting)] = matrix @ across[: rank - len(shifting)].T
    missing = matrix - along @ across
    # Light that is missing in a row and phase is shared among the factors that carry any.
    correction = (missing @ sums) @ np.linalg.pinv(across @ sums)
    return along + correction, across, missing - correction @ across
