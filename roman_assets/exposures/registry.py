"""The registry of exposures: which are here, where their bytes are, and what changed since.

Registering is idempotent: the same exposure with the same bytes is a duplicate and changes nothing; with
other bytes it is a conflict and the first one stays.  Every new row takes the next change number while the
counter row is locked, so that numbers become visible in their order and a reader that follows them misses
none.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, case, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from roman_assets.exposures.records import (
    Arrival,
    Delivery,
    Outcome,
    PartitionChange,
    RegisteredExposure,
    deliveries_of,
    exposure_of,
    outcome_of,
    place_of,
    row_of,
)
from roman_assets.exposures.tables import COUNTERS, DELIVERIES, EXPOSURES, TABLES
from roman_assets.storage.database import Database
from roman_assets.survey.model import BULGE, Calendar

__all__ = ["Arrival", "Delivery", "Outcome", "PartitionChange", "RegisteredExposure", "Registry"]

_CHUNK = 400  # values of one IN (...): below the limits of both databases
_COUNTER = "exposures"


class SeasonState(NamedTuple):
    """How many exposures of a season of a detector are registered, the newest change among them, and when it was."""

    season: str
    detector: str
    exposures: int
    change: int
    registered_at: dt.datetime


class _Known(NamedTuple):
    """What the registry holds of an exposure."""

    sha256: str
    uri: str
    registered_at: dt.datetime


class Registry:
    """Exposures and deliveries in SQLite or PostgreSQL.

    Parameters
    ----------
    url
        ``sqlite:///PATH`` or ``postgresql+psycopg2://...``; tables are created or migrated when first used.
    calendar
        Gives season and field of new exposures; without one they are registered without.
    """

    def __init__(self, url: str, calendar: Calendar | None = None) -> None:
        self.database = Database(url, TABLES)
        self.calendar = calendar

    def close(self) -> None:
        """Give the connections back."""
        self.database.dispose()

    # ---- writing ---------------------------------------------------------------------------------------

    def register(self, batch: Sequence[Arrival], calendar: Calendar | None = None) -> list[Outcome]:
        """Register a batch in one transaction; one outcome per arrival, in order.

        Deliveries are logged with it, except those of conflicts: their bytes must be kept first.
        """
        calendar = calendar or self.calendar
        if not batch:
            return []
        now = _now()

        def change(connection: Connection) -> list[Outcome]:
            number = self._lock_counter(connection)
            known = self._known(connection, [arrival.header.exposure_id for arrival in batch])
            # A commit whose answer was lost is tried again: what it registered is ours, not a duplicate.
            ours = {key for key, row in known.items() if row.registered_at == now}
            outcomes: list[Outcome] = []
            new: dict[str, dict[str, Any]] = {}
            for arrival in batch:
                key = arrival.header.exposure_id
                held = known.get(key)
                outcome = outcome_of(arrival, None if held is None else (held.sha256, held.uri))
                if outcome is Outcome.DUPLICATE and key in ours and held is not None and held.uri == arrival.uri:
                    ours.discard(key)
                    outcomes.append(Outcome.REPLACED if arrival.replace else Outcome.REGISTERED)
                    continue
                outcomes.append(outcome)
                if outcome in (Outcome.REGISTERED, Outcome.REPLACED):
                    number += 1
                    row = row_of(arrival, number, calendar, now)
                    known[key] = _Known(arrival.sha256, arrival.uri, now)
                    if outcome is Outcome.REPLACED and key not in new:
                        connection.execute(update(EXPOSURES).where(EXPOSURES.c.exposure_id == key).values(**row))
                    else:
                        new[key] = row
                elif outcome is Outcome.DUPLICATE:
                    self._follow_move(connection, arrival, known[key].uri)
            if new:
                connection.execute(EXPOSURES.insert(), list(new.values()))
            connection.execute(update(COUNTERS).where(COUNTERS.c.name == _COUNTER).values(value=number))
            self._log(connection, deliveries_of(batch, outcomes), now)
            return outcomes

        return self.database.write(change)

    def log(self, deliveries: Sequence[Delivery]) -> None:
        """Log deliveries that registered nothing (quarantined, conflicts)."""
        now = _now()
        self.database.write(lambda connection: self._log(connection, deliveries, now))

    def apply_calendar(self, calendar: Calendar) -> int:
        """Set survey, season and field of all exposures anew (after a change of calendar).

        An exposure that moves into or out of the calendar gets a new change number.  Returns how many rows
        changed.
        """
        columns = EXPOSURES.c
        given = [columns[name] for name in ("day", "detector", "kind", "ra_center", "dec_center")]
        derived = [columns[name] for name in ("survey", "season", "field", "inside_calendar")]

        def change(connection: Connection) -> int:
            changed, number = 0, self._lock_counter(connection)
            for row in connection.execute(select(columns.exposure_id, *given, *derived)).all():
                place = place_of(calendar, *row[1 : 1 + len(given)])
                if tuple(place.values()) == tuple(row[1 + len(given) :]):
                    continue
                changed += 1
                number += 1
                query = update(EXPOSURES).where(columns.exposure_id == row.exposure_id)
                connection.execute(query.values(change=number, **place))
            connection.execute(update(COUNTERS).where(COUNTERS.c.name == _COUNTER).values(value=number))
            return changed

        return self.database.write(change)

    # ---- reading ---------------------------------------------------------------------------------------

    def exposures(
        self,
        day: str | None = None,
        detector: str | None = None,
        season: str | None = None,
        kind: str | None = "imaging",
        survey: str | None = None,
    ) -> list[RegisteredExposure]:
        """Good exposures of a day, detector and season (None: any), in order of time.

        ``kind`` is ``imaging``, ``spectral`` or None for both.  ``survey`` is ``bulge`` or ``spectroscopic``:
        on a day of both, it tells direct images of the spectroscopic fields from microlensing images.
        """
        columns = EXPOSURES.c
        query = select(EXPOSURES).where(columns.status == "good")
        for column, value in (
            (columns.day, day),
            (columns.detector, detector),
            (columns.season, season),
            (columns.kind, kind),
            (columns.survey, survey),
        ):
            if value is not None:
                query = query.where(column == value)
        ordered = query.order_by(columns.mid_mjd, columns.exposure_id)
        rows = self.database.read(lambda connection: connection.execute(ordered).mappings().all())
        return [exposure_of(row) for row in rows]

    def exposure(self, exposure_id: str) -> RegisteredExposure | None:
        """One exposure by its identifier, or None."""
        query = select(EXPOSURES).where(EXPOSURES.c.exposure_id == exposure_id)
        row = self.database.read(lambda connection: connection.execute(query).mappings().first())
        return None if row is None else exposure_of(row)

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
            select(columns.day, columns.detector, columns.survey, newest)
            .where(columns.change > cursor)
            .group_by(columns.day, columns.detector, columns.survey)
            .order_by(newest)
            .limit(limit)
        )
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [PartitionChange(*row) for row in rows]

    def known_deliveries(
        self, seen: Iterable[tuple[str, int, str]]
    ) -> dict[tuple[str, int, str], tuple[Outcome, str | None]]:
        """Outcome and exposure id of those (uri, size, version) that have been dealt with before."""
        wanted = set(seen)
        columns = DELIVERIES.c
        names = (columns.uri, columns.size, columns.version, columns.outcome, columns.exposure_id)

        def query(connection: Connection) -> dict[tuple[str, int, str], tuple[Outcome, str | None]]:
            found = {}
            for uris in _chunks(sorted({uri for uri, _, _ in wanted})):
                for uri, size, version, outcome, exposure_id in connection.execute(
                    select(*names).where(columns.uri.in_(uris))
                ):
                    if (uri, size, version) in wanted:
                        found[uri, size, version] = (Outcome(outcome), exposure_id)
            return found

        return self.database.read(query)

    def forget_refused(self, sha256: str) -> int:
        """Let ingestion look again at a refused file; returns how many deliveries were forgotten."""
        columns = DELIVERIES.c
        refused = [Outcome.QUARANTINED.value, Outcome.CONFLICT.value]
        query = delete(DELIVERIES).where(columns.sha256 == sha256, columns.outcome.in_(refused))
        return self.database.write(lambda connection: int(connection.execute(query).rowcount))

    def deliveries(self, outcome: str | None = None) -> list[Delivery]:
        """The delivery log, oldest first."""
        columns = DELIVERIES.c
        query = select(DELIVERIES).order_by(columns.id)
        if outcome is not None:
            query = query.where(columns.outcome == outcome)
        names = Delivery.__dataclass_fields__
        rows = self.database.read(lambda connection: connection.execute(query).mappings().all())
        return [Delivery(**{**{name: row[name] for name in names}, "outcome": Outcome(row["outcome"])}) for row in rows]

    def counts(self) -> dict[str, int]:
        """Number of exposures, and of deliveries by outcome."""
        by_outcome = select(DELIVERIES.c.outcome, func.sum(DELIVERIES.c.count)).group_by(DELIVERIES.c.outcome)

        def query(connection: Connection) -> tuple[int, dict[str, int]]:
            total = connection.execute(select(func.count()).select_from(EXPOSURES)).scalar_one()
            return int(total), {str(outcome): int(count) for outcome, count in connection.execute(by_outcome)}

        total, found = self.database.read(query)
        return {"exposures": total, **{o.value: found.get(o.value, 0) for o in Outcome}}

    def refused(self) -> dict[tuple[str, str], int]:
        """Files in quarantine that nobody has released, by outcome (quarantined, conflict) and reason."""
        columns = DELIVERIES.c
        kept = [Outcome.QUARANTINED.value, Outcome.CONFLICT.value]
        query = (
            select(columns.outcome, columns.reason, func.count())
            .where(columns.outcome.in_(kept))
            .group_by(columns.outcome, columns.reason)
        )
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return {(str(outcome), str(reason or "unknown")): int(count) for outcome, reason, count in rows}

    def arrived(self) -> set[tuple[str, str, str | None]]:
        """(day, detector, survey) with registered exposures."""
        columns = EXPOSURES.c
        query = select(columns.day, columns.detector, columns.survey).distinct()
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return {(str(day), str(detector), survey) for day, detector, survey in rows}

    def seasons(self) -> list[SeasonState]:
        """What has arrived of every season of every detector of the microlensing survey."""
        columns = EXPOSURES.c
        query = (
            select(
                columns.season,
                columns.detector,
                func.count(),
                func.max(columns.change),
                func.max(columns.registered_at),
            )
            .where(columns.season.is_not(None), columns.kind == "imaging", columns.survey == BULGE)
            .group_by(columns.season, columns.detector)
            .order_by(columns.season, columns.detector)
        )
        rows = self.database.read(lambda connection: connection.execute(query).all())
        return [
            SeasonState(season, detector, count, change, when.replace(tzinfo=dt.UTC))
            for season, detector, count, change, when in rows
        ]

    def last_change(self) -> int:
        """The newest change number; 0 in an empty registry."""
        query = select(COUNTERS.c.value).where(COUNTERS.c.name == _COUNTER)
        return self.database.read(lambda connection: int(connection.execute(query).scalar_one()))

    # ---- within one transaction ------------------------------------------------------------------------

    def _lock_counter(self, connection: Connection) -> int:
        """The last change number, with its row locked until the transaction ends."""
        query = select(COUNTERS.c.value).where(COUNTERS.c.name == _COUNTER)
        return int(connection.execute(query.with_for_update()).scalar_one())

    def _known(self, connection: Connection, ids: Sequence[str]) -> dict[str, _Known]:
        columns = EXPOSURES.c
        query = select(columns.exposure_id, columns.sha256, columns.uri, columns.registered_at)
        known: dict[str, _Known] = {}
        for part in _chunks(sorted(set(ids))):
            for row in connection.execute(query.where(columns.exposure_id.in_(part))):
                known[row[0]] = _Known(*row[1:])
        return known

    def _follow_move(self, connection: Connection, arrival: Arrival, uri: str) -> None:
        """Same bytes at another place, and no longer at the first: point to where they are now."""
        if uri != arrival.uri and "://" not in uri and not os.path.exists(uri):
            query = update(EXPOSURES).where(EXPOSURES.c.exposure_id == arrival.header.exposure_id)
            connection.execute(query.values(uri=arrival.uri))

    def _log(self, connection: Connection, deliveries: Sequence[Delivery], now: dt.datetime) -> None:
        rows = {
            (d.uri, d.size, d.version): {
                "uri": d.uri,
                "size": d.size,
                "version": d.version,
                "name": d.name,
                "sha256": d.sha256,
                "outcome": d.outcome.value,
                "reason": d.reason,
                "message": d.message,
                "exposure_id": d.exposure_id,
                "count": 1,
                "first_seen": now,
                "last_seen": now,
            }
            for d in deliveries
        }
        if not rows:
            return
        dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
        insert = dialect.insert(DELIVERIES)
        changed = {name: insert.excluded[name] for name in _RELOGGED}
        # Logged at the same moment: the same call, whose commit's answer was lost, so that it is done again.
        more = case((DELIVERIES.c.last_seen == insert.excluded.last_seen, 0), else_=1)
        connection.execute(
            insert.on_conflict_do_update(
                index_elements=["uri", "size", "version"], set_={**changed, "count": DELIVERIES.c.count + more}
            ),
            list(rows.values()),
        )


_RELOGGED = ("name", "sha256", "outcome", "reason", "message", "exposure_id", "last_seen")


def _chunks(values: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), _CHUNK):
        yield values[start : start + _CHUNK]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)
