"""Bounds of the numbers of a configuration, checked where it is made."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

from roman_assets.errors import InputError


@dataclass(frozen=True)
class Bound:
    """A range of numbers: from `ge` or beyond `gt`, up to `le`; `whole` numbers only; infinity only if `le` is."""

    ge: float | None = None
    gt: float | None = None
    le: float = 1e300
    whole: bool = False

    def holds(self, value: Any) -> bool:
        """Whether a value is such a number."""
        if isinstance(value, bool):
            return False
        try:
            number = operator.index(value) if self.whole else float(value)
        except (TypeError, ValueError, OverflowError):
            return False
        if math.isnan(number) or number > self.le:
            return False
        return (self.ge is None or number >= self.ge) and (self.gt is None or number > self.gt)

    def __str__(self) -> str:
        least = f"above {self.gt:g}" if self.gt is not None else "" if self.ge is None else f"from {self.ge:g}"
        most = f"up to {self.le:g}" if self.le < 1e300 else ""
        kind = "a whole number" if self.whole else "a number"
        return " ".join(part for part in (kind, least, most) if part)


def whole(least: int, most: int) -> Bound:
    """Whole numbers from `least` to `most`."""
    return Bound(ge=least, le=most, whole=True)


#: Finite numbers; those that are not negative, or positive; shares of a whole; whole numbers that count things.
ANY = Bound(ge=-1e300)
NOT_NEGATIVE = Bound(ge=0)
POSITIVE = Bound(gt=0)
SHARE = Bound(ge=0, le=1)
COUNT = whole(0, 10**9)
#: Thresholds that infinity switches off.
THRESHOLD = Bound(ge=0, le=math.inf)


def check_bounds(settings: object, **bounds: Bound) -> None:
    """Refuse a configuration whose fields are out of their bounds; of a tuple every element must hold.

    Raises
    ------
    InputError
        Naming the field.
    """
    for name, bound in bounds.items():
        value = getattr(settings, name)
        for number in value if isinstance(value, (tuple, list)) else (value,):
            if not bound.holds(number):
                raise InputError(f"{name} {value!r} of {type(settings).__name__}", field=name, remedy=f"give {bound}")


def check_range(settings: object, *names: str, strictly: bool = True) -> None:
    """Refuse a configuration in which one of these pairs does not rise (not `strictly`: falls).

    Raises
    ------
    InputError
        Naming the field.
    """
    for name in names:
        value = getattr(settings, name)
        if len(value) != 2 or not (value[0] < value[1] if strictly else value[0] <= value[1]):
            raise InputError(
                f"{name} {value!r} of {type(settings).__name__}", field=name, remedy="give the least and the largest"
            )
