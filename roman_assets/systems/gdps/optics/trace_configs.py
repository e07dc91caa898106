"""Trace models of other instruments: configuration files of aXe and of GRISMCONF.

Both are text with a keyword and numbers in each line, and polynomials over the field whose coefficients stand in the
order 1, x, y, x2, xy, y2, x3, ... Places are the file's own: undispersed pixel plus offset is dispersed pixel.

- aXe (Kuemmel et al. 2009): DYDX gives dy by powers of dx; DLDP gives the wavelength by powers of the length of the
  trace from dx = 0; XOFF and YOFF move both; BEAM limits dx. Polynomials over the field are about the reference pixel
  REFX, REFY, where the file names one.
- GRISMCONF (Pirzkal & Ryan 2017): DISPX, DISPY and DISPL give dx, dy and the wavelength by powers of t, 0 to 1.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.doors import reading
from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.traces import Origin, TraceModel, origin_of, read_reference

F64 = NDArray[np.float64]
AXE, GRISMCONF = "aXe configuration", "GRISMCONF configuration"
#: Numbers of coefficients of whole polynomials over the field, of degree 0 to 5.
_WHOLE = {1: 0, 3: 1, 6: 2, 10: 3, 15: 4, 21: 5}
#: Wavelengths above this are Angstroms, below micrometres.
_MOST_UM = 100.0
#: Highest degree of a polynomial along a trace.
MAX_DEGREE = 32
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


@dataclass(frozen=True)
class FieldPolynomial:
    """sum_i c_i(x, y) t^i; coefficients (i, terms), the terms in the order of the files."""

    coefficients: F64

    def _over_field(self, x: F64, y: F64) -> F64:
        degree = _WHOLE[self.coefficients.shape[1]]
        terms = np.stack([x ** (n - k) * y**k for n in range(degree + 1) for k in range(n + 1)])
        return np.tensordot(self.coefficients, terms, axes=1)

    def __call__(self, x: F64, y: F64, t: F64) -> F64:
        total = np.zeros(np.broadcast(x, t).shape)
        for c in self._over_field(x, y)[::-1]:
            total = total * t + c
        return total

    def slope(self, x: F64, y: F64, t: F64) -> F64:
        """Derivative by t."""
        total = np.zeros(np.broadcast(x, t).shape)
        over_field = self._over_field(x, y)
        for i in range(len(over_field) - 1, 0, -1):
            total = total * t + i * over_field[i]
        return total


class Beam(ABC):
    """One order: offsets and wavelength [um] by a parameter t between `limits`."""

    limits: tuple[float, float]

    @abstractmethod
    def offset(self, x: F64, y: F64, t: F64) -> tuple[F64, F64]:
        """(dx, dy) [px]."""

    @abstractmethod
    def offset_slope(self, x: F64, y: F64, t: F64) -> tuple[F64, F64]:
        """Its derivative by t."""

    @abstractmethod
    def wavelength(self, x: F64, y: F64, t: F64) -> F64:
        """Wavelength [um]."""

    @abstractmethod
    def wavelength_slope(self, x: F64, y: F64, t: F64) -> F64:
        """Its derivative by t."""

    def parameter(self, x: F64, y: F64, wavelength: F64) -> F64:
        """t of a wavelength [um], by Newton's method from the straight line between the ends."""
        ends = [self.wavelength(x, y, np.full(np.shape(x), t)) for t in self.limits]
        t = self.limits[0] + (wavelength - ends[0]) / (ends[1] - ends[0]) * (self.limits[1] - self.limits[0])
        for _ in range(12):
            t = t + (wavelength - self.wavelength(x, y, t)) / self.wavelength_slope(x, y, t)
        return t


