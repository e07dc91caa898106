"""The header of a Level 2 exposure: from the checked YAML tree to typed values with units.

No pixel is read and neither asdf nor roman_datamodels is imported: this is the path that every arriving file
and every listing takes.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roman_assets.errors import InputError
from roman_assets.exposures.level2.asdf_tree import MappingNode, Node, child, plain
from roman_assets.exposures.level2.footprint import Unsupported, agrees, chain, corners_of, polygon
from roman_assets.exposures.names import DETECTORS, DISPERSERS, OPTICAL_ELEMENTS, ExposureName, parse_exposure_name
from roman_assets.exposures.rejection import Reason, Rejected
from roman_assets.text import printable

MAX_SIDE = 4096
YEARS = (2015, 2099)  # of exposures, real and simulated
MAX_ELAPSED_S = 86_400.0
MIN_EXPTIME_S = 1.0  # the WFI's shortest is one read, of 3.16 s
CONVERSION_MJY_SR = (1e-4, 1e4)  # of a DN/s; 0.2 to 2 in imaging
PIXEL_AREA_SR = (5.9e-14, 9.5e-13)  # squares of 0.05 and 0.2 arcsec
_MJD_ZERO = dt.datetime(1858, 11, 17, tzinfo=dt.UTC)
_IMAGE_TAG = re.compile(r"asdf://stsci\.edu/datamodels/roman/tags/(wfi_image-[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4})")
_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,31}")
_PLANES = {"data": {"float32"}, "dq": {"uint32"}, "err": {"float16", "float32"}, "var_poisson": {"float16", "float32"}}

# Caveats: what a user of the exposure must know; never silently used, never a reason to refuse the pixels.
PHOTOMETRY_MISSING = "photometry_missing"
PHOTOMETRY_NOT_POSITIVE = "photometry_not_positive"
PHOTOMETRY_IMPLAUSIBLE = "photometry_implausible"
EXPOSURE_TIME_UNLIKE_TIMES = "exposure_time_unlike_times"
WCS_UNLIKE_FOOTPRINT = "wcs_unlike_footprint"
FOOTPRINT_FROM_TARGET = "footprint_from_target"
VISIT_FROM_NAME = "visit_from_name"

_NO_TEXT, _NO_NUMBER = "?", -999999  # what the data model writes where it has no value


@dataclass(frozen=True)
class ExposureHeader:
    """One exposure of one detector.

    ``start_time`` is UTC; ``mid_mjd`` the UTC modified Julian date of mid-exposure [d]; ``shape`` (ny, nx);
    ``ra_center``, ``dec_center`` and ``s_region`` (outer corners) ICRS [deg]; ``conversion_megajanskys``
    [MJy/sr per DN/s] and ``pixel_area_sr`` [sr] as written, NaN where absent: the caveats say when not to use
    them.  ``schema`` is the version of the data model, e.g. ``wfi_image-2.2.0``.
    """

    exposure_id: str
    filename: str
    visit_id: str
    exposure: int
    detector: str
    optical_element: str
    exposure_type: str
    start_time: dt.datetime
    mid_mjd: float
    exptime_s: float
    day: str
    shape: tuple[int, int]
    ra_center: float
    dec_center: float
    s_region: str
    conversion_megajanskys: float
    pixel_area_sr: float
    program: int
    caveats: tuple[str, ...]
    schema: str = ""

    @property
    def kind(self) -> str:
        """``spectral`` for a dispersed exposure, else ``imaging``."""
        return "spectral" if self.optical_element in DISPERSERS else "imaging"


def header_from_tree(tree: MappingNode, path: str | Path) -> ExposureHeader:
    """The header in a checked tree, compared with the file's name.  Raises Rejected naming the field."""
    filename = Path(path).name
    try:
        name = parse_exposure_name(filename)
    except InputError as error:
        raise Rejected(
            Reason.BAD_NAME, error.problem, file=error.file, field=error.field, remedy=error.remedy
        ) from None
    roman = child(tree, "roman")
    if roman is None or not _IMAGE_TAG.fullmatch(roman.tag):
        tag = "nothing" if roman is None else repr(roman.tag[:120])
        problem = f"the file holds {tag} under 'roman', not a Level 2 image"
        raise Rejected(Reason.NOT_LEVEL_2, problem, file=path, remedy="deliver *_cal.asdf files only.")
    return _Header(roman, path).build(name)


