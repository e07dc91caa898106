"""Objects and events over all seasons: matched on the sky, with joint models of all their light curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from roman_assets.platform.workspace import Workspace
from roman_assets.products.archive import archive_metadata
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.events.classify import MICROLENSING
from roman_assets.systems.msos.events.neighbours import veto_ghosts
from roman_assets.systems.msos.events.pictures import event_picture
from roman_assets.systems.msos.light_curves.series import SeriesBlock
from roman_assets.systems.msos.objects.matching import MAS_DEG, match
from roman_assets.systems.msos.objects.proper_motion import frame_offsets, motions
from roman_assets.systems.msos.objects.statistics import statistics
from roman_assets.systems.msos.stages.common import (
    CODE,
    Check,
    Progress,
    StageResult,
    archive_facts,
    region_partition,
    silent,
)
from roman_assets.systems.msos.stages.season import (
    DIFFERENCE,
    DIFFERENCE_CURVES,
    SHOWN_EVENTS,
    SeasonCurves,
    open_curves,
)

MEMBER_COLUMNS = (
    "object_id",
    "star",
    "ra",
    "dec",
    "field",
    "detector",
    "season",
    "optical_element",
    "origin",
    "mag",
    "position_err",
    "position_mjd",
)
#: Stands for the magnitude of a difference source: it matches its like in other seasons and no star, whose light
#: curve has another zero.
DIFFERENCE_MAG = 99.0
#: Motions with smaller errors are counted [mas/yr].
SURE_MOTION = 1.0


class _Curves:
    """Season light curves opened when first needed."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.open: dict[tuple[str, str], SeasonCurves] = {}

    def of(self, partition: str, part: str) -> SeasonCurves:
        if (partition, part) not in self.open:
            # Those that the object catalogue was made from: its star numbers belong to them.
            (objects_record,) = self.workspace.products.current("season_objects", partition, part)
            made = self.workspace.products.history("season_light_curves", partition, part)
            record = next(r for r in made if r.sha256 in objects_record.inputs)
            others = self.workspace.products.history(DIFFERENCE_CURVES, partition, part)
            extra = next((r for r in others if r.sha256 in objects_record.inputs), None)
            self.open[partition, part] = open_curves(self.workspace, record, extra)
        return self.open[partition, part]


def _members(workspace: Workspace, region: str) -> tuple[pl.DataFrame, list[ProductRecord]]:
    """Rows of all season catalogues inside a region, with their group, and the products they come from."""
    frames, used = [], []
    for number, record in enumerate(
        sorted(workspace.products.current("season_objects"), key=lambda r: (r.partition, r.part))
    ):
        table = workspace.products.read_table(record, list(MEMBER_COLUMNS)).with_columns(
            mag=pl.when(pl.col("origin") == DIFFERENCE).then(DIFFERENCE_MAG).otherwise(pl.col("mag"))
        )
        inside = np.array(
            [name == region for name in workspace.calendar.regions_of(table["ra"].to_numpy(), table["dec"].to_numpy())]
        )
        if inside.any():
            used.append(record)
            frames.append(
                table.filter(pl.Series(inside)).with_columns(
                    catalogue=pl.lit(number),
                    partition=pl.lit(record.partition),
                    part=pl.lit(record.part),
                    zero_point=pl.lit(float(record.attributes["zero_point"])),
                )
            )
    if not frames:
        return pl.DataFrame(), []
    table = pl.concat(frames)
    first = table.filter(pl.col("optical_element") == _main_element(table))
    group = match(
        first["ra"].to_numpy(),
        first["dec"].to_numpy(),
        first["mag"].to_numpy().astype(float),
        first["catalogue"].to_numpy(),
    )
    groups = first.select("partition", "part", "star").with_columns(group=pl.Series(group))
    return table.join(groups, on=["partition", "part", "star"], how="inner"), used


def _main_element(table: pl.DataFrame) -> str:
    counted = table["optical_element"].value_counts(sort=True)
    return str(counted["optical_element"][0])


