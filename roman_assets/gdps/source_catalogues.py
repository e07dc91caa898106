"""Source catalogues of the direct images, as a folder of Parquet files holds them.

The pipeline that makes them is another one's: columns are those of `SourceList.of` (id, ra, dec, hlr_arcsec,
ellipticity, pa_deg, mag_<filter>, and star_flag and bulge if there).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from roman_assets.errors import InputError

_NEEDED = ("id", "ra", "dec")


@dataclass(frozen=True)
class Catalogue:
    """table: the sources of all files, by id. digest: sha256 of the files' contents."""

    table: pl.DataFrame
    digest: str

    def near(self, ra: float, dec: float, radius_deg: float) -> pl.DataFrame:
        """Sources within a radius [deg] of a place, which lies not on a pole."""
        # Squared chord of the small-angle formula, with the cosine of the place.
        east = (pl.col("ra") - ra + 180.0) % 360.0 - 180.0
        scale = float(pl.select(pl.lit(dec).radians().cos()).item())
        return self.table.filter((east * scale) ** 2 + (pl.col("dec") - dec) ** 2 < radius_deg**2)


def read_catalogues(folder: str | Path) -> Catalogue:
    """All `*.parquet` of a folder, or one file.

    Raises
    ------
    InputError
        There is no file, one is not Parquet or lacks id, ra or dec, or an id occurs twice.
    """
    place = Path(folder)
    files = [place] if place.is_file() else sorted(place.glob("*.parquet"))
    if not files:
        raise InputError("there is no source catalogue", file=place, remedy="put Parquet files with id, ra, dec there")
    tables, digest = [], hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(hashlib.sha256(content).digest())
        try:
            table = pl.read_parquet(content)
        except Exception as error:  # polars raises several kinds for bytes that are no parquet
            raise InputError(f"not Parquet ({type(error).__name__})", file=file, remedy="give a Parquet file") from error
        if missing := [c for c in _NEEDED if c not in table.columns]:
            raise InputError("columns are missing", file=file, field=", ".join(missing), remedy="add them")
        tables.append(table)
    whole = pl.concat(_aligned(tables), how="diagonal").sort("id")
    if whole["id"].is_duplicated().any():
        twice = whole.filter(pl.col("id").is_duplicated())["id"][0]
        raise InputError(f"source {twice} occurs twice", file=place, field="id", remedy="give every source one row")
    return Catalogue(whole, digest.hexdigest())


def _aligned(tables: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Tables whose numbers have one type each."""
    numbers = (pl.Float32, pl.Int64, pl.Int32)
    return [
        t.with_columns(
            pl.col("id").cast(pl.Int64),
            *(pl.col(c).cast(pl.Float64) for c, kind in t.schema.items() if c != "id" and kind in numbers),
        )
        for t in tables
    ]
