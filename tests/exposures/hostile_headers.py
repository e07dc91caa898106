"""Hostile headers and pixels: scalars that are none, values that cannot be, skies that are not one, bad planes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from roman_assets.exposures.rejection import Reason
from tests.exposures.hostile_cases import (
    END,
    EXPOSURE_TIME,
    FOOTPRINT,
    ORIGIN,
    OTHER_DAY,
    SCALE_X,
    SCALE_Y,
    SCALES,
    START,
    TURNED,
    Corpus,
)
from tests.exposures.level2_files import SIDE, another

R = Reason


def polynomials(first: str, second: str) -> str:
    """Two polynomials of both coordinates in the place of the two scales."""
    ends = "domain: [[-1, 1], [-1, 1]], inputs: [x, y], outputs: [z], window: [[-1, 1], [-1, 1]]"
    return (
        "              - !transform/compose-1.4.0\n                forward:\n"
        "                - !transform/remap_axes-1.5.0 {inputs: [x0, x1], mapping: [0, 1, 0, 1], "
        "outputs: [x0, x1, x2, x3]}\n"
        "                - !transform/concatenate-1.4.0\n                  forward:\n"
        f"                  - !transform/polynomial-1.3.0 {{coefficients: {first}, {ends}}}\n"
        f"                  - !transform/polynomial-1.3.0 {{coefficients: {second}, {ends}}}\n"
        "                  inputs: [x0, y0, x1, y1]\n                  outputs: [z0, z1]\n"
        "                inputs: [x0, x1]\n                outputs: [z0, z1]\n"
    )


def scalars(made: Corpus) -> None:
    """What readers of YAML raise KeyError, IndexError, OverflowError and AttributeError for."""
    for label, new in (
        ("no truth value", "!!bool maybe"),
        ("no digits", "!!int ''"),
        ("no number", "!!float x"),
        ("400 digits", "9" * 400),
        ("no date", "!!timestamp yesterday"),
        ("the 45th day", "2027-13-45"),
    ):
        made.edited(f"{label} for the time", EXPOSURE_TIME, f"exposure_time: {new}", R.HEADER_INVALID)
        made.edited(f"{label} elsewhere", ORIGIN, f"origin: {new}", R.HEADER_INVALID)
    for label, when in (
        ("before all time", "0001-01-01T00:00:00+23:59"),
        ("after all time", "9999-12-31T23:59:59-23:59"),
        ("of another age", "1066-10-14T09:00:00"),
        ("of no form", "yesterday"),
        ("of February 30", "2027-02-30T00:00:00"),
    ):
        made.edited(f"a start {label}", START, f"start_time: !time/time-1.4.0 '{when}'", R.HEADER_INVALID)
        made.edited(f"an end {label}", END, f"end_time: !time/time-1.4.0 '{when}'", R.HEADER_INVALID)
    tai = f"start_time: !time/time-1.4.0 {{value: '{OTHER_DAY}T02:01:00.000', scale: tai}}"
    made.edited("another time scale", START, tai, R.HEADER_INVALID)


def headers(made: Corpus) -> None:
    for value in (".nan", ".inf", "-1.0", "0.0", "1.0e-300", "1.0e+300", "660.0", "[66.0]", "'66'", "true"):
        made.edited(f"a time of {value}", EXPOSURE_TIME, f"exposure_time: {value}", R.HEADER_INVALID)
    made.edited("no time", f"      {EXPOSURE_TIME}\n", "", R.HEADER_MISSING)
    made.edited("a time of null", EXPOSURE_TIME, "exposure_time: null", R.HEADER_MISSING)
    made.edited("an end before the start", END, END.replace("T02:", "T01:"), R.HEADER_INVALID)
    made.edited("an end days later", END, END.replace(OTHER_DAY, "2027-03-09"), R.HEADER_INVALID)
    made.edited("an end that is the start", END, END.replace("02:02:06", "02:01:00"), R.HEADER_INVALID)
    late = END.replace("02:02:06", "03:02:06")
    made.edited("an hour for a minute", END, late, caveat="exposure_time_unlike_times")
    made.edited("an unknown element", "optical_element: F146", "optical_element: F999", R.HEADER_INVALID)
    made.edited("an unknown detector", "detector: WFI01", "detector: WFI99", R.HEADER_INVALID)
    made.edited("another kind of exposure", "type: WFI_IMAGE", "type: WFI_SPECTRAL", R.HEADER_INVALID)
    made.edited("no instrument", "    instrument: {", "    instruments: {", R.HEADER_MISSING)
    made.edited("no errors", "\n  err: ", "\n  error: ", R.HEADER_MISSING)
    made.edited("a mosaic", "wfi_image-2.2.0", "wfi_mosaic-2.2.0", R.NOT_LEVEL_2)
    made.edited("a version of 1,000 digits", "wfi_image-2.2.0", "wfi_image-2.2." + "0" * 1000, R.NOT_LEVEL_2)
    made.edited("nothing of Roman", "\nroman: ", "\nroamn: ", R.NOT_LEVEL_2)
    made.add("an unknown version", made.exposure().edit(("wfi_image-2.2.0", "wfi_image-99.0.0")), R.SCHEMA)
    made.add("no telescope", made.exposure().sub(r"\n    telescope: ROMAN", ""), R.SCHEMA)
    made.edited("another detector than its name", "detector: WFI01", "detector: WFI02", R.NAME_HEADER_MISMATCH)
    made.edited("another element than its name", "element: F146", "element: F087", R.NAME_HEADER_MISMATCH)
    made.add("another visit than its name", another(made.parts, 1), R.NAME_HEADER_MISMATCH, header=True)
    made.edited("another exposure than its name", "exposure: 1,", "exposure: 2,", R.NAME_HEADER_MISMATCH)
    for value, caveat in (("-0.25", "not_positive"), ("null", "missing"), ("1.0e+30", "implausible")):
        new = f"conversion_megajanskys: {value}"
        made.edited(f"{new} as photometry", "conversion_megajanskys: 0.25", new, caveat=f"photometry_{caveat}")


def skies(made: Corpus) -> None:
    rank_1 = (
        "              - !transform/affine-1.4.0\n                inputs: [x, y]\n"
        "                matrix: [[2.2e-05, 2.2e-05], [2.2e-05, 2.2e-05]]\n                outputs: [x, y]\n"
        "                translation: [0.0, 0.0]\n"
    )
    made.edited("a WCS of rank 1", SCALES, rank_1, R.WCS)
    sheared = rank_1.replace("[2.2e-05, 2.2e-05]]", "[1.4e-05, 2.8e-05]]")
    made.edited("a sheared WCS", SCALES, sheared, R.WCS)
    for value in ("0.0", "3.0", ".nan", ".inf", "1.0e+300"):
        made.edited(f"a pixel scale of {value}", SCALE_Y, f"factor: {value}", R.WCS)
    across, along = ("[[0, 0, 0], [-3.0e-05, 0, 0], [0, 0, 0]]", "[[0, 3.0e-05, 0], [0, 0, 0], [0, 0, 0]]")
    straight = made.exposure().edit((SCALES, polynomials(across, along)), ("s_region: '?'", f"s_region: {TURNED}"))
    made.add("a WCS of polynomials, with a footprint turned by 180 deg", straight, caveat="wcs_unlike_footprint")
    wavy = across.replace("-3.0e-05, 0, 0], [0, 0, 0]", "-3.0e-05, 0, 0], [2.0e-06, 0, 0]")
    made.edited("a WCS that is folded inside", SCALES, polynomials(wavy, along), R.WCS)
    made.edited("a pole that is text", "theta: -29.200000000000003", "theta: [1]", R.UNREADABLE, R.WCS, R.SCHEMA)
    made.cases[-1] = replace(made.cases[-1], header=False)
    no_wcs = made.exposure().sub(r"(?s)    wcs: !<tag.*?    wcsinfo:", "    wcs: null\n    wcsinfo:")
    made.add("no WCS", no_wcs, R.HEADER_MISSING, R.SCHEMA)
    region = ("s_region: '?'", f"s_region: {FOOTPRINT}")
    for label, old, new in (
        ("along x", SCALE_X, SCALE_Y),
        ("along y", SCALE_Y, SCALE_X),
        ("in another place", "phi: 268.0", "phi: 270.0"),
        ("turned", "psi: 180.0", "psi: 90.0"),
    ):
        mirrored = made.exposure().edit(region, (old, new))
        made.add(f"a WCS mirrored or moved: {label}", mirrored, caveat="wcs_unlike_footprint")


def pixels(made: Corpus) -> None:
    def plane(value: float, kind: type = np.float32, share: float = 1.0, rest: float = 5.0) -> np.ndarray:
        values = np.full((SIDE, SIDE), rest, kind)
        values[: round(share * SIDE)] = value
        return values

    for label, name, values, reason in (
        ("NaN", "data", plane(np.nan), R.FINITE_FRACTION),
        ("infinity", "data", plane(np.inf), R.FINITE_FRACTION),
        ("a bright sky", "data", plane(1e9), R.SKY_LEVEL),
        ("a dark sky", "data", plane(-1e9), R.SKY_LEVEL),
        ("3e38 in a third", "data", plane(3e38, share=1 / 3), R.PIXEL_VALUES),
        ("-3e38 in a third", "data", plane(-3e38, share=1 / 3), R.PIXEL_VALUES),
        ("NaN", "err", plane(np.nan, np.float16), R.ERROR_PLANE),
        ("0", "err", plane(0, np.float16), R.ERROR_PLANE),
        ("-1", "err", plane(-1, np.float16), R.ERROR_PLANE),
        ("infinity", "err", plane(np.inf, np.float16), R.ERROR_PLANE),
        ("-1", "var_poisson", plane(-1, np.float16), R.ERROR_PLANE),
        ("SATURATED", "dq", plane(2, np.uint32), R.SATURATED),
        ("DO_NOT_USE", "dq", plane(1, np.uint32), R.FINITE_FRACTION),
    ):
        made.add(f"{name} of {label}", made.exposure().pixels(name, values), reason)
    for label, name, values, caveat in (
        ("0 in a third", "err", plane(0, np.float16, 1 / 3, 0.5), "errors_not_positive"),
        ("SATURATED in a third", "dq", plane(2, np.uint32, 1 / 3, 0), "much_saturated"),
        ("DO_NOT_USE in nine tenths", "dq", plane(1, np.uint32, 0.9, 0), "few_usable_pixels"),
        ("5 everywhere", "data", plane(5), "constant_image"),
    ):
        made.add(f"{name} of {label}", made.exposure().pixels(name, values), caveat=caveat)
    one = plane(5)
    one[3, 3], one[4, 4] = 1e30, 6.0
    made.add("data of 1e30 in one pixel", made.exposure().pixels("data", one), caveat="absurd_pixels")
