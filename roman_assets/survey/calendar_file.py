"""The TOML form of a survey calendar: reading with checks, and writing.

Days are given compactly: a run ``{first = 2027-02-12, count = 62}`` (``step`` in days, default 1), a single
date, or a list that mixes both.  Regions are given by cells, or by circles; one region per cell where the
entry has a ``prefix``, one region of all cells where it has a ``name``.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import os
import re
import tempfile
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from roman_assets.doors import reading
from roman_assets.errors import InputError
from roman_assets.survey.model import BULGE, SPECTROSCOPIC, Calendar, Field, Region, Season, region_names

MAX_KEYS = 10_000  # per asset: Dagster's pages and backfills get slow well before its limit of 100,000
MAX_FILE_BYTES = 4 << 20
MAX_ORDER = 12
MAX_CELLS = 200_000  # of all regions together
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class _Reader:
    """Checked access to one parsed TOML document; every complaint names the file and the field."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.cells = 0  # of all regions so far

    def fail(self, field: str, problem: str, remedy: str) -> InputError:
        return InputError(problem, file=self.file, field=field, remedy=remedy)

    def table(self, value: Any, field: str, keys: set[str]) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(field, f"expected a table, found {value!r}", f"give the keys {sorted(keys)}.")
        unknown = sorted(set(value) - keys)
        if unknown:
            raise self.fail(
                f"{field}.{unknown[0]}" if field else unknown[0],
                "unknown key",
                f"remove it or use one of: {', '.join(sorted(keys))}.",
            )
        return value

    def tables(self, value: Any, field: str, keys: set[str]) -> list[dict[str, Any]]:
        if not isinstance(value, list):
            raise self.fail(field, "expected a list of tables", f"write [[{field}]] before each one.")
        return [self.table(item, f"{field}[{i}]", keys) for i, item in enumerate(value)]

    def name(self, value: Any, field: str) -> str:
        if not isinstance(value, str) or not _NAME.fullmatch(value):
            raise self.fail(field, f"{value!r} is not a name", "use letters, digits, '_', '-' and '.'.")
        return value

    def number(self, value: Any, field: str, low: float, high: float) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.fail(field, f"{value!r} is not a number in [{low:g}, {high:g}]", "correct the value.")
        return float(value)

    def count(self, value: Any, field: str, low: int, high: int) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(field, f"{value!r} is not a whole number in [{low}, {high}]", "correct the value.")
        return value

    def date(self, value: Any, field: str) -> dt.date:
        if isinstance(value, dt.date) and not isinstance(value, dt.datetime):
            return value
        try:
            if isinstance(value, str) and len(value) == 10:
                return dt.date.fromisoformat(value)
        except ValueError:
            pass
        raise self.fail(field, f"{value!r} is not a date", "write it as YYYY-MM-DD.")

    def days(self, value: Any, field: str) -> list[str]:
        if isinstance(value, list):
            days: list[str] = []
            for i, item in enumerate(value):
                days += self.days(item, f"{field}[{i}]")
                self.at_most(len(days), field, "days")
            return days
        if not isinstance(value, dict):
            return [self.date(value, field).isoformat()]
        run = self.table(value, field, {"first", "count", "step"})
        first = self.date(run.get("first"), f"{field}.first")
        count = self.count(run.get("count"), f"{field}.count", 1, MAX_KEYS)
        step = self.count(run.get("step", 1), f"{field}.step", 1, 400)
        try:
            return [(first + dt.timedelta(days=step * i)).isoformat() for i in range(count)]
        except OverflowError:
            raise self.fail(field, "the run of days leaves the calendar", "lower first or count.") from None

    def unique(self, names: Iterable[str], field: str) -> None:
        seen: set[str] = set()
        for name in names:
            if name in seen:
                raise self.fail(field, f"{name!r} is given twice", "give each name once.")
            seen.add(name)

    def at_most_cells(self, field: str) -> None:
        if self.cells > MAX_CELLS:
            raise self.fail(
                field, f"the regions have more than {MAX_CELLS} cells", "lower the order, or give smaller regions."
            )

    def at_most(self, count: int, field: str, what: str) -> None:
        if count > MAX_KEYS:
            raise self.fail(
                field,
                f"{count} partitions of {what} are more than {MAX_KEYS}",
                "shorten the list, or split the survey over several calendars.",
            )


def parse(text: str, file: str) -> Calendar:
    """The calendar a TOML text describes.  Raises InputError naming ``file`` and the field at fault."""
    with reading(file, "a calendar in TOML", "correct the syntax."):
        return _calendar(_Reader(file), tomllib.loads(text))


