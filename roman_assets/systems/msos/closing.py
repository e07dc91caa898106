"""When a season is closed: after its end, once nothing of it arrives any more, and again after whatever comes late.

What follows from a closed season follows from it here, too: efficiency of its light curves, catalogues of the sky regions
that it sees. The registry decides when a season is over, which no automation condition of Dagster knows; run keys hold
the state that was asked for, so that asking twice is harmless and a late exposure asks again.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import dagster as dg

from roman_assets.errors import InputError
from roman_assets.exposures.registry import SeasonState
from roman_assets.platform.regions import regions_of
from roman_assets.platform.sensors import default_status, in_turns
from roman_assets.platform.workspace import Workspace
from roman_assets.survey.model import Calendar
from roman_assets.survey.partitions import season_detector_key

#: Hours without an arrival after which a season that has ended is closed.
CLOSE_AFTER = "ROMAN_CLOSE_AFTER_HOURS"
CLOSE_AFTER_HOURS = 48.0
#: Calibrated parts must have come to rest before they are transposed, and catalogues before they are joined.
SETTLED = dt.timedelta(hours=1)
#: Days on each of which what is still missing is asked for again.
MOST_DAYS = 14
Clock = Callable[[], dt.datetime]


def quiet_time(environment: Mapping[str, str] | None = None) -> dt.timedelta:
    """How long nothing must have arrived; InputError for a value that is no number of hours."""
    text = (os.environ if environment is None else environment).get(CLOSE_AFTER) or str(CLOSE_AFTER_HOURS)
    try:
        hours = float(text)
    except ValueError:
        hours = -1.0
    if not 0 <= hours < 24 * 365:
        raise InputError(f"{text!r} is no number of hours", field=CLOSE_AFTER, remedy="give hours, such as 48")
    return dt.timedelta(hours=hours)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def build_closing_sensor(workspace: Workspace, jobs: Mapping[str, Any], clock: Clock = _now) -> dg.SensorDefinition:
    """A sensor that closes seasons and lets efficiency and the survey's catalogues follow."""

    @dg.sensor(
        name="closing_sensor",
        jobs=[jobs[name] for name in ("close_season", "measure_efficiency", "join_survey")],
        minimum_interval_seconds=600,
        default_status=default_status(),
        description=f"Closes a season when it has ended and nothing of it has arrived for {CLOSE_AFTER_HOURS:g} h "
        f"({CLOSE_AFTER}), and again after late exposures; efficiency and the survey's catalogues follow.",
    )
    def closing_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        requests = list(closing_requests(workspace, clock()))
        return in_turns(context, requests, "no season has ended and come to rest since the last one was closed")

    return closing_sensor


def closing_requests(workspace: Workspace, now: dt.datetime) -> Iterator[dg.RunRequest]:
    """Runs that seasons, as they are now, ask for."""
    for state in workspace.registry.seasons():
        if not has_ended(workspace.calendar, state, now, quiet_time()):
            continue
        yield from _closing(workspace, state, now)
        yield from _efficiency(workspace, state, now)
    yield from _survey(workspace, now)


def has_ended(calendar: Calendar, state: SeasonState, now: dt.datetime, quiet: dt.timedelta) -> bool:
    """Whether a season is over by the calendar, and nothing of it has been registered for a while."""
    seasons = {season.name: season for season in calendar.seasons}
    if state.season not in seasons or state.detector not in calendar.detectors:
        return False
    last = dt.datetime.fromisoformat(seasons[state.season].days[-1]).replace(tzinfo=dt.UTC)
    return now >= last + dt.timedelta(days=1) and now >= state.registered_at + quiet


def _closing(workspace: Workspace, state: SeasonState, now: dt.datetime) -> Iterator[dg.RunRequest]:
    index, keys = workspace.products.index, {"season": state.season, "detector": state.detector}
    count, newest, when = index.state("daily_light_curves_part", **keys)
    if when is None or now < when + SETTLED:
        return
    key = season_detector_key(state.season, state.detector)
    _, events, _ = index.state("season_events", **keys)
    again = "" if events > newest else _again(now - when - SETTLED)
    yield dg.RunRequest(
        f"close:{key}:{state.change}-{count}-{newest}{again}", partition_key=key, job_name="close_season"
    )


def _efficiency(workspace: Workspace, state: SeasonState, now: dt.datetime) -> Iterator[dg.RunRequest]:
    index, keys = workspace.products.index, {"season": state.season, "detector": state.detector}
    made = [index.state(kind, **keys) for kind in ("season_light_curves", "season_events", "detection_efficiency")]
    (_, curves, _), (_, events, when), (_, efficiency, _) = made
    if when is not None and curves and events > curves and efficiency < events:
        key, again = season_detector_key(state.season, state.detector), _again(now - when)
        yield dg.RunRequest(f"efficiency:{key}:{events}{again}", partition_key=key, job_name="measure_efficiency")


def _again(waited: dt.timedelta) -> str:
    """Part of a run key: another one each day, for what was asked for and is still not there.

    Dagster makes no second run of a key, even if the first one failed: without this, an outage longer than the run's
    retries would leave a season open for good. After `MOST_DAYS` it is for a person; the alerts of lateness say so.
    """
    days = min(waited.days, MOST_DAYS)
    return f":again{days}" if days > 0 else ""


def _survey(workspace: Workspace, now: dt.datetime) -> Iterator[dg.RunRequest]:
    _, _, when = workspace.products.index.state("season_events")
    if when is None or now < when + SETTLED:
        return
    by_region: dict[str, list[str]] = {}
    for record in workspace.products.current("season_objects"):
        for region in regions_of(workspace, record):
            by_region.setdefault(region, []).append(record.sha256)
    events = {(r.partition, r.part): r.sha256 for r in workspace.products.current("season_events")}
    everything = hashlib.sha256("".join(sorted(events.values())).encode()).hexdigest()[:8]
    for region, hashes in sorted(by_region.items()):
        digest = hashlib.sha256("".join(sorted(hashes)).encode()).hexdigest()[:12]
        yield dg.RunRequest(f"survey:{region}:{digest}-{everything}", partition_key=region, job_name="join_survey")
