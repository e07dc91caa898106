"""Kernels of slitless dispersion: cut-outs of dispersed sources, and their adjoint (csrc/dispersion.h)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.call import array, check, ffi, lib, pointer, vector_level

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
#: Pixels that a row of a cut-out has beyond its columns in memory (ROMAN_BOX_MARGIN of csrc/dispersion.h).
BOX_MARGIN = 16


class StampSet:
    """Stamps of n sources, each with one plane or one for every end of an interval of the traces.

    Parameters
    ----------
    planes
        For each source (p, ny, nx), float32, the share of the source's flux in each stamp pixel.
    x, y
        (n,) centre of a stamp's first pixel from the source's reference place [undispersed px].
    pitch
        (n,) side of a stamp pixel [undispersed px].

    Raises
    ------
    InputError
        Stamps are empty, not three-dimensional or not finite, or the arrays do not agree.
    """

    def __init__(self, planes: Sequence[NDArray[Any]], x: ArrayLike, y: ArrayLike, pitch: ArrayLike) -> None:
        n = len(planes)
        stamps = [np.asarray(p, dtype=np.float32) for p in planes]
        for s, stamp in enumerate(stamps):
            if stamp.ndim != 3 or 0 in stamp.shape:
                raise InputError(f"stamp {s} has the shape {stamp.shape}", field="planes", remedy="give (planes, ny, nx)")
        self.shapes = np.array([p.shape for p in stamps], dtype=np.int32).reshape(n, 3)
        sizes = self.shapes.astype(np.int64).prod(axis=1)
        self._start = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)[:n]
        self._pixels = np.concatenate([p.ravel() for p in stamps]) if n else np.zeros(1, np.float32)
        self.x, self.y, self.pitch = (
            array(name, v, np.float64, (n,)) for name, v in (("x", x), ("y", y), ("pitch", pitch))
        )
        if not all(np.isfinite(v).all() for v in (self._pixels, self.x, self.y, self.pitch)):
            raise InputError("a stamp is not finite", field="planes, x, y, pitch", remedy="mask such pixels by 0")
        if not (self.pitch > 0).all():
            raise InputError("a pitch is not positive", field="pitch", remedy="give the side of a stamp pixel in px")
        self._columns = [np.ascontiguousarray(self.shapes[:, axis]) for axis in range(3)]
        self.struct: Any = ffi.new(
            "roman_sources *",
            {
                "n": n, "stamps": pointer(self._pixels), "start": pointer(self._start),
                "planes": pointer(self._columns[0]), "ny": pointer(self._columns[1]), "nx": pointer(self._columns[2]),
                "x": pointer(self.x), "y": pointer(self.y), "pitch": pointer(self.pitch),
            },
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.x)


class TraceSet:
    """Traces of n sources in an image: places x, y (n, bins + 1) of the bins' edges [px], bins in intervals.

    Parameters
    ----------
    first
        (intervals + 1,) first bin of each interval, and the number of bins.
    share
        (bins,) weight of the plane at the upper end of a bin's interval.
    matrix
        (n, intervals, 2, 2) derivative of the dispersed place by the undispersed one.

    Raises
    ------
    InputError
        The arrays do not agree, or a value is not finite.
    """

    def __init__(self, x: ArrayLike, y: ArrayLike, first: ArrayLike, share: ArrayLike, matrix: ArrayLike) -> None:
        self.x = array("x", x, np.float64, (None, None))
        self.y = array("y", y, np.float64, self.x.shape)
        self.first = array("first", first, np.int32, (None,))
        n, edges = self.x.shape
        self.share = array("share", share, np.float64, (edges - 1,))
        self.matrix = array("matrix", matrix, np.float64, (n, len(self.first) - 1, 2, 2))
        if not all(np.isfinite(v).all() for v in (self.x, self.y, self.share, self.matrix)):
            raise InputError("a trace is not finite", field="x, y, matrix", remedy="leave such sources out")
        self.struct: Any = ffi.new(
            "roman_traces *",
            {
                "bins": edges - 1, "intervals": len(self.first) - 1, "first": pointer(self.first),
                "share": pointer(self.share), "x": pointer(self.x), "y": pointer(self.y), "matrix": pointer(self.matrix),
            },
        )  # fmt: skip

    @property
    def bins(self) -> int:
        """Wavelength bins."""
        return self.x.shape[1] - 1


class Boxes:
    """Where the n cut-outs lie in the image: first pixel (row, column), and size (rows, columns).

    Columns must hold the dispersed source and two more on either side.
    """

    def __init__(self, row: ArrayLike, column: ArrayLike, rows: ArrayLike, columns: ArrayLike) -> None:
        self.row = array("row", row, np.int64, (None,))
        n = len(self.row)
        self.column = array("column", column, np.int64, (n,))
        self.rows, self.columns = array("rows", rows, np.int32, (n,)), array("columns", columns, np.int32, (n,))
        sizes = np.where(self.columns > 0, self.rows.astype(np.int64) * (self.columns.astype(np.int64) + BOX_MARGIN), 0)
        if n and min(self.rows.min(), self.columns.min()) < 0:
            raise InputError("a cut-out has a negative size", field="rows, columns")
        self.start = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        self.struct: Any = ffi.new(
            "roman_boxes *",
            {name: pointer(getattr(self, name)) for name in ("row", "column", "rows", "columns", "start")},
        )

    def __len__(self) -> int:
        return len(self.row)

    def range(self, part: slice | None) -> tuple[int, int]:
        """First and last + 1 of consecutive sources."""
        begin, end, step = (part or slice(None)).indices(len(self))
        if step != 1 or end < begin:
            raise InputError(f"{part} is not a run of sources", field="part", remedy="give a slice without a step")
        return begin, end

    def pixels(self, part: slice | None = None) -> int:
        """Pixels of the cut-outs."""
        begin, end = self.range(part)
        return int(self.start[end] - self.start[begin])

    def views(self, block: F32, part: slice | None = None) -> list[F32]:
        """The cut-outs (rows, columns) in the block that holds them."""
        begin, end = self.range(part)
        at = self.start[begin : end + 1] - self.start[begin]
        return [
            block[at[s] : at[s + 1]].reshape(self.rows[begin + s] if self.columns[begin + s] else 0, -1)[
                :, : self.columns[begin + s]
            ]
            for s in range(end - begin)
        ]


def _range(stamps: StampSet, traces: TraceSet, boxes: Boxes, part: slice | None) -> tuple[int, int]:
    """First and last + 1 of the sources of `part`, all agreeing in number."""
    if not len(stamps) == len(traces.x) == len(boxes):
        raise InputError(
            f"{len(stamps)} stamps, {len(traces.x)} traces and {len(boxes)} cut-outs", field="sources",
            remedy="give one of each for every source",
        )  # fmt: skip
    return boxes.range(part)


def disperse(
    stamps: StampSet, traces: TraceSet, boxes: Boxes, light: ArrayLike, part: slice | None = None, *,
    threads: int = 1, work: F32 | None = None,
) -> F32:  # fmt: skip
    """Block of the dispersed cut-outs of the sources of `part` (see `Boxes.views`), float32.

    Parameters
    ----------
    light
        (n, bins) flux of each bin, of all sources.
    part
        Consecutive sources; all if not given.
    threads
        Each source is the work of one thread: the bits do not depend on their number.
    work
        Memory to use again for the block, if it is large enough.

    Raises
    ------
    InputError
        Arrays do not agree, light is not finite, a matrix is far from the identity, or a cut-out is too narrow.
    """
    values = array("light", light, np.float64, (len(stamps), traces.bins))
    begin, end = _range(stamps, traces, boxes, part)
    if not np.isfinite(values[begin:end].sum()):
        raise InputError("light is not finite", field="light", remedy="set unknown bins to 0")
    size = boxes.pixels(part) + 1
    block = np.empty(size, dtype=np.float32) if work is None or len(work) < size else work[:size]
    status = lib.roman_disperse(
        stamps.struct, traces.struct, boxes.struct, begin, end, pointer(values), pointer(block), threads, vector_level()
    )
    check(status, "disperse")
    return block[:-1]


def disperse_adjoint(
    stamps: StampSet, traces: TraceSet, boxes: Boxes, block: ArrayLike, part: slice | None = None, *, threads: int = 1
) -> F64:
    """Adjoint of `disperse`: float64 (sources of `part`, bins) from the block of their cut-outs, float32."""
    begin, end = _range(stamps, traces, boxes, part)
    pixels = _not_empty(array("block", block, np.float32, (boxes.pixels(part),)))
    light = np.empty((len(stamps), traces.bins))
    status = lib.roman_disperse_adjoint(
        stamps.struct, traces.struct, boxes.struct, begin, end, pointer(pixels), pointer(light), threads, vector_level()
    )
    check(status, "disperse_adjoint")
    return light[begin:end]


def cutouts_add(
    boxes: Boxes, block: ArrayLike, image: F32, part: slice | None = None, *, threads: int = 1
) -> F32:
    """`image` (ny, nx), float32 and contiguous, with the cut-outs added in the order of the sources."""
    pixels = _not_empty(array("block", block, np.float32, (boxes.pixels(part),)))
    if image.dtype != np.float32 or image.ndim != 2 or not image.flags.c_contiguous or 0 in image.shape:
        raise InputError("not a contiguous float32 image", field="image", remedy="pass an image that can be added to")
    status = lib.roman_cutouts_add(boxes.struct, *boxes.range(part), pointer(pixels), *image.shape, pointer(image), threads)
    check(status, "cutouts_add")
    return image


def cutouts_take(boxes: Boxes, image: ArrayLike, part: slice | None = None, *, threads: int = 1) -> F32:
    """Block of the cut-outs of `image` (ny, nx); 0 outside the image."""
    pixels = array("image", image, np.float32, (None, None))
    block = np.empty(boxes.pixels(part) + 1, dtype=np.float32)
    status = lib.roman_cutouts_take(
        boxes.struct, *boxes.range(part), *pixels.shape, pointer(pixels), pointer(block), threads
    )
    check(status, "cutouts_take")
    return block[:-1]


def _not_empty(values: NDArray[Any]) -> NDArray[Any]:
    return values if len(values) else np.zeros(1, values.dtype)


def clip_quads(
    x: ArrayLike, y: ArrayLike, shape: tuple[int, int]
) -> tuple[NDArray[np.int32], NDArray[np.int32], F64, NDArray[np.int64]]:
    """Exact overlap of convex quadrilaterals with the pixels of an image (csrc/polygon_clip.h).

    Parameters
    ----------
    x, y
        (n, 4) corners in turn [px].
    shape
        Rows and columns of the image.

    Returns
    -------
    row, column, area, start
        Entries start[i] to start[i + 1] are pixels and overlaps [px^2] of quadrilateral i; some areas are 0.

    Raises
    ------
    InputError
        A corner is not finite, or the shapes do not agree.
    """
    xs = array("x", x, np.float64, (None, 4))
    ys = array("y", y, np.float64, xs.shape)
    n, (ny, nx) = len(xs), shape
    start = np.zeros(n + 1, dtype=np.int64)
    given = pointer(_not_empty(xs.ravel())), pointer(_not_empty(ys.ravel()))
    check(lib.roman_clip_sizes(n, *given, ny, nx, pointer(start)), "clip_quads")
    count = int(start[-1]) + 1
    row, column, area = np.empty(count, np.int32), np.empty(count, np.int32), np.empty(count)
    status = lib.roman_clip_areas(n, *given, ny, nx, pointer(start), pointer(row), pointer(column), pointer(area))
    check(status, "clip_quads")
    return row[:-1], column[:-1], area[:-1], start