def _calendar(reader: _Reader, document: dict[str, Any]) -> Calendar:
    keys = {"name", "detectors", "seasons", "fields", "spectroscopic_days", "regions"}
    reader.table(document, "", keys)
    calendar = Calendar(
        name=reader.name(document.get("name"), "name"),
        detectors=_detectors(reader, document.get("detectors")),
        seasons=_seasons(reader, document.get("seasons", [])),
        fields=_fields(reader, document.get("fields", [])),
        spectroscopic_days=_spectroscopic_days(reader, document.get("spectroscopic_days", [])),
        regions=_regions(reader, document.get("regions", [])),
        source=reader.file,
    )
    if not calendar.days and not calendar.spectroscopic_days:
        raise reader.fail("seasons", "the calendar holds no day", "add [[seasons]] or spectroscopic_days.")
    per_day = len(calendar.detectors)
    reader.at_most(len(calendar.days) * per_day, "seasons", "day x detector")
    reader.at_most(len(calendar.spectroscopic_days) * per_day, "spectroscopic_days", "day x detector")
    reader.at_most(len(calendar.regions), "regions", "sky region")
    return calendar


def _detectors(reader: _Reader, value: Any) -> tuple[str, ...]:
    if isinstance(value, dict):
        run = reader.table(value, "detectors", {"prefix", "first", "count"})
        prefix = reader.name(run.get("prefix"), "detectors.prefix")
        first = reader.count(run.get("first", 1), "detectors.first", 0, 99)
        count = reader.count(run.get("count"), "detectors.count", 1, 99)
        value = [f"{prefix}{first + i:02d}" for i in range(count)]
    if not isinstance(value, list) or not value:
        raise reader.fail("detectors", "no detector is given", "list them, e.g. ['WFI01', 'WFI02'].")
    names = tuple(reader.name(item, f"detectors[{i}]") for i, item in enumerate(value))
    reader.unique(names, "detectors")
    return names


def _seasons(reader: _Reader, value: Any) -> tuple[Season, ...]:
    seasons: list[Season] = []
    owner: dict[str, str] = {}
    for i, item in enumerate(reader.tables(value, "seasons", {"name", "days"})):
        where = f"seasons[{i}]"
        name = reader.name(item.get("name"), f"{where}.name")
        days = reader.days(item.get("days", []), f"{where}.days")
        if not days:
            raise reader.fail(f"{where}.days", f"season {name} has no day", "give first and count.")
        for day in days:
            if day in owner:
                problem = f"{day} is in season {owner[day]} and again in {name}"
                raise reader.fail(f"{where}.days", problem, "seasons must not overlap: correct first or count.")
            owner[day] = name
        seasons.append(Season(name, tuple(sorted(days))))
    reader.unique((season.name for season in seasons), "seasons")
    spans = sorted((season.days[0], season.days[-1], season.name) for season in seasons)
    for (_, last, name), (first, _, other) in itertools.pairwise(spans):
        if first <= last:
            problem = f"seasons {name} and {other} overlap in time ({first} is before {last})"
            raise reader.fail("seasons", problem, "correct first or count of one of them.")
    return tuple(seasons)


def _spectroscopic_days(reader: _Reader, value: Any) -> tuple[str, ...]:
    # Two surveys may observe on one day: the list is their union, not an error.
    return tuple(sorted(set(reader.days(value, "spectroscopic_days"))))


def _fields(reader: _Reader, value: Any) -> tuple[Field, ...]:
    keys = {"name", "ra", "dec", "radius_deg", "galactic_center"}
    fields = []
    for i, item in enumerate(reader.tables(value, "fields", keys)):
        where = f"fields[{i}]"
        center = item.get("galactic_center", False)
        if not isinstance(center, bool):
            raise reader.fail(f"{where}.galactic_center", f"{center!r} is not true or false", "correct it.")
        fields.append(
            Field(
                reader.name(item.get("name"), f"{where}.name"),
                reader.number(item.get("ra"), f"{where}.ra", 0.0, 360.0),
                reader.number(item.get("dec"), f"{where}.dec", -90.0, 90.0),
                reader.number(item.get("radius_deg"), f"{where}.radius_deg", 1e-6, 90.0),
                center,
            )
        )
    reader.unique((field.name for field in fields), "fields")
    return tuple(fields)


