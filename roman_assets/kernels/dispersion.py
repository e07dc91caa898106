"""Kernels of slitless dispersion: a source's dispersed cut-out and its adjoint (csrc/dispersion.h); exact clipping."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.arrays import MOST_PIXELS, array, count, elements, finite, pair, writable
from roman_assets.kernels.call import check, ffi, lib, pointer, vector_level

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
#: Stamps and cut-outs are multiples of this wide (ROMAN_STAMP_WIDTH of csrc/dispersion.h).
STAMP_WIDTH = 16
#: Factors of profiles are multiples of this many (ROMAN_FACTORS).
FACTORS = 4
#: Places of a trace are nearer than a quarter of this [px]; what is beyond has no place in an image.
FARTHEST = 4 * MOST_PIXELS
#: Most samples of a profile per pixel and axis.
MOST_SAMPLES = 64


@dataclass(frozen=True)
class CutoutBox:
    """Rows and columns of an image: first row and column, and how many [px].

    Raises
    ------
    InputError
        A number is not whole, or out of range.
    """

    row: int
    column: int
    ny: int
    nx: int

    def __post_init__(self) -> None:
        for name in ("row", "column"):
            object.__setattr__(self, name, count(name, getattr(self, name), -FARTHEST, FARTHEST))
        for name in ("ny", "nx"):
            object.__setattr__(self, name, count(name, getattr(self, name), 0, FARTHEST))
        elements("ny, nx", self.ny, self.nx)


class Factors(NamedTuple):
    """A profile's samples as a sum of products, which are drawn one by one at less cost if they are few.

    Attributes
    ----------
    along, across
        (planes, over_y * ny, rank) and (rank, over_x * nx): along the trace and across it; the rank is a multiple of
        FACTORS.
    """

    along: NDArray[Any]
    across: NDArray[Any]


class Stamps:
    """A source's pixel-integrated profile, by the place of the source within its pixel.

    Parameters
    ----------
    samples
        (planes, over_y * ny, over_x * nx) float32: quintic B-spline coefficients of the share of the flux per pixel.
        Sample (a, b) is that of a pixel whose centre is (row - 1 + (a + 1) / over_y, column - 1 + (b + 1) / over_x)
        px from the source. Of a sheared profile they may be factors.
    over
        Samples per pixel (y, x).
    row, column
        Of the first pixel, from the pixel that the source stands in.
    slopes
        (planes,) dx/dy by which the profile is sheared, that of the trace it is for: light at (x, y) from the source
        lies at (x - slope y, y). Without, the profile is not sheared, and will do for any trace, at several times
        the cost.

    Raises
    ------
    InputError
        Shapes do not agree, a value is not finite, or factors are of a profile that is not sheared.
    """

    def __init__(
        self,
        samples: ArrayLike | Factors,
        over: tuple[int, int],
        row: int,
        column: int,
        slopes: ArrayLike | None = None,
    ) -> None:
        factors = samples if isinstance(samples, Factors) else None
        given = array("samples", samples if factors is None else factors.along, np.float32, (None, None, None))
        across = None if factors is None else array("factors", factors.across, np.float32, (given.shape[2], None))
        planes, height, width = given.shape if across is None else (*given.shape[:2], across.shape[1])
        over_y, over_x = (count("over", n, 1, MOST_SAMPLES) for n in pair("over", over))
        if min(planes, height, width) < 1 or height % over_y or width % over_x:
            raise InputError(
                f"samples of shape {(planes, height, width)} with {over_y} x {over_x} to a pixel",
                field="samples",
                remedy="give a whole number of pixels",
            )
        if not (np.isfinite(given).all() and (across is None or np.isfinite(across).all())):
            raise InputError("a sample is not finite", field="samples", remedy="mask such samples by 0")
        self.shape, self.over = (height // over_y, width // over_x), (over_y, over_x)
        self.width = -(-self.shape[1] // STAMP_WIDTH) * STAMP_WIDTH
        elements("samples", planes, over_y, over_x, self.shape[0], self.width)
        self.planes = planes
        self.row, self.column = (count(k, v, -FARTHEST, FARTHEST) for k, v in (("row", row), ("column", column)))
        self.rank = 0 if across is None else len(across)
        self.slopes = None if slopes is None else array("slopes", slopes, np.float64, (planes,))
        if self.slopes is not None:
            finite(slopes=self.slopes)
        if across is None:
            self._arrays = {"stamps": self._samples_by_phase(given)}
        else:
            self._arrays = self._factors_by_phase(given, across)
        if self.slopes is not None:
            self._arrays["slopes"] = self.slopes
        self.struct: Any = ffi.new(
            "roman_profile *",
            {
                "planes": planes,
                "over_y": over_y,
                "over_x": over_x,
                "ny": self.shape[0],
                "nx": self.width,
                "row": self.row,
                "column": self.column,
                "rank": self.rank,
            }
            | {name: pointer(values) for name, values in self._arrays.items()},
        )

    @property
    def phases(self) -> F32:
        """(planes, over_y, over_x, ny, width) coefficients by the source's place in its pixel [1 / over], 0 past nx."""
        if self.rank == 0:
            return self._arrays["stamps"]
        along, across = self._arrays["along"][:, :, : self.shape[0]], self._arrays["across"]
        product = (along @ across.reshape(self.rank, -1)).reshape(*along.shape[:3], self.over[1], self.width)
        return np.ascontiguousarray(product.transpose(0, 1, 3, 2, 4))

    def _samples_by_phase(self, samples: F32) -> F32:
        (ny, nx), (over_y, over_x) = self.shape, self.over
        result = np.zeros((self.planes, over_y, over_x, ny, self.width), dtype=np.float32)
        # A source k / over into its pixel sees the pixels at offsets smaller by that: samples that come earlier.
        split = samples.reshape(self.planes, ny, over_y, nx, over_x)[:, :, ::-1, :, ::-1]
        result[..., :nx] = split.transpose(0, 2, 4, 1, 3)
        return result

    def _factors_by_phase(self, along: F32, across: F32) -> dict[str, NDArray[Any]]:
        (ny, nx), (over_y, over_x) = self.shape, self.over
        if self.rank < 1 or self.rank % FACTORS or self.slopes is None:
            raise InputError(
                f"{self.rank} factors, or of a profile that is not sheared",
                field="samples",
                remedy=f"give a multiple of {FACTORS}, and slopes",
            )
        columns = np.zeros((self.rank, over_x, self.width), dtype=np.float32)
        columns[..., :nx] = across.reshape(self.rank, nx, over_x)[:, :, ::-1].transpose(0, 2, 1)
        rows = np.zeros((self.planes, over_y, -(-ny // FACTORS) * FACTORS, self.rank), dtype=np.float32)
        rows[:, :, :ny] = along.reshape(self.planes, ny, over_y, self.rank)[:, :, ::-1].transpose(0, 2, 1, 3)
        return {"along": rows, "across": columns}


class BinTrace:
    """Where a source's light falls: places of the edges of wavelength bins, and which planes serve a bin.

    Parameters
    ----------
    x, y
        (bins + 1,) [px of the image].
    plane, share
        (bins,) lower of the two planes of a bin (int32, not falling), and the share of the next one.

    Raises
    ------
    InputError
        The arrays do not agree, a place is not finite or too far away, or planes or shares are out of range.
    """

    def __init__(self, x: ArrayLike, y: ArrayLike, plane: ArrayLike, share: ArrayLike) -> None:
        self.x = array("x", x, np.float64, (None,))
        self.y = array("y", y, np.float64, self.x.shape)
        self.bins = count("x", len(self.x), 2, 2**31 - 1) - 1
        self._plane = array("plane", plane, np.int32, (self.bins,))
        self._share = array("share", share, np.float64, (self.bins,))
        # What is not finite shows in the extremes.
        self._extent = [float(v) for c in (self.x, self.y) for v in (c.min(), c.max())]
        if not all(abs(v) < 1e6 for v in self._extent):
            raise InputError("a place of the trace is not finite", field="x, y", remedy="leave such sources out")
        if self._plane[0] < 0 or (np.diff(self._plane) < 0).any():
            raise InputError("a plane is negative or falls", field="plane", remedy="count the planes from 0, in order")
        if not (self._share.min() >= 0 and self._share.max() <= 1):
            raise InputError("a share is out of range", field="share", remedy="give shares of 0 to 1")
        self.struct: Any = ffi.new(
            "roman_trace *",
            {
                "bins": self.bins,
                "x": pointer(self.x),
                "y": pointer(self.y),
                "plane": pointer(self._plane),
                "share": pointer(self._share),
            },
        )

    @property
    def planes(self) -> tuple[NDArray[np.int32], F64]:
        """Lower plane and share of the next, as they were given."""
        return self._plane, self._share

    def box(self, stamps: Stamps, rows: int) -> CutoutBox:
        """The cut-out that holds all light in the image's rows [0, rows); of no rows where there is none."""
        # A pixel more on either side: traces are moved by fractions of one.
        rows = count("rows", rows, 0, MOST_PIXELS)
        left, right, lowest, highest = map(math.floor, self._extent)
        low, high = left - 2 + stamps.column, right + 4 + stamps.column + stamps.width
        bottom = min(max(lowest - 2 + stamps.row, 0), rows)
        top = min(max(highest + 4 + stamps.row + stamps.shape[0], 0), rows)
        return CutoutBox(bottom, low, max(top - bottom, 0), high - low)


def _box_struct(box: CutoutBox) -> Any:
    return ffi.new("roman_cutout *", (box.row, box.column, box.ny, box.nx))


def _light(values: ArrayLike, trace: BinTrace) -> F64:
    given = array("light", values, np.float64, (trace.bins,))
    finite(light=given)
    return given


def disperse(stamps: Stamps, trace: BinTrace, light: ArrayLike, box: CutoutBox) -> F32:
    """The cut-out (box.ny, box.nx), float32, of a source with `light` (bins,) [any unit of flux per bin].

    Raises
    ------
    InputError
        Light is not finite, planes are missing, the box is too narrow for stamps that are not sheared, or the stamps
        are sheared for another trace.
    """
    out = np.zeros((box.ny, box.nx), dtype=np.float32)
    _disperse(stamps, trace, _light(light, trace), _box_struct(box), out)
    return out


def disperse_onto(image: F32, stamps: Stamps, trace: BinTrace, light: ArrayLike) -> None:
    """`image` (rows, columns) += a source with `light` (bins,) by sheared stamps; what falls outside is lost.

    Raises
    ------
    InputError
        The image is not float32 or not contiguous, light is not finite, planes are missing, or the stamps are not
        sheared, or for another trace.
    """
    if stamps.slopes is None:
        raise InputError("the stamps are not sheared", field="stamps", remedy="draw a cut-out")
    writable("image", image, np.float32, (None, None))
    whole = _box_struct(CutoutBox(0, 0, *image.shape))
    _disperse(stamps, trace, _light(light, trace), whole, image)


def _check_planes(stamps: Stamps, trace: BinTrace) -> None:
    plane, share = trace.planes
    # Planes do not fall: the last one is the highest, and of those that have it one may need the next.
    if plane[-1] >= stamps.planes or (plane[-1] == stamps.planes - 1 and share[plane == plane[-1]].any()):
        raise InputError(
            f"planes beyond the {stamps.planes} of the stamps", field="plane", remedy="make stamps of all planes"
        )


def _disperse(stamps: Stamps, trace: BinTrace, light: F64, box: Any, out: F32) -> None:
    _check_planes(stamps, trace)
    status = lib.roman_disperse(stamps.struct, trace.struct, pointer(light), box, pointer(out), vector_level())
    check(status, "disperse", field="stamps, trace, box")


def disperse_adjoint(stamps: Stamps, trace: BinTrace, pixels: ArrayLike, box: CutoutBox) -> F64:
    """Adjoint of `disperse`: (bins,) float64, the sum of `pixels` (box.ny, box.nx) over each bin's image.

    Raises
    ------
    InputError
        Shapes do not agree, planes are missing, the box is too narrow, or the stamps are sheared for another trace.
    """
    _check_planes(stamps, trace)
    given = array("pixels", pixels, np.float32, (box.ny, box.nx))
    light = np.zeros(trace.bins)
    status = lib.roman_disperse_adjoint(
        stamps.struct, trace.struct, pointer(given), _box_struct(box), pointer(light), vector_level()
    )
    check(status, "disperse_adjoint", field="stamps, trace, box")
    return light


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
    finite(x=xs, y=ys)
    n, (ny, nx) = len(xs), (count("shape", v, 1, MOST_PIXELS) for v in pair("shape", shape))
    count("x", n, 0, 2**22)  # the sum of all overlaps fits C's integers
    start = np.zeros(n + 1, dtype=np.int64)
    given = pointer(xs), pointer(ys)
    check(lib.roman_clip_sizes(n, *given, ny, nx, pointer(start)), "clip_quads")
    total = elements("x, y", int(start[-1]))
    row, column, area = np.empty(total, np.int32), np.empty(total, np.int32), np.empty(total)
    status = lib.roman_clip_areas(n, *given, ny, nx, pointer(start), pointer(row), pointer(column), pointer(area))
    check(status, "clip_quads")
    return row, column, area, start
