"""What a season's light curves say: the object catalogue and the microlensing events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.platform.workspace import Workspace
from roman_assets.products.archive import ArchiveFacts, archive_metadata
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.events.classify import MICROLENSING
from roman_assets.systems.msos.events.neighbours import veto_ghosts
from roman_assets.systems.msos.events.pictures import event_picture
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS, SeriesBlock
from roman_assets.systems.msos.objects.statistics import statistics
from roman_assets.systems.msos.photometry.exposure_fit import NO_DATA
from roman_assets.systems.msos.stages.common import (
    CODE,
    PIXEL_DEG,
    Check,
    Progress,
    StageResult,
    archive_facts,
    season_partition,
    silent,
)

#: Pictures of at most this many events go into an asset's metadata.
SHOWN_EVENTS = 4
#: Light curves of the sources that are not in the catalogue, and where the rows of an object catalogue come from.
DIFFERENCE_CURVES = "difference_light_curves"
PIXEL_MAS = PIXEL_DEG * 3.6e6
CATALOGUE, DIFFERENCE = "catalogue", "difference"


@dataclass(frozen=True)
class SeasonCurves:
    """Light curves of one pointing: the table of objects and a block per optical element (same rows)."""

    record: ProductRecord
    objects: pl.DataFrame  # one row per star: object_id, star, ra, dec, field, detector, origin
    blocks: dict[str, SeriesBlock]

    def masked(self, element: str) -> tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]:
        """mjd, flux and flux_err of an element; NaN where a measurement does not count."""
        block = self.blocks[element]
        bad = (block.flag & UNUSED_FLAGS) != 0
        return (
            block.mjd,
            np.where(bad, np.float32(np.nan), block.flux),
            np.where(bad, np.float32(np.nan), block.flux_err),
        )


def epochs_of(workspace: Workspace, curves: ProductRecord) -> ProductRecord:
    """The epochs that were made with these light curves, or those that difference light curves share with them; they
    need not be the newest.

    Raises
    ------
    InputError
        They were never made: the run that made the light curves was killed in between.
    """
    identity = curves.identity
    if curves.kind == DIFFERENCE_CURVES:
        made = workspace.products.history("season_light_curves", curves.partition, curves.part)
        identity = next(r.identity for r in made if r.sha256 == curves.attributes["season_light_curves"])
    for record in workspace.products.history("season_epochs", curves.partition, curves.part):
        if record.identity == identity:
            return record
    raise InputError(
        "the light curves have no epochs",
        file=f"{curves.partition} {curves.part}",
        remedy="materialize season_light_curves again",
    )


def difference_curves(workspace: Workspace, curves: ProductRecord, caveats: list[str]) -> ProductRecord | None:
    """The difference light curves that go with these light curves; None where no source was found."""
    for record in workspace.products.current(DIFFERENCE_CURVES, curves.partition, curves.part):
        if record.attributes["season_light_curves"] == curves.sha256:
            return record if record.rows else None
        caveats.append(
            f"{curves.part}: difference photometry is of superseded light curves and left out: make it again"
        )
    return None


def open_curves(workspace: Workspace, record: ProductRecord, difference: ProductRecord | None = None) -> SeasonCurves:
    """Arrays of a season_light_curves product with the times of its epochs.

    The rows of `difference`, its difference light curves, follow those of the catalogue; they have points in the
    filter of the search only.
    """
    table = workspace.products.read_table(record)
    epochs_record = epochs_of(workspace, record)
    epochs = workspace.products.read_table(epochs_record)
    extra = None if difference is None else workspace.products.read_table(difference).sort("star")
    blocks, objects = {}, None
    columns = ("object_id", "star", "ra", "dec", "field", "detector")
    for element in table["optical_element"].unique().sort():
        rows = table.filter(pl.col("optical_element") == element).sort("star")
        mjd = epochs.filter(pl.col("optical_element") == element).sort("epoch")["mjd"].to_numpy()
        arrays = _arrays(rows, len(mjd))
        if extra is not None:
            known = extra["optical_element"][0] == element
            more = _arrays(extra, len(mjd)) if known else _no_points(extra.height, len(mjd))
            arrays = [np.concatenate(pair) for pair in zip(arrays, more, strict=True)]
        blocks[str(element)] = SeriesBlock(mjd, *arrays)
        objects = rows.select(columns).with_columns(origin=pl.lit(CATALOGUE)) if objects is None else objects
    assert objects is not None, "a light-curve product has rows"
    if extra is not None:
        objects = pl.concat([objects, extra.select(columns).with_columns(origin=pl.lit(DIFFERENCE))])
    return SeasonCurves(record, objects, blocks)


def _arrays(rows: pl.DataFrame, epochs: int) -> list[NDArray[Any]]:
    """flux, flux_err and flag of rows with lists, (rows, epochs) each."""
    shape = (rows.height, epochs)
    return [rows[name].explode().to_numpy().reshape(shape) for name in ("flux", "flux_err", "flag")]


def _no_points(rows: int, epochs: int) -> list[NDArray[Any]]:
    nothing = np.full((rows, epochs), np.nan, dtype=np.float32)
    return [nothing, nothing.copy(), np.full((rows, epochs), NO_DATA, dtype=np.uint8)]


def _inputs(workspace: Workspace, partition: str, result: StageResult) -> list[ProductRecord]:
    records = workspace.products.current("season_light_curves", partition)
    if not records:
        result.caveats.append("there are no light curves of this season and detector yet")
    return records


def objects(workspace: Workspace, season: str, detector: str, progress: Progress = silent) -> StageResult:
    """The object catalogue of a season of a detector."""
    result = StageResult()
    partition = season_partition(season, detector)
    frames = []
    for curves_record in _inputs(workspace, partition, result):
        extra = difference_curves(workspace, curves_record, result.caveats)
        identity = _identity(curves_record, extra, "season_objects")
        record = workspace.products.lookup("season_objects", partition, part=curves_record.part, identity=identity)
        if record is None:
            record = _make_objects(workspace, partition, season, curves_record, extra, identity)
        result.records.append(record)
        frames.append(workspace.products.read_table(record))
        progress(f"{record.part}: {record.rows} objects")
    _summarise_objects(result, frames, f"{season} {detector}")
    return result


def _identity(curves: ProductRecord, extra: ProductRecord | None, asset: str) -> Identity:
    return Identity((curves.sha256,) if extra is None else (curves.sha256, extra.sha256), CODE[asset])


def _make_objects(
    workspace: Workspace,
    partition: str,
    season: str,
    curves_record: ProductRecord,
    extra: ProductRecord | None,
    identity: Identity,
) -> ProductRecord:
    curves = open_curves(workspace, curves_record, extra)
    made = workspace.products.history("reference_catalog", partition, curves_record.part)
    catalogue = next(r for r in made if r.sha256 == curves_record.attributes["catalogue"])
    reference = _reference(workspace, catalogue, season)
    zero_point = float(curves_record.attributes["zero_point"])
    frames = []
    for element, block in curves.blocks.items():
        measured = statistics(block, zero_point)
        frames.append(
            pl.concat([curves.objects, measured], how="horizontal")
            .with_columns(season=pl.lit(season), optical_element=pl.lit(element))
            .join(reference, on="star", how="left", maintain_order="left")
            .with_columns(pl.col("crowding").fill_null(float("nan")), pl.col("flag").fill_null(0))
        )
    facts = season_facts(workspace, season, curves_record)
    return workspace.products.put_table(
        "season_objects",
        partition,
        pl.concat(frames),
        identity,
        part=curves_record.part,
        attributes=kept_attributes(curves_record),
        sky=place_of(curves_record),
        s_region=curves_record.s_region,
        archive=archive_metadata("object_fiducial", facts),
    )


def _reference(workspace: Workspace, catalogue: ProductRecord, season: str) -> pl.DataFrame:
    """What the object catalogue takes from the reference catalogue, with the epoch of its positions."""
    exposures = workspace.registry.exposures(season=season, detector=str(catalogue.attributes["detector"]))
    epochs = [e.mid_mjd for e in exposures if e.sha256 in catalogue.inputs]
    x_err, y_err = pl.col("x_err").cast(pl.Float64), pl.col("y_err").cast(pl.Float64)
    table = workspace.products.read_table(catalogue, ["star", "crowding", "flag", "x_err", "y_err"])
    return table.select(
        "star",
        "crowding",
        "flag",
        position_err=(PIXEL_MAS * ((x_err**2 + y_err**2) / 2).sqrt()).cast(pl.Float32),
        position_mjd=pl.lit(float(np.mean(epochs)) if epochs else None, dtype=pl.Float64),
    )


def kept_attributes(record: ProductRecord) -> dict[str, Any]:
    """Attributes of light curves that every product made of them carries."""
    return {k: record.attributes[k] for k in ("season", "detector", "field", "pointing", "zero_point", "sequence")}


def place_of(record: ProductRecord) -> tuple[float, float] | None:
    """ra, dec [deg] of a product, where it has them."""
    return None if record.ra is None or record.dec is None else (record.ra, record.dec)


def season_facts(workspace: Workspace, season: str, record: ProductRecord) -> ArchiveFacts:
    """Facts of the archive record of a product of these light curves."""
    exposures = [
        e
        for e in workspace.registry.exposures(season=season, detector=str(record.attributes["detector"]))
        if (e.field or "f00") == record.attributes["field"]
    ]
    return archive_facts(workspace, season, exposures, sequence=int(record.attributes["sequence"]))


def _summarise_objects(result: StageResult, frames: Sequence[pl.DataFrame], title: str) -> None:
    from roman_assets.systems.msos.plots import scatter_figure

    if not frames:
        result.figures = {"objects": 0}
        return
    every = pl.concat(frames)
    table = every.filter(pl.col("origin") == CATALOGUE)
    constant = table.filter((pl.col("n") >= 4) & (pl.col("crowding") < 0.5) & pl.col("mag").is_not_nan())
    bright = constant.filter(pl.col("mag").is_between(18, 21))
    ratio = (bright["scatter"] / bright["expected_scatter"]).median() if bright.height else None
    counts = dict(table["variability_class"].value_counts().iter_rows())
    result.figures = {
        "objects": every.height,
        "difference_sources": every.height - table.height,
        **{f"class_{name}": count for name, count in sorted(counts.items())},
        "scatter_over_noise_18_21": float(ratio) if isinstance(ratio, float) else float("nan"),
        "median_points": float(table["n"].cast(pl.Float64).median() or 0),  # type: ignore[arg-type]
    }
    result.pictures["scatter"] = scatter_figure(
        constant["mag"].to_numpy().astype(float),
        (constant["scatter"] / constant["flux"]).to_numpy().astype(float),
        (constant["expected_scatter"] / constant["flux"]).to_numpy().astype(float),
        f"{title}: scatter of light curves",
    )
    judged = table.filter(pl.col("n") >= 8).height
    variable = 1 - counts.get("constant", 0) / max(judged, 1)
    result.checks += [
        Check(
            "photometric_scatter",
            ratio is None or float(ratio) < 1.5,  # type: ignore[arg-type]
            "stars of 18 to 21 mag scatter less than 1.5 times their errors",
            {"ratio": ratio},
        ),
        Check(
            "variable_share",
            not judged or variable < 0.2,
            "less than 20 % of the objects are called variable: more means a calibration problem",
            {"share": variable},
        ),
    ]


def events(workspace: Workspace, season: str, detector: str, progress: Progress = silent) -> StageResult:
    """Search, fit and classify the microlensing candidates of a season of a detector."""
    result = StageResult()
    partition = season_partition(season, detector)
    found, searched = [], 0
    for curves_record in _inputs(workspace, partition, result):
        extra = difference_curves(workspace, curves_record, result.caveats)
        identity = _identity(curves_record, extra, "season_events")
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
        result.pictures[f"event {event['object_id']}"] = event_picture(event, series)


def _summarise_events(result: StageResult, found: Sequence[pl.DataFrame]) -> None:
    if not found:
        result.figures = {"candidates": 0, "microlensing_events": 0}
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
            True if not table.height else lenses.height <= max(20, 0.05 * table.height + 20),
            "the number of events is plausible for the number of candidates",
            {"events": lenses.height},
        )
    )
