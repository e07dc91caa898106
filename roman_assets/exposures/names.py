"""Roman file names, both ways.

Level 2: ``r<PPPPP><CC><AAA><SSS><OOO><VVV>_<eeee>_<wfiNN>[_<element>]_<suffix>.asdf``: program (5 digits),
execution plan (2), pass (3), segment (3), observation (3), visit (3) make the 19-digit visit id; then
exposure (4), detector, optical element (optional in what arrives, always written by us) and suffix.
Level 3: ``r<PPPPP>_<release>_<level code>_<skycell>_<element>_<suffix>.asdf``.
Coronagraph: ``cgi_<visit id>_<yyyymmddthhmmsss>_<level>.fits``.

A name that is not exactly of its form is refused: nothing in it ever reaches a path or a query unread.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from roman_assets.errors import InputError
from roman_assets.text import printable

DETECTORS = tuple(f"WFI{i:02d}" for i in range(1, 19))
IMAGING_ELEMENTS = ("F062", "F087", "F106", "F129", "F146", "F158", "F184", "F213", "DARK")
DISPERSERS = ("GRISM", "PRISM")
OPTICAL_ELEMENTS = IMAGING_ELEMENTS + DISPERSERS
MAX_NAME_CHARACTERS = 128

_ELEMENT = "|".join(element.lower() for element in OPTICAL_ELEMENTS)
_SUFFIX = r"[a-z][a-z0-9]{0,31}"
# [0-9], not \d, which takes digits of every script.
_EXPOSURE = re.compile(
    r"r(?P<program>[0-9]{5})(?P<execution_plan>[0-9]{2})(?P<pass_>[0-9]{3})(?P<segment>[0-9]{3})"
    r"(?P<observation>[0-9]{3})(?P<visit>[0-9]{3})_(?P<exposure>[0-9]{4})_(?P<detector>wfi[0-9]{2})"
    rf"(?:_(?P<optical_element>{_ELEMENT}))?_(?P<suffix>{_SUFFIX})(?:\.asdf)?"
)
_MOSAIC = re.compile(
    r"r(?P<program>[0-9]{5})_(?P<release>[a-z0-9]{1,3})_(?P<level_code>[a-z][a-z0-9]{0,31})"
    r"_(?P<skycell>[0-9]{3}[pm][0-9]{2}x[0-9]{2}y[0-9]{2})"
    rf"_(?P<optical_element>{_ELEMENT})_(?P<suffix>{_SUFFIX})\.asdf"
)
_CORONAGRAPH = re.compile(
    r"cgi_(?P<visit_id>[0-9]{19})_(?P<timestamp>[0-9]{8}t[0-9]{7})_(?P<level>l1_|l2a|l2b|l3_|l4_|tda_)\.fits"
)
_EXPECTED = "r<19 digits>_<4 digits>_<wfi01..wfi18>[_<element>]_<suffix>.asdf"


@dataclass(frozen=True)
class ExposureName:
    """The parts of a Level 2 file name; ``detector`` and ``optical_element`` in upper case, as in headers."""

    program: int
    execution_plan: int
    pass_: int
    segment: int
    observation: int
    visit: int
    exposure: int
    detector: str
    optical_element: str | None = None
    suffix: str = "cal"

    @property
    def visit_id(self) -> str:
        """The 19-digit visit id."""
        return (
            f"{self.program:05d}{self.execution_plan:02d}{self.pass_:03d}"
            f"{self.segment:03d}{self.observation:03d}{self.visit:03d}"
        )

    @property
    def stem(self) -> str:
        """Name without suffix and extension, with the element where it is known."""
        parts = [f"r{self.visit_id}", f"{self.exposure:04d}", self.detector.lower()]
        return "_".join(parts + ([self.optical_element.lower()] if self.optical_element else []))

    @property
    def filename(self) -> str:
        """The file name, e.g. ``r0000201001001001001_0001_wfi01_f146_cal.asdf``."""
        return f"{self.stem}_{self.suffix}.asdf"

    def exposure_id(self, optical_element: str | None = None) -> str:
        """Identifier of the exposure of one detector: the stem, with the element always written.

        ``optical_element`` (from the header) fills in what the name leaves out.
        """
        element = self.optical_element or optical_element
        if not element:
            raise InputError(
                "the name gives no optical element",
                file=self.filename,
                field="optical_element",
                remedy="pass the element of the header.",
            )
        return replace(self, optical_element=element.upper()).stem

    def observation_id(self, group: int, sequence: int, activity: str) -> str:
        """``observation_id`` of the header: visit id, group (2), sequence (1), activity (2), exposure (4)."""
        if not (0 <= group <= 99 and 0 <= sequence <= 9 and re.fullmatch(r"[0-9a-z]{2}", activity)):
            raise InputError(
                f"group {group}, sequence {sequence} or activity {activity!r} is out of range",
                field="observation_id",
                remedy="group has two digits, sequence one, activity two characters.",
            )
        return f"{self.visit_id}{group:02d}{sequence:01d}{activity}{self.exposure:04d}"


@dataclass(frozen=True)
class MosaicName:
    """The parts of a Level 3 file name (``release`` is ``p`` for prompt, or a data-release id)."""

    program: int
    release: str
    level_code: str
    skycell: str
    optical_element: str
    suffix: str = "coadd"

    @property
    def filename(self) -> str:
        """The file name, e.g. ``r00001_p_v01001001001001_270p65x70y49_f158_coadd.asdf``."""
        parts = [f"r{self.program:05d}", self.release, self.level_code, self.skycell]
        return "_".join([*parts, self.optical_element.lower(), self.suffix]) + ".asdf"


@dataclass(frozen=True)
class CoronagraphName:
    """The parts of a coronagraph file name.  ``level`` is as written: ``l1_``, ``l2a`` ... ``tda_``."""

    visit_id: str
    timestamp: str
    level: str

    @property
    def filename(self) -> str:
        """The file name."""
        return f"cgi_{self.visit_id}_{self.timestamp}_{self.level}.fits"


def plain_name(name: str) -> str:
    """``name``, if it is a bare ASCII file name of at most 128 characters; InputError otherwise.

    Separators, ``..``, control and non-ASCII characters are refused: look-alike letters would make two
    names of one exposure, and a path would leave the folder it is joined to.
    """
    problem = None
    if not name or name in (".", ".."):
        problem = "the name is empty"
    elif len(name) > MAX_NAME_CHARACTERS:
        problem = f"the name has {len(name)} characters, more than {MAX_NAME_CHARACTERS}"
    elif not name.isascii() or not name.isprintable():
        problem = "the name holds characters other than printable ASCII"
    elif "/" in name or "\\" in name or ".." in name:
        problem = "the name holds a path"
    if problem:
        raise InputError(problem, file=printable(name, 80), field="name", remedy=f"rename the file to {_EXPECTED}.")
    return name


def parse_exposure_name(name: str) -> ExposureName:
    """The parts of a Level 2 file name (with or without ``.asdf``).  Raises InputError if it is not one."""
    parts = _match(_EXPOSURE, name, _EXPECTED)
    detector = parts["detector"].upper()
    if detector not in DETECTORS:
        raise InputError(f"there is no detector {detector}", file=name, field="detector", remedy="use wfi01 to wfi18.")
    element = parts["optical_element"]
    numbers = {key: int(parts[key]) for key in _NUMBERS}
    return ExposureName(
        **numbers, detector=detector, optical_element=element.upper() if element else None, suffix=parts["suffix"]
    )


_NUMBERS = ("program", "execution_plan", "pass_", "segment", "observation", "visit", "exposure")


def parse_mosaic_name(name: str) -> MosaicName:
    """The parts of a Level 3 file name.  Raises InputError if it is not one."""
    expected = "r<5 digits>_<release>_<level code>_<skycell>_<element>_<suffix>.asdf"
    parts = _match(_MOSAIC, name, expected)
    return MosaicName(
        int(parts["program"]),
        parts["release"],
        parts["level_code"],
        parts["skycell"],
        parts["optical_element"].upper(),
        parts["suffix"],
    )


def parse_coronagraph_name(name: str) -> CoronagraphName:
    """The parts of a coronagraph file name.  Raises InputError if it is not one."""
    expected = "cgi_<19 digits>_<yyyymmddthhmmsss>_<l1_|l2a|l2b|l3_|l4_|tda_>.fits"
    parts = _match(_CORONAGRAPH, name, expected)
    return CoronagraphName(parts["visit_id"], parts["timestamp"], parts["level"])


def _match(pattern: re.Pattern[str], name: str, expected: str) -> dict[str, str]:
    found = pattern.fullmatch(plain_name(name))
    if found is None:
        raise InputError(
            "not a file name of this kind", file=printable(name, 80), field="name", remedy=f"use {expected}."
        )
    return found.groupdict()
