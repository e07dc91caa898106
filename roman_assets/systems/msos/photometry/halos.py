"""What the halos of the brightest stars do to the stars around them: light that no model of the PSF gets quite right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

F64 = NDArray[np.float64]

#: Error of a star's flux d pixels from one of flux F: SHARE * F / (d^3 + CORE_PX^3), since diffraction falls as d^-3.
#: First of a constant star, whose halo differs from exposure to exposure by its place on the pixels; then of light that it
#: gained or lost since the catalogue: what is wrong with the halo is then no longer the same in all. Measured beside a star of
#: 12.4 mag and its event in an independent scene (bulge_bright wfi06).
CONSTANT = (0.02, 8.0)
CHANGED = (1.0, 40.0)
#: Errors below this do not matter [DN/s].
LEAST_ERROR = 0.3
#: Light nearer than this is solved for together with the star [px].
BLEND_PX = 4.0


def halo_errors(x: F64, y: F64, flux: F64, expected: F64) -> F64:
    """Error (n,) [DN/s] of the fluxes of stars at x, y (n,) [px] by the halos of those that are very bright.

    flux and expected are the fluxes (n,) of the stars here and as the catalogue has them [DN/s].
    """
    variance = np.zeros(len(x))
    light = np.nan_to_num(flux)
    tree: cKDTree | None = None
    for (share, core), source in ((CONSTANT, light), (CHANGED, np.abs(light - np.nan_to_num(expected)))):
        bright = np.flatnonzero(source * share > LEAST_ERROR * (BLEND_PX**3 + core**3))
        if bright.size and tree is None:
            tree = cKDTree(np.stack([x, y], axis=1))
        for star in bright:
            reach = np.cbrt(source[star] * share / LEAST_ERROR - core**3)
            near = np.array(tree.query_ball_point((x[star], y[star]), reach), dtype=np.int64)  # type: ignore[union-attr]
            apart = np.hypot(x[near] - x[star], y[near] - y[star])
            error = share * source[star] / (apart**3 + core**3)
            variance[near] += np.where(apart > BLEND_PX, error**2, 0.0)
    return np.asarray(np.sqrt(variance))
