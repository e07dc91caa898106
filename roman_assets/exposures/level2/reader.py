"""Reading Level 2 exposures: the header without pixels, or the image through asdf after every guard."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import RomanError
from roman_assets.exposures.judging import first_line, is_momentary, judging
from roman_assets.exposures.level2.file_bytes import FileBytes, opened
from roman_assets.exposures.level2.footprint import agrees, polygon
from roman_assets.exposures.level2.guards import CheckedFile, ManifestEntry, check_bytes, load_tree
from roman_assets.exposures.level2.header import (
    FOOTPRINT_FROM_TARGET,
    WCS_UNLIKE_FOOTPRINT,
    ExposureHeader,
    header_from_tree,
)
from roman_assets.exposures.level2.pixels import CONSTANT_IMAGE, PixelGates, judge_pixels
from roman_assets.exposures.level2.ramps import Resultants
from roman_assets.exposures.rejection import DEFAULT_LIMITS, WAIVABLE, Limits, Reason, Rejected
from roman_assets.text import printable

__all__ = ["CONSTANT_IMAGE", "ExposureHeader", "Image", "PixelGates", "read_header", "read_image", "validate"]


@dataclass
class Image:
    """One exposure, planes (ny, nx): float32 ``data``, ``err`` [DN/s] and ``var_poisson`` [DN^2/s^2].

    ``dq`` is uint32.  ``wcs`` is the file's gwcs without bounding box; pixels are 0-based, an integer
    is the centre of a pixel.  ``resultants`` are the times of the ramps' resultants, ``v3yangle`` is the header's angle
    from the telescope's V3 axis to +y [deg]: None where the file does not tell.
    """

    header: ExposureHeader
    data: NDArray[np.float32]
    err: NDArray[np.float32]
    var_poisson: NDArray[np.float32]
    dq: NDArray[np.uint32]
    wcs: Any
    resultants: Resultants | None = None
    v3yangle: float | None = None


class _Overruled:
    """Reasons that a reviewer has overruled for one file, asked for when first needed."""

    def __init__(self, ask: Callable[[], Collection[Reason]]) -> None:
        self.ask = ask
        self.caveats: list[str] = []

    def unless(self, rejected: Rejected) -> None:
        """Raise ``rejected`` unless its reason was overruled."""
        if rejected.reason not in WAIVABLE or rejected.reason not in self.ask():
            raise rejected
        self.caveats.append(f"released_{rejected.reason.value}")


def _nothing_waived(sha256: str) -> Collection[Reason]:
    return ()


def read_header(path: str | Path, *, limits: Limits = DEFAULT_LIMITS) -> ExposureHeader:
    """Header of an exposure, from the checked YAML tree alone: no pixel, no block, no asdf.

    Raises Rejected, naming the reason, the field and the remedy; Unavailable if the file cannot be read now.
    """
    with judging(path):
        return header_from_tree(load_tree(path, limits), path)


def read_image(path: str | Path, *, sha256: str | None = None, limits: Limits = DEFAULT_LIMITS) -> Image:
    """Image of an exposure, after every guard has passed.

    With ``sha256`` (of the registry) the bytes must have that digest; without it the checksums of the blocks
    are verified.  Raises Rejected; Unavailable if the file cannot be read now.
    """
    with judging(path), opened(path, limits) as data:
        checked = check_bytes(data, path, sha256=sha256, limits=limits)
        return _image(data, header_from_tree(checked.tree, path), path, schema=False)


def validate(
    path: str | Path,
    *,
    expected: ManifestEntry | None = None,
    full: bool = True,
    gates: PixelGates | None = PixelGates(),
    limits: Limits = DEFAULT_LIMITS,
    waived: Callable[[str], Collection[Reason]] = _nothing_waived,
) -> tuple[CheckedFile, ExposureHeader]:
    """Everything an arriving file must pass.

    ``full`` adds the schema of roman_datamodels, the pixel gates, and the exact footprint from gwcs where the
    header path could not evaluate the WCS.  ``waived`` gives the reasons a reviewer has overruled for a
    sha256; it is asked only when something is refused, and each becomes a caveat ``released_<reason>``.
    Raises Rejected; Unavailable if the file cannot be read now.
    """
    with judging(path), opened(path, limits) as data:
        checked = check_bytes(data, path, expected=expected, limits=limits)
        header = header_from_tree(checked.tree, path)
        if full:
            overruled = _Overruled(lambda: waived(checked.sha256))
            try:
                image = _image(data, header, path, schema=True)
            except Rejected as rejected:
                overruled.unless(rejected)
                image = _image(data, header, path, schema=False)
            caveats = () if gates is None else judge_pixels(image, gates, path, overruled.unless)
            header = replace(image.header, caveats=image.header.caveats + caveats + tuple(overruled.caveats))
    return checked, header


def _image(data: FileBytes, header: ExposureHeader, path: str | Path, *, schema: bool) -> Image:
    """Open a checked file with asdf; ``schema`` validates against rad."""
    import asdf

    # A context copies what the configuration has loaded: unloaded, the extensions are listed for every file anew.
    _ = asdf.get_config().extensions, asdf.get_config().resource_manager
    try:
        with warnings.catch_warnings(), asdf.config_context() as config:
            warnings.simplefilter("ignore")
            config.validate_on_read = schema
            with data.open() as stream, asdf.open(stream, lazy_load=True, memmap=False) as file:
                roman = file["roman"]
                if schema:
                    _check_known_schema(roman, header, path)
                return _build(roman, header, path)
    except RomanError:
        raise
    except asdf.exceptions.ValidationError as error:
        problem = f"the file does not follow its schema: {printable(first_line(error))}"
        raise Rejected(Reason.SCHEMA, problem, file=path) from error
    except Exception as error:  # asdf and its extensions raise whatever a bad tree makes them raise
        if is_momentary(error):
            raise
        problem = f"the file cannot be opened: {type(error).__name__}: {printable(first_line(error))}"
        raise Rejected(Reason.UNREADABLE, problem, file=path) from error


def _check_known_schema(roman: Any, header: ExposureHeader, path: str | Path) -> None:
    if isinstance(roman, dict) and type(roman).__module__.startswith("asdf"):
        problem = f"the installed roman_datamodels does not know {header.schema}"
        raise Rejected(Reason.SCHEMA, problem, file=path, remedy="install a version of roman_datamodels that does.")


def _build(roman: Any, header: ExposureHeader, path: str | Path) -> Image:
    planes: dict[str, NDArray[Any]] = {
        name: np.array(roman[name], dtype=dtype)
        for name, dtype in (
            ("data", np.float32),
            ("err", np.float32),  # float16 in the file: it overflows when summed
            ("var_poisson", np.float32),
            ("dq", np.uint32),
        )
    }
    for name, plane in planes.items():
        if plane.shape != header.shape:
            problem = f"shape {plane.shape} is not {header.shape} as in the header"
            raise Rejected(Reason.HEADER_INVALID, problem, file=path, field=name)
    wcs = roman["meta"]["wcs"]
    if wcs is None:
        raise Rejected(Reason.HEADER_MISSING, "there is no WCS", file=path, field="meta.wcs")
    wcsinfo = roman["meta"].get("wcsinfo")
    wcs.bounding_box = None  # with it, positions just off the chip become NaN
    if FOOTPRINT_FROM_TARGET in header.caveats:
        header = _with_footprint(header, wcs, wcsinfo, path)
    exposure = roman["meta"].get("exposure") or {}
    resultants = Resultants.of(exposure.get("read_pattern"), exposure.get("frame_time"))
    return Image(header=header, wcs=wcs, resultants=resultants, v3yangle=_v3yangle(wcsinfo), **planes)


def _v3yangle(wcsinfo: Any) -> float | None:
    """The angle as the header has it; None for a filler and for what is no angle."""
    value = wcsinfo.get("v3yangle") if hasattr(wcsinfo, "get") else None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -360 <= value <= 360:
        return None
    return float(value)


def _with_footprint(header: ExposureHeader, wcs: Any, wcsinfo: Any, path: str | Path) -> ExposureHeader:
    """The header with centre and footprint of the file's gwcs."""
    ny, nx = header.shape

    def sky(x: float, y: float) -> tuple[float, float]:
        ra, dec = wcs(x, y, with_bounding_box=False)
        return float(ra) % 360.0, float(dec)

    ra, dec = sky((nx - 1) / 2, (ny - 1) / 2)
    s_region = polygon(sky, header.shape, path)
    caveats = tuple(caveat for caveat in header.caveats if caveat != FOOTPRINT_FROM_TARGET)
    if hasattr(wcsinfo, "get") and not agrees(s_region, wcsinfo.get("s_region")):
        caveats += (WCS_UNLIKE_FOOTPRINT,)
    return replace(header, ra_center=ra, dec_center=dec, s_region=s_region, caveats=caveats)
