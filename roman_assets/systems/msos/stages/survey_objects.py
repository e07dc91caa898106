"""Objects of a sky region over all seasons, with proper motions and the statistics of their joined light curves."""

from __future__ import annotations

import numpy as np
import polars as pl

from roman_assets.platform.making import withdraw_others
from roman_assets.platform.regions import region_identity
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Code
from roman_assets.products.identity import Identity
from roman_assets.survey.sky import MAS_DEG
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.light_curves.series import SeriesBlock
from roman_assets.systems.msos.objects.proper_motion import frame_offsets, motions
from roman_assets.systems.msos.objects.statistics import statistics
from roman_assets.systems.msos.stages.common import CODE, Progress, StageResult, region_partition, silent
from roman_assets.systems.msos.stages.season_curves import DIFFERENCE
from roman_assets.systems.msos.stages.survey_members import Curves, facts_of, members_of, middle_of

#: Motions with smaller errors are counted [mas/yr].
SURE_MOTION = 1.0


def objects(workspace: Workspace, region: str, progress: Progress = silent) -> StageResult:
    """Objects of a region matched over all seasons, with the statistics of their joined light curves."""
    result = StageResult()
    partition = region_partition(region)
    members, used = members_of(workspace, region)
    if members.is_empty():
        result.caveat(Code.NOTHING, region, "no season catalogue has objects here")
        result.figures = {"objects": 0}
        withdraw_others(workspace, ("survey_objects",), partition, ())
        return result
    identity = Identity(
        tuple(r.sha256 for r in used), CODE["survey_objects"], region_identity(workspace.calendar, region)
    )
    record = workspace.products.lookup("survey_objects", partition, identity=identity)
    if record is None:
        table = _survey_objects(workspace, _aligned(members))
        record = workspace.products.put_table(
            "survey_objects",
            partition,
            table,
            identity,
            attributes={"region": region},
            sky=middle_of(table),
            archive=archive_metadata("variability", facts_of(workspace, used)),
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
    curves = Curves(workspace)
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


def _joined(curves: Curves, chosen: pl.DataFrame, same: pl.DataFrame, element: str) -> pl.DataFrame:
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
