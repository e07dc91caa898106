"""Source catalogues of the direct images, as a folder of Parquet files holds them.

The pipeline that makes them is another one's: columns are those of `SourceList.of` (id, ra, dec, hlr_arcsec,
ellipticity, pa_deg, mag_<filter>, and star_flag and bulge if there). A star flag beside a size of a tenth of an arcsecond
or more is for the direct image to settle.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import polars as pl

from roman_assets.doors import reading, users_parquet
from roman_assets.errors import InputError
from roman_assets.exposures.level2.header import ExposureHeader
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.survey.instrument import PIXEL_DEG
from roman_assets.systems.gdps.optics.dispersion import FARTHEST_PX

_NEEDED = ("id", "ra", "dec")


def sources_near(catalogue: pl.DataFrame, exposure: RegisteredExposure | ExposureHeader) -> tuple[pl.DataFrame, str]:
    """Sources whose light may reach an exposure, and the sha256 of what the catalogue says of them.

    Sources elsewhere do not change the hash: a catalogue that grows makes no other field anew.

    Raises
    ------
    InputError
        There is none.
    """
    reach = (max(exposure.shape) + FARTHEST_PX) * PIXEL_DEG
    east = ((pl.col("ra") - exposure.ra_center + 180.0) % 360.0 - 180.0) * float(
        np.cos(np.deg2rad(exposure.dec_center))
    )
    near = catalogue.filter(east**2 + (pl.col("dec") - exposure.dec_center) ** 2 < reach**2)
    if near.is_empty():
        raise InputError(
            "no source of the catalogue is near the exposure",
            file=exposure.filename,
            field="ra, dec",
            remedy="give the catalogue of this field",
        )
    # A column that only other fields have is none of this one.
    told = near.select(sorted(c for c in near.columns if near[c].null_count() < near.height))
    return near, hashlib.sha256(told.write_csv().encode()).hexdigest()


def read_catalogues(folder: str | Path) -> pl.DataFrame:
    """The sources of all `*.parquet` of a folder, or of one file, by id.

    Raises
    ------
    InputError
        There is no file, one is not Parquet or lacks id, ra or dec as numbers, or an id occurs twice.
    """
    place = Path(folder)
    with reading(place, "source catalogues", "check the path"):
        files = [place] if place.is_file() else sorted(place.glob("*.parquet"))
    if not files:
        raise InputError("there is no source catalogue", file=place, remedy="put Parquet files with id, ra, dec there")
    tables = []
    for file in files:
        with reading(file, "a source catalogue", "give a Parquet file with id, ra, dec as numbers"):
            tables.append(_aligned(users_parquet(file), file))
    with reading(place, "source catalogues", "give a column the same type in all files"):
        whole = pl.concat(tables, how="diagonal").sort("id")
    if whole["id"].is_duplicated().any():
        twice = whole.filter(pl.col("id").is_duplicated())["id"][0]
        raise InputError(f"source {twice} occurs twice", file=place, field="id", remedy="give every source one row")
    return whole


def _aligned(table: pl.DataFrame, file: Path) -> pl.DataFrame:
    """A table whose numbers have one type each."""
    if missing := [c for c in _NEEDED if c not in table.columns]:
        raise InputError("columns are missing", file=file, field=", ".join(missing), remedy="add them")
    wrong = [c for c in _NEEDED if not table.schema[c].is_numeric() or table[c].null_count()]
    if wrong or (table["id"].cast(pl.Int64) != table["id"]).any():
        raise InputError(
            "values are missing or are no numbers, or an id is not whole",
            file=file,
            field=", ".join(wrong or ["id"]),
            remedy="give every source a whole id and a place",
        )
    numbers = (pl.Float32, pl.Int64, pl.Int32)
    return table.with_columns(
        pl.col("id").cast(pl.Int64),
        *(
            pl.col(c).cast(pl.Float64)
            for c, kind in table.schema.items()
            if c in ("ra", "dec") or (kind in numbers and c != "id")
        ),
    )