@dataclass(frozen=True)
class GrismconfBeam(Beam):
    """An order of a GRISMCONF file."""

    dx: FieldPolynomial
    dy: FieldPolynomial
    wave: FieldPolynomial
    limits: tuple[float, float] = (0.0, 1.0)

    def offset(self, x: F64, y: F64, t: F64) -> tuple[F64, F64]:
        return self.dx(x, y, t), self.dy(x, y, t)

    def offset_slope(self, x: F64, y: F64, t: F64) -> tuple[F64, F64]:
        return self.dx.slope(x, y, t), self.dy.slope(x, y, t)

    def wavelength(self, x: F64, y: F64, t: F64) -> F64:
        return self.wave(x, y, t)

    def wavelength_slope(self, x: F64, y: F64, t: F64) -> F64:
        return self.wave.slope(x, y, t)


@dataclass(frozen=True)
class AxeBeam(Beam):
    """A beam of an aXe file; the parameter is dx."""

    dydx: FieldPolynomial
    dldp: FieldPolynomial
    xoff: FieldPolynomial
    yoff: FieldPolynomial
    limits: tuple[float, float]
    reference: tuple[float, float] = (0.0, 0.0)

    def _from_reference(self, x: F64, y: F64) -> tuple[F64, F64]:
        return x - self.reference[0], y - self.reference[1]

    def offset(self, x: F64, y: F64, t: F64) -> tuple[F64, F64]:
        x, y = self._from_reference(x, y)
        zero = np.zeros_like(t)
        return t + self.xoff(x, y, zero), self.dydx(x, y, t) + self.yoff(x, y, zero)

    def offset_slope(self, x: F64, y: F64, t: F64) -> tuple[F64, F64]:
        x, y = self._from_reference(x, y)
        return np.ones(np.broadcast(x, t).shape), self.dydx.slope(x, y, t)

    def _length(self, x: F64, y: F64, t: F64) -> F64:
        """Length of the trace from dx = 0 to t; x, y from the reference pixel, as below."""
        return sum(
            (
                w * t / 2 * np.hypot(1, self.dydx.slope(x, y, t / 2 * (1 + n)))
                for n, w in zip(_NODES, _WEIGHTS, strict=True)
            ),
            np.zeros(np.broadcast(x, t).shape),
        )

    def wavelength(self, x: F64, y: F64, t: F64) -> F64:
        x, y = self._from_reference(x, y)
        return self.dldp(x, y, self._length(x, y, t))

    def wavelength_slope(self, x: F64, y: F64, t: F64) -> F64:
        x, y = self._from_reference(x, y)
        return self.dldp.slope(x, y, self._length(x, y, t)) * np.hypot(1, self.dydx.slope(x, y, t))


class ConfigTrace(TraceModel):
    """Traces of a configuration file.

    Parameters
    ----------
    middle
        Place [px] at which the orders' wavelength ranges and the direction of dispersion are taken.
    """

    def __init__(self, element: str, beams: dict[str, Beam], middle: tuple[float, float], origin: Origin) -> None:
        self.element, self.beams, self.origin, self.orders = element, beams, origin, tuple(beams)
        self.middle = middle
        x, y = (np.full(2, v) for v in middle)
        self._bands = {}
        for order, beam in beams.items():
            low, high = sorted(float(v) for v in beam.wavelength(x, y, np.array(beam.limits)))
            if not (np.isfinite([low, high]).all() and 0 < low < high):
                raise InputError(
                    f"order {order} has wavelengths from {low:g} to {high:g} um",
                    file=origin.name,
                    field=order,
                    remedy="repair the file, or give the detector's middle",
                )
            self._bands[order] = low, high
        first = beams[self.orders[0]]
        dx, dy = (abs(float(np.ptp(v))) for v in first.offset(x, y, np.array(first.limits)))
        self.dispersion_axis = "x" if dx > dy else "y"

    def band(self, order: str) -> tuple[float, float]:
        """See TraceModel.band: between the ends of the beam in the middle of the detector."""
        return self._bands[self.check_order(order)]

    def trace(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64]:
        """See TraceModel.trace."""
        x, y, t = self._solved(x0, y0, wavelength, order)
        dx, dy = self.beams[order].offset(x, y, t)
        return x + dx, y + dy

    def slopes(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64]:
        """See TraceModel.slopes."""
        x, y, t = self._solved(x0, y0, wavelength, order)
        beam = self.beams[order]
        dx, dy = beam.offset_slope(x, y, t)
        per = beam.wavelength_slope(x, y, t)
        return dx / per, dy / per

    def _solved(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64, F64]:
        beam = self.beams[self.check_order(order)]
        x, y, wave = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (x0, y0, wavelength)))
        return x, y, beam.parameter(x, y, wave)


