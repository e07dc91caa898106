"""Kernels of crowded-field photometry: PSF stamps, sums over stamps, the joint linear fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.arrays import MOST_PIXELS, array, count, elements, finite, number, numbers, weights, writable
from roman_assets.kernels.call import CONVERGENCE, check, ffi, lib, pointer, vector_level

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]

#: Largest half size of a stamp [px]; stamps have half sizes 3, 7, 11, ... (see csrc/psf_stamp.h).
MAX_HALF = 63
#: Most grid points of an ePSF per pixel, and most sky terms of a fit (csrc/joint_fit.h, csrc/exposure_fit.h).
MAX_OVERSAMPLE, MAX_SKY = 64, 8


class SplinePsf:
    """Cubic B-spline ePSF in the phase-by-phase layout of csrc/psf_stamp.h.

    Parameters
    ----------
    coefficients
        Shape (N, N), odd N, spline coefficients on a grid with `oversample` points per pixel, centred
        on the star; fraction of the flux per pixel.
    oversample
        Grid points per pixel, 1 to 64.

    Raises
    ------
    InputError
        The grid is not square, odd and finite, or reaches too far.
    """

    def __init__(self, coefficients: ArrayLike, oversample: int) -> None:
        grid = np.asarray(numbers("coefficients", coefficients), dtype=np.float32)
        if grid.ndim != 2 or grid.shape[0] != grid.shape[1] or grid.shape[0] % 2 == 0:
            raise InputError(f"ePSF grid of shape {grid.shape}", field="coefficients", remedy="pass a square odd grid")
        if not np.isfinite(grid).all():
            raise InputError("the ePSF grid is not finite", field="coefficients", remedy="repair the reference file")
        self.oversample = count("oversample", oversample, 1, MAX_OVERSAMPLE)
        self.grid_half = grid.shape[0] // 2
        # Stamps may be larger than the grid and taps reach one point beyond: a margin of zeros.
        margin_px = MAX_HALF + 4
        self.origin = margin_px * self.oversample
        size = 2 * self.origin + self.oversample * 12
        full = np.zeros((size, size), dtype=np.float32)
        low = self.origin - self.grid_half
        if low < 0:
            raise InputError(
                f"ePSF reaches {self.grid_half / self.oversample:.0f} px",
                field="coefficients",
                remedy=f"cut it to {MAX_HALF} px",
            )
        full[low : low + grid.shape[0], low : low + grid.shape[0]] = grid
        os_ = self.oversample
        planes = full.reshape(size // os_, os_, size // os_, os_).transpose(1, 3, 0, 2)
        self.planes = np.ascontiguousarray(planes)
        self._struct = ffi.new(
            "roman_psf *",
            {
                "coef": pointer(self.planes),
                "oversample": os_,
                "plane_ny": size // os_,
                "plane_nx": size // os_,
                "origin": self.origin,
            },
        )

    @property
    def struct(self) -> Any:
        """The C structure."""
        return self._struct

    def grid_from_planes(self, planes: F64) -> F64:
        """Coefficient grid (N, N) from values in the layout of the kernel (as `splat` returns them)."""
        os_, ny = self.oversample, self.planes.shape[2]
        full = planes.transpose(2, 0, 3, 1).reshape(ny * os_, ny * os_)
        low = self.origin - self.grid_half
        high = low + 2 * self.grid_half + 1
        return full[low:high, low:high].copy()


@dataclass(frozen=True)
class Stars:
    """Positions [px] and stamp half sizes [px] of the stars of one frame: (n,) float64, float64 and int32.

    Raises
    ------
    InputError
        The arrays do not agree, or a position is not finite.
    """

    x: F64
    y: F64
    half: NDArray[np.int32]

    def __post_init__(self) -> None:
        object.__setattr__(self, "x", array("x", self.x, np.float64, (None,)))
        object.__setattr__(self, "y", array("y", self.y, np.float64, self.x.shape))
        object.__setattr__(self, "half", array("half", self.half, np.int32, self.x.shape))
        if not (np.isfinite(self.x).all() and np.isfinite(self.y).all()):
            raise InputError("a star's position is not finite", field="x, y", remedy="drop such stars first")

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike, half: ArrayLike) -> Stars:
        """Stars from anything array-like; a scalar `half` serves all."""
        xs, given = array("x", x, np.float64, (None,)), numbers("half", half)
        return cls(
            xs,
            array("y", y, np.float64, xs.shape),
            array("half", np.full(xs.shape, given) if given.ndim == 0 else given, np.int32, xs.shape),
        )

    def __len__(self) -> int:
        return len(self.x)

    @property
    def pointers(self) -> tuple[Any, Any, Any]:
        """C pointers to x, y, half."""
        return pointer(self.x), pointer(self.y), pointer(self.half)


class PaddedFrame:
    """An image geometry with zero margins wide enough for every stamp of `stars`-like half sizes."""

    def __init__(self, ny: int, nx: int, pad: int = MAX_HALF + 9) -> None:
        self.ny, self.nx = count("ny", ny, 1, MOST_PIXELS), count("nx", nx, 1, MOST_PIXELS)
        self.pad = count("pad", pad, 0, MOST_PIXELS)
        elements("ny, nx, pad", self.ny + 2 * self.pad, self.nx + 2 * self.pad)
        self.struct = ffi.new("roman_frame *", {"ny": self.ny, "nx": self.nx, "pad": self.pad})
        self.shape = (self.ny + 2 * self.pad, self.nx + 2 * self.pad)

    def padded(self, image: ArrayLike) -> F32:
        """`image` (ny, nx) as float32 with its margin of zeros."""
        result = np.zeros(self.shape, dtype=np.float32)
        result[self.inner] = array("image", image, np.float32, (self.ny, self.nx))
        return result

    @property
    def inner(self) -> tuple[slice, slice]:
        """Slices of the image inside its margin."""
        return slice(self.pad, self.pad + self.ny), slice(self.pad, self.pad + self.nx)


def check_placed(frame: PaddedFrame | None, stars: Stars) -> None:
    """Refuse half sizes that no stamp has, and (given a frame) stamps that reach beyond its margin.

    Raises
    ------
    InputError
        Of field half, or x, y.
    """
    half = stars.half
    if ((half < 3) | (half > MAX_HALF) | (half % 4 != 3)).any():
        raise InputError("no half size of a stamp", field="half", remedy=f"use 3, 7, 11, ... {MAX_HALF}")
    if frame is None:
        return
    x, y = np.floor(stars.x + 0.5), np.floor(stars.y + 0.5)
    before = np.minimum(x, y) - half < -frame.pad
    if (before | (x + half + 1 >= frame.nx + frame.pad) | (y + half >= frame.ny + frame.pad)).any():
        raise InputError("a star's stamp reaches beyond the margin", field="x, y", remedy="drop such stars first")


def psf_stamps(psf: SplinePsf, stars: Stars, derivative: int = 0) -> list[F32]:
    """Pixel stamps psi (derivative 0), d psi/dx (1) or d psi/dy (2) of every star.

    Returns one array of shape (2 half + 1, 2 half + 1) per star; fraction of flux per pixel [1/px for
    derivatives by the star's position].

    Raises
    ------
    InputError
        A half size or the derivative is out of range.
    """
    derivative = count("derivative", derivative, 0, 2)
    check_placed(None, stars)
    sizes = (2 * stars.half.astype(np.int64) + 1) * (2 * stars.half + 2)
    offset = (np.cumsum(sizes) - sizes).astype(np.int64)
    out = np.zeros(elements("half", int(sizes.sum()) + 8), dtype=np.float32)
    status = lib.roman_psf_stamps(
        psf.struct, len(stars), *stars.pointers, pointer(offset), derivative, pointer(out), vector_level()
    )
    check(status, "psf_stamps")
    return [
        out[o : o + s].reshape(2 * h + 1, 2 * h + 2)[:, :-1] for o, s, h in zip(offset, sizes, stars.half, strict=True)
    ]


def splat(psf: SplinePsf, frame: PaddedFrame, stars: Stars, scale: ArrayLike, image: F32) -> F64:
    """Adjoint of rendering: sum over stars and pixels of scale * image * B_k, on the grid (N, N).

    Raises
    ------
    InputError
        Shapes do not agree, a scale is not finite, or a star is out of range.
    """
    gradient = np.zeros(psf.planes.shape, dtype=np.float64)
    scales = array("scale", scale, np.float64, (len(stars),))
    finite(scale=scales)
    check_placed(frame, stars)
    img = array("image", image, np.float32, frame.shape)
    status = lib.roman_psf_splat(
        psf.struct, frame.struct, len(stars), *stars.pointers, pointer(scales), pointer(img), pointer(gradient)
    )
    check(status, "psf_splat")
    return psf.grid_from_planes(gradient)


def render(psf: SplinePsf, frame: PaddedFrame, stars: Stars, flux: ArrayLike, out: F32 | None = None) -> F32:
    """Model image of the stars, padded, float32 [units of flux]; added to `out` in place when given.

    Raises
    ------
    InputError
        Shapes do not agree, a flux is not finite, a star is out of range, or `out` cannot be written to.
    """
    image = np.zeros(frame.shape, dtype=np.float32) if out is None else writable("out", out, np.float32, frame.shape)
    fluxes = array("flux", flux, np.float64, (len(stars),))
    finite(flux=fluxes)
    check_placed(frame, stars)
    check(
        lib.roman_render(
            psf.struct, frame.struct, len(stars), *stars.pointers, pointer(fluxes), pointer(image), vector_level()
        ),
        "render",
    )
    return image


def _sums(operation: str, width: int, psf: SplinePsf, frame: PaddedFrame, stars: Stars, image: F32, weight: F32) -> F64:
    sums = np.zeros((len(stars), width), dtype=np.float64)
    img = array("image", image, np.float32, frame.shape)
    wgt = array("weight", weight, np.float32, frame.shape)
    check_placed(frame, stars)
    function = getattr(lib, f"roman_{operation}")
    status = function(
        psf.struct, frame.struct, len(stars), *stars.pointers, pointer(img), pointer(wgt), pointer(sums), vector_level()
    )
    check(status, operation)
    return sums


def matched_sums(psf: SplinePsf, frame: PaddedFrame, stars: Stars, image: F32, weight: F32) -> F64:
    """Matched filter: (n, 2) array of sum w psi r and sum w psi^2 at every position."""
    return _sums("matched_sums", 2, psf, frame, stars, image, weight)


def position_sums(psf: SplinePsf, frame: PaddedFrame, stars: Stars, image: F32, weight: F32) -> F64:
    """Sums for flux and position steps, (n, 9): see csrc/star_sums.h for their order."""
    return _sums("position_sums", 9, psf, frame, stars, image, weight)


@dataclass
class JointFit:
    """Result of `joint_fit`.

    flux, flux_err, chi2: (n,) [image units; chi2 per core pixel]; sky: (frames, n_sky);
    residual: (frames, *frame.shape) [image units].
    """

    flux: F64
    flux_err: F64
    chi2: F32
    sky: F64
    residual: F32
    iterations: int
    worst_gradient: float
    matrix_entries: int
    converged: bool


def joint_fit(
    psf: SplinePsf,
    frame: PaddedFrame,
    stars: Sequence[Stars],
    data: ArrayLike,
    weight: ArrayLike,
    basis: ArrayLike,
    start: ArrayLike,
    *,
    tolerance: float = 1e-3,
    max_iterations: int = 500,
    core_half: int = 2,
) -> JointFit:
    """Joint linear fit of all stars and a smooth sky, over one or several images (csrc/joint_fit.h).

    Parameters
    ----------
    stars
        The same stars in each image; half sizes are those of the first.
    data, weight
        Padded images (frames, *frame.shape), float32, [DN/s] and [1/(DN/s)^2]; weight 0 masks a pixel.
    basis
        Sky terms, (n_sky, *frame.shape), float32.
    start
        First guess of the fluxes, (n,) [DN/s].
    tolerance
        Largest residual gradient of a star, in units of its flux error.

    Raises
    ------
    InputError
        A star or a size is out of range, or a value is not finite.
    KernelError
        The sky is not constrained (all pixels masked).
    """
    if not stars or len({len(s) for s in stars}) != 1 or not len(stars[0]):
        raise InputError(
            "the images have no stars, or not the same", field="stars", remedy="give every image all of them"
        )
    n, frames = len(stars[0]), len(stars)
    for one in stars:
        check_placed(frame, Stars(one.x, one.y, stars[0].half))
    x = array("x", [s.x for s in stars], np.float64, (frames, n))
    y = array("y", [s.y for s in stars], np.float64, (frames, n))
    img = array("data", data, np.float32, (frames, *frame.shape))
    wgt = array("weight", weight, np.float32, (frames, *frame.shape))
    terms = array("basis", basis, np.float32, (None, *frame.shape))
    count("basis", len(terms), 0, MAX_SKY)
    flux = array("start", start, np.float64, (n,)).copy()
    # NaN would spread to every star and still look converged; a masked pixel has weight 0 and a finite value.
    finite(data=img, basis=terms, start=flux)
    weights(weight=wgt)
    count("pad", frame.pad, 8, MOST_PIXELS)
    flux_err, chi2 = np.zeros(n), np.zeros(n, dtype=np.float32)
    sky, residual = np.zeros((frames, max(len(terms), 1))), np.zeros(img.shape, dtype=np.float32)
    options = ffi.new(
        "roman_joint_options *",
        {
            "tolerance": number("tolerance", tolerance, 0, above=True),
            "max_iterations": count("max_iterations", max_iterations, 0, 1_000_000),
            "n_sky": len(terms),
            "core_half": count("core_half", core_half, 0, 3),
        },
    )
    status = lib.roman_joint_fit(
        psf.struct,
        frame.struct,
        frames,
        n,
        pointer(x),
        pointer(y),
        pointer(stars[0].half),
        pointer(img),
        pointer(wgt),
        pointer(terms),
        pointer(flux),
        pointer(flux_err),
        pointer(chi2),
        pointer(sky),
        pointer(residual),
        options,
        vector_level(),
    )
    check(status, "joint_fit", tolerate=(CONVERGENCE,))
    return JointFit(
        flux,
        flux_err,
        chi2,
        sky[:, : len(terms)],
        residual,
        options.iterations,
        options.worst_gradient,
        options.matrix_entries,
        status != CONVERGENCE,
    )