def objects(workspace: Workspace, region: str, progress: Progress = silent) -> StageResult:
    """Objects of a region matched over all seasons, with the statistics of their joined light curves."""
    result = StageResult()
    partition = region_partition(region)
    members, used = _members(workspace, region)
    if members.is_empty():
        result.caveats.append(f"no season catalogue has objects in {region}")
        result.figures = {"objects": 0}
        return result
    identity = Identity(tuple(r.sha256 for r in used), CODE["survey_objects"], {"region": region})
    record = workspace.products.lookup("survey_objects", partition, identity=identity)
    if record is None:
        table = _survey_objects(workspace, _aligned(members))
        record = workspace.products.put_table(
            "survey_objects",
            partition,
            table,
            identity,
            attributes={"region": region},
            sky=_middle(table),
            archive=archive_metadata("variability", _facts(workspace, used)),
        )
    result.records.append(record)
    table = workspace.products.read_table(record, ["n_seasons", "separation", "pm_ra", "pm_err"])
    shared = table.filter(pl.col("n_seasons") > 1)
    moving = table.filter(pl.col("pm_err") < SURE_MOTION)
    result.figures = {
        "objects": table.height,
        "catalogues": len(used),
        "seasons": len({r.attributes["season"] for r in used}),
        "in_several_seasons": shared.height,
        "median_separation_mas": float(shared["separation"].median() or 0.0) if shared.height else 0.0,  # type: ignore[arg-type]
        "with_motion": moving.height,
        "motion_scatter_mas_yr": float(moving["pm_ra"].std() or 0.0) if moving.height > 1 else 0.0,  # type: ignore[arg-type]
    }
    progress(f"{table.height} objects from {len(used)} season catalogues")
    return result


def _middle(table: pl.DataFrame) -> tuple[float, float]:
    return float(table["ra"].to_numpy().mean()), float(table["dec"].to_numpy().mean())


def _facts(workspace: Workspace, used: Sequence[ProductRecord]) -> Any:
    seasons = sorted({str(r.attributes["season"]) for r in used})
    detectors = sorted({str(r.attributes["detector"]) for r in used})
    exposures = [e for d in detectors for s in seasons for e in workspace.registry.exposures(season=s, detector=d)]
    exposures.sort(key=lambda e: e.mid_mjd)
    return archive_facts(workspace, seasons[0], exposures)


def _aligned(members: pl.DataFrame) -> pl.DataFrame:
    """The members with their positions on the mean frame of the catalogues."""
    stars = members.filter(pl.col("origin") != DIFFERENCE).unique(["catalogue", "group"], maintain_order=True)
    ra, dec = (stars[name].to_numpy() for name in ("ra", "dec"))
    offsets = frame_offsets(ra, dec, stars["group"].to_numpy(), stars["catalogue"].to_numpy())
    frames = pl.DataFrame([(c, *offset) for c, offset in offsets.items()], ["catalogue", "east", "north"], orient="row")
    frames = frames.cast({"catalogue": members["catalogue"].dtype})
    shifted = members.join(frames, on="catalogue", how="left", maintain_order="left")
    east, north = (pl.col(name).fill_null(0.0) * MAS_DEG for name in ("east", "north"))
    return shifted.with_columns(ra=pl.col("ra") - east / pl.col("dec").radians().cos(), dec=pl.col("dec") - north).drop(
        "east", "north"
    )


def _survey_objects(workspace: Workspace, members: pl.DataFrame) -> pl.DataFrame:
    curves = _Curves(workspace)
    frames = []
    for element in members["optical_element"].unique().sort():
        chosen = members.filter(pl.col("optical_element") == element)
        # Objects that were seen in the same catalogues share their epochs: one block per such set.
        pattern = (
            chosen.sort("catalogue").group_by("group", maintain_order=True).agg(pl.col("catalogue"), pl.col("star"))
        )
        key = pattern["catalogue"].list.eval(pl.element().cast(pl.String)).list.join(",")
        for (_,), same in pattern.with_columns(key=key).group_by("key", maintain_order=True):
            frames.append(_joined(curves, chosen, same, str(element)))
    return pl.concat(frames)