class ConfigLines:
    """Keywords of a file with their words; comments begin with ;, # or %.

    InputError, naming the file, if it cannot be read.
    """

    def __init__(self, path: str | Path, what: str) -> None:
        self.path = path
        data = read_reference(path, what)
        self.origin = origin_of(path, data, what)
        self.words: dict[str, list[str]] = {}
        for line in data.decode("utf-8", errors="replace").splitlines():
            key, *words = re.split(r"[;#%]", line)[0].split() or [""]
            if key:
                self.words[key] = words

    def numbers(self, key: str, default: list[float] | None = None) -> list[float]:
        if key not in self.words:
            if default is None:
                raise InputError("the keyword is missing", file=self.path, field=key, remedy="complete the file")
            return default
        try:
            values = [float(w) for w in self.words[key]]
        except ValueError:
            values = []
        if not values or not np.isfinite(values).all():
            raise InputError("not a list of numbers", file=self.path, field=key, remedy="repair the file")
        return values

    def pair(self, *keys: str, default: tuple[float, float]) -> tuple[float, float]:
        """Two numbers under one keyword or under two; the default where there is none of them."""
        if not any(key in self.words for key in keys):
            return default
        values = [value for key in keys for value in self.numbers(key)]
        if len(values) != 2:
            raise InputError("not two numbers", file=self.path, field=keys[0], remedy="repair the file")
        return values[0], values[1]

    def middle(self, default: tuple[float, float]) -> tuple[float, float]:
        """Middle of the detector [px], where the file gives its size (NAXIS)."""
        nx, ny = self.pair("NAXIS", default=(2 * default[0], 2 * default[1]))
        return nx / 2, ny / 2

    def degree(self, key: str) -> int:
        """A degree of a polynomial along a trace."""
        value = self.numbers(key)[0]
        if value != int(value) or not 0 <= value <= MAX_DEGREE:
            raise InputError(
                f"{value:g} is no degree",
                file=self.path,
                field=key,
                remedy=f"give a whole number from 0 to {MAX_DEGREE}",
            )
        return int(value)

    def field(self, keys: list[str], scale: float = 1.0, default: list[float] | None = None) -> FieldPolynomial:
        """A polynomial from the rows of coefficients under `keys`."""
        rows = [self.numbers(key, default) for key in keys]
        size = max(len(row) for row in rows)
        if size not in _WHOLE or any(len(row) not in _WHOLE for row in rows):
            raise InputError(
                f"{size} coefficients are no whole polynomial",
                file=self.path,
                field=keys[0],
                remedy=f"give {', '.join(map(str, _WHOLE))} of them",
            )
        return FieldPolynomial(scale * np.array([row + [0.0] * (size - len(row)) for row in rows]))

    def counted(self, stem: str) -> list[str]:
        """Keys `stem`0, `stem`1, ... as far as they go."""
        keys: list[str] = []
        while f"{stem}{len(keys)}" in self.words:
            keys.append(f"{stem}{len(keys)}")
        if not keys:
            raise InputError("the keyword is missing", file=self.path, field=f"{stem}0", remedy="complete the file")
        return keys


