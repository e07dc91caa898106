"""What sensors share: whether they run, and how one that asks for whatever is missing takes turns."""

from __future__ import annotations

import os
from collections.abc import Sequence

import dagster as dg

#: `off` leaves every sensor off until somebody switches it on; otherwise those that the pipeline needs run.
SENSORS = "ROMAN_SENSORS"
#: Runs that one tick of a sensor asks for at most.
REQUESTS_PER_TICK = 200


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
    return dg.SensorResult(
        run_requests=list(requests[start : start + REQUESTS_PER_TICK]), cursor=str(start + REQUESTS_PER_TICK)
    )


def default_status() -> dg.DefaultSensorStatus:
    """The state that a sensor of the pipeline begins with: a fresh deployment works without a hand."""
    off = os.environ.get(SENSORS, "").lower() == "off"
    return dg.DefaultSensorStatus.STOPPED if off else dg.DefaultSensorStatus.RUNNING