def _joined(curves: _Curves, chosen: pl.DataFrame, same: pl.DataFrame, element: str) -> pl.DataFrame:
    """Statistics and places of objects that were seen in the same catalogues."""
    catalogues = same["catalogue"][0].to_list()
    mjd, flux, error, flag, rows = [], [], [], [], []
    reference = None
    for position, number in enumerate(catalogues):
        of_catalogue = chosen.filter(pl.col("catalogue") == number)
        head = of_catalogue.row(0, named=True)
        reference = head["zero_point"] if reference is None else reference
        factor = 10 ** (-0.4 * (head["zero_point"] - reference))
        block = curves.of(head["partition"], head["part"]).blocks[element]
        stars = same["star"].list.get(position).to_numpy()
        mjd.append(block.mjd)
        flux.append(block.flux[stars] * np.float32(factor))
        error.append(block.flux_err[stars] * np.float32(factor))
        flag.append(block.flag[stars])
        rows.append(same.select("group").join(of_catalogue, on="group", how="left", maintain_order="left"))
    order = np.argsort(np.concatenate(mjd), kind="stable")
    joined = SeriesBlock(
        np.concatenate(mjd)[order], *(np.concatenate(part, axis=1)[:, order] for part in (flux, error, flag))
    )
    ra, dec = (np.stack([r[name].to_numpy() for r in rows]) for name in ("ra", "dec"))
    spread = np.hypot((ra - ra.mean(axis=0)) * np.cos(np.deg2rad(dec)), dec - dec.mean(axis=0)).max(axis=0)
    names = {k: [r[k][0] for r in rows] for k in ("season", "detector")}
    count = same.height
    place = motions(
        ra,
        dec,
        np.stack([r["position_err"].cast(pl.Float64).fill_null(np.nan).to_numpy() for r in rows]),
        np.array([r["position_mjd"].cast(pl.Float64).fill_null(np.nan).max() for r in rows], dtype=np.float64),
    )
    return pl.concat(
        [
            pl.DataFrame(
                {
                    "object_id": rows[0]["object_id"],
                    "ra": place.ra,
                    "dec": place.dec,
                    "field": rows[0]["field"],
                    "optical_element": [element] * count,
                    "n_seasons": pl.Series([len(set(names["season"]))] * count, dtype=pl.Int16),
                    "seasons": [names["season"]] * count,
                    "detectors": [names["detector"]] * count,
                    "stars": same["star"],
                    "separation": 2 * spread / MAS_DEG if len(rows) > 1 else np.zeros(count),
                    "position_mjd": place.mjd,
                    "pm_ra": place.pm_ra,
                    "pm_dec": place.pm_dec,
                    "pm_err": place.pm_err,
                }
            ).with_columns(pl.col("position_mjd", "pm_ra", "pm_dec", "pm_err").fill_nan(None)),
            statistics(joined, float(reference or 0.0)),
        ],
        how="horizontal",
    )


def events(workspace: Workspace, region: str, progress: Progress = silent) -> StageResult:
    """Events of a region over all seasons: every season's candidates, modelled on all light curves of the object."""
    result = StageResult()
    partition = region_partition(region)
    members, used = _members(workspace, region)
    candidates = _candidates(workspace, members)
    earlier = workspace.products.current("survey_events", partition)
    if members.is_empty() or (candidates.is_empty() and not earlier):
        result.caveats.append(f"no season has candidates in {region}")
        result.figures = {"events": 0, "candidates": 0}
        return result
    inside = set(members.select("partition", "part").unique().iter_rows())
    seasons = [r for r in workspace.products.current("season_events") if (r.partition, r.part) in inside]
    identity = Identity(tuple(r.sha256 for r in [*used, *seasons]), CODE["survey_events"], {"region": region})
    record = workspace.products.lookup("survey_events", partition, identity=identity)
    curves = _Curves(workspace)
    if record is None:
        table = _model(curves, members, candidates)
        record = workspace.products.put_table(
            "survey_events",
            partition,
            table,
            identity,
            attributes={"region": region},
            sky=_middle(table),
            archive=archive_metadata("event", _facts(workspace, used)),
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
        result.pictures[f"event {event['object_id']}"] = event_picture(event, series)
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


def _curve(curves: _Curves, rows: pl.DataFrame) -> Any:
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


def _model(curves: _Curves, members: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
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
                "optical_element": _main_element(members),
                "n_seasons": rows["season"].n_unique(),
                "seasons": rows["season"].to_list(),
                "detectors": rows["detector"].to_list(),
                "stars": rows["star"].to_list(),
            }
        )
    places = pl.DataFrame(frames, infer_schema_length=None)
    return veto_ghosts(pl.concat([places, modelled.drop("id", "row")], how="horizontal"), MICROLENSING)


def _series(curves: _Curves, members: pl.DataFrame, event: Mapping[str, Any]) -> list[tuple[str, Any, Any, Any]]:
    """Light curves of an event's object, by band; the identifier is that of its first catalogue entry."""
    group = members.filter(pl.col("object_id") == event["object_id"])["group"][0]
    curve = _curve(curves, members.filter(pl.col("group") == group))
    return [(b.name, b.mjd, b.flux, b.flux_err) for b in curve.bands if b.name in event["bands"]]
