"""The registry of exposures: which are here, where their bytes are, and what changed since.

Registering is idempotent: the same exposure with the same bytes is a duplicate and changes nothing; with other
bytes it is a conflict and the first one stays.  Every new row takes the next change number while the counter
row is locked, so that numbers become visible in their order and a reader that follows them misses none.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from roman_assets.exposures.database import open_engine, writing
from roman_assets.exposures.header import ExposureHeader
from roman_assets.exposures.tables import COUNTERS, DELIVERIES, EXPOSURES
from roman_assets.survey.model import Calendar

_CHUNK = 400  # values of one IN (...): below the limits of both databases
_COUNTER = "exposures"


class Outcome(StrEnum):
    """What became of one delivered file."""

    REGISTERED = "registered"
    REPLACED = "replaced"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    QUARANTINED = "quarantined"


@dataclass(frozen=True)
class Arrival:
    """A validated exposure to register.  ``version`` is the landing place's modification time or entity tag."""

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
    season: str | None = None
    field: str | None = None
    inside_calendar: bool = False
    change: int = 0
    status: str = "good"


@dataclass(frozen=True)
class PartitionChange:
    """The newest change number of one day of one detector, for one kind of exposure."""

    day: str
    detector: str
    kind: str
    change: int


class Registry:
    """Exposures and deliveries in SQLite or PostgreSQL.

    Parameters
    ----------
    url
        ``sqlite:///PATH`` or ``postgresql+psycopg2://...``; tables are created or migrated when opened.
    calendar
        Gives season and field of new exposures; without one they are registered without.
    """

    def __init__(self, url: str, calendar: Calendar | None = None) -> None:
        self.engine = open_engine(url)
        self.calendar = calendar

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    # ---- writing ---------------------------------------------------------------------------------------

    def register(
        self, batch: Sequence[Arrival], calendar: Calendar | None = None
    ) -> list[Outcome]:
        """Register a batch in one transaction; one outcome per arrival, in order.

        Deliveries are logged with it, except those of conflicts: their bytes must be kept first.
        """
        calendar = calendar or self.calendar
        if not batch:
            return []
        now = _now()
        with writing(self.engine) as connection:
            change = self._lock_counter(connection)
            known = self._known(connection, [arrival.header.exposure_id for arrival in batch])
            outcomes: list[Outcome] = []
            new: dict[str, dict[str, Any]] = {}
            for arrival in batch:
                key = arrival.header.exposure_id
                outcome = _outcome(arrival, known.get(key))
                outcomes.append(outcome)
                if outcome in (Outcome.REGISTERED, Outcome.REPLACED):
                    change += 1
                    row = _row(arrival, change, calendar, now)
                    known[key] = (arrival.sha256, arrival.uri)
                    if outcome is Outcome.REPLACED and key not in new:
                        connection.execute(
                            update(EXPOSURES).where(EXPOSURES.c.exposure_id == key).values(**row)
                        )
                    else:
                        new[key] = row
                elif outcome is Outcome.DUPLICATE:
                    self._follow_move(connection, arrival, known[key][1])
            if new:
                connection.execute(EXPOSURES.insert(), list(new.values()))
            connection.execute(update(COUNTERS).where(COUNTERS.c.name == _COUNTER).values(value=change))
            self._log(connection, _deliveries(batch, outcomes), now)
        return outcomes

    def log(self, deliveries: Sequence[Delivery]) -> None:
        """Log deliveries that registered nothing (quarantined, conflicts)."""
        with writing(self.engine) as connection:
            self._log(connection, deliveries, _now())

    def apply_calendar(self, calendar: Calendar) -> int:
        """Set season, field and ``inside_calendar`` of all exposures anew (after a change of calendar).

        An exposure that moves into or out of the calendar gets a new change number.  Returns how many rows
        changed.
        """
        changed = 0
        with writing(self.engine) as connection:
            change = self._lock_counter(connection)
            columns = EXPOSURES.c
            rows = connection.execute(
                select(
                    columns.exposure_id, columns.day, columns.detector, columns.ra_center, columns.dec_center,
                    columns.season, columns.field, columns.inside_calendar,
                )
            ).all()  # fmt: skip
            for row in rows:
                place = _place(calendar, row.day, row.detector, row.ra_center, row.dec_center)
                if place == {"season": row.season, "field": row.field, "inside_calendar": row.inside_calendar}:
                    continue
                changed += 1
                change += 1
                query = update(EXPOSURES).where(columns.exposure_id == row.exposure_id)
                connection.execute(query.values(change=change, **place))
            connection.execute(update(COUNTERS).where(COUNTERS.c.name == _COUNTER).values(value=change))
        return changed

    # ---- reading ---------------------------------------------------------------------------------------

    def exposures(
        self,
        day: str | None = None,
        detector: str | None = None,
        season: str | None = None,
        kind: str | None = "imaging",
    ) -> list[RegisteredExposure]:
        """Good exposures of a day, detector and season (None: any), in order of time.

        ``kind`` is ``imaging``, ``spectral`` or None for both.
        """
        columns = EXPOSURES.c
        query = select(EXPOSURES).where(columns.status == "good")
        for column, value in (
            (columns.day, day), (columns.detector, detector), (columns.season, season), (columns.kind, kind),
        ):  # fmt: skip
            if value is not None:
                query = query.where(column == value)
        with self.engine.connect() as connection:
            rows = connection.execute(query.order_by(columns.mid_mjd, columns.exposure_id)).mappings().all()
        return [_exposure(row) for row in rows]

    def exposure(self, exposure_id: str) -> RegisteredExposure | None:
        """One exposure by its identifier, or None."""
        with self.engine.connect() as connection:
            query = select(EXPOSURES).where(EXPOSURES.c.exposure_id == exposure_id)
            row = connection.execute(query).mappings().first()
        return None if row is None else _exposure(row)

    def partitions_changed_since(self, cursor: int) -> tuple[list[tuple[str, str]], int]:
        """(day, detector) pairs with an exposure newer than change number ``cursor``, and the new cursor."""
        changes = self.changes_since(cursor)
        pairs = sorted({(change.day, change.detector) for change in changes})
        return pairs, max((change.change for change in changes), default=cursor)

    def changes_since(self, cursor: int, limit: int | None = None) -> list[PartitionChange]:
        """Changed partitions with their newest change number, oldest first.

        Following the numbers in this order, a partition that changes again comes again: none is lost.
        """
        columns = EXPOSURES.c
        newest = func.max(columns.change)
        query = (
            select(columns.day, columns.detector, columns.kind, newest)
            .where(columns.change > cursor)
            .group_by(columns.day, columns.detector, columns.kind)
            .order_by(newest)
            .limit(limit)
        )
        with self.engine.connect() as connection:
            return [PartitionChange(*row) for row in connection.execute(query)]

    def known_deliveries(self, seen: Iterable[tuple[str, int, str]]) -> set[tuple[str, int, str]]:
        """Which of the (uri, size, version) have been dealt with before."""
        wanted = set(seen)
        columns = DELIVERIES.c
        found: set[tuple[str, int, str]] = set()
        with self.engine.connect() as connection:
            for uris in _chunks(sorted({uri for uri, _, _ in wanted})):
                query = select(columns.uri, columns.size, columns.version).where(columns.uri.in_(uris))
                found.update((row[0], row[1], row[2]) for row in connection.execute(query))
        return found & wanted

    def deliveries(self, outcome: str | None = None) -> list[Delivery]:
        """The delivery log, oldest first."""
        columns = DELIVERIES.c
        query = select(DELIVERIES).order_by(columns.id)
        if outcome is not None:
            query = query.where(columns.outcome == outcome)
        names = Delivery.__dataclass_fields__
        with self.engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
        return [
            Delivery(**{**{name: row[name] for name in names}, "outcome": Outcome(row["outcome"])})
            for row in rows
        ]

    def counts(self) -> dict[str, int]:
        """Number of exposures, and of deliveries by outcome."""
        with self.engine.connect() as connection:
            total = connection.execute(select(func.count()).select_from(EXPOSURES)).scalar_one()
            query = select(DELIVERIES.c.outcome, func.sum(DELIVERIES.c.count)).group_by(DELIVERIES.c.outcome)
            found = {str(outcome): int(count) for outcome, count in connection.execute(query)}
        return {"exposures": int(total), **{o.value: found.get(o.value, 0) for o in Outcome}}

    def last_change(self) -> int:
        """The newest change number; 0 in an empty registry."""
        with self.engine.connect() as connection:
            query = select(COUNTERS.c.value).where(COUNTERS.c.name == _COUNTER)
            return int(connection.execute(query).scalar_one())

    # ---- within one transaction ------------------------------------------------------------------------

    def _lock_counter(self, connection: Connection) -> int:
        """The last change number, with its row locked until the transaction ends."""
        query = select(COUNTERS.c.value).where(COUNTERS.c.name == _COUNTER)
        return int(connection.execute(query.with_for_update()).scalar_one())

    def _known(self, connection: Connection, ids: Sequence[str]) -> dict[str, tuple[str, str]]:
        columns = EXPOSURES.c
        known: dict[str, tuple[str, str]] = {}
        for part in _chunks(sorted(set(ids))):
            query = select(columns.exposure_id, columns.sha256, columns.uri)
            for row in connection.execute(query.where(columns.exposure_id.in_(part))):
                known[row[0]] = (row[1], row[2])
        return known

    def _follow_move(self, connection: Connection, arrival: Arrival, uri: str) -> None:
        """Same bytes at another place, and no longer at the first: point to where they are now."""
        if uri != arrival.uri and "://" not in uri and not os.path.exists(uri):
            query = update(EXPOSURES).where(EXPOSURES.c.exposure_id == arrival.header.exposure_id)
            connection.execute(query.values(uri=arrival.uri))

    def _log(self, connection: Connection, deliveries: Sequence[Delivery], now: dt.datetime) -> None:
        rows = {
            (d.uri, d.size, d.version): {
                "uri": d.uri, "size": d.size, "version": d.version, "name": d.name, "sha256": d.sha256,
                "outcome": d.outcome.value, "reason": d.reason, "message": d.message,
                "exposure_id": d.exposure_id, "count": 1, "first_seen": now, "last_seen": now,
            }
            for d in deliveries
        }  # fmt: skip
        if not rows:
            return
        dialect: Any = postgresql if self.engine.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(DELIVERIES)
        changed = {name: insert.excluded[name] for name in _RELOGGED}
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=["uri", "size", "version"],
                set_={**changed, "count": DELIVERIES.c.count + 1},
            ),
            list(rows.values()),
        )


