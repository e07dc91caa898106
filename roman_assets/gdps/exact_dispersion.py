"""The dispersed image of one source by clipping polygons: slow and exact, what the kernels are proved against.

Every stamp pixel's four corners go through the trace model itself at many wavelengths within each bin; the
quadrilateral between them is clipped on the detector's pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.gdps.dispersion import Morphology, Window
from roman_assets.gdps.traces import TraceModel
from roman_assets.kernels.dispersion import clip_quads

F64 = NDArray[np.float64]


def exact_model(
    trace: TraceModel, window: Window, x: float, y: float, morphology: Morphology, order: str, edges: ArrayLike,
    light: ArrayLike, *, steps: int = 8,
) -> F64:  # fmt: skip
    """Window image (ny, nx), float64, of a source at (x, y) [px] with `light` (bins,) electrons/s in each bin.

    Parameters
    ----------
    steps
        Wavelengths in each bin, whose light is uniform in wavelength.

    Raises
    ------
    InputError
        The order is unknown, or a corner falls far outside the model.
    """
    edge, flux = np.asarray(edges, dtype=np.float64), np.asarray(light, dtype=np.float64)
    _, ny, nx = morphology.planes.shape
    corner_x = x + morphology.x + (np.arange(nx + 1) - 0.5) * morphology.pitch
    corner_y = y + morphology.y + (np.arange(ny + 1) - 0.5) * morphology.pitch
    grid_x, grid_y = np.meshgrid(corner_x, corner_y)
    image = np.zeros((window.ny, window.nx))
    for k in np.flatnonzero(flux):
        for wave in edge[k] + (np.arange(steps) + 0.5) / steps * (edge[k + 1] - edge[k]):
            at_x, at_y = trace.trace(grid_x, grid_y, wave, order)
            values = _plane(morphology, wave) * (flux[k] / steps)
            _add(image, at_x - window.xstart, at_y - window.ystart, values)
    return image


def _plane(morphology: Morphology, wavelength: float) -> F64:
    """The stamp at a wavelength [um], linear between the nodes."""
    planes = morphology.planes.astype(np.float64)
    if len(planes) == 1:
        return planes[0]
    place = np.interp(wavelength, morphology.nodes, np.arange(len(planes)))
    low = min(int(place), len(planes) - 2)
    return planes[low] + (place - low) * (planes[low + 1] - planes[low])


def _add(image: F64, x: F64, y: F64, values: F64) -> None:
    """Adds pixels with corners x, y (ny + 1, nx + 1) and values (ny, nx)."""
    use = values.ravel() != 0
    quads = [
        np.stack([v[:-1, :-1], v[:-1, 1:], v[1:, 1:], v[1:, :-1]], axis=-1).reshape(-1, 4)[use] for v in (x, y)
    ]
    row, column, area, start = clip_quads(*quads, (image.shape[0], image.shape[1]))
    d1x, d1y = quads[0][:, 2] - quads[0][:, 0], quads[1][:, 2] - quads[1][:, 0]
    d2x, d2y = quads[0][:, 3] - quads[0][:, 1], quads[1][:, 3] - quads[1][:, 1]
    density = values.ravel()[use] / (0.5 * np.abs(d1x * d2y - d2x * d1y))
    np.add.at(image, (row, column), area * np.repeat(density, np.diff(start)))
