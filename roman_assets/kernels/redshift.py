"""Kernels of redshifts: non-negative least squares and the fit of templates at many redshifts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.arrays import array, count, elements, finite, increasing, weights
from roman_assets.kernels.call import CONVERGENCE, check, ffi, lib, pointer, vector_level

F64 = NDArray[np.float64]

#: Most continua, and most columns in all, of one set of templates (csrc/redshift.h).
MAX_CONTINUA, MAX_COLUMNS, MAX_CELLS = 12, 24, 10**9
#: Lines are drawn to this many sigma of the widest LSF.
_REACH = 5.0


def nnls(matrix: ArrayLike, right: ArrayLike) -> F64:
    """x >= 0 that minimises x'Hx/2 - c'x, for H (n, n) = A'A and c (n,) = A'b; n <= 24.

    Columns are scaled here; a column whose diagonal is 0 gets 0.

    Raises
    ------
    InputError
        A value is not finite, H is not symmetric or has a negative diagonal, or n is not 1 to 24.
    """
    h = array("matrix", matrix, np.float64, (None, None))
    n = count("matrix", len(h), 1, MAX_COLUMNS)
    c = array("right", right, np.float64, (n,))
    if h.shape != (n, n):
        raise InputError(f"a matrix of shape {h.shape}", field="matrix", remedy="pass A'A")
    finite(matrix=h, right=c)
    diagonal = np.diag(h)
    if not np.allclose(h, h.T, rtol=1e-8, atol=1e-12 * np.abs(h).max(initial=0)) or (diagonal < 0).any():
        raise InputError("not a matrix of normal equations", field="matrix", remedy="pass A'A")
    if diagonal.max() > 1e150 or (diagonal[diagonal > 0] < 1e-150).any():
        raise InputError("elements are too large or too small", field="matrix", remedy="scale A")
    unit = np.where(diagonal > 0, 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1)), 0)
    scaled, x = h * np.outer(unit, unit), np.zeros(n)
    np.fill_diagonal(scaled, unit > 0)
    check(lib.roman_nnls(n, pointer(scaled), pointer(c * unit), pointer(x)), "nnls")
    return x * unit


@dataclass(frozen=True)
class LineTable:
    """Emission lines: rest wavelength [nm, vacuum], flux per unit amplitude of their column, own width
    (sigma of ln wavelength, below 1) and column 0 .. n_columns - 1; four arrays of one length.

    Raises
    ------
    InputError
        The arrays do not agree or a value is out of range.
    """

    wavelength: F64
    flux: F64
    width: F64
    column: NDArray[np.int32]
    n_columns: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_columns", count("n_columns", self.n_columns, 0, MAX_COLUMNS))
        shape: tuple[int | None, ...] = (None,)
        for name in ("wavelength", "flux", "width", "column"):
            kind = np.int32 if name == "column" else np.float64
            values = array(name, getattr(self, name), kind, shape)
            finite(**{name: values})
            object.__setattr__(self, name, values)
            shape = values.shape
        ranges = {
            "wavelength": self.wavelength > 0,
            "flux": self.flux >= 0,
            "width": (self.width >= 0) & (self.width < 1),
            "column": (self.column >= 0) & (self.column < self.n_columns),
        }
        for name, sound in ranges.items():
            if not sound.all():
                raise InputError("a value is out of range", field=name, remedy="repair the table of lines")

    @classmethod
    def of(
        cls, wavelength: ArrayLike, flux: ArrayLike, width: ArrayLike, column: ArrayLike, n_columns: int
    ) -> LineTable:
        """From anything array-like."""
        w, f, s = (array(k, v, np.float64, (None,)) for k, v in _named(wavelength=wavelength, flux=flux, width=width))
        return cls(w, f, s, array("column", column, np.int32, (None,)), n_columns)


class ScanTemplates:
    """Continua on a grid of ln(wavelength), and lines, as csrc/redshift.h wants them.

    Parameters
    ----------
    log_wavelength
        ln of the rest wavelength [nm], (n_cells,), increasing in equal steps.
    continua
        (n_continua, n_cells), any unit of flux density.
    lines
        The emission lines.

    Raises
    ------
    InputError
        The grid is not regular, a value is not finite, or there are too many columns.
    """

    def __init__(self, log_wavelength: ArrayLike, continua: ArrayLike, lines: LineTable) -> None:
        grid = array("log_wavelength", log_wavelength, np.float64, (None,))
        values = array("continua", continua, np.float64, (None, len(grid)))
        finite(log_wavelength=grid, continua=values)
        steps = np.diff(grid)
        if not 2 <= len(grid) <= MAX_CELLS or steps[0] <= 0 or np.abs(steps - steps.mean()).max() > 1e-6 * steps.mean():
            raise InputError("cells are not equal steps", field="log_wavelength", remedy="pass a regular grid")
        if len(values) > MAX_CONTINUA or not 1 <= len(values) + lines.n_columns <= MAX_COLUMNS:
            raise InputError(
                f"{len(values)} continua and {lines.n_columns} line templates",
                field="continua",
                remedy=f"use at most {MAX_CONTINUA} continua and {MAX_COLUMNS} columns",
            )
        self.log_wavelength, self.lines = grid, lines
        self.log_step = float(steps.mean())
        self.continua = values
        self._reversed = np.ascontiguousarray(values[:, ::-1])
        self._struct = ffi.new(
            "roman_scan_templates *",
            {
                "n_continua": len(values),
                "n_line_columns": lines.n_columns,
                "n_lines": len(lines.wavelength),
                "n_cells": len(grid),
                "log_end": grid[-1],
                "log_step": self.log_step,
                "continua": pointer(self._reversed),
                "line_wavelength": pointer(lines.wavelength),
                "line_flux": pointer(lines.flux),
                "line_width": pointer(lines.width),
                "line_column": pointer(lines.column),
            },
        )

    @property
    def struct(self) -> Any:
        """The C structure."""
        return self._struct

    @property
    def n_columns(self) -> int:
        """Continua and line templates together."""
        return len(self.continua) + self.lines.n_columns

    def covers(self, wavelength: F64, log_1pz: F64) -> NDArray[np.bool_]:
        """Redshifts at which the continua reach over all of `wavelength` [nm]."""
        blue = np.log(wavelength[0]) - log_1pz >= self.log_wavelength[0] + 1.001 * self.log_step
        red = np.log(wavelength[-1]) - log_1pz <= self.log_wavelength[-1]
        return np.asarray(blue & red)

    def columns(self, wavelength: F64, lsf: F64, log_1pz: float) -> F64:
        """The columns of the fit at one redshift, (n, n_columns): what the kernel fits, in numpy."""
        rest = np.log(wavelength) - log_1pz
        smooth = [np.interp(rest, self.log_wavelength, row) for row in self.continua]
        drawn = np.zeros((self.lines.n_columns, len(wavelength)))
        for w, f, s, column in zip(
            self.lines.wavelength, self.lines.flux, self.lines.width, self.lines.column, strict=True
        ):
            centre = w * np.exp(log_1pz)
            sigma = np.hypot(np.interp(centre, wavelength, lsf), s * centre)
            reach = _REACH * np.hypot(lsf.max(), s * centre)
            near = slice(*np.searchsorted(wavelength, (centre - reach, centre + reach)))
            profile = np.exp(-0.5 * ((wavelength[near] - centre) / sigma) ** 2)
            drawn[column, near] += f / np.sqrt(2 * np.pi) / sigma * profile
        return np.column_stack([*smooth, *drawn])


@dataclass(frozen=True)
class Scan:
    """chi2 and log_evidence (n_z,), amplitude (n_z, n_columns)."""

    chi2: F64
    log_evidence: F64
    amplitude: F64


def redshift_scan(
    templates: ScanTemplates,
    wavelength: ArrayLike,
    flux: ArrayLike,
    weight: ArrayLike,
    lsf: ArrayLike,
    log_1pz: ArrayLike,
    rate: ArrayLike,
) -> Scan:
    """Non-negative fit of the templates at every ln(1+z) (csrc/redshift.h).

    Parameters
    ----------
    wavelength, flux, weight, lsf
        (n,) [nm, positive, increasing], [any], [1/flux^2], [sigma, nm]; weight 0 masks a pixel. n >= 1.
    log_1pz
        (n_z,) ln(1+z).
    rate
        (n_line_columns,) rate of the exponential prior of each line template's amplitude; 0: flat, of density 1.

    Raises
    ------
    InputError
        Arrays do not match, are not finite, or the templates do not cover the spectrum.
    """
    w = array("wavelength", wavelength, np.float64, (None,))
    f, v, s = (array(k, a, np.float64, w.shape) for k, a in _named(flux=flux, weight=weight, lsf=lsf))
    z = array("log_1pz", log_1pz, np.float64, (None,))
    r = array("rate", rate, np.float64, (templates.lines.n_columns,))
    count("wavelength", len(w), 1, 2**31 - 1)
    finite(wavelength=w, flux=f, lsf=s, log_1pz=z)
    weights(weight=v, rate=r)
    increasing("wavelength", w, strictly=True)
    for name, values in (("wavelength", w[:1]), ("lsf", s)):
        if (values <= 0).any():
            raise InputError("a value is not positive", field=name, remedy="drop such pixels")
    elements("log_1pz", len(z), templates.n_columns)
    if not templates.covers(w, z).all():
        raise InputError(
            "the templates do not cover the spectrum at every redshift",
            field="log_1pz",
            remedy="narrow the redshift range or extend the templates",
        )
    scan = Scan(np.empty(len(z)), np.empty(len(z)), np.empty((len(z), templates.n_columns)))
    status = lib.roman_redshift_scan(
        templates.struct,
        len(w),
        pointer(w),
        pointer(f),
        pointer(v),
        pointer(s),
        len(z),
        pointer(z),
        pointer(r),
        pointer(scan.chi2),
        pointer(scan.log_evidence),
        pointer(scan.amplitude),
        vector_level(),
    )
    check(status, "redshift_scan", tolerate=(CONVERGENCE,))
    return scan


def _named(**values: ArrayLike) -> Iterable[tuple[str, ArrayLike]]:
    return values.items()
