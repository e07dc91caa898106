"""Dispersed images of sources: the linear operator from spectra to a detector window, and its adjoint.

A `Dispersion` holds one order of many sources: their traces in a window of the detector, the cut-out that each
fills, and the products that contamination models and joint fits are made of. Kernels: csrc/dispersion.h.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.gdps.traces import TraceModel
from roman_assets.kernels.dispersion import (
    Boxes,
    StampSet,
    TraceSet,
    cutouts_add,
    cutouts_take,
    disperse,
    disperse_adjoint,
)

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
#: Bins along a trace should cover no more than this [px] where the image of a spectrum is wanted to a per mille.
SAMPLING_PX = 0.5
#: For single planes: change of the matrix within an interval, where it is taken to be constant; departure of a trace
#: from a parabola within an interval [px]; most intervals.
MATRIX_CHANGE, BEND_PX, MOST_INTERVALS = 2e-3, 3e-4, 24
#: Pixels of the cut-outs that are held at one time: they stay in the cache until they are added to the image.
_BATCH_PIXELS = 1 << 19


@dataclass(frozen=True)
class Window:
    """A part of a detector: detector coordinate (x, y) of array pixel (0, 0), and size [px].

    An array pixel (i, j) of column i is at detector coordinate (xstart + i, ystart + j).
    """

    xstart: float
    ystart: float
    nx: int
    ny: int


@dataclass(frozen=True)
class Morphology:
    """How a source's light is spread on the undispersed image.

    Attributes
    ----------
    planes
        (p, ny, nx) float32, share of the source's flux in each stamp pixel (sum 1 where all of it is held).
    x, y
        Centre of the first stamp pixel from the source's place [undispersed px].
    pitch
        Side of a stamp pixel [undispersed px].
    nodes
        (p,) wavelengths [um] of the planes, rising; empty for a single plane.
    """

    planes: F32
    x: float
    y: float
    pitch: float = 1.0
    nodes: tuple[float, ...] = ()


def wavelength_edges(
    trace: TraceModel, x0: float, y0: float, order: str, *, sampling_px: float = SAMPLING_PX,
    band: tuple[float, float] | None = None,
) -> F64:  # fmt: skip
    """Edges [um] of wavelength bins of equal width that cover at most `sampling_px` each for a source at (x0, y0) [px]."""
    low, high = band or trace.band(order)
    nodes = np.linspace(low, high, 33)
    steepest = float(np.abs(trace.along(*trace.slopes(x0, y0, nodes, order))).max())
    return np.linspace(low, high, max(int(np.ceil((high - low) * steepest / sampling_px)), 1) + 1)


def _from_parabola(along: F64, across: F64) -> float:
    """Largest distance [px] of a trace from the parabola through its ends and its middle."""
    if len(along) < 4 or np.ptp(along) < 1:
        return 0.0
    nodes = [0, len(along) // 2, len(along) - 1]
    scaled = (along - along[0]) / (along[-1] - along[0])
    return float(np.abs(np.polyval(np.polyfit(scaled[nodes], across[nodes], 2), scaled) - across).max())


class Dispersion:
    """One order of n sources in a window of the detector.

    Parameters
    ----------
    trace
        Traces of the element on the detector.
    window
        The part of the detector that is modelled; sources may lie outside it.
    x, y
        (n,) undispersed places of the sources in the trace's own pixels.
    morphology
        Of each source; those with several planes share their nodes.
    order
        Of the trace.
    edges
        (bins + 1,) rising edges of the wavelength bins [um]; see `wavelength_edges`.
    threads
        Threads that share the sources; results have the same bits for any number.

    Raises
    ------
    InputError
        The arrays do not agree, edges do not rise, or nodes differ between sources.
    """

    def __init__(
        self, trace: TraceModel, window: Window, x: ArrayLike, y: ArrayLike, morphology: Sequence[Morphology],
        order: str, edges: ArrayLike, *, threads: int = 1,
    ) -> None:  # fmt: skip
        self.trace, self.window, self.order, self.threads = trace, window, trace.check_order(order), threads
        self.x, self.y = (np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in (x, y))
        self.edges = np.asarray(edges, dtype=np.float64)
        if self.edges.ndim != 1 or len(self.edges) < 2 or not (np.diff(self.edges) > 0).all():
            raise InputError("the edges do not rise", field="edges", remedy="give at least two rising wavelengths [um]")
        if not len(self.x) == len(self.y) == len(morphology):
            raise InputError(
                f"{len(self.x)} places for {len(morphology)} stamps", field="x, y, morphology",
                remedy="give one of each for every source",
            )  # fmt: skip
        self.morphology = list(morphology)
        self._swapped = trace.dispersion_axis == "x"
        self._first, self._share, centres = self._intervals()
        self._traces = self._trace_set(centres)
        self._stamps = self._stamp_set()
        self.boxes = self._boxes()

    def __len__(self) -> int:
        return len(self.x)

    @property
    def bins(self) -> int:
        """Wavelength bins."""
        return len(self.edges) - 1

    # --- geometry ---------------------------------------------------------------------------------------

    def _intervals(self) -> tuple[NDArray[np.int32], F64, F64]:
        """First bin of each interval, share of the upper plane in each bin, and the intervals' mid wavelengths."""
        nodes = {m.nodes for m in self.morphology if len(m.planes) > 1}
        middle = (self.edges[1:] + self.edges[:-1]) / 2
        if len(nodes) > 1:
            raise InputError("stamps have different nodes", field="morphology", remedy="use the same nodes for all")
        if not nodes:
            first = np.linspace(0, self.bins, self._interval_count() + 1).round().astype(np.int32)
            return first, np.zeros(self.bins), (self.edges[first[1:]] + self.edges[first[:-1]]) / 2
        at = np.asarray(nodes.pop())
        if any(len(m.planes) not in (1, len(at)) for m in self.morphology) or not (np.diff(at) > 0).all():
            raise InputError(
                "the nodes do not rise, or do not match the planes", field="morphology.nodes",
                remedy="give one rising wavelength [um] for each plane",
            )  # fmt: skip
        first = np.searchsorted(middle, at).astype(np.int32)
        first[0], first[-1] = 0, self.bins
        interval = np.searchsorted(first, np.arange(self.bins), side="right") - 1
        share = np.clip((middle - at[interval]) / (at[interval + 1] - at[interval]), 0, 1)
        # Light beyond the outer nodes has the outer planes, and the matrix of the outer intervals.
        return first, share, np.clip((at[1:] + at[:-1]) / 2, self.edges[0], self.edges[-1])

    def _interval_count(self) -> int:
        """Intervals within which the matrices hardly change and the traces are parabolas, for all sources."""
        if not len(self):
            return 1
        few = np.unique([s for v in (self.x, self.y, self.x - self.y, self.x + self.y) for s in (v.argmin(), v.argmax())])
        ends = self.trace.jacobian(self.x[few, None], self.y[few, None], self.edges[[0, -1]], self.order)
        count = int(np.ceil(np.abs(ends[:, 1] - ends[:, 0]).max() / MATRIX_CHANGE))
        x, y = self.trace.trace_grid(self.x[few], self.y[few], np.linspace(self.edges[0], self.edges[-1], 97), self.order)
        along, across = (x, y) if self._swapped else (y, x)
        while count < MOST_INTERVALS:
            parts = np.linspace(0, 96, count + 1).round().astype(int) if count else [0, 96]
            worst = max(
                _from_parabola(along[s, a : b + 1], across[s, a : b + 1])
                for s in range(len(few)) for a, b in itertools.pairwise(parts)
            )  # fmt: skip
            if worst < BEND_PX:
                break
            count += 1
        return min(max(count, 1), MOST_INTERVALS, self.bins)

    def _trace_set(self, centres: F64) -> TraceSet:
        x, y = self.trace.trace_grid(self.x, self.y, self.edges, self.order)
        matrix = self.trace.jacobian(self.x[:, None], self.y[:, None], centres, self.order)
        x, y = x - self.window.xstart, y - self.window.ystart
        if self._swapped:
            return TraceSet(y, x, self._first, self._share, matrix[:, :, ::-1, ::-1])
        return TraceSet(x, y, self._first, self._share, matrix)

    def _stamp_set(self) -> StampSet:
        chosen = self.morphology
        if self._swapped:
            planes = [m.planes.transpose(0, 2, 1) for m in chosen]
            return StampSet(planes, [m.y for m in chosen], [m.x for m in chosen], [m.pitch for m in chosen])
        return StampSet(
            [m.planes for m in chosen], [m.x for m in chosen], [m.y for m in chosen], [m.pitch for m in chosen]
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the window in the kernel's sense: along and across the dispersion."""
        return (self.window.nx, self.window.ny) if self._swapped else (self.window.ny, self.window.nx)

    def _boxes(self) -> Boxes:
        """Cut-outs that hold all light of each source in the window's rows; empty for sources that miss it."""
        stamps, traces = self._stamps, self._traces
        ny, nx = (stamps.shapes[:, axis].astype(np.float64) for axis in (1, 2))
        # Corners of the stamps, (n, 4), and their offsets on the detector, (n, intervals, 4).
        low_x, low_y = stamps.x - stamps.pitch / 2, stamps.y - stamps.pitch / 2
        high_x, high_y = low_x + nx * stamps.pitch, low_y + ny * stamps.pitch
        corners = np.stack([np.stack([low_x, high_x, low_x, high_x]), np.stack([low_y, low_y, high_y, high_y])])
        offset = np.einsum("stab,bcs->stac", traces.matrix, corners)
        left = np.floor(traces.x.min(axis=1) + offset[:, :, 0].min(axis=(1, 2))) - 2
        right = np.ceil(traces.x.max(axis=1) + offset[:, :, 0].max(axis=(1, 2)))
        bottom = np.floor(traces.y.min(axis=1) + offset[:, :, 1].min(axis=(1, 2))) - 1
        top = np.ceil(traces.y.max(axis=1) + offset[:, :, 1].max(axis=(1, 2))) + 2
        rows, columns = self.shape
        bottom, top = np.clip(bottom, 0, rows), np.clip(top, 0, rows)
        seen = (top > bottom) & (right > -1) & (left + 2 < columns)
        return Boxes(
            np.where(seen, bottom, 0), np.where(seen, left, 0), np.where(seen, top - bottom, 0),
            np.where(seen, right - left + 3, 0),
        )  # fmt: skip

    def _batches(self) -> Iterator[slice]:
        """Runs of sources whose cut-outs are held together."""
        begin = 0
        while begin < len(self):
            most = self.boxes.start[begin] + _BATCH_PIXELS * self.threads
            end = max(int(np.searchsorted(self.boxes.start, most, side="right")) - 1, begin + 1)
            yield slice(begin, end)
            begin = end

    def select(self, which: ArrayLike) -> Dispersion:
        """The same operator for some of the sources, by index."""
        chosen = np.atleast_1d(np.asarray(which))
        return Dispersion(
            self.trace, self.window, self.x[chosen], self.y[chosen], [self.morphology[s] for s in chosen],
            self.order, self.edges, threads=self.threads,
        )  # fmt: skip

    # --- products ---------------------------------------------------------------------------------------

    def light(self, rates: ArrayLike) -> F64:
        """Electrons/s in each bin, (n, bins), from mean rates [electrons/s/um] of the bins, (n, bins) or (bins,)."""
        values = np.asarray(rates, dtype=np.float64)
        return np.broadcast_to(values, (len(self), self.bins)) * np.diff(self.edges)

    def model(self, light: ArrayLike, image: F32 | None = None) -> F32:
        """The window's image (ny, nx), float32, with the dispersed sources added.

        Parameters
        ----------
        light
            (n, bins) electrons/s of each source in each bin.
        image
            Float32 image of the window to add to; a new one of zeros if not given.

        Raises
        ------
        InputError
            Shapes do not agree, or light is not finite.
        """
        given = np.asarray(light, dtype=np.float64)
        if given.shape != (len(self), self.bins):
            raise InputError(
                f"light of shape {given.shape}", field="light", remedy=f"give {(len(self), self.bins)}: source, bin"
            )
        total = self._canvas(image)
        work = None
        for part in self._batches():
            block = work = disperse(
                self._stamps, self._traces, self.boxes, given, part, threads=self.threads, work=work
            )
            cutouts_add(self.boxes, block, total, part, threads=self.threads)
        if image is None:
            return np.ascontiguousarray(total.T) if self._swapped else total
        if total is not image:
            image[:] = total.T if self._swapped else total
        return image

    def _canvas(self, image: F32 | None) -> F32:
        if image is None:
            return np.zeros(self.shape, dtype=np.float32)
        if image.shape != (self.window.ny, self.window.nx):
            raise InputError(f"an image of shape {image.shape}", field="image", remedy="give an image of the window")
        return np.ascontiguousarray(image.T if self._swapped else image, dtype=np.float32)

    def project(self, image: ArrayLike) -> F64:
        """Adjoint of `model`: (n, bins) float64, the sum of `image` over each bin's dispersed light.

        With image = weight x residual it is the gradient of chi2 / -2 by the light of each bin.
        """
        pixels = np.asarray(image, dtype=np.float32)
        if pixels.shape != (self.window.ny, self.window.nx):
            raise InputError(f"an image of shape {pixels.shape}", field="image", remedy="give an image of the window")
        turned = np.ascontiguousarray(pixels.T if self._swapped else pixels)
        result = np.empty((len(self), self.bins))
        for part in self._batches():
            block = cutouts_take(self.boxes, turned, part, threads=self.threads)
            result[part] = disperse_adjoint(self._stamps, self._traces, self.boxes, block, part, threads=self.threads)
        return result

    def place(self, source: int) -> tuple[slice, slice]:
        """Rows and columns of the window (array y, x) that the cut-out of a source covers."""
        b, (rows, columns) = self.boxes, self.shape
        along = slice(int(b.row[source]), int(min(b.row[source] + b.rows[source], rows)))
        left, right = int(b.column[source]), int(b.column[source] + b.columns[source])
        across = slice(min(max(left, 0), columns), max(min(right, columns), min(max(left, 0), columns)))
        return (across, along) if self._swapped else (along, across)

    def cutouts(self, light: ArrayLike) -> list[F32]:
        """Model of each source alone, on its `place`, for `light` (n, bins)."""
        given = np.asarray(light, dtype=np.float64)
        result: list[F32] = []
        for part in self._batches():
            block = disperse(self._stamps, self._traces, self.boxes, given, part, threads=self.threads)
            for left, view in zip(self.boxes.column[part], self.boxes.views(block, part), strict=True):
                clipped = view[:, max(-left, 0) : max(self.shape[1] - left, 0)]
                result.append(np.ascontiguousarray(clipped.T if self._swapped else clipped))
        return result

    def accounting(self, light: ArrayLike) -> tuple[F64, F64]:
        """Electrons/s of each source that fall into the window, and those that do not: (n,), (n,).

        Outside is also what the stamps do not hold.
        """
        inside = np.array([cut.sum(dtype=np.float64) for cut in self.cutouts(light)])
        return inside, np.asarray(light, dtype=np.float64).sum(axis=1) - inside

    # --- coordinates of a cut-out -----------------------------------------------------------------------

    @cached_property
    def _middle(self) -> F64:
        return (self.edges[1:] + self.edges[:-1]) / 2

    def coordinates(self, source: int) -> tuple[F64, F64]:
        """Wavelength [um] and cross-dispersion offset [undispersed px] of every pixel of a source's `place`.

        A pixel gets the wavelength and the offset of the point, displaced from the source's place across the
        dispersion, whose light falls on the pixel's centre: lines of equal wavelength are those of an extended
        source. NaN where that wavelength is beyond the edges.
        """
        rows, columns = self.place(source)
        along, across = (columns, rows) if self._swapped else (rows, columns)
        v, u = np.meshgrid(np.arange(along.start, along.stop), np.arange(across.start, across.stop), indexing="ij")
        x, y, edges = self._traces.x[source], self._traces.y[source], self.edges
        if not ((np.diff(y) > 0).all() or (np.diff(y) < 0).all()):
            raise InputError(f"the trace of order {self.order} turns back", field="edges", remedy="shorten the band")
        rising = slice(None) if y[-1] > y[0] else slice(None, None, -1)
        matrix = self._traces.matrix[source]
        interval = np.clip(np.searchsorted(self._first, np.arange(self.bins), side="right") - 1, 0, len(matrix) - 1)
        wave, offset = np.empty(u.shape), np.zeros(u.shape)
        at = v.astype(np.float64)
        for _ in range(4):
            wave = np.interp(at, y[rising], edges[rising], left=np.nan, right=np.nan)
            local = np.interp(at, y[rising], np.arange(len(edges), dtype=np.float64)[rising])
            j = interval[np.clip(local.astype(np.int64), 0, self.bins - 1)]
            offset = (u - np.interp(at, y[rising], x[rising])) / matrix[j, 0, 0]
            at = v - matrix[j, 1, 0] * offset
        return (wave.T, offset.T) if self._swapped else (wave, offset)
