"""The optical model and throughput that spectra are made with: reference files, or else what is published.

``ROMAN_REFERENCE_DIR`` names a folder with `Roman_<element>_OpticalModel*.yaml` (Science Support Center) and
`sensitivity_<element>.parquet` or `sensitivity.parquet`. Without it, or without a file in it, the nominal ones
serve: they carry the mean dispersion and no distortion over the field, enough for simulations that use the same
ones and not for data. Products say which (`Origin.record`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import polars as pl

from roman_assets.errors import InputError
from roman_assets.kernels.spectra import Geometry
from roman_assets.survey.instrument import PIXEL_DEG, SIDE_PX
from roman_assets.systems.gdps.optics.optical_model import (
    DETECTORS,
    OpticalModel,
    OrderCoefficients,
    read_optical_model,
)
from roman_assets.systems.gdps.optics.throughput import Throughput, curves_of, read_throughput
from roman_assets.systems.gdps.optics.traces import Origin

REFERENCE_VARIABLE = "ROMAN_REFERENCE_DIR"
_PX_PER_MM, _MIDDLE = 100.0, (SIDE_PX + 1) / 2
#: Along the dispersion, by element and order: offset of the reference wavelength from the undispersed place [mm],
#: and Dy [mm] by powers of lambda - 1.55 um (grism) or log10(lambda / 1.2 um) (prism): values at the middle of the
#: field of the Science Support Center's optical model v0.8, rounded.
_ALONG: dict[str, dict[str, tuple[float, tuple[float, ...]]]] = {
    "grism": {"1": (-0.34, (9.200, 0.0400)), "0": (-14.09, (0.3722, 0.0660)), "2": (13.28, (17.871, -0.0227))},
    "prism": {"1": (-0.12, (-4.1727, 3.5222, -17.165, 10.028, -25.269))},
}
_REFERENCE = {"grism": 1.55, "prism": 1.2}
_WAVELENGTHS = {"grism": (0.9, 2.0), "prism": (0.75, 1.85)}
ELEMENTS = tuple(_ALONG)


def _check_element(element: str) -> str:
    if element not in ELEMENTS:
        raise InputError(f"no dispersing element {element!r}", field="optical_element", remedy="use grism or prism")
    return element


def nominal_optical_model(element: str) -> OpticalModel:
    """Optical model of `grism` or `prism` without distortion: traces are the same all over the field, along columns."""
    orders = {}
    across = 1 / (PIXEL_DEG * _PX_PER_MM)
    for order, (offset, along) in _ALONG[_check_element(element)].items():
        ids = np.zeros((len(along) + 1, 1, 1))
        ids[1:, 0, 0] = along
        orders[order] = OrderCoefficients(
            np.array([[0.0, 0.0], [across, 0.0]]), np.array([[offset, across], [0.0, 0.0]]), ids, np.zeros((1, 1, 1))
        )
    geometry = Geometry(_MIDDLE, _MIDDLE, 0.0, 0.0, _PX_PER_MM, PIXEL_DEG)
    digest = hashlib.sha256(repr((_ALONG[element], _REFERENCE[element])).encode()).hexdigest()
    return OpticalModel(
        element,
        orders,
        _WAVELENGTHS[element],
        _REFERENCE[element],
        element == "prism",
        dict.fromkeys(DETECTORS, geometry),
        (SIDE_PX, SIDE_PX),
        Origin(f"nominal {element}", "mean of the SSC optical model v0.8", digest),
    )


def nominal_throughput(element: str, detector: str) -> Throughput:
    """Published effective areas (roman-technical-information 1.5.0, 2024-03-01); none is public for order 2."""
    _check_element(element)
    path = resources.files("roman_assets.systems.gdps") / "data" / "effective_areas.parquet"
    data = path.read_bytes()
    with resources.as_file(path) as file:
        table = pl.read_parquet(file)
    table = table.filter((pl.col("element") == element) & (pl.col("detector") == detector))
    if table.is_empty():
        raise InputError(f"no effective area of {detector}", field="detector", remedy="use WFI01 to WFI18")
    origin = Origin("effective_areas.parquet", "roman-technical-information 1.5.0", hashlib.sha256(data).hexdigest())
    return Throughput(curves_of(table), origin)


def references(
    element: str, detector: str, environment: Mapping[str, str] | None = None
) -> tuple[OpticalModel, Throughput]:
    """Optical model and throughput from ``ROMAN_REFERENCE_DIR``, each nominal where the folder has no such file.

    Raises
    ------
    InputError
        The folder does not exist, has several optical models of the element, or a file in it is unusable.
    """
    named = (os.environ if environment is None else environment).get(REFERENCE_VARIABLE)
    _check_element(element)
    if not named:
        return nominal_optical_model(element), nominal_throughput(element, detector)
    folder = Path(named)
    if not folder.is_dir():
        remedy = "name an existing folder"
        raise InputError("the folder does not exist", file=folder, field=REFERENCE_VARIABLE, remedy=remedy)
    models = sorted(folder.glob(f"Roman_{element}_OpticalModel*.yaml"))
    if len(models) > 1:
        raise InputError(
            f"{len(models)} optical models of the {element}",
            file=folder,
            field=REFERENCE_VARIABLE,
            remedy="leave the one that is to be used",
        )
    areas = [p for p in (folder / f"sensitivity_{element}.parquet", folder / "sensitivity.parquet") if p.is_file()]
    return (
        read_optical_model(models[0]) if models else nominal_optical_model(element),
        read_throughput(areas[0], detector) if areas else nominal_throughput(element, detector),
    )
