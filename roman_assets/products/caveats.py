"""Caveats: what is missing or doubtful in a product, as sentences that can be counted.

A caveat is a verdict on the data and stays true however often one tries; what is wrong with the moment (storage, network,
database, memory, disk) is raised instead and never becomes one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from typing import Any


class Code(StrEnum):
    """Kinds of caveats; the values are stable, since they are counted and alerted on."""

    QUARANTINED = "quarantined"  # a file that is not what was registered; its bytes are kept with the reason
    GONE = "gone"  # a registered file that is no longer there
    REFUSED = "refused"  # an input that cannot be used
    NOT_SOLVED = "not_solved"  # a fit or kernel that gave no solution
    UNFORESEEN = "unforeseen"  # an error that nobody foresaw: look at the log, and at the code
    WAITS = "waits"  # for a catalogue, or for more exposures
    SUPERSEDED = "superseded"  # made from what has been replaced since, and left out
    MISSING = "missing"  # registered exposures that have no part
    NOTHING = "nothing"  # there is nothing to work on
    HEADER = "header"  # what the header of an exposure lacks or says strangely
    CALIBRATION = "calibration"  # photometry on the header's word only
    FIT = "fit"  # a solution that is doubtful
    FEW = "few"  # fewer inputs than asked for
    REFERENCE = "reference"  # a reference that stands in for the real one, or cannot be used
    SATURATION = "saturation"  # saturated pixels left out for want of anything that tells the good ones
    PICTURE = "picture"  # a picture that could not be drawn; the product is not touched by it
    OTHER = "other"  # from before caveats had codes


class Caveat(str):
    """A sentence with its code and its subject (an exposure, a pointing, a day); the text is without the subject."""

    code: Code
    subject: str
    text: str

    def __new__(cls, code: Code | str, subject: str, text: str) -> Caveat:
        made = super().__new__(cls, f"{subject}: {text}" if subject else text)
        made.code, made.subject, made.text = Code(code), subject, text
        return made

    def __getnewargs__(self) -> tuple[Code, str, str]:  # type: ignore[override]
        return self.code, self.subject, self.text

    def stored(self) -> dict[str, str]:
        """As JSON holds it."""
        return {"code": self.code.value, "subject": self.subject, "text": self.text}

    @classmethod
    def read(cls, stored: Any) -> Caveat:
        """From JSON; what was stored before caveats had codes is a plain sentence."""
        if isinstance(stored, dict):
            return cls(stored["code"], stored["subject"], stored["text"])
        return stored if isinstance(stored, cls) else cls(Code.OTHER, "", str(stored))


def counted(caveats: Iterable[str]) -> dict[str, int]:
    """How many caveats there are of each code, in order of the code."""
    return dict(sorted(Counter(Caveat.read(caveat).code.value for caveat in caveats).items()))
