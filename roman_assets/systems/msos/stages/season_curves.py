"""Light curves of a season as the stages after them open them: stars and difference sources, with their epochs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.archive import ArchiveFacts
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS, SeriesBlock
from roman_assets.systems.msos.photometry.exposure_fit import NO_DATA
from roman_assets.systems.msos.stages.common import CODE, StageResult, archive_facts

#: Light curves of the sources that are not in the catalogue, and where the rows of an object catalogue come from.
DIFFERENCE_CURVES = "difference_light_curves"

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


def difference_curves(workspace: Workspace, curves: ProductRecord, caveats: list[Caveat]) -> ProductRecord | None:
    """The difference light curves that go with these light curves; None where no source was found."""
    for record in workspace.products.current(DIFFERENCE_CURVES, curves.partition, curves.part):
        if record.attributes["season_light_curves"] == curves.sha256:
            return record if record.rows else None
        text = "difference photometry is of superseded light curves and left out: make it again"
        caveats.append(Caveat(Code.SUPERSEDED, curves.part, text))
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


def season_curves(workspace: Workspace, partition: str, result: StageResult) -> list[ProductRecord]:
    records = workspace.products.current("season_light_curves", partition)
    if not records:
        result.caveat(Code.NOTHING, "", "there are no light curves of this season and detector yet")
    return records


def identity_of(curves: ProductRecord, extra: ProductRecord | None, asset: str) -> Identity:
    return Identity((curves.sha256,) if extra is None else (curves.sha256, extra.sha256), CODE[asset])


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
