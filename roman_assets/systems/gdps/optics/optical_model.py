"""The Science Support Center's optical model of the grism and the prism: its YAML file, and traces from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import ArrayLike, NDArray

from roman_assets.doors import reading
from roman_assets.errors import InputError
from roman_assets.kernels.arrays import MOST_PIXELS
from roman_assets.kernels.spectra import Geometry, Optics, trace_grid, trace_points, trace_slopes
from roman_assets.systems.gdps.optics.traces import Origin, TraceModel, origin_of, read_reference

F64 = NDArray[np.float64]
DETECTORS = tuple(f"WFI{number:02d}" for number in range(1, 19))
_PRODUCT_TYPE = "wfi_calibration_optical_model"
_ARRAYS = {
    "xmap_ij_coeff": "dimen_map",
    "ymap_ij_coeff": "dimen_map",
    "crv_ijk_coeff": "dimen_crv",
    "ids_ijk_coeff": "dimen_ids",
}
_LARGEST_FILE = 4 * 2**20


def detector_number(detector: str) -> int:
    """1 to 18 of WFI01 to WFI18; InputError otherwise."""
    if detector not in DETECTORS:
        raise InputError(f"no detector {detector!r}", field="detector", remedy="use WFI01 to WFI18")
    return int(detector[3:])


@dataclass(frozen=True)
class OrderCoefficients:
    """Polynomials of one order (csrc/optical_model.h): xmap, ymap (i, j); ids, crv (i, j, k)."""

    xmap: F64
    ymap: F64
    ids: F64
    crv: F64


@dataclass(frozen=True)
class OpticalModel:
    """The optical model of one element on all detectors.

    Attributes
    ----------
    element
        ``grism`` or ``prism``.
    orders
        Coefficients by order, first order first.
    wavelengths
        Range [um] in which the model holds; `reference` is its reference wavelength [um], and `logarithmic`
        says that the polynomials are in log10(wavelength / reference).
    geometry
        Placement of each detector (WFI01 to WFI18) in the focal plane.
    shape
        Pixels (ny, nx) of a detector.
    """

    element: str
    orders: dict[str, OrderCoefficients]
    wavelengths: tuple[float, float]
    reference: float
    logarithmic: bool
    geometry: dict[str, Geometry]
    shape: tuple[int, int]
    origin: Origin

    def on(self, detector: str) -> OpticalTrace:
        """Traces on one detector, WFI01 to WFI18; InputError if the model lacks it."""
        detector_number(detector)
        if detector not in self.geometry:
            raise InputError(
                f"the model has no {detector}",
                file=self.origin.name,
                field="detector_model.xy_centers",
                remedy="use a model of all detectors",
            )
        return OpticalTrace(self, detector)


class OpticalTrace(TraceModel):
    """An optical model on one detector; pixels are those of the full detector, 1-based."""

    dispersion_axis = "y"

    def __init__(self, model: OpticalModel, detector: str) -> None:
        self.model, self.detector = model, detector
        self.element, self.orders, self.origin = model.element, tuple(model.orders), model.origin
        self._optics = {
            order: Optics(
                c.xmap,
                c.ymap,
                c.ids,
                c.crv,
                reference=model.reference,
                logarithmic=model.logarithmic,
                geometry=model.geometry[detector],
            )
            for order, c in model.orders.items()
        }

    def band(self, order: str) -> tuple[float, float]:
        """The wavelength range of the file [um]."""
        self.check_order(order)
        return self.model.wavelengths

    def trace(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64]:
        """See TraceModel.trace."""
        return trace_points(self._optics[self.check_order(order)], x0, y0, wavelength)

    def trace_grid(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64]:
        """See TraceModel.trace_grid."""
        return trace_grid(self._optics[self.check_order(order)], x0, y0, wavelength)

    def slopes(self, x0: ArrayLike, y0: ArrayLike, wavelength: ArrayLike, order: str) -> tuple[F64, F64]:
        """See TraceModel.slopes."""
        return trace_slopes(self._optics[self.check_order(order)], x0, y0, wavelength)


def read_optical_model(path: str | Path) -> OpticalModel:
    """The optical model in an SSC YAML file (product type ``wfi_calibration_optical_model``).

    Raises
    ------
    InputError
        The file cannot be read or a field is missing or wrong; it names file, field and remedy.
    """
    data = read_reference(path, "optical model")
    with reading(path, "an optical model", "give an optical model file of the Science Support Center, unaltered"):
        return _Reader(path).model(data)


class _Reader:
    """Fields of one file, each checked."""

    def __init__(self, path: str | Path) -> None:
        self.path = path

    def wrong(self, field: str, problem: str) -> InputError:
        remedy = "give an optical model file of the Science Support Center, unaltered"
        return InputError(problem, file=self.path, field=field, remedy=remedy)

    def model(self, data: bytes) -> OpticalModel:
        tree = self.parse(data)
        meta, detector, optics = (self.mapping(tree, n) for n in ("meta", "detector_model", "optical_model"))
        element = str(meta.get("optical_element", "")).lower()
        if meta.get("product_type") != _PRODUCT_TYPE:
            raise self.wrong("meta.product_type", f"{meta.get('product_type')!r} is not {_PRODUCT_TYPE!r}")
        if element not in ("grism", "prism"):
            raise self.wrong("meta.optical_element", f"{element!r} is neither grism nor prism")
        if meta.get("unit_wl") not in ("micron", "um"):
            raise self.wrong("meta.unit_wl", f"wavelengths in {meta.get('unit_wl')!r}, not in micron")
        low, high, reference = (
            self.number(optics, "optical_model", n, positive=True) for n in ("wl_min", "wl_max", "wl_reference")
        )
        if not low < reference < high:
            raise self.wrong("optical_model.wl_reference", f"{reference:g} is not between {low:g} and {high:g}")
        transform = str(optics.get("wl_transform", "")).lower()
        if transform not in ("linear", "log"):
            raise self.wrong("optical_model.wl_transform", f"{transform!r} is neither linear nor log")
        return OpticalModel(
            element,
            self.orders(optics),
            (low, high),
            reference,
            transform == "log",
            self.geometry(detector),
            (self.size(detector, "naxis2"), self.size(detector, "naxis1")),
            origin_of(self.path, data, str(meta.get("origin") or "not stated")),
        )

    def parse(self, data: bytes) -> Mapping[str, Any]:
        if len(data) > _LARGEST_FILE:
            raise self.wrong("", f"{len(data)} bytes are too many for an optical model")
        tree = yaml.safe_load(data)
        if not isinstance(tree, Mapping):
            raise self.wrong("", "the file holds no mapping")
        return tree

    def mapping(self, tree: Mapping[str, Any], name: str, inside: str = "") -> Mapping[str, Any]:
        value = tree.get(name)
        if not isinstance(value, Mapping):
            raise self.wrong(f"{inside}{name}", "the section is missing")
        return value

    def number(self, tree: Mapping[str, Any], section: str, name: str, *, positive: bool = False) -> float:
        value = tree.get(name)
        field = f"{section}.{name}"
        if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
            raise self.wrong(field, f"{value!r} is not a finite number")
        if positive and not value > 0:
            raise self.wrong(field, f"{value!r} is not positive")
        return float(value)

    def size(self, detector: Mapping[str, Any], name: str) -> int:
        value = self.number(detector, "detector_model", name, positive=True)
        if value != int(value) or value > MOST_PIXELS:
            raise self.wrong(f"detector_model.{name}", f"{value!r} is no number of pixels")
        return int(value)

    def geometry(self, detector: Mapping[str, Any]) -> dict[str, Geometry]:
        section = "detector_model"
        crpix_x, crpix_y = (self.number(detector, section, n) for n in ("crpix1", "crpix2"))
        plate, pixel = (self.number(detector, section, n, positive=True) for n in ("plate_scale", "pixel_scale"))
        if self.number(detector, section, "pos_angle_detector") != 0:
            raise self.wrong("detector_model.pos_angle_detector", "rotated detectors have no published meaning")
        result: dict[str, Geometry] = {}
        for key, value in self.mapping(detector, "xy_centers", "detector_model.").items():
            field = f"detector_model.xy_centers.{key}"
            if isinstance(key, bool) or not isinstance(key, int) or not 1 <= key <= len(DETECTORS):
                raise self.wrong(field, f"{key!r} is no detector number")
            centre = self.numbers(value, field, (2,))
            result[DETECTORS[key - 1]] = Geometry(
                crpix_x, crpix_y, float(centre[0]), float(centre[1]), plate, pixel / 3600
            )
        if not result:
            raise self.wrong("detector_model.xy_centers", "there is no detector")
        return result

    def orders(self, optics: Mapping[str, Any]) -> dict[str, OrderCoefficients]:
        shapes: dict[str, tuple[int, ...]] = {}
        for name in dict.fromkeys(_ARRAYS.values()):
            section = self.mapping(optics, name, "optical_model.")
            axes = "ij" if name == "dimen_map" else "ijk"
            shapes[name] = tuple(int(self.number(section, f"optical_model.{name}", a, positive=True)) for a in axes)
        listed, given = optics.get("orders_defined"), self.mapping(optics, "orders", "optical_model.")
        if not isinstance(listed, list) or not listed:
            raise self.wrong("optical_model.orders_defined", "no order is listed")
        result: dict[str, OrderCoefficients] = {}
        for order in map(str, listed):
            field = f"optical_model.orders.{order}"
            entry = self.mapping(given, order, "optical_model.orders.")
            # An order may be announced without coefficients: v0.8 does so with m1.
            if all(entry.get(name) is None for name in _ARRAYS):
                continue
            arrays = {
                name: self.numbers(entry.get(name), f"{field}.{name}", shapes[dim]) for name, dim in _ARRAYS.items()
            }
            result[order] = OrderCoefficients(
                *(arrays[f"{n}_coeff"] for n in ("xmap_ij", "ymap_ij", "ids_ijk", "crv_ijk"))
            )
        if not result:
            raise self.wrong("optical_model.orders", "no order has coefficients")
        return result

    def numbers(self, value: Any, field: str, shape: tuple[int, ...]) -> F64:
        try:
            result = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise self.wrong(field, "not an array of numbers") from error
        if result.shape != shape:
            raise self.wrong(field, f"shape {result.shape} where {shape} is declared")
        if not np.isfinite(result).all():
            raise self.wrong(field, "a coefficient is not finite")
        return result
