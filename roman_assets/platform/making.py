"""What stages share when they make a partition's products: what it was made of, and what no longer belongs to it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.workspace import Workspace
from roman_assets.products.records import ProductRecord
from roman_assets.survey.model import Calendar

#: Attribute of a product that names the exposures it had to be made without; absent where it has all of them.
LEFT_OUT = "left_out"


def left_out_attribute(names: Iterable[str]) -> dict[str, Any]:
    """The attribute for exposures (identifiers) that a product was made without."""
    found = sorted(names)
    return {LEFT_OUT: found} if found else {}


def left_out_still(record: ProductRecord | None, usable: Callable[[str], bool]) -> tuple[str, ...]:
    """Exposures that a product was made without and that still cannot be used; none if any of them can be by now.

    A product's identity names what was used. Whether it is still the one to make is known by trying those few files
    again that were left out, not all of a season's.
    """
    names = () if record is None else tuple(record.attributes.get(LEFT_OUT, ()))
    return () if any(usable(name) for name in names) else names


def belongs(exposure: RegisteredExposure | None, **facts: str | None) -> bool:
    """Whether a registered exposure has these facts (day, detector, season, survey)."""
    return exposure is not None and all(getattr(exposure, name) == value for name, value in facts.items())


def withdraw_others(
    workspace: Workspace, kinds: Sequence[str], partition: str, keep: Iterable[ProductRecord]
) -> list[ProductRecord]:
    """Makes invisible what a partition holds of these kinds beside `keep`: registry or calendar no longer have it."""
    kept = {record.id for record in keep}
    others = [
        record for kind in kinds for record in workspace.products.current(kind, partition) if record.id not in kept
    ]
    workspace.products.index.withdraw([record.id for record in others])
    return others


def withdraw_strays(workspace: Workspace) -> list[str]:
    """Makes invisible the products of partitions that the calendar does not have (any more); returns those partitions.

    Products follow the calendar: what was made for a day, season, detector or region that left it is no input of
    anything. The products stay in the index and become visible again when they are made again.
    """
    strays = [p for p in workspace.products.index.partitions() if not _in_calendar(workspace.calendar, p)]
    for partition in strays:
        records = workspace.products.current(None, partition)
        workspace.products.index.withdraw([record.id for record in records])
    return strays


def _in_calendar(calendar: Calendar, partition: str) -> bool:
    from roman_assets.products.records import partition_keys

    keys = partition_keys(partition)
    known = {
        "day": lambda day: calendar.season_of(day) is not None or day in calendar.spectroscopic_days,
        "season": lambda name: any(season.name == name for season in calendar.seasons),
        "detector": lambda name: name in calendar.detectors,
        "region": lambda name: name in calendar.region_names(),
    }
    # Keys of other systems (a release, a programme) are not the calendar's.
    return all(known[name](value) for name, value in keys.items() if name in known)
