"""The microlensing events of a season of a detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from roman_assets.platform.making import withdraw_others
from roman_assets.platform.workspace import Workspace
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.events.classify import MICROLENSING
from roman_assets.systems.msos.events.neighbours import veto_ghosts
from roman_assets.systems.msos.events.pictures import event_picture
from roman_assets.systems.msos.stages.common import Check, Progress, StageResult, season_partition, silent
from roman_assets.systems.msos.stages.season_curves import (
    DIFFERENCE,
    SeasonCurves,
    difference_curves,
    identity_of,
    kept_attributes,
    open_curves,
    place_of,
    season_curves,
    season_facts,
)

#: Pictures of at most this many events go into an asset's metadata.
SHOWN_EVENTS = 4


def events(workspace: Workspace, season: str, detector: str, progress: Progress = silent) -> StageResult:
    """Search, fit and classify the microlensing candidates of a season of a detector."""
    result = StageResult()
    partition = season_partition(season, detector)
    found, searched = [], 0
    for curves_record in season_curves(workspace, partition, result):
        extra = difference_curves(workspace, curves_record, result.caveats)
        identity = identity_of(curves_record, extra, "season_events")
        record = workspace.products.lookup("season_events", partition, part=curves_record.part, identity=identity)
        curves = None
        if record is None:
            curves = open_curves(workspace, curves_record, extra)
            searched += curves.objects.height
            record = _make_events(workspace, partition, season, curves, identity)
        result.records.append(record)
        table = workspace.products.read_table(record)
        found.append(table)
        progress(f"{record.part}: {table.height} candidates")
        best = table.filter(pl.col("event_class").is_in(MICROLENSING)).sort("dchi2_flat", descending=True)
        if best.height and len(result.pictures) < SHOWN_EVENTS:
            curves = curves or open_curves(workspace, curves_record, extra)
            _show(curves, best, result)
    withdraw_others(workspace, ("season_events",), partition, result.records)
    _summarise_events(result, found)
    result.figures["searched"] = searched
    return result


def _make_events(
    workspace: Workspace, partition: str, season: str, curves: SeasonCurves, identity: Identity
) -> ProductRecord:
    from roman_assets.systems.msos.events.finder import find_events

    series = {element: curves.masked(element) for element in curves.blocks}
    table = find_events(
        {e: v[0] for e, v in series.items()},
        {e: v[1] for e, v in series.items()},
        {e: v[2] for e, v in series.items()},
        sky=(curves.objects["ra"].to_numpy(), curves.objects["dec"].to_numpy()),
    )
    identified = table.with_columns(
        curves.objects[table["row"].to_list()],
        season=pl.lit(season),
        optical_element=pl.lit(max(curves.blocks, key=lambda e: len(curves.blocks[e].mjd))),
    )
    judged = veto_ghosts(identified.drop("row"), MICROLENSING)
    return workspace.products.put_table(
        "season_events",
        partition,
        judged,
        identity,
        part=curves.record.part,
        attributes=kept_attributes(curves.record),
        sky=place_of(curves.record),
        s_region=curves.record.s_region,
        archive=archive_metadata("event", season_facts(workspace, season, curves.record)),
    )


def _show(curves: SeasonCurves, best: pl.DataFrame, result: StageResult) -> None:
    for event in best.head(SHOWN_EVENTS - len(result.pictures)).iter_rows(named=True):
        series = []
        for element in event["bands"]:
            mjd, flux, error = curves.masked(element)
            keep = np.isfinite(flux[event["star"]])
            series.append((element, mjd[keep], flux[event["star"]][keep], error[event["star"]][keep]))
        result.picture(f"event {event['object_id']}", event_picture, event, series)


def _summarise_events(result: StageResult, found: Sequence[pl.DataFrame]) -> None:
    if not found:
        result.figures = {"candidates": 0, "microlensing_events": 0}
        result.not_judged("candidate_rate")
        return
    table = pl.concat(found)
    counts = dict(table["event_class"].value_counts().iter_rows())
    lenses = table.filter(pl.col("event_class").is_in(MICROLENSING))
    result.figures = {
        "candidates": table.height,
        "microlensing_events": lenses.height,
        "of_difference_sources": lenses.filter(pl.col("origin") == DIFFERENCE).height,
        **{f"class_{name}": count for name, count in sorted(counts.items())},
    }
    result.checks.append(
        Check(
            "candidate_rate",
            None if not table.height else lenses.height <= max(20, 0.05 * table.height + 20),
            "the number of events is plausible for the number of candidates",
            {"events": lenses.height},
        )
    )
