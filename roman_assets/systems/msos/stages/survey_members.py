"""What the season catalogues have inside a sky region, matched over the seasons, with their light curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from roman_assets.platform.workspace import Workspace
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.objects.matching import match
from roman_assets.systems.msos.stages.common import archive_facts
from roman_assets.systems.msos.stages.season_curves import DIFFERENCE, DIFFERENCE_CURVES, SeasonCurves, open_curves

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


class Curves:
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


def members_of(workspace: Workspace, region: str) -> tuple[pl.DataFrame, list[ProductRecord]]:
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
    first = table.filter(pl.col("optical_element") == main_element(table))
    group = match(
        first["ra"].to_numpy(),
        first["dec"].to_numpy(),
        first["mag"].to_numpy().astype(float),
        first["catalogue"].to_numpy(),
    )
    groups = first.select("partition", "part", "star").with_columns(group=pl.Series(group))
    return table.join(groups, on=["partition", "part", "star"], how="inner"), used


def main_element(table: pl.DataFrame) -> str:
    """The most frequent filter; of equally frequent ones the first by name, whatever order polars counts in."""
    counted = table["optical_element"].value_counts().sort("count", "optical_element", descending=[True, False])
    return str(counted["optical_element"][0])


def middle_of(table: pl.DataFrame) -> tuple[float, float]:
    return float(table["ra"].to_numpy().mean()), float(table["dec"].to_numpy().mean())


def facts_of(workspace: Workspace, used: Sequence[ProductRecord]) -> Any:
    seasons = sorted({str(r.attributes["season"]) for r in used})
    detectors = sorted({str(r.attributes["detector"]) for r in used})
    exposures = [e for d in detectors for s in seasons for e in workspace.registry.exposures(season=s, detector=d)]
    exposures.sort(key=lambda e: e.mid_mjd)
    return archive_facts(workspace, seasons[0], exposures)
