"""The dispersed image of one source by clipping polygons: slow and exact, what the kernel is proved against.

The corners of every cell of the source go through the trace model itself at many wavelengths within each bin; the
quadrilateral between them is clipped on the detector's pixels.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.kernels.dispersion import clip_quads
from roman_assets.systems.gdps.optics.dispersion import Window
from roman_assets.systems.gdps.optics.traces import TraceModel

F64 = NDArray[np.float64]


def exact_image(
    trace: TraceModel,
    window: Window,
    x0: float,
    y0: float,
    cells: ArrayLike,
    pitch: float,
    order: str,
    edges: ArrayLike,
    light: ArrayLike,
    *,
    steps: int = 4,
) -> F64:
    """Window image (ny, nx), float64, of a source at (x0, y0) [undispersed px] with `light` (bins,) in each bin.

    Parameters
    ----------
    cells
        (h, w) shares of the source's flux in square cells of side `pitch` [undispersed px], centred on the source,
        each of uniform light.
    steps
        Wavelengths in each bin, whose light is uniform in wavelength.

    Raises
    ------
    InputError
        The order is unknown, or a corner falls far outside the model.
    """
    edge, flux, share = (np.asarray(v, dtype=np.float64) for v in (edges, light, cells))
    height, width = share.shape
    corner_x, corner_y = (c + (np.arange(n + 1) - n / 2) * pitch for c, n in ((x0, width), (y0, height)))
    grid_x, grid_y = np.meshgrid(corner_x, corner_y)
    image = np.zeros((window.ny, window.nx))
    for k in np.flatnonzero(flux):
        for wave in edge[k] + (np.arange(steps) + 0.5) / steps * (edge[k + 1] - edge[k]):
            at_x, at_y = trace.trace(grid_x, grid_y, wave, order)
            _add(image, at_x - window.xstart, at_y - window.ystart, share * (flux[k] / steps))
    return image


def _add(image: F64, x: F64, y: F64, values: F64) -> None:
    """Adds cells with corners x, y (h + 1, w + 1) and values (h, w)."""
    use = values.ravel() != 0
    quads = [np.stack([v[:-1, :-1], v[:-1, 1:], v[1:, 1:], v[1:, :-1]], axis=-1).reshape(-1, 4)[use] for v in (x, y)]
    row, column, area, start = clip_quads(quads[0], quads[1], (image.shape[0], image.shape[1]))
    d1x, d1y = quads[0][:, 2] - quads[0][:, 0], quads[1][:, 2] - quads[1][:, 0]
    d2x, d2y = quads[0][:, 3] - quads[0][:, 1], quads[1][:, 3] - quads[1][:, 1]
    density = values.ravel()[use] / (0.5 * np.abs(d1x * d2y - d2x * d1y))
    np.add.at(image, (row, column), area * np.repeat(density, np.diff(start)))
