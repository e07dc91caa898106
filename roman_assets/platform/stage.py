"""What the stages of all wings share: results, quality gates, partition texts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from roman_assets.products.records import ProductRecord

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Check:
    """Outcome of one quality gate; `severe` gates stop what is downstream."""

    name: str
    passed: bool
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
    caveats: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)

    @property
    def new(self) -> int:
        """How many products were made rather than found."""
        return sum(record.outcome == "new" for record in self.records)


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
