"""One order of one source on a detector window: the linear operator from its spectrum to pixels, and the adjoint.

Kernels: csrc/dispersion.h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.dispersion import BinTrace, CutoutBox, Stamps, disperse, disperse_adjoint, disperse_onto
from roman_assets.systems.gdps.optics.traces import TraceModel

F32 = NDArray[np.float32]
#: Sources farther than this from the window [px] are left out: beyond the reach of any order, and of the polynomials.
FARTHEST_PX = 3000.0
F64 = NDArray[np.float64]
#: Bins along a trace should cover no more than this [px] where the image of a line is wanted to a per mille.
SAMPLING_PX = 0.5
#: Farthest that stamps are sheared, and may be sheared wrongly (ROMAN_SHEAR_ERROR of csrc is larger by a little) [px].
MOST_SHEAR_PX, SHEAR_ERROR_PX = 1.0, 0.018


@dataclass(frozen=True)
class Window:
    """A part of a detector: detector coordinate (x, y) of array pixel (0, 0), and size [px].

    An array pixel (i, j) of column i is at detector coordinate (xstart + i, ystart + j).
    """

    xstart: float
    ystart: float
    nx: int
    ny: int


def wavelength_edges(
    trace: TraceModel,
    x0: float,
    y0: float,
    order: str,
    *,
    sampling_px: float = SAMPLING_PX,
    band: tuple[float, float] | None = None,
) -> F64:
    """Edges [um] of wavelength bins of equal width that cover at most `sampling_px` each, for a source at (x0, y0) [px]."""
    low, high = band or trace.band(order)
    nodes = np.linspace(low, high, 33)
    steepest = float(np.abs(trace.along(*trace.slopes(x0, y0, nodes, order))).max())
    return np.linspace(low, high, max(int(np.ceil((high - low) * steepest / sampling_px)), 1) + 1)


def plane_shares(edges: ArrayLike, nodes: ArrayLike) -> tuple[NDArray[np.int32], F64]:
    """For each bin, the lower of the two planes that serve it and the share of the next; the outer planes reach on.

    Parameters
    ----------
    edges
        (bins + 1,) of the bins [um].
    nodes
        (planes,) rising wavelengths [um] of the planes.
    """
    edge, at = np.asarray(edges, dtype=np.float64), np.asarray(nodes, dtype=np.float64)
    if len(at) == 1:
        return np.zeros(len(edge) - 1, dtype=np.int32), np.zeros(len(edge) - 1)
    place = np.interp((edge[1:] + edge[:-1]) / 2, at, np.arange(len(at)))
    plane = np.minimum(place.astype(np.int32), len(at) - 2)
    return plane, place - plane


@dataclass(frozen=True)
class WavelengthBins:
    """Wavelength bins and the planes of stamps that serve them, the same for all sources of a scene.

    Attributes
    ----------
    edges
        (bins + 1,) rising [um]; see `wavelength_edges`.
    nodes
        (planes,) rising wavelengths [um] of the planes.
    plane, share
        (bins,) of `plane_shares`.
    """

    edges: F64
    nodes: F64
    plane: NDArray[np.int32]
    share: F64

    @classmethod
    def of(cls, edges: ArrayLike, nodes: ArrayLike) -> WavelengthBins:
        """Bins between `edges` for stamps with a plane at each of `nodes`; InputError if the edges do not rise."""
        edge, node = np.asarray(edges, dtype=np.float64), np.atleast_1d(np.asarray(nodes, dtype=np.float64))
        if edge.ndim != 1 or len(edge) < 2 or not (np.diff(edge) > 0).all():
            raise InputError("the edges do not rise", field="edges", remedy="give at least two rising wavelengths [um]")
        return cls(edge, node, *plane_shares(edge, node))


def straight_slopes(
    trace: TraceModel, x0: float, y0: float, order: str, edges: ArrayLike, nodes: ArrayLike, half: int
) -> F64 | None:
    """Slopes dx/dy at the wavelengths `nodes` of a trace that stamps may be sheared for, (planes,).

    Parameters
    ----------
    edges, nodes
        Of the wavelength bins and of the planes [um].
    half
        Half size of the stamps [px].

    None where the trace turns back, runs along the rows, or bends too much for the planes' slopes to tell it.
    """
    edge, node = np.asarray(edges, dtype=np.float64), np.atleast_1d(nodes)
    dx, dy = trace.slopes(x0, y0, (edge[1:] + edge[:-1]) / 2, order)
    if not (np.all(dy > 0) or np.all(dy < 0)):
        return None
    at_nodes = np.divide(*trace.slopes(x0, y0, node, order))
    plane, share = plane_shares(edge, node)
    mixed = (1 - share) * at_nodes[plane] + share * at_nodes[np.minimum(plane + 1, len(node) - 1)]
    slope = dx / dy
    if not (np.abs(slope).max() * half <= MOST_SHEAR_PX and np.abs(slope - mixed).max() * (half + 1) <= SHEAR_ERROR_PX):
        return None
    return np.asarray(at_nodes)


@dataclass(frozen=True)
class DispersedSource:
    """One order of one source in a window.

    Attributes
    ----------
    stamps
        The source's profile on the dispersed image at the planes' wavelengths.
    trace
        Places of the bins' edges on the window's array.
    box
        The cut-out; it holds all of the source's light in the window's rows, and its columns may lie outside.
    """

    stamps: Stamps
    trace: BinTrace
    box: CutoutBox

    def image(self, light: ArrayLike) -> F32:
        """Cut-out (box.ny, box.nx) float32 for `light` (bins,), the flux of each bin."""
        return disperse(self.stamps, self.trace, light, self.box)

    def add_to(self, image: F32, light: ArrayLike) -> None:
        """`image`, the window (ny, nx) in contiguous float32, += the source with `light` (bins,), in place."""
        if self.stamps.slopes is None:
            add_cutout(image, self.box, self.image(light))
        else:
            disperse_onto(image, self.stamps, self.trace, light)

    def project(self, pixels: ArrayLike) -> F64:
        """Adjoint of `image`: (bins,) from a cut-out."""
        return disperse_adjoint(self.stamps, self.trace, pixels, self.box)

    def moved(self, offset: float) -> DispersedSource:
        """The source `offset` px farther along x, less than a pixel, in the same cut-out."""
        return DispersedSource(self.stamps, BinTrace(self.trace.x + offset, self.trace.y, *self.trace.planes), self.box)

    def seen(self, nx: int) -> bool:
        """Whether the cut-out meets the window of `nx` columns."""
        return self.box.ny > 0 and self.box.column < nx and self.box.column + self.box.nx > 0


def place_source(
    trace: TraceModel, window: Window, x0: float, y0: float, order: str, bins: WavelengthBins, stamps: Stamps
) -> DispersedSource:
    """The operator of a source at the undispersed place (x0, y0) [px of the trace model].

    Parameters
    ----------
    bins
        Of its spectrum, and the wavelengths of the planes of its stamps.
    stamps
        The source's profile.

    Raises
    ------
    InputError
        The order is unknown, or planes and nodes do not agree.
    """
    if len(bins.nodes) != stamps.planes:
        raise InputError(f"{stamps.planes} planes", field="bins", remedy="give one node for each plane")
    x, y = trace.trace_grid([x0], [y0], bins.edges, trace.check_order(order))
    placed = BinTrace(x[0] - window.xstart, y[0] - window.ystart, bins.plane, bins.share)
    return DispersedSource(stamps, placed, placed.box(stamps, window.ny))


def _overlap(box: CutoutBox, shape: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a box lies in an image of `shape`, and that part in the box."""
    top, right = min(box.row + box.ny, shape[0]), min(box.column + box.nx, shape[1])
    bottom, left = max(box.row, 0), max(box.column, 0)
    top, right = max(top, bottom), max(right, left)
    return (slice(bottom, top), slice(left, right)), (
        slice(bottom - box.row, top - box.row),
        slice(left - box.column, right - box.column),
    )


def add_cutout(image: NDArray[Any], box: CutoutBox, cutout: NDArray[Any], sign: float = 1.0) -> None:
    """`image` += sign * cut-out, where they overlap; in place."""
    there, here = _overlap(box, (image.shape[0], image.shape[1]))
    image[there] += cutout[here] if sign == 1.0 else sign * cutout[here]


def take_cutout(image: NDArray[Any], box: CutoutBox) -> F64:
    """The box of an image, float64, 0 outside the image."""
    there, here = _overlap(box, (image.shape[0], image.shape[1]))
    result = np.zeros((box.ny, box.nx))
    result[here] = image[there]
    return result


def inside_cutout(shape: tuple[int, int], box: CutoutBox) -> NDArray[np.bool_]:
    """(box.ny, box.nx): which of a box's pixels an image of `shape` has."""
    result = np.zeros((box.ny, box.nx), dtype=bool)
    result[_overlap(box, shape)[1]] = True
    return result
