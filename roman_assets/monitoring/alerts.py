"""Alerts through a webhook: runs that failed, and partitions past their promise.

Both sensors move their cursor only after the webhook took the message, so an outage of the channel delays alerts and
loses none; Dagster's own run-failure sensor goes on when its function fails. They run where ROMAN_ALERT_WEBHOOK is
set, and can be switched on and off in the UI.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dagster as dg

from roman_assets.errors import InputError
from roman_assets.monitoring.freshness import SINCE, UNPROCESSED, Evidence, Freshness, judge
from roman_assets.monitoring.webhook import WEBHOOK, check_webhook, post
from roman_assets.platform.workspace import Workspace
from roman_assets.systems.registry import PROMISES

#: Address of the UI, for links in the messages.
UI_URL = "ROMAN_UI_URL"
SHOWN_RUNS = 10
#: A lateness that lasts is told again after so long.
REMIND_S = 24 * 3600.0
RUNS_PER_TICK = 500
#: Runs are looked for from so long before the cursor on: writers' clocks differ.
OVERLAP_S = 60.0
_REASON_CHARACTERS = 300

Send = Callable[[Mapping[str, Any]], None]


def _send(payload: Mapping[str, Any]) -> None:
    # Within a tick's 60 s: three attempts of at most 10 s, and their pauses.
    post(os.environ[WEBHOOK], payload, attempts=3)


def _ready() -> str | None:
    """Why no alert can be sent; None if it can."""
    url = os.environ.get(WEBHOOK)
    if not url:
        return f"{WEBHOOK} is not set"
    try:
        check_webhook(url)
    except InputError as error:
        return str(error)
    return None


def build_alert_sensors(
    workspace: Workspace, *, send: Send = _send, clock: Callable[[], float] = time.time
) -> list[dg.SensorDefinition]:
    """Sensors `failure_alerts` and `lag_alerts` of an installation."""
    status = dg.DefaultSensorStatus.RUNNING if os.environ.get(WEBHOOK) else dg.DefaultSensorStatus.STOPPED

    @dg.sensor(
        name="failure_alerts",
        minimum_interval_seconds=60,
        default_status=status,
        description=f"Tells the webhook of {WEBHOOK} which runs failed for good.",
    )
    def failure_alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        obstacle = _ready() if send is _send else None
        if obstacle:
            return dg.SkipReason(obstacle)
        return _tell_failures(context, send, clock())

    @dg.sensor(
        name="lag_alerts",
        minimum_interval_seconds=600,
        default_status=status,
        description=f"Tells the webhook of {WEBHOOK} which assets are past their promise, once, and when they are not.",
    )
    def lag_alerts(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        obstacle = _ready() if send is _send else None
        if obstacle:
            return dg.SkipReason(obstacle)
        return _tell_lags(context, workspace, send, clock())

    return [failure_alerts, lag_alerts]


# -- runs that failed ----------------------------------------------------------------------------------------


def _tell_failures(context: dg.SensorEvaluationContext, send: Send, now: float) -> dg.SensorResult | dg.SkipReason:
    """One message for all runs that failed since the cursor; the first tick only sets it."""
    if not context.cursor:
        return dg.SensorResult(cursor=json.dumps({"after": now, "told": []}), skip_reason=dg.SkipReason("begins now"))
    state = json.loads(context.cursor)
    after, told = float(state["after"]), set(state["told"])
    begin = dt.datetime.fromtimestamp(after - OVERLAP_S, dt.UTC)
    wanted = dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE], updated_after=begin)
    records = context.instance.get_run_records(
        wanted, limit=RUNS_PER_TICK + len(told), order_by="update_timestamp", ascending=True
    )
    failed = [r.dagster_run for r in records if r.dagster_run.run_id not in told]
    final = [run for run in failed if run.tags.get("dagster/will_retry") != "true"]
    newest = max((r.update_timestamp.timestamp() for r in records), default=after)
    recent = [r.dagster_run.run_id for r in records if r.update_timestamp.timestamp() >= newest - OVERLAP_S]
    cursor = json.dumps({"after": newest, "told": recent})
    if not final:
        return dg.SensorResult(cursor=cursor, skip_reason=dg.SkipReason("no run failed for good"))
    send(failure_message(context.instance, final))
    context.log.info(f"told of {len(final)} failed runs")
    return dg.SensorResult(cursor=cursor)


def failure_message(instance: dg.DagsterInstance, runs: Sequence[dg.DagsterRun]) -> dict[str, Any]:
    """What the webhook gets of failed runs: text for people, and the same for programs; ten runs are named."""
    shown = [
        {
            "run_id": run.run_id,
            "job": run.job_name,
            "partition": _partition(run.tags),
            "assets": sorted(key.to_user_string() for key in run.asset_selection or ()),
            "reason": _reason(instance, run.run_id),
            "url": _link(f"runs/{run.run_id}"),
        }
        for run in runs[:SHOWN_RUNS]
    ]
    lines = [f"{len(runs)} run{'s' * (len(runs) > 1)} of roman_assets failed"]
    for run in shown:
        where = f" [{run['partition']}]" if run["partition"] else ""
        lines.append(f"- {run['job']}{where}: {run['reason']} {run['url'] or run['run_id']}")
    if len(runs) > SHOWN_RUNS:
        lines.append(f"- and {len(runs) - SHOWN_RUNS} more")
    return {"text": "\n".join(lines), "kind": "run_failure", "count": len(runs), "runs": shown}


def _partition(tags: Mapping[str, str]) -> str | None:
    """Partition of a run; runs of backfills have a range, mostly of one."""
    first, last = (tags.get(f"dagster/asset_partition_range_{end}") for end in ("start", "end"))
    spanned = first if first == last else f"{first} to {last}"
    return tags.get("dagster/partition") or spanned


def _reason(instance: dg.DagsterInstance, run_id: str) -> str:
    """The first line of the first step's error, else of the run's."""
    wanted = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run_id, of_type=wanted):
        event = entry.dagster_event
        if event is None:
            continue
        error = event.step_failure_data.error if event.is_step_failure else event.job_failure_data.error
        if error is not None:
            cause = error.cause if error.cause is not None else error
            return str(cause.message).strip().splitlines()[0][:_REASON_CHARACTERS]
        if event.message:
            return event.message.strip().splitlines()[0][:_REASON_CHARACTERS]
    return "the run failed without a reason in its log"


def _link(path: str) -> str | None:
    base = os.environ.get(UI_URL)
    return f"{base.rstrip('/')}/{path}" if base else None


# -- partitions past their promise ------------------------------------------------------------------------------


def freshness_now(instance: dg.DagsterInstance, workspace: Workspace, now: float) -> list[Freshness]:
    """Freshness of every asset of an installation."""
    keys = [dg.AssetKey(name) for name in PROMISES]
    entries = [record.asset_entry for record in instance.get_asset_records(keys)]
    held = {e.asset_key.to_user_string(): instance.get_materialized_partitions(e.asset_key) for e in entries}
    last = {
        e.asset_key.to_user_string(): e.last_materialization.timestamp
        for e in entries
        if e.last_materialization is not None
    }
    evidence = Evidence(held, last, workspace.registry.arrived(), os.environ.get(SINCE) or None)
    return judge(workspace.calendar, evidence, dt.datetime.fromtimestamp(now, dt.UTC))


def _tell_lags(
    context: dg.SensorEvaluationContext, workspace: Workspace, send: Send, now: float
) -> dg.SensorResult | dg.SkipReason:
    told: dict[str, float] = json.loads(context.cursor) if context.cursor else {}
    late = {
        f"{f.asset}/{cause}": (f, cause)
        for f in freshness_now(context.instance, workspace, now)
        for cause, count in f.late.items()
        if count
    }
    new = [late[key] for key in sorted(late) if now - told.get(key, 0.0) >= REMIND_S]
    over = sorted(set(told) - set(late))
    if not new and not over:
        return dg.SkipReason(f"{len(late)} late, all told" if late else "every promise is kept")
    send(lag_message(new, over))
    context.log.info(f"told of {len(new)} late and {len(over)} recovered")
    named = {f"{f.asset}/{cause}" for f, cause in new}
    cursor = {key: now if key in named else told[key] for key in late}
    return dg.SensorResult(cursor=json.dumps(cursor))


def lag_message(late: Sequence[tuple[Freshness, str]], recovered: Sequence[str]) -> dict[str, Any]:
    """What the webhook gets of late and recovered assets."""
    items = [
        {
            "asset": f.asset,
            "cause": cause,
            "late": f.late[cause],
            "due": f.due,
            "oldest": f.oldest[cause],
            "lag_hours": round(f.lag_s[cause] / 3600, 1),
            "promise": PROMISES[f.asset].text,
            "url": _link(f"assets/{f.asset}"),
        }
        for f, cause in late
    ]
    lines = [f"roman_assets: {len(items)} past a promise"] if items else []
    for item in items:
        what = "have not been made" if item["cause"] == UNPROCESSED else "have no exposures"
        lines.append(
            f"- {item['asset']}: {item['late']} of {item['due']} partitions {what}, the oldest ({item['oldest']}) "
            f"for {item['lag_hours']} h; promised {item['promise']} {item['url'] or ''}".rstrip()
        )
    lines += [f"roman_assets: {key.replace('/', ' (')}) is on time again" for key in recovered]
    return {"text": "\n".join(lines), "kind": "lag", "late": items, "recovered": list(recovered)}
