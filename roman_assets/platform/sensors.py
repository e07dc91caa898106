"""What sensors share: whether they run, and how one that asks for whatever is missing takes turns."""

from __future__ import annotations

import datetime as dt
import os
from collections import defaultdict
from collections.abc import Sequence

import dagster as dg

#: `off` leaves every sensor off until somebody switches it on; otherwise those that the pipeline needs run.
SENSORS = "ROMAN_SENSORS"
#: Runs that one tick of a sensor asks for at most.
REQUESTS_PER_TICK = 200
#: Tag of a run: what it was asked for, the run key of the first request.
ASKED = "roman/asked"
#: After a failed run the same is asked for again, after this time, twice as long after the next failure, and so on up to a
#: day; after so many failures it is for a person: the alerts of lateness say so.
FIRST_WAIT, LONGEST_WAIT, MOST_FAILURES = dt.timedelta(hours=1), dt.timedelta(days=1), 10
_ENDED_BADLY = (dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def in_turns(
    context: dg.SensorEvaluationContext, requests: Sequence[dg.RunRequest], nothing: str
) -> dg.SensorResult | dg.SkipReason:
    """A tick's share of the requests, from where the last one ended; without any, `nothing` is the reason.

    Partitions that can never be made must not keep the others from being asked for.
    """
    if not requests:
        return dg.SkipReason(nothing)
    context.log.info(f"{len(requests)} partitions requested")
    start = int(context.cursor or 0) % len(requests)
    share = again_after_failures(context.instance, requests[start : start + REQUESTS_PER_TICK])
    return dg.SensorResult(run_requests=share, cursor=str(start + REQUESTS_PER_TICK))


def again_after_failures(
    instance: dg.DagsterInstance, requests: Sequence[dg.RunRequest], now: dt.datetime | None = None
) -> list[dg.RunRequest]:
    """The requests, with another run key where every run of what is asked for has failed.

    Dagster makes no second run of a key, even if the first one failed: an outage longer than the run's retries would leave
    undone what it met for good.
    """
    keys = [str(request.run_key) for request in requests]
    failures: dict[str, list[dt.datetime]] = defaultdict(list)
    settled: set[str] = set()  # running, waiting or done: Dagster itself sees that it is not asked for twice
    for record in instance.get_run_records(dg.RunsFilter(tags={ASKED: keys})) if keys else []:
        key = record.dagster_run.tags[ASKED]
        if record.dagster_run.status in _ENDED_BADLY:
            failures[key].append(record.update_timestamp)
        else:
            settled.add(key)
    return [
        request.with_replaced_attrs(
            run_key=key if key in settled else _again(key, failures[key], now or dt.datetime.now(dt.UTC)),
            tags={**request.tags, ASKED: key},
        )
        for request, key in zip(requests, keys, strict=True)
    ]


def _again(key: str, failures: Sequence[dt.datetime], now: dt.datetime) -> str:
    """The run key after these failures: another one when it is time, else one that Dagster has seen."""
    count = min(len(failures), MOST_FAILURES)
    if count == 0:
        return key
    wait = min(FIRST_WAIT * 2 ** (count - 1), LONGEST_WAIT)
    due = len(failures) < MOST_FAILURES and now >= max(failures) + wait
    number = count if due else count - 1
    return f"{key}:again{number}" if number else key


def default_status() -> dg.DefaultSensorStatus:
    """The state that a sensor of the pipeline begins with: a fresh deployment works without a hand."""
    off = os.environ.get(SENSORS, "").lower() == "off"
    return dg.DefaultSensorStatus.STOPPED if off else dg.DefaultSensorStatus.RUNNING
