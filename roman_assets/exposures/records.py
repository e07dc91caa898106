"""What goes into the registry and comes out of it: arrivals, deliveries, exposures, and their rows."""

from __future__ import annotations

import datetime as dt
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from roman_assets.exposures.level2.header import ExposureHeader
from roman_assets.survey.model import BULGE, Calendar


class Outcome(StrEnum):
    """What became of one delivered file."""

    REGISTERED = "registered"
    REPLACED = "replaced"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class Arrival:
    """A validated exposure to register.  ``version`` is its modification time or entity tag."""

    header: ExposureHeader
    uri: str
    size: int
    sha256: str
    version: str = ""
    replace: bool = False  # a reviewer released it from a conflict: it takes the place of the first one


@dataclass(frozen=True)
class Delivery:
    """One row of the delivery log: a file as it was seen at the landing place, and what became of it."""

    name: str
    uri: str
    size: int
    version: str
    outcome: Outcome
    sha256: str | None = None
    reason: str | None = None
    message: str | None = None
    exposure_id: str | None = None
    count: int = 1


@dataclass(frozen=True)
class RegisteredExposure(ExposureHeader):
    """A header with where its bytes are and how they are known."""

    uri: str = ""
    sha256: str = ""
    size: int = 0
    survey: str | None = None
    season: str | None = None
    field: str | None = None
    inside_calendar: bool = False
    change: int = 0
    status: str = "good"


@dataclass(frozen=True)
class PartitionChange:
    """The newest change number of one day of one detector, for one survey (None: outside the calendar)."""

    day: str
    detector: str
    survey: str | None
    change: int


def outcome_of(arrival: Arrival, known: tuple[str, str] | None) -> Outcome:
    """What becomes of an arrival, given the (sha256, uri) registered under its exposure id."""
    if known is None:
        return Outcome.REGISTERED
    if known[0] == arrival.sha256:
        return Outcome.DUPLICATE
    return Outcome.REPLACED if arrival.replace else Outcome.CONFLICT


def deliveries_of(batch: Sequence[Arrival], outcomes: Sequence[Outcome]) -> list[Delivery]:
    """Log entries of a batch, without its conflicts."""
    return [
        Delivery(
            arrival.header.filename,
            arrival.uri,
            arrival.size,
            arrival.version,
            outcome,
            sha256=arrival.sha256,
            exposure_id=arrival.header.exposure_id,
        )
        for arrival, outcome in zip(batch, outcomes, strict=True)
        if outcome is not Outcome.CONFLICT
    ]


def place_of(calendar: Calendar | None, day: str, detector: str, kind: str, ra: float, dec: float) -> dict[str, Any]:
    """Survey, season and field of an exposure, and whether it has a partition."""
    if calendar is None:
        return {"survey": None, "season": None, "field": None, "inside_calendar": False}
    survey = calendar.survey_of(day, kind, ra, dec)
    return {
        "survey": survey,
        "season": calendar.season_of(day) if survey == BULGE else None,
        "field": calendar.field_at(ra, dec),
        "inside_calendar": survey is not None and detector in calendar.detectors,
    }


def row_of(arrival: Arrival, change: int, calendar: Calendar | None, now: dt.datetime) -> dict[str, Any]:
    """The row of an arrival."""
    h = arrival.header
    return {
        "exposure_id": h.exposure_id,
        "change": change,
        "filename": h.filename,
        "uri": arrival.uri,
        "size": arrival.size,
        "sha256": arrival.sha256,
        "visit_id": h.visit_id,
        "exposure": h.exposure,
        "detector": h.detector,
        "optical_element": h.optical_element,
        "exposure_type": h.exposure_type,
        "kind": h.kind,
        "start_time": h.start_time.astimezone(dt.UTC).replace(tzinfo=None),
        "mid_mjd": h.mid_mjd,
        "exptime_s": h.exptime_s,
        "day": h.day,
        "ny": h.shape[0],
        "nx": h.shape[1],
        "ra_center": h.ra_center,
        "dec_center": h.dec_center,
        "s_region": h.s_region,
        "conversion_megajanskys": _or_none(h.conversion_megajanskys),
        "pixel_area_sr": _or_none(h.pixel_area_sr),
        "program": h.program,
        "caveats": json.dumps(list(h.caveats)),
        "schema_version": h.schema,
        "status": "good",
        "registered_at": now,
        **place_of(calendar, h.day, h.detector, h.kind, h.ra_center, h.dec_center),
    }


def exposure_of(row: Any) -> RegisteredExposure:
    """The exposure of a row."""
    values = {name: row[name] for name in RegisteredExposure.__dataclass_fields__ if name in row}
    values.update(
        start_time=row["start_time"].replace(tzinfo=dt.UTC),
        shape=(row["ny"], row["nx"]),
        caveats=tuple(json.loads(row["caveats"])),
        schema=row["schema_version"],
    )
    for name in ("conversion_megajanskys", "pixel_area_sr"):
        values[name] = math.nan if values[name] is None else values[name]
    return RegisteredExposure(**values)


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None
