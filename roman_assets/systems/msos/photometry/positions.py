"""Where one exposure sees a star that the catalogue places elsewhere: displacement and fluxes of the neighbours at once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from roman_assets.kernels.photometry import PaddedFrame, SplinePsf, Stars, psf_stamps
from roman_assets.systems.msos.psf.grid import DetectorPsf

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

#: Pixels on either side of a star that tell its displacement, and the farthest and the most neighbours that are freed with it.
WINDOW, NEAR_PX, MOST_NEIGHBOURS = 3, 5.0, 16
#: A star is alone if none within this [px] has this share of its flux.
BLEND_PX, ALIKE = 2.0, 0.3
#: Half size of a stamp that covers the window wherever a neighbour stands.
HALF = 11
#: Relative change of a neighbour that the catalogue leaves free.
SPREAD = 0.1


def alone(x: F64, y: F64, flux: F64, chosen: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the chosen stars (m,) outshine all that blends with them: of two alike, neither place can be told."""
    tree = cKDTree(np.stack([x, y], axis=1))
    beside = tree.query_ball_point(np.stack([x[chosen], y[chosen]], axis=1), BLEND_PX)
    return np.array(
        [
            flux[[n for n in near if n != star]].max(initial=0.0) < ALIKE * flux[star]
            for near, star in zip(beside, chosen, strict=True)
        ],
        dtype=np.bool_,
    )


def displacements(
    psf: DetectorPsf,
    geometry: PaddedFrame,
    x: F64,
    y: F64,
    flux: F64,
    flux_err: F64,
    expected: F64,
    residual: F32,
    weight: F32,
    chosen: NDArray[np.int64],
) -> F64:
    """Linear estimate of how far stars stand from where they were fitted, (2, m) [px].

    Displacement and flux of each chosen star are solved with the fluxes of its neighbours, which the catalogue holds: a
    neighbour within the core would otherwise be given the light that a misplaced model leaves on its side.

    Parameters
    ----------
    psf, geometry
        The ePSF, and the padded image.
    x, y, flux, flux_err, expected
        (n,) where the stars were fitted [px], their fluxes, errors, and the catalogue's fluxes [DN/s].
    residual, weight
        Padded images: data - model [DN/s], and 1 / variance, 0 where a pixel is not used.
    chosen
        (m,) indices of the stars.
    """
    found = np.zeros((2, len(chosen)))
    tree = cKDTree(np.stack([x, y], axis=1))
    cells = psf.field.cell(x[chosen], y[chosen])
    for k, star in enumerate(chosen):
        near = np.array(tree.query_ball_point((x[star], y[star]), NEAR_PX), dtype=np.int64)
        near = near[(near != star) & np.isfinite(flux[near])]
        near = near[np.argsort(-np.abs(flux[near]), kind="stable")][:MOST_NEIGHBOURS]
        members = np.concatenate([[star], near])
        spline = psf.cells[int(cells[k])].spline
        centre = (_pixel(x[star]), _pixel(y[star]))
        own = Stars.of(x[[star]], y[[star]], WINDOW)
        slopes = [psf_stamps(spline, own, axis)[0].astype(np.float64).ravel() * flux[star] for axis in (1, 2)]
        columns = np.stack([*slopes, *_windows(spline, x[members], y[members], centre)], axis=1)
        rows, column = (slice(c + geometry.pad - WINDOW, c + geometry.pad + WINDOW + 1) for c in centre[::-1])
        w = np.sqrt(weight[rows, column].astype(np.float64).ravel())
        free = np.hypot(np.where(np.isfinite(flux_err[near]), flux_err[near], 1.0), SPREAD * expected[near])
        held = np.zeros((len(near), columns.shape[1]))
        held[np.arange(len(near)), 3 + np.arange(len(near))] = 1.0 / np.maximum(free, 1e-6)
        left = residual[rows, column].astype(np.float64).ravel() * w
        target = np.concatenate([left, (expected[near] - flux[near]) / np.maximum(free, 1e-6)])
        solution, *_ = np.linalg.lstsq(np.concatenate([columns * w[:, None], held]), target, rcond=None)
        found[:, k] = solution[:2]
    return found


def _pixel(coordinate: float) -> int:
    """The pixel that holds a coordinate, as the kernel has it."""
    return int(np.floor(coordinate + 0.5))


def _windows(spline: SplinePsf, x: F64, y: F64, centre: tuple[int, int]) -> F64:
    """The PSFs of stars (n,) on the pixels of the window around `centre`, (n, pixels)."""
    result = []
    for image, px, py in zip(psf_stamps(spline, Stars.of(x, y, HALF)), x, y, strict=True):
        left, low = (c - _pixel(p) + HALF - WINDOW for c, p in zip(centre, (px, py), strict=True))
        result.append(image[low : low + 2 * WINDOW + 1, left : left + 2 * WINDOW + 1].astype(np.float64).ravel())
    return np.stack(result)