def read_axe(path: str | Path, *, middle: tuple[float, float] | None = None) -> ConfigTrace:
    """Trace model of an aXe configuration file; orders are its beams (A, B, ...).

    `middle` [px]: where wavelength ranges and direction are taken; by the file's NAXIS, or else a detector of 1014 px.

    Raises
    ------
    InputError
        The file cannot be read, a keyword is missing or wrong, or a beam is a prism's (negative DISP_ORDER).
    """
    with reading(path, "an aXe configuration", "repair the file"):
        return axe_trace(ConfigLines(path, AXE), middle)


def axe_trace(lines: ConfigLines, middle: tuple[float, float] | None = None) -> ConfigTrace:
    """`read_axe` of lines that were read."""
    path, reference = lines.path, lines.pair("REFX", "REFY", default=(0.0, 0.0))
    names = [k[4:] for k in lines.words if re.fullmatch(r"BEAM[A-Z]", k)]
    beams: dict[str, Beam] = {}
    for name in names:
        limits = lines.numbers(f"BEAM{name}")
        degree = lines.numbers(f"DISP_ORDER_{name}")[0]
        if degree < 0 or f"DLDP_{name}_P_0" in lines.words:
            raise InputError(
                "dispersion of a prism", file=path, field=f"DISP_ORDER_{name}", remedy="use a grism's configuration"
            )
        if len(limits) != 2 or limits[0] == limits[1]:
            raise InputError("not two ends", file=path, field=f"BEAM{name}", remedy="give the first and last dx")
        dydx = [f"DYDX_{name}_{i}" for i in range(lines.degree(f"DYDX_ORDER_{name}") + 1)]
        dldp = [f"DLDP_{name}_{i}" for i in range(lines.degree(f"DISP_ORDER_{name}") + 1)]
        beams[name] = AxeBeam(
            lines.field(dydx),
            lines.field(dldp, 1e-4),
            lines.field([f"XOFF_{name}"], default=[0.0]),
            lines.field([f"YOFF_{name}"], default=[0.0]),
            (limits[0], limits[1]),
            reference,
        )
    return ConfigTrace("grism", _some(beams, path, "BEAMA"), middle or lines.middle((507.0, 507.0)), lines.origin)


def read_grismconf(path: str | Path, *, middle: tuple[float, float] | None = None) -> ConfigTrace:
    """Trace model of a GRISMCONF configuration file; orders keep its names (+1, -1, ...).

    `middle` [px]: where wavelength ranges and direction are taken; by the file's NAXIS, or else a detector of 2048 px.

    Raises
    ------
    InputError
        The file cannot be read, or a keyword is missing or wrong.
    """
    with reading(path, "a GRISMCONF configuration", "repair the file"):
        return grismconf_trace(ConfigLines(path, GRISMCONF), middle)


def grismconf_trace(lines: ConfigLines, middle: tuple[float, float] | None = None) -> ConfigTrace:
    """`read_grismconf` of lines that were read."""
    names = [k.removeprefix("DISPL_").removesuffix("_0") for k in lines.words if re.fullmatch(r"DISPL_.+_0", k)]
    beams: dict[str, Beam] = {}
    for name in names:
        wave = lines.counted(f"DISPL_{name}_")
        largest = max(abs(lines.numbers(key)[0]) for key in wave)
        beams[name] = GrismconfBeam(
            lines.field(lines.counted(f"DISPX_{name}_")),
            lines.field(lines.counted(f"DISPY_{name}_")),
            lines.field(wave, 1e-4 if largest > _MOST_UM else 1.0),
        )
    some = _some(beams, lines.path, "DISPL_+1_0")
    return ConfigTrace("grism", some, middle or lines.middle((1024.0, 1024.0)), lines.origin)


def _some(beams: dict[str, Beam], path: str | Path, field: str) -> dict[str, Beam]:
    if not beams:
        raise InputError(
            "the file has no order", file=path, field=field, remedy="give a configuration file of its kind"
        )
    return beams
