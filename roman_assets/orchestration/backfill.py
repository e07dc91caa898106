"""Backfills through a running Dagster instance, over its GraphQL interface.

Dagster's command line has no asset backfill; the mutation `launchPartitionBackfill` does what its UI does.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from roman_assets.errors import InputError, RomanError
from roman_assets.survey.model import Calendar
from roman_assets.survey.partitions import day_detector_key, season_detector_key
from roman_assets.systems.registry import ASSETS, of_partition

_STATUS = """
query($key: AssetKeyInput!, $partitions: [String!]!) {
  assetNodeOrError(assetKey: $key) {
    __typename
    ... on AssetNode { latestMaterializationByPartition(partitions: $partitions) { timestamp } }
  }
}"""
_STATE = """
query($id: String!) {
  partitionBackfillOrError(backfillId: $id) {
    __typename
    ... on PartitionBackfill { status partitionStatusCounts { runStatus count } error { message } }
    ... on PythonError { message }
  }
}"""
#: States of a backfill that goes on.
_GOING = ("REQUESTED", "CANCELING", "FAILING")
_LAUNCH = """
mutation($params: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $params) {
    __typename
    ... on LaunchBackfillSuccess { backfillId }
    ... on PythonError { message }
    ... on PartitionKeysNotFoundError { message }
    ... on UnauthorizedError { message }
    ... on InvalidSubsetError { message }
  }
}"""


@dataclass(frozen=True)
class Launched:
    """Identifier of a backfill (None: there was nothing to do) and its number of partitions."""

    backfill_id: str | None
    partitions: int


def partition_keys(
    calendar: Calendar,
    assets: Sequence[str],
    *,
    seasons: Sequence[str] | None = None,
    days: Sequence[str] | None = None,
    detectors: Sequence[str] | None = None,
) -> list[str]:
    """Partition keys of assets of one kind of partition, limited to seasons, days and detectors.

    Raises
    ------
    InputError
        The assets mix kinds of partitions or are unknown.
    """
    for name in seasons or ():
        calendar.season(name)
    for day in days or ():
        if calendar.season_of(day) is None and day not in calendar.spectroscopic_days:
            raise InputError(f"{day} is not a day of the calendar", field="--day", remedy="see `roman calendar show`")
    for detector in detectors or ():
        if detector not in calendar.detectors:
            raise InputError(f"unknown detector {detector}", field="--detector", remedy="see `roman calendar show`")
    chosen = [calendar.season(name) for name in seasons] if seasons else list(calendar.seasons)
    instruments = list(detectors or calendar.detectors)
    kinds = {ASSETS[name].partition if name in ASSETS else name for name in assets}
    if kinds in ({"day"}, {"spectroscopic day"}):
        every = [day for season in chosen for day in season.days] if kinds == {"day"} else calendar.spectroscopic_days
        wanted = [day for day in every if not days or day in days]
        return [str(day_detector_key(day, detector)) for day in wanted for detector in instruments]
    if days:
        remedy = f"day assets are {', '.join(of_partition('day', 'spectroscopic day'))}"
        raise InputError("only day assets have days", field="--day", remedy=remedy)
    if kinds == {"season"}:
        return [str(season_detector_key(season.name, detector)) for season in chosen for detector in instruments]
    if kinds in ({"bulge region"}, {"spectroscopic region"}):
        return list(calendar.region_names("bulge" if kinds == {"bulge region"} else "spectroscopic"))
    by_kind: dict[str, list[str]] = {}
    for name, asset in ASSETS.items():
        by_kind.setdefault(asset.partition, []).append(name)
    raise InputError(
        f"{', '.join(assets)} do not share one kind of partition",
        field="asset",
        remedy=f"choose among {'; or '.join(', '.join(names) for names in by_kind.values())}",
    )


def launch(url: str, assets: Sequence[str], keys: Sequence[str], *, only_missing: bool = False) -> Launched:
    """Launch a backfill of `assets` over partition `keys`; with `only_missing`, of keys that any asset lacks.

    Raises
    ------
    InputError
        Nothing answers at `url`.
    RomanError
        The instance refuses.
    """
    wanted = list(keys)
    if only_missing:
        missing = _missing(url, assets, wanted)
        wanted = [key for key in wanted if key in missing]
    if not wanted:
        return Launched(None, 0)
    parameters = {
        "assetSelection": [{"path": [name]} for name in assets],
        "partitionNames": wanted,
        "allPartitions": False,
        "title": f"roman backfill {' '.join(assets)}",
    }
    answer = _ask(url, _LAUNCH, {"params": parameters})["launchPartitionBackfill"]
    if answer["__typename"] != "LaunchBackfillSuccess":
        raise RomanError(f"the instance refused the backfill: {answer.get('message') or answer['__typename']}")
    return Launched(answer["backfillId"], len(wanted))


def wait(
    url: str,
    backfill_id: str,
    *,
    patience_s: float = 7 * 86400.0,
    interval_s: float = 5.0,
    progress: Callable[[str], None] | None = None,
) -> str:
    """Wait until a backfill has ended; returns its state, such as COMPLETED_SUCCESS.

    Raises
    ------
    RomanError
        The instance does not know it, or it goes on for longer than `patience_s`.
    """
    deadline = time.monotonic() + patience_s
    while True:
        answer = _ask(url, _STATE, {"id": backfill_id})["partitionBackfillOrError"]
        if answer["__typename"] != "PartitionBackfill":
            raise RomanError(f"the instance cannot say: {answer.get('message') or answer['__typename']}")
        state = str(answer["status"])
        if not state.startswith(_GOING):
            return state
        if progress:
            counts = answer["partitionStatusCounts"]
            progress(", ".join(f"{c['count']} {c['runStatus'].lower()}" for c in counts) or "being planned")
        if time.monotonic() > deadline:
            raise RomanError(f"backfill {backfill_id} goes on after {patience_s:.0f} s")
        time.sleep(interval_s)


def _missing(url: str, assets: Sequence[str], keys: Sequence[str]) -> set[str]:
    """Keys that any of the assets lacks: one question an asset, however many keys there are."""
    missing: set[str] = set()
    for name in assets:
        answer = _ask(url, _STATUS, {"key": {"path": [name]}, "partitions": list(keys)})["assetNodeOrError"]
        if answer["__typename"] != "AssetNode":
            raise RomanError(f"the instance does not know the asset {name}")
        found = answer["latestMaterializationByPartition"]
        missing.update(key for key, state in zip(keys, found, strict=True) if state is None)
    return missing


def _ask(url: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = urllib.request.Request(
        f"{url.rstrip('/')}/graphql", data=body, headers={"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=120) as response:
            answer = json.load(response)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise InputError(
            f"no Dagster instance answers there ({error})", file=url, field="--url", remedy="start it with `roman ui`"
        ) from error
    if answer.get("errors"):
        raise RomanError(f"the instance reports: {answer['errors'][0]['message']}")
    return dict(answer["data"])
