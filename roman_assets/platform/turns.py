"""What sensors share that ask for whatever is missing."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg

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