def _regions(reader: _Reader, value: Any) -> tuple[Region, ...]:
    keys = {"survey", "order", "prefix", "name", "cells", "circles"}
    regions: list[Region] = []
    for i, item in enumerate(reader.tables(value, "regions", keys)):
        where = f"regions[{i}]"
        survey = item.get("survey", BULGE)
        if survey not in (BULGE, SPECTROSCOPIC):
            raise reader.fail(f"{where}.survey", f"{survey!r} is unknown", f"use {BULGE} or {SPECTROSCOPIC}.")
        order = reader.count(item.get("order"), f"{where}.order", 0, MAX_ORDER)
        cells = _cells(reader, item, where, order)
        if ("prefix" in item) == ("name" in item):
            raise reader.fail(where, "give either name or prefix", "name: one region; prefix: one per cell.")
        if "name" in item:
            regions.append(Region(reader.name(item["name"], f"{where}.name"), order, cells, survey))
        else:
            prefix = reader.name(item["prefix"], f"{where}.prefix")
            regions += [Region(n, order, (cell,), survey) for n, cell in region_names(prefix, order, cells)]
    reader.unique((region.name for region in regions), "regions")
    reader.unique((f"cell {r.order}/{cell}" for r in regions for cell in r.cells), "regions")
    return tuple(regions)


def _cells(reader: _Reader, item: dict[str, Any], where: str, order: int) -> tuple[int, ...]:
    top = 12 * 4**order - 1
    listed = item.get("cells", [])
    if not isinstance(listed, list):
        raise reader.fail(f"{where}.cells", "expected a list of cell numbers", "write cells = [1, 2].")
    reader.cells += len(listed)
    reader.at_most_cells(f"{where}.cells")
    cells = [reader.count(cell, f"{where}.cells[{i}]", 0, top) for i, cell in enumerate(listed)]
    reader.unique((str(cell) for cell in cells), f"{where}.cells")
    circles = item.get("circles", [])
    if not isinstance(circles, list):
        raise reader.fail(f"{where}.circles", "expected a list of circles", "write circles = [{ra, dec, radius_deg}].")
    for i, value in enumerate(circles):
        from roman_assets.survey.healpix import cells_in_circle

        at = f"{where}.circles[{i}]"
        circle = reader.table(value, at, {"ra", "dec", "radius_deg"})
        ra = reader.number(circle.get("ra"), f"{at}.ra", 0.0, 360.0)
        dec = reader.number(circle.get("dec"), f"{at}.dec", -90.0, 90.0)
        radius = reader.number(circle.get("radius_deg"), f"{at}.radius_deg", 1e-6, 30.0)
        # Cells of the circle and of its rim, before any of them is made.
        share = (1 - math.cos(math.radians(radius))) / 2
        reader.cells += math.ceil(share * (top + 1) + 2 * math.sqrt(share * (top + 1)))
        reader.at_most_cells(f"{at}.radius_deg")
        cells += cells_in_circle(ra, dec, radius, order)
    if not cells:
        raise reader.fail(where, "the region has no cell", "give cells or circles.")
    return tuple(sorted(set(cells)))


# ---- writing ---------------------------------------------------------------------------------------------


def write_calendar(calendar: Calendar, path: str | Path) -> Path:
    """Write ``calendar`` as TOML in one atomic step; ``load_calendar`` reads back an equal one."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(to_toml(calendar))
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def to_toml(calendar: Calendar) -> str:
    """The TOML text of a calendar, days as runs."""
    lines = [
        "# Survey calendar of roman_assets: every partition key comes from this file.",
        f'name = "{calendar.name}"',
        f"detectors = [{', '.join(_quoted(name) for name in calendar.detectors)}]",
        f"spectroscopic_days = {_runs(calendar.spectroscopic_days)}",
    ]
    for season in calendar.seasons:
        lines += ["", "[[seasons]]", f'name = "{season.name}"', f"days = {_runs(season.days)}"]
    for field in calendar.fields:
        lines += ["", "[[fields]]", f'name = "{field.name}"', f"ra = {field.ra!r}", f"dec = {field.dec!r}"]
        lines += [f"radius_deg = {field.radius_deg!r}"]
        lines += ["galactic_center = true"] if field.galactic_center else []
    for region in calendar.regions:
        lines += ["", "[[regions]]", f'name = "{region.name}"', f'survey = "{region.survey}"']
        lines += [f"order = {region.order}", f"cells = {list(region.cells)}"]
    return "\n".join(lines) + "\n"


def _quoted(name: str) -> str:
    return f'"{name}"'


def _runs(days: Sequence[str]) -> str:
    """Consecutive days as ``{first, count}`` tables."""
    runs: list[tuple[dt.date, int]] = []
    for day in sorted(days):
        date = dt.date.fromisoformat(day)
        if runs and date - runs[-1][0] == dt.timedelta(days=runs[-1][1]):
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((date, 1))
    return "[" + ", ".join(f"{{ first = {first}, count = {count} }}" for first, count in runs) + "]"