_RELOGGED = ("name", "sha256", "outcome", "reason", "message", "exposure_id", "last_seen")


def _outcome(arrival: Arrival, known: tuple[str, str] | None) -> Outcome:
    if known is None:
        return Outcome.REGISTERED
    if known[0] == arrival.sha256:
        return Outcome.DUPLICATE
    return Outcome.REPLACED if arrival.replace else Outcome.CONFLICT


def _deliveries(batch: Sequence[Arrival], outcomes: Sequence[Outcome]) -> list[Delivery]:
    return [
        Delivery(
            arrival.header.filename, arrival.uri, arrival.size, arrival.version, outcome,
            sha256=arrival.sha256, exposure_id=arrival.header.exposure_id,
        )
        for arrival, outcome in zip(batch, outcomes, strict=True)
        if outcome is not Outcome.CONFLICT
    ]  # fmt: skip


def _place(calendar: Calendar | None, day: str, detector: str, ra: float, dec: float) -> dict[str, Any]:
    if calendar is None:
        return {"season": None, "field": None, "inside_calendar": False}
    return {
        "season": calendar.season_of(day),
        "field": calendar.field_at(ra, dec),
        "inside_calendar": calendar.holds(day, detector),
    }


def _row(arrival: Arrival, change: int, calendar: Calendar | None, now: dt.datetime) -> dict[str, Any]:
    h = arrival.header
    return {
        "exposure_id": h.exposure_id, "change": change, "filename": h.filename, "uri": arrival.uri,
        "size": arrival.size, "sha256": arrival.sha256, "visit_id": h.visit_id, "exposure": h.exposure,
        "detector": h.detector, "optical_element": h.optical_element, "exposure_type": h.exposure_type,
        "kind": h.kind, "start_time": h.start_time.astimezone(dt.UTC).replace(tzinfo=None),
        "mid_mjd": h.mid_mjd, "exptime_s": h.exptime_s, "day": h.day, "ny": h.shape[0], "nx": h.shape[1],
        "ra_center": h.ra_center, "dec_center": h.dec_center, "s_region": h.s_region,
        "conversion_megajanskys": _or_none(h.conversion_megajanskys),
        "pixel_area_sr": _or_none(h.pixel_area_sr), "program": h.program,
        "caveats": json.dumps(list(h.caveats)), "schema_version": h.schema, "status": "good",
        "registered_at": now, **_place(calendar, h.day, h.detector, h.ra_center, h.dec_center),
    }  # fmt: skip


def _exposure(row: Any) -> RegisteredExposure:
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


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)
