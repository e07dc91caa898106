"""What the stages of all wings share: results, quality gates, partition texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from roman_assets.errors import first_line, is_transient
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.records import ProductRecord

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Check:
    """Outcome of one quality gate; `severe` gates stop what is downstream. `passed` is None where there was nothing to
    judge, which the stage must say itself: a declared gate that it does not report is not green.
    """

    name: str
    passed: bool | None
    description: str
    figures: Mapping[str, Any] = field(default_factory=dict)
    severe: bool = False


@dataclass
class StageResult:
    """What a stage made of one partition: products, figures, pictures (PNG), caveats, checks; `history`: hashes of
    products of earlier partitions that it read."""

    records: list[ProductRecord] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    pictures: dict[str, bytes] = field(default_factory=dict)
    caveats: list[Caveat] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def new(self) -> int:
        """How many products were made rather than found."""
        return sum(record.outcome == "new" for record in self.records)

    def caveat(self, code: Code, subject: str, text: str) -> None:
        """Adds a caveat."""
        self.caveats.append(Caveat(code, subject, text))

    def picture(self, name: str, draw: Callable[..., bytes], *arguments: Any, **options: Any) -> None:
        """Adds a picture; one that cannot be drawn is a caveat and costs nothing else."""
        try:
            self.pictures[name] = draw(*arguments, **options)
        except Exception as error:
            if is_transient(error):
                raise
            text = f"no picture {name}: {type(error).__name__}: {first_line(error)}"
            self.caveats.append(Caveat(Code.PICTURE, "", text))

    def not_judged(self, *names: str) -> None:
        """Says of gates that there was nothing to judge."""
        self.checks += [Check(name, None, "there is nothing to judge") for name in names]


def silent(_text: str) -> None:
    """Progress that nobody watches."""


def day_partition(day: str, detector: str) -> str:
    """Partition text of one day of one detector."""
    return f"day={day}/detector={detector}"


def region_partition(region: str) -> str:
    """Partition text of a sky region."""
    return f"region={region}"


def finite(value: float, digits: int = 6) -> float | None:
    """A number for JSON: rounded, None where it is not finite."""
    return round(float(value), digits) if math.isfinite(value) else None
