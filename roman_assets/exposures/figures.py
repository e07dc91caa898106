"""Pictures for the people who run the pipelines: a few tens of kB each, PNG."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
_MAX_SIDE = 256


def new_figure(width: float = 5.0, height: float = 4.0) -> tuple[Any, Any]:
    """A figure without a window and its only axes [inches]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.add_subplot()


def png_of(figure: Any) -> bytes:
    """The figure as a PNG of 64 colours: a third of the size, and no name or date in it."""
    from PIL import Image

    figure.canvas.draw()
    drawn = Image.fromarray(np.asarray(figure.canvas.buffer_rgba())).convert("RGB")
    stream = io.BytesIO()
    drawn.quantize(64, dither=Image.Dither.NONE).save(stream, format="png", optimize=True)
    return stream.getvalue()


def _window(image: NDArray[Any]) -> NDArray[Any]:
    """The central part of a large image: at full frame single stars would be lost."""
    ny, nx = image.shape
    y0, x0 = max((ny - _MAX_SIDE) // 2, 0), max((nx - _MAX_SIDE) // 2, 0)
    return image[y0 : y0 + _MAX_SIDE, x0 : x0 + _MAX_SIDE]


def image_figure(
    image: NDArray[Any], title: str, stars: tuple[F64, F64] | None = None, residual: bool = False
) -> bytes:
    """An image with an arcsinh stretch, or a residual image with a symmetric linear one.

    `stars` (x, y) [px] are circled.
    """
    figure, axes = new_figure(3.4, 3.2)
    shown = _window(np.asarray(image, dtype=np.float64))
    finite = shown[np.isfinite(shown)]
    if residual:
        limit = 5 * 1.4826 * float(np.median(np.abs(finite))) or 1.0
        drawn = axes.imshow(shown, origin="lower", cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    else:
        # Faint stars show: linear within the noise of the sky, logarithmic above it.
        sky = float(np.median(finite))
        noise = 1.4826 * float(np.median(np.abs(finite - sky))) or 1.0
        stretched = np.arcsinh((shown - sky) / noise)
        drawn = axes.imshow(
            stretched,
            origin="lower",
            cmap="gray",
            interpolation="nearest",
            vmin=-1.0,
            vmax=float(np.nanpercentile(stretched, 99.8)),
        )
    if stars is not None:
        y0, x0 = max((image.shape[0] - _MAX_SIDE) // 2, 0), max((image.shape[1] - _MAX_SIDE) // 2, 0)
        axes.plot(stars[0] - x0, stars[1] - y0, "o", ms=3.5, mfc="none", mew=0.5, color="tab:orange")
        axes.set_xlim(-0.5, shown.shape[1] - 0.5)
        axes.set_ylim(-0.5, shown.shape[0] - 0.5)
    if residual:
        figure.colorbar(drawn, ax=axes, shrink=0.8, label="DN/s")
    axes.set_title(title, fontsize=6)
    axes.set_xlabel("x [px]")
    axes.set_ylabel("y [px]")
    return png_of(figure)
