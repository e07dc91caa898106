"""What a hostile case is, and how one is made: see ``hostile``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from roman_assets.exposures.rejection import Reason
from tests.exposures.level2_files import SIDE, Parts, another, number_of

FIRST_VISIT = 100
OTHER_DAY = "2027-03-03"  # of everything hostile
EXPOSURE_TIME = "exposure_time: 66.0"
START = f"start_time: !time/time-1.4.0 {OTHER_DAY}T02:01:00.000"
END = f"end_time: !time/time-1.4.0 {OTHER_DAY}T02:02:06.000"
ORIGIN = "origin: STSCI/SOC"
SHAPE = f"    shape: [{SIDE}, {SIDE}]"
SCALE_X = "factor: -3.0555555555555554e-05"
SCALE_Y = "factor: 3.0555555555555554e-05"
SCALES = f"""              - !transform/concatenate-1.4.0
                forward:
                - !transform/scale-1.4.0
                  {SCALE_X}
                  inputs: [x]
                  outputs: [y]
                - !transform/scale-1.4.0
                  {SCALE_Y}
                  inputs: [x]
                  outputs: [y]
                inputs: [x0, x1]
                outputs: [y0, y1]
"""
# Outer corners of the valid file's WCS, from its own header.
FOOTPRINT = (
    "POLYGON ICRS 268.000560007 -29.200488887 267.999439993 -29.200488887 "
    "267.999439998 -29.199511109 268.000560002 -29.199511109"
)
TURNED = " ".join(FOOTPRINT.split()[:2] + FOOTPRINT.split()[6:] + FOOTPRINT.split()[2:6])


@dataclass(frozen=True)
class Case:
    """One hostile file: its name below the landing folder, its bytes, and what may be said of it."""

    label: str
    name: bytes
    data: bytes
    reasons: frozenset[Reason] = frozenset()
    caveats: frozenset[str] = frozenset()
    header: bool = False

    @property
    def shown_name(self) -> str:
        """The file's name as a report has it: itself where it is text, else with its bytes as escapes."""
        name = os.path.basename(self.name)
        try:
            return name.decode()
        except UnicodeDecodeError:
            return name.decode("utf-8", "surrogateescape").encode("unicode_escape").decode()


@dataclass
class Corpus:
    """Cases in the making; every one is another exposure."""

    parts: Parts
    cases: list[Case] = field(default_factory=list)

    def exposure(self) -> Parts:
        return another(self.parts, FIRST_VISIT + len(self.cases), day=OTHER_DAY)

    @property
    def name(self) -> bytes:
        return number_of(FIRST_VISIT + len(self.cases), 1, 1).encode()

    def add(
        self,
        label: str,
        made: Parts | bytes,
        *reasons: Reason,
        caveat: str | None = None,
        header: bool = False,
        name: bytes | None = None,
    ) -> None:
        data = made if isinstance(made, bytes) else made.bytes
        caveats = frozenset([caveat] if caveat else [])
        self.cases.append(Case(label, name or self.name, data, frozenset(reasons), caveats, header))

    def edited(self, label: str, old: str, new: str, *reasons: Reason, caveat: str | None = None) -> None:
        """A case that a change of the header makes, and that the header tells."""
        self.add(label, self.exposure().edit((old, new)), *reasons, caveat=caveat, header=not caveat)


def write_corpus(folder: Path, cases: list[Case]) -> None:
    """Write every case under its name, which need not be text."""
    for case in cases:
        path = os.path.join(os.fsencode(folder), case.name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(case.data)
