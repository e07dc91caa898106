"""One interface for every model of slitless traces, whatever file it comes from.

A `TraceModel` belongs to one dispersing element on one detector. It says where light of a wavelength, coming from
a place on the undispersed image, falls on the dispersed one. Places are pixels in the model's own convention
(Roman's: 1-based pixels of the full detector), wavelengths are micrometres, orders are names.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError

F64 = NDArray[np.float64]
#: The order that spectra are extracted from, as effective areas call it.
MAIN = "1"
#: So far beyond the end of a trace [px] is still its end.
END_PX = 1e-6


@dataclass(frozen=True)
class Origin:
    """Where a reference comes from, for the products made with it."""

    name: str  # file name, or what the built-in model calls itself
    source: str  # who made it
    sha256: str  # of the bytes that were read

    def record(self, kind: str) -> dict[str, str]:
        """Flat entries for a product's metadata: `<kind>`, `<kind>_source`, `<kind>_sha256`."""
        return {kind: self.name, f"{kind}_source": self.source, f"{kind}_sha256": self.sha256}


def read_reference(path: str | Path, what: str) -> bytes:
    """Bytes of a reference file; InputError if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(
            f"the {what} cannot be read ({error.strerror})", file=path, remedy="name an existing, readable file"
        ) from error


def origin_of(path: str | Path, data: bytes, source: str) -> Origin:
    """Origin of a file whose bytes are `data`."""
    return Origin(Path(path).name, source, hashlib.sha256(data).hexdigest())


class TraceModel(ABC):
    """Traces of one element on one detector."""

    element: str  # grism, prism, or the name of another instrument's element
    orders: tuple[str, ...]
    dispersion_axis: str  # the image axis along which light is dispersed, x or y
    origin: Origin

    @abstractmethod
    def band(self, order: str) -> tuple[float, float]:
        """Wavelengths [um] between which the order's model holds."""

    @abstractmethod
    def trace(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64]:
        """Places (x, y) [px] of light of `wavelength` [um] from (x0, y0) [px]; the arguments broadcast."""

    @abstractmethod
    def slopes(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64]:
        """(dx/dlambda, dy/dlambda) [px/um]; the arguments broadcast."""

    def check_order(self, order: str) -> str:
        """`order`, if the model has it; InputError otherwise."""
        if order not in self.orders:
            raise InputError(
                f"no order {order!r} in this model",
                file=self.origin.name,
                field="order",
                remedy=f"use one of {', '.join(self.orders)}",
            )
        return order

    def trace_grid(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64]:
        """Places (x, y), each (n, m), of all wavelengths (m,) of sources at x0, y0 (n,)."""
        return self.trace(np.asarray(x0)[:, None], np.asarray(y0)[:, None], np.asarray(wavelength), order)

    def jacobian(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> F64:
        """Derivatives of the dispersed place by the undispersed one, (..., 2, 2): [[dx/dx0, dx/dy0], [dy/dx0, dy/dy0]].

        Central differences over two pixels, exact to 1e-9 for the smooth polynomials of these models.
        """
        x0, y0 = np.asarray(x0, dtype=np.float64), np.asarray(y0, dtype=np.float64)
        columns = []
        for dx, dy in ((1.0, 0.0), (0.0, 1.0)):
            high, low = (self.trace(x0 + s * dx, y0 + s * dy, wavelength, order) for s in (1, -1))
            columns.append(np.stack([(h - m) / 2 for h, m in zip(high, low, strict=True)], axis=-1))
        return np.stack(columns, axis=-1)

    def along(self, x: F64, y: F64) -> F64:
        """Of two coordinates, the one along which light is dispersed."""
        return y if self.dispersion_axis == "y" else x

    def dispersion(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> F64:
        """Wavelength per pixel along the dispersion axis, dlambda/dy (or dx) [um/px], signed."""
        return 1.0 / self.along(*self.slopes(x0, y0, wavelength, order))

    def wavelength_at(self, x0: ArrayLike, y0: ArrayLike, place: ArrayLike, order: str) -> F64:
        """Wavelength [um] that falls on `place` [px], a coordinate along the dispersion axis; arguments broadcast.

        NaN where no wavelength of the order's band falls there.

        Raises
        ------
        InputError
            The trace turns back within the band, so that the inverse is not unique.
        """
        shape = np.broadcast_shapes(np.shape(x0), np.shape(y0), np.shape(place))
        xs, ys, at = (np.broadcast_to(np.asarray(v, dtype=np.float64), shape).ravel() for v in (x0, y0, place))
        low, high = self.band(order)
        nodes = np.linspace(low, high, 65)
        sources, which = np.unique(np.stack([xs, ys]), axis=1, return_inverse=True)
        table = self.along(*self.trace_grid(sources[0], sources[1], nodes, order))
        steps = np.diff(table, axis=1)
        if table.size and not ((steps > 0).all(axis=1) | (steps < 0).all(axis=1)).all():
            raise InputError(
                f"the trace of order {order} turns back between {low:g} and {high:g} um",
                field="order",
                remedy="ask for wavelengths of the other orders",
            )
        result = np.empty(at.size)
        for s in range(table.shape[1] and len(table)):
            of_source = which.ravel() == s
            row, waves = (table[s], nodes) if steps[s, 0] > 0 else (table[s, ::-1], nodes[::-1])
            # The band's own ends belong to it, rounding or not.
            wanted = at[of_source]
            inside = np.clip(wanted, row[0], row[-1])
            wanted = np.where(np.abs(wanted - inside) < END_PX, inside, wanted)
            result[of_source] = np.interp(wanted, row, waves, left=np.nan, right=np.nan)
        for _ in range(4):
            miss = at - self.along(*self.trace(xs, ys, result, order))
            result = np.clip(result + miss * self.dispersion(xs, ys, result, order), low, high)
        return result.reshape(shape)

    def undispersed(self, x: ArrayLike, y: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64]:
        """Place (x0, y0) [px] of a source whose light of `wavelength` [um] falls on (x, y) [px]; arguments broadcast.

        Newton's method on `trace`, to 1e-9 px.

        Raises
        ------
        InputError
            It does not converge: the place is far outside the model.
        """
        x, y, wave = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (x, y, wavelength)))
        at_x, at_y = self.trace(x, y, wave, order)
        x0, y0 = 2 * x - at_x, 2 * y - at_y
        for _ in range(12):
            at_x, at_y = self.trace(x0, y0, wave, order)
            miss = np.stack([x - at_x, y - at_y], axis=-1)
            if not miss.size or np.nanmax(np.abs(miss), initial=0.0) < 1e-9:
                return x0, y0
            step = np.linalg.solve(self.jacobian(x0, y0, wave, order), miss[..., None])[..., 0]
            x0, y0 = x0 + step[..., 0], y0 + step[..., 1]
        raise InputError(
            "the undispersed place was not found",
            file=self.origin.name,
            field="x, y",
            remedy="ask for places on or near the detector",
        )
