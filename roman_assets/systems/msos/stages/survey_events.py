"""Events of a sky region with joint models of all their light curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from roman_assets.platform.making import withdraw_others
from roman_assets.platform.regions import region_identity
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Code
from roman_assets.products.identity import Identity
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.events.classify import MICROLENSING
from roman_assets.systems.msos.events.neighbours import veto_ghosts
from roman_assets.systems.msos.events.pictures import event_picture
from roman_assets.systems.msos.stages.common import CODE, Check, Progress, StageResult, region_partition, silent
from roman_assets.systems.msos.stages.season_events import SHOWN_EVENTS
from roman_assets.systems.msos.stages.survey_members import Curves, facts_of, main_element, members_of, middle_of


def events(workspace: Workspace, region: str, progress: Progress = silent) -> StageResult:
    """Events of a region over all seasons: every season's candidates, modelled on all light curves of the object."""
    result = StageResult()
    partition = region_partition(region)
    members, used = members_of(workspace, region)
    candidates = _candidates(workspace, members)
    earlier = workspace.products.current("survey_events", partition)
    if members.is_empty() or (candidates.is_empty() and not earlier):
        result.caveat(Code.NOTHING, region, "no season has candidates here")
        result.figures = {"events": 0, "candidates": 0}
        result.not_judged("models")
        withdraw_others(workspace, ("survey_events",), partition, ())
        return result
    inside = set(members.select("partition", "part").unique().iter_rows())
    seasons = [r for r in workspace.products.current("season_events") if (r.partition, r.part) in inside]
    identity = Identity(
        tuple(r.sha256 for r in [*used, *seasons]), CODE["survey_events"], region_identity(workspace.calendar, region)
    )
    record = workspace.products.lookup("survey_events", partition, identity=identity)
    curves = Curves(workspace)
    if record is None:
        table = _model(curves, members, candidates)
        record = workspace.products.put_table(
            "survey_events",
            partition,
            table,
            identity,
            attributes={"region": region},
            sky=middle_of(table),
            archive=archive_metadata("event", facts_of(workspace, used)),
        )
    result.records.append(record)
    table = workspace.products.read_table(record)
    lenses = table.filter(pl.col("event_class").is_in(MICROLENSING))
    fitted = table.filter(pl.col("dof") > 0)
    result.figures = {
        "candidates": table.height,
        "events": lenses.height,
        "over_several_seasons": lenses.filter(pl.col("n_seasons") > 1).height,
    }
    for event in lenses.sort("dchi2_flat", descending=True).head(SHOWN_EVENTS).iter_rows(named=True):
        series = _series(curves, members, event)
        result.picture(f"event {event['object_id']}", event_picture, event, series)
    result.checks.append(
        Check("models", bool(np.isfinite(fitted["chi2"].to_numpy()).all()), "every candidate has a model")
    )
    progress(f"{lenses.height} events among {table.height} candidates")
    return result


def _candidates(workspace: Workspace, members: pl.DataFrame) -> pl.DataFrame:
    """Groups with a candidate in any season."""
    frames = [
        workspace.products.read_table(r, ["star"]).with_columns(partition=pl.lit(r.partition), part=pl.lit(r.part))
        for r in workspace.products.current("season_events")
        if r.rows
    ]
    if not frames or members.is_empty():
        return pl.DataFrame()
    found = members.join(pl.concat(frames).unique(), on=["partition", "part", "star"], how="inner")
    return found.select("group").unique().sort("group")


def _curve(curves: Curves, rows: pl.DataFrame) -> Any:
    """All light curves of one object: a band per optical element, on the zero point of the first catalogue."""
    from roman_assets.systems.msos.models.point_lens import Band, LightCurve

    ordered = rows.sort("season", "detector", "optical_element")
    reference = float(ordered["zero_point"][0])
    points: dict[str, list[tuple[Any, Any, Any]]] = {}
    for row in ordered.iter_rows(named=True):
        mjd, flux, error = curves.of(row["partition"], row["part"]).masked(row["optical_element"])
        factor = 10 ** (-0.4 * (row["zero_point"] - reference))
        f, e = flux[row["star"]].astype(float) * factor, error[row["star"]].astype(float) * factor
        keep = np.isfinite(f) & np.isfinite(e)
        points.setdefault(row["optical_element"], []).append((mjd[keep], f[keep], e[keep]))
    bands = [
        Band(name, *(np.concatenate(column) for column in zip(*parts, strict=True)))
        for name, parts in points.items()
        if sum(len(p[0]) for p in parts)
    ]
    return LightCurve(tuple(bands))


def _model(curves: Curves, members: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
    from roman_assets.systems.msos.events.finder import find_events_in_curves

    by_group = {int(group): members.filter(pl.col("group") == group) for group in candidates["group"].to_list()}
    modelled = find_events_in_curves(
        {group: _curve(curves, rows) for group, rows in by_group.items()},
        sky={
            g: (float(rows["ra"].to_numpy().mean()), float(rows["dec"].to_numpy().mean()))
            for g, rows in by_group.items()
        },
    )
    frames = []
    for row in modelled.iter_rows(named=True):
        rows = by_group[int(row["id"])].unique(["partition", "part"], maintain_order=True).sort("season", "detector")
        head: Mapping[str, Any] = rows.row(0, named=True)
        frames.append(
            {
                "object_id": head["object_id"],
                "ra": float(rows["ra"].to_numpy().mean()),
                "dec": float(rows["dec"].to_numpy().mean()),
                "field": head["field"],
                "optical_element": main_element(members),
                "n_seasons": rows["season"].n_unique(),
                "seasons": rows["season"].to_list(),
                "detectors": rows["detector"].to_list(),
                "stars": rows["star"].to_list(),
            }
        )
    places = pl.DataFrame(frames, infer_schema_length=None)
    return veto_ghosts(pl.concat([places, modelled.drop("id", "row")], how="horizontal"), MICROLENSING)


def _series(curves: Curves, members: pl.DataFrame, event: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any]]:
    """Light curves of an event's object, by band; the identifier is that of its first catalogue entry."""
    group = members.filter(pl.col("object_id") == event["object_id"])["group"][0]
    curve = _curve(curves, members.filter(pl.col("group") == group))
    return [(b.name, b.mjd, b.flux, b.flux_err) for b in curve.bands if b.name in event["bands"]]