class _Header:
    """Checked access to ``roman.meta``; every complaint names the file and the key."""

    def __init__(self, roman: Node, path: str | Path) -> None:
        self.roman = roman
        self.path = path
        self.caveats: list[str] = []

    def build(self, name: ExposureName) -> ExposureHeader:
        detector = self.one_of("instrument.detector", DETECTORS)
        element = self.one_of("instrument.optical_element", OPTICAL_ELEMENTS)
        self.compare_name(name, detector, element)
        start, middle, end = self.times()
        shape = self.shape()
        ra, dec, s_region = self.pointing(shape)
        exptime = self.exposure_time(end - start)
        conversion, area = self.photometry()
        return ExposureHeader(
            exposure_id=name.exposure_id(element),
            filename=Path(self.path).name,
            visit_id=name.visit_id,
            exposure=name.exposure,
            detector=detector,
            optical_element=element,
            exposure_type=self.exposure_type(element),
            start_time=start,
            mid_mjd=(middle - _MJD_ZERO) / dt.timedelta(days=1),
            exptime_s=exptime,
            day=start.date().isoformat(),
            shape=shape,
            ra_center=ra,
            dec_center=dec,
            s_region=s_region,
            conversion_megajanskys=conversion,
            pixel_area_sr=area,
            program=name.program,
            caveats=tuple(self.caveats),
            schema=self.roman.tag.rsplit("/", 1)[-1],
        )

    # ---- values ---------------------------------------------------------------------------------------

    def value(self, key: str) -> Any:
        return plain(child(self.roman, "meta", *key.split(".")))

    def invalid(self, key: str, problem: str) -> Rejected:
        return Rejected(Reason.HEADER_INVALID, problem, file=self.path, field=f"meta.{key}")

    def needed(self, key: str) -> Any:
        value = self.value(key)
        if value is None:
            raise Rejected(Reason.HEADER_MISSING, "the header key is missing", file=self.path, field=f"meta.{key}")
        return value

    def text(self, key: str) -> str:
        value = self.needed(key)
        if not isinstance(value, str) or not value.isascii() or len(value) > 200:
            raise self.invalid(key, f"{str(value)[:80]!r} is not a short ASCII text")
        return value

    def one_of(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(key)
        if value not in allowed:
            raise self.invalid(key, f"{value[:80]!r} is not one of {', '.join(allowed)}")
        return value

    def number(self, key: str) -> float:
        value = self.needed(key)
        if not _is_finite(value):
            raise self.invalid(key, f"{str(value)[:80]!r} is not a finite number")
        return float(value)

    def time(self, key: str) -> dt.datetime:
        value = self.needed(key)
        scale = "utc"
        if isinstance(value, dict):
            scale = str(value.get("scale", "utc"))
            value = value.get("value")
        try:
            if scale != "utc":
                raise ValueError(f"its scale is {scale}, not utc")
            found = dt.datetime.fromisoformat(str(value))
            found = found.replace(tzinfo=dt.UTC) if found.tzinfo is None else found.astimezone(dt.UTC)
        except (ValueError, OverflowError) as error:
            why = printable(error, 100)
            raise self.invalid(key, f"{str(value)[:80]!r} is not a UTC time in ISO format ({why})") from None
        if not YEARS[0] <= found.year <= YEARS[1]:
            raise self.invalid(key, f"{found.year} is not a year of Roman exposures, {YEARS[0]} to {YEARS[1]}")
        return found

    # ---- groups of keys -------------------------------------------------------------------------------

    def compare_name(self, name: ExposureName, detector: str, element: str) -> None:
        """The name and the header must tell of one exposure; what the header leaves open is a caveat."""
        visit_id, exposure = self.needed("observation.visit_id"), self.needed("observation.exposure")
        pairs = [("instrument.detector", name.detector, detector)]
        if name.optical_element is not None:
            pairs.append(("instrument.optical_element", name.optical_element, element))
        if visit_id != _NO_TEXT:
            pairs.append(("observation.visit_id", name.visit_id, visit_id))
        if exposure != _NO_NUMBER:
            pairs.append(("observation.exposure", str(name.exposure), str(exposure)))
        try:
            inner = parse_exposure_name(str(self.value("filename")))
            pairs.append(("filename", name.exposure_id(element), inner.exposure_id(element)))
        except InputError:
            pass  # the header's own file name is often filler, and then tells nothing
        for key, in_name, in_header in pairs:
            if in_name != in_header:
                problem = f"the name says {in_name}, the header {printable(in_header, 80)}"
                raise Rejected(Reason.NAME_HEADER_MISMATCH, problem, file=self.path, field=f"meta.{key}")
        if visit_id == _NO_TEXT or exposure == _NO_NUMBER:
            self.caveats.append(VISIT_FROM_NAME)

    def exposure_type(self, element: str) -> str:
        kind = self.text("exposure.type")
        if not _TYPE.fullmatch(kind):
            raise self.invalid("exposure.type", f"{kind[:80]!r} is not a type of exposure")
        dispersed = kind in ("WFI_SPECTRAL", "WFI_GRISM", "WFI_PRISM")
        if dispersed != (element in DISPERSERS) and kind in ("WFI_IMAGE", "WFI_SPECTRAL", "WFI_GRISM", "WFI_PRISM"):
            raise self.invalid("exposure.type", f"{kind} does not go with optical element {element}")
        return kind

    def times(self) -> tuple[dt.datetime, dt.datetime, dt.datetime]:
        """Start, middle and end."""
        start, end = self.time("exposure.start_time"), self.time("exposure.end_time")
        if end < start:
            raise self.invalid("exposure.end_time", "the exposure ends before it starts")
        middle = self.time("exposure.mid_time") if self.value("exposure.mid_time") else start + (end - start) / 2
        if not start <= middle <= end:
            raise self.invalid("exposure.mid_time", "mid-exposure is not between start and end")
        return start, middle, end

    def exposure_time(self, elapsed: dt.timedelta) -> float:
        """Exposure time [s]: not longer than the exposure took; a caveat if very much shorter."""
        key, seconds = "exposure.exposure_time", elapsed.total_seconds()
        exptime = self.number(key)
        if seconds > MAX_ELAPSED_S:
            raise self.invalid("exposure.end_time", f"the exposure ends {seconds:g} s after it starts")
        if exptime < MIN_EXPTIME_S:
            raise self.invalid(key, f"{exptime:g} s is less than {MIN_EXPTIME_S:g} s")
        if exptime > 1.05 * seconds + 4.0:  # the times may be those of the first and last read
            raise self.invalid(key, f"{exptime:g} s is longer than from start to end, {seconds:g} s")
        if seconds > 2.0 * exptime + 60.0:
            self.caveats.append(EXPOSURE_TIME_UNLIKE_TIMES)
        return exptime

    def shape(self) -> tuple[int, int]:
        shapes = {}
        for plane, datatypes in _PLANES.items():
            node = child(self.roman, plane)
            shape, datatype = plain(child(node, "shape")), plain(child(node, "datatype"))
            if node is None:
                raise Rejected(Reason.HEADER_MISSING, "the array is missing", file=self.path, field=plane)
            if datatype not in datatypes:
                problem = f"datatype {datatype!r} is not {' or '.join(sorted(datatypes))}"
                raise Rejected(Reason.HEADER_INVALID, problem, file=self.path, field=plane)
            shapes[plane] = shape
        shape = shapes["data"]
        if len(shape or []) != 2 or not all(type(n) is int and 1 <= n <= MAX_SIDE for n in shape):
            problem = f"shape {shape} is not two sides of 1 to {MAX_SIDE} pixels"
            raise Rejected(Reason.HEADER_INVALID, problem, file=self.path, field="data")
        for plane, other in shapes.items():
            if other != shape:
                problem = f"shape {other} is not that of the data, {shape}"
                raise Rejected(Reason.HEADER_INVALID, problem, file=self.path, field=plane)
        return shape[0], shape[1]

    def pointing(self, shape: tuple[int, int]) -> tuple[float, float, str]:
        """Centre and footprint from the WCS; from target and ``wcsinfo``, with a caveat, if only gwcs can."""
        ny, nx = shape
        try:
            sky = chain(child(self.roman, "meta", "wcs"))
            ra, dec = sky((nx - 1) / 2, (ny - 1) / 2)
            region = polygon(sky, shape, self.path)
            self.compare_footprint(region)
            return ra, dec, region
        except (Unsupported, ArithmeticError, IndexError, TypeError, ValueError):
            pass
        self.caveats.append(FOOTPRINT_FROM_TARGET)
        ra, dec = self.number("pointing.target_ra"), self.number("pointing.target_dec")
        if not (0 <= ra <= 360 and -90 <= dec <= 90):
            raise self.invalid("pointing", f"({ra}, {dec}) is not on the sky")
        s_region = self.value("wcsinfo.s_region")
        return ra, dec, s_region if corners_of(s_region) else ""

    def compare_footprint(self, region: str) -> None:
        """A caveat if the WCS is a mirror image of the footprint in the header, turned, or of another place.

        Files of both parities are about, so that the header is the only witness.
        """
        if not agrees(region, self.value("wcsinfo.s_region")):
            self.caveats.append(WCS_UNLIKE_FOOTPRINT)

    def photometry(self) -> tuple[float, float]:
        values = []
        implausible = False
        for key, (low, high) in (
            ("photometry.conversion_megajanskys", CONVERSION_MJY_SR),
            ("photometry.pixel_area", PIXEL_AREA_SR),
        ):
            value = self.value(key)
            values.append(float(value) if _is_finite(value) else math.nan)
            implausible = implausible or 0 < values[-1] < low or values[-1] > high
        if any(math.isnan(value) for value in values):
            self.caveats.append(PHOTOMETRY_MISSING)
        # romanisim without CRDS writes both negative, so that their product looks right: still a caveat.
        if any(value <= 0 for value in values):
            self.caveats.append(PHOTOMETRY_NOT_POSITIVE)
        if implausible:
            self.caveats.append(PHOTOMETRY_IMPLAUSIBLE)
        return values[0], values[1]


def _is_finite(value: object) -> bool:
    """True for a number that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return abs(value) <= sys.float_info.max
