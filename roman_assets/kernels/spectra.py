"""Kernels of slitless spectroscopy: the optical model's traces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.arrays import array, elements, number, numbers
from roman_assets.kernels.call import check, ffi, lib, pointer, vector_level

F64 = NDArray[np.float64]
#: Most coefficients along one axis of a polynomial (csrc/optical_model.h).
MAX_TERMS = 16


@dataclass(frozen=True)
class Geometry:
    """A detector in the focal plane: pixel at its centre, centre [mm], pixels per mm, degrees per pixel."""

    crpix_x: float
    crpix_y: float
    centre_x: float
    centre_y: float
    px_per_mm: float
    deg_per_px: float


class Optics:
    """Coefficients of one order on one detector, as csrc/optical_model.h describes them.

    Parameters
    ----------
    xmap, ymap
        (i, j), place [mm] of light of the reference wavelength, by powers of the focal plane's (x, y) [deg].
    ids, crv
        (i, j, k), Dy [mm] by powers of the transformed wavelength, and Dx [mm] by powers of Dy.
    reference
        Reference wavelength [um].
    logarithmic
        Whether the transformed wavelength is log10(wavelength / reference) instead of their difference.

    Raises
    ------
    InputError
        An array has the wrong shape or a value that is not finite.
    """

    def __init__(
        self,
        xmap: ArrayLike,
        ymap: ArrayLike,
        ids: ArrayLike,
        crv: ArrayLike,
        *,
        reference: float,
        logarithmic: bool,
        geometry: Geometry,
    ) -> None:
        self._xmap = array("xmap", xmap, np.float64, (None, None))
        self._ymap = array("ymap", ymap, np.float64, self._xmap.shape)
        self._ids = array("ids", ids, np.float64, (None, None, None))
        self._crv = array("crv", crv, np.float64, (None, None, None))
        for name, values in (("xmap, ymap", self._ymap), ("ids", self._ids), ("crv", self._crv)):
            if min(values.shape) < 1 or max(values.shape) > MAX_TERMS:
                raise InputError(
                    f"{values.shape} coefficients", field=name, remedy=f"give 1 to {MAX_TERMS} along an axis"
                )
        if not all(np.isfinite(values).all() for values in (self._xmap, self._ymap, self._ids, self._crv)):
            raise InputError("a coefficient is not finite", field="optics", remedy="repair the reference file")
        reference = number("optics", reference)
        places = {name: number("optics", value) for name, value in vars(geometry).items()}
        if not (geometry.px_per_mm > 0 and geometry.deg_per_px > 0 and reference > 0):
            raise InputError("a scale is not positive", field="optics", remedy="repair the reference file")
        self.logarithmic = logarithmic
        fields = {name: pointer(getattr(self, f"_{name}")) for name in ("xmap", "ymap", "ids", "crv")}
        shapes = {"map": self._xmap.shape, "ids": self._ids.shape, "crv": self._crv.shape}
        fields |= {f"{n}_{axis}": size for n, shape in shapes.items() for axis, size in zip("ijk", shape, strict=False)}
        self.struct: Any = ffi.new(
            "roman_optics *", fields | places | {"reference": reference, "logarithmic": int(bool(logarithmic))}
        )


def _places(optics: Optics, **values: ArrayLike) -> list[F64]:
    """Arguments as float64 arrays, wavelengths positive where their logarithm is taken."""
    result = [np.asarray(numbers(name, v), dtype=np.float64) for name, v in values.items()]
    wavelength = result[-1]
    if optics.logarithmic and wavelength.size and (wavelength <= 0).any():
        raise InputError("a wavelength is not positive", field="wavelength", remedy="give wavelengths in um")
    return result


def trace_points(optics: Optics, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike) -> tuple[F64, F64]:
    """Places (x, y) [px] of light of `wavelength` [um] from the undispersed places (x0, y0) [px].

    The arguments broadcast; the results are float64 of their common shape. NaN in, NaN out.

    Raises
    ------
    InputError
        The arrays do not agree, or a wavelength is not positive where the model is logarithmic.
    """
    return _pointwise(lib.roman_trace_points, "trace_points", optics, x0, y0, wavelength)


def trace_slopes(optics: Optics, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike) -> tuple[F64, F64]:
    """Slopes (dx/dlambda, dy/dlambda) [px/um] at the arguments of `trace_points`."""
    return _pointwise(lib.roman_trace_slopes, "trace_slopes", optics, x0, y0, wavelength)


def _pointwise(kernel: Any, name: str, optics: Optics, *values: ArrayLike) -> tuple[F64, F64]:
    given = _places(optics, **dict(zip(("x0", "y0", "wavelength"), values, strict=True)))
    try:
        x0, y0, wavelength = np.broadcast_arrays(*given)
    except ValueError as error:
        raise InputError(f"{error}", field="x0, y0, wavelength", remedy="pass matching arrays") from error
    elements("x0, y0, wavelength", x0.size)
    flat = [np.ascontiguousarray(v).reshape(-1) for v in (x0, y0, wavelength)]
    first, second = np.empty(flat[0].size), np.empty(flat[0].size)
    pointers = [pointer(v) for v in (*flat, first, second)]
    check(kernel(optics.struct, first.size, *pointers, vector_level()), name)
    return first.reshape(x0.shape), second.reshape(x0.shape)


def trace_grid(optics: Optics, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike) -> tuple[F64, F64]:
    """Traces of many sources: places (x, y) of shape (n, m) for x0, y0 (n,) [px] and `wavelength` (m,) [um].

    The bits of `trace_points`, at a tenth of its cost.

    Raises
    ------
    InputError
        The arrays do not agree, or a wavelength is not positive where the model is logarithmic.
    """
    xs = array("x0", x0, np.float64, (None,))
    ys = array("y0", y0, np.float64, xs.shape)
    waves = array("wavelength", _places(optics, wavelength=wavelength)[0], np.float64, (None,))
    elements("x0, wavelength", len(xs), len(waves))
    x, y = np.empty((len(xs), len(waves))), np.empty((len(xs), len(waves)))
    status = lib.roman_trace_grid(
        optics.struct,
        len(xs),
        pointer(xs),
        pointer(ys),
        len(waves),
        pointer(waves),
        pointer(x),
        pointer(y),
        vector_level(),
    )
    check(status, "trace_grid")
    return x, y
