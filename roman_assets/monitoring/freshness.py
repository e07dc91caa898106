"""How fresh each asset is against its promise: from the calendar, what is materialized, what arrived, and the time.

Pure: the clock is an argument. A late partition has one of two causes, which concern different people: its
exposures never arrived, or they did and are not processed.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from roman_assets.platform.system import Promise
from roman_assets.survey.model import Calendar
from roman_assets.systems.registry import PROMISES

#: Environment variable that names the first day that is promised (YYYY-MM-DD).
SINCE = "ROMAN_PROMISES_FROM"
UNPROCESSED, NO_EXPOSURES = "unprocessed", "no exposures"
CAUSES = (UNPROCESSED, NO_EXPOSURES)
#: The one key of assets on sky regions, which are judged as a whole.
WHOLE = "*"


@dataclass(frozen=True)
class Evidence:
    """What is known when freshness is judged.

    Attributes
    ----------
    materialized
        Partition keys by asset, as Dagster writes them: ``2027-03-01|WFI01``, ``WFI01|s01``.
    last
        Time of each asset's latest materialization, seconds of 1970.
    arrived
        (day, detector, survey) with registered exposures.
    since
        First day that is promised (YYYY-MM-DD); None: the first day with exposures, so that an installation that
        starts in mid-survey is not blamed for the days before it. Without exposures, nothing is promised.
    """

    materialized: Mapping[str, Collection[str]]
    last: Mapping[str, float]
    arrived: Collection[tuple[str, str, str | None]]
    since: str | None = None


@dataclass(frozen=True)
class Freshness:
    """An asset's state.

    Attributes
    ----------
    due, met
        Partitions whose promise has fallen due, and how many of them are there.
    late
        Number of late partitions by cause.
    lag_s
        By cause, seconds since the oldest late partition fell due; 0: none is late.
    oldest
        By cause, that partition.
    newest_day
        The newest day (season: its last day) that is materialized; None: none is.
    """

    asset: str
    due: int
    met: int
    late: Mapping[str, int]
    lag_s: Mapping[str, float]
    oldest: Mapping[str, str]
    newest_day: str | None


def end_of(day: str) -> dt.datetime:
    """The end of a UTC day."""
    return dt.datetime.fromisoformat(day).replace(tzinfo=dt.UTC) + dt.timedelta(days=1)


def judge(calendar: Calendar, evidence: Evidence, now: dt.datetime) -> list[Freshness]:
    """Freshness of every asset of the calendar at a time."""
    since = evidence.since or min((day for day, _, _ in evidence.arrived), default=None)
    imaging = {(day, detector) for day, detector, survey in evidence.arrived if survey == "bulge"}
    spectral = {(day, detector) for day, detector, survey in evidence.arrived if survey == "spectroscopic"}
    found = []
    for asset, promise in PROMISES.items():
        if promise.start.startswith("spectroscopic") and not calendar.spectroscopic_days:
            continue
        held = evidence.materialized.get(asset, ())
        if promise.start in ("bulge season", "spectroscopic survey day"):
            found.append(_region(asset, promise, calendar, evidence, since, now))
            continue
        late: dict[str, list[tuple[dt.datetime, str]]] = {cause: [] for cause in CAUSES}
        span = dt.timedelta(hours=promise.hours)
        latest = now - span
        due = met = 0
        for key, starts, cells in _expected(calendar, promise, since):
            if starts > latest:
                continue
            due += 1
            if key in held:
                met += 1
                continue
            have = spectral if promise.start == "spectroscopic day" else imaging
            cause = UNPROCESSED if any(cell in have for cell in cells) else NO_EXPOSURES
            late[cause].append((starts + span, key))
        found.append(_freshness(asset, due, met, late, _newest_day(calendar, promise, held), now))
    return found


def _freshness(
    asset: str,
    due: int,
    met: int,
    late: Mapping[str, list[tuple[dt.datetime, str]]],
    newest: str | None,
    now: dt.datetime,
) -> Freshness:
    oldest = {cause: min(items) for cause, items in late.items() if items}
    return Freshness(
        asset,
        due,
        met,
        {cause: len(items) for cause, items in late.items()},
        {cause: (now - oldest[cause][0]).total_seconds() if cause in oldest else 0.0 for cause in late},
        {cause: key for cause, (_, key) in oldest.items()},
        newest,
    )


def _expected(
    calendar: Calendar, promise: Promise, since: str | None
) -> Iterator[tuple[str, dt.datetime, list[tuple[str, str]]]]:
    """Every promised partition: its key, when its clock starts, and the (day, detector) that it is made of."""
    if since is None:
        return
    if promise.start in ("day", "spectroscopic day"):
        days = calendar.days if promise.start == "day" else calendar.spectroscopic_days
        for day in days:
            if day >= since:
                end = end_of(day)
                for detector in calendar.detectors:
                    yield f"{day}|{detector}", end, [(day, detector)]
        return
    for season in calendar.seasons:
        days = tuple(day for day in season.days if day >= since)
        if not days:
            continue
        starts = end_of(days[0] if promise.start == "season's first day" else days[-1])
        for detector in calendar.detectors:
            yield f"{detector}|{season.name}", starts, [(day, detector) for day in days]


def _newest_day(calendar: Calendar, promise: Promise, held: Collection[str]) -> str | None:
    if promise.start in ("day", "spectroscopic day"):
        return max((key.split("|")[0] for key in held), default=None)
    last = {season.name: season.days[-1] for season in calendar.seasons}
    return max((last[name] for name in (key.split("|")[-1] for key in held) if name in last), default=None)


def _region(
    asset: str, promise: Promise, calendar: Calendar, evidence: Evidence, since: str | None, now: dt.datetime
) -> Freshness:
    """Sky regions: the asset must have been made anew since the newest season (or day) that is closed and has products."""
    if promise.start == "bulge season":
        closed = [
            season.days[-1]
            for season in calendar.seasons
            if any(key.endswith(f"|{season.name}") for key in evidence.materialized.get("season_objects", ()))
        ]
    else:
        closed = [key.split("|")[0] for key in evidence.materialized.get("spectra_1d", ())]
    span = dt.timedelta(hours=promise.hours)
    fallen = [day for day in closed if (since or "") <= day and end_of(day) + span <= now]
    last = evidence.last.get(asset)
    made = None if last is None else dt.datetime.fromtimestamp(last, dt.UTC)
    late: dict[str, list[tuple[dt.datetime, str]]] = {cause: [] for cause in CAUSES}
    if fallen and (made is None or made < end_of(max(fallen))):
        late[UNPROCESSED].append((end_of(max(fallen)) + span, WHOLE))
    newest = max((day for day in closed if made is not None and end_of(day) <= made), default=None)
    return _freshness(asset, int(bool(fallen)), int(bool(fallen)) - len(late[UNPROCESSED]), late, newest, now)
