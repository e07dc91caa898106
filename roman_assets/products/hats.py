"""HATS catalogues: what lsdb opens, written with polars and pyarrow alone.
 A collection folder holds `collection.properties` and one catalogue; the catalogue has one parquet file per
HEALPix pixel, the pixels as deep as the density of rows asks for. cdshealpix alone decides which pixel a
row is in.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.products.schemas import TableSchema

if TYPE_CHECKING:
    import pyarrow as pa

HEALPIX_COLUMN = "_healpix_29"
HEALPIX_ORDER = 29
#: Beyond it a pixel is smaller than 13 arcseconds.
MAX_ORDER = 14
DIRECTORY_SIZE = 10_000


@dataclass(frozen=True)
class Pixel:
    """A nested HEALPix pixel and the rows [start, stop) it holds of a table sorted by position."""

    order: int
    number: int
    start: int
    stop: int

    @property
    def path(self) -> str:
        """Its file, relative to the dataset folder."""
        folder = self.number // DIRECTORY_SIZE * DIRECTORY_SIZE
        return f"Norder={self.order}/Dir={folder}/Npix={self.number}.parquet"


@dataclass(frozen=True)
class HatsCollection:
    """An exported collection: its folder, the catalogue in it, rows and pixels."""

    folder: Path
    catalog: Path
    rows: int
    pixels: tuple[Pixel, ...]


def adaptive_pixels(cells: NDArray[np.int64], max_rows: int, max_order: int = MAX_ORDER) -> list[Pixel]:
    """Pixels of at most `max_rows` rows each, except at `max_order`; only those with rows.

    Parameters
    ----------
    cells
        int64 (n,): sorted nested cells of order 29.
    """

    def split(order: int, number: int, start: int, stop: int) -> Iterator[Pixel]:
        if start == stop:
            return
        if stop - start <= max_rows or order == max_order:
            yield Pixel(order, number, start, stop)
            return
        shift = 2 * (HEALPIX_ORDER - order - 1)
        edges = [(4 * number + child) << shift for child in range(5)]
        bounds = start + np.searchsorted(cells[start:stop], edges)
        for child in range(4):
            yield from split(order + 1, 4 * number + child, int(bounds[child]), int(bounds[child + 1]))

    edges = np.searchsorted(cells, np.arange(13, dtype=np.int64) << (2 * HEALPIX_ORDER))
    return [p for base in range(12) for p in split(0, base, int(edges[base]), int(edges[base + 1]))]


def export_hats(
    frame: pl.DataFrame | pl.LazyFrame,
    folder: str | Path,
    name: str,
    *,
    ra: str = "ra",
    dec: str = "dec",
    nested: Mapping[str, Sequence[str]] | None = None,
    schema: TableSchema | None = None,
    max_rows: int = 100_000,
    properties: Mapping[str, str] | None = None,
    replace: bool = False,
) -> HatsCollection:
    """Writes a table as a HATS collection.

    Parameters
    ----------
    folder
        The collection; made beside its place and renamed, so that it is never seen half written.
    name
        Of the catalogue: letters, digits, `_` and `-`.
    ra, dec
        Position columns, degrees ICRS.
    nested
        List columns to pack into structs, by the name of the struct: nested light curves in lsdb.
    schema
        Gives units and descriptions to the columns it knows.
    max_rows
        Rows per pixel.
    properties
        More lines for hats.properties, such as `obs_title`.
    replace
        Whether a collection that is there gives way.

    Raises
    ------
    InputError
        For an empty table, positions that are none, unknown columns, a folder that exists.
    """
    target = Path(folder)
    if target.exists() and not replace:
        raise InputError("the collection exists", file=target, remedy="choose another folder, or replace it")
    _check_name(name)
    table = _prepare(frame.lazy().collect(), ra, dec, nested or {})
    pixels = adaptive_pixels(table[HEALPIX_COLUMN].to_numpy(), max_rows)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    try:
        _write_catalog(temporary / name, table, pixels, schema)
        _write_properties(temporary, name, ra, dec, table, pixels, properties or {}, max_rows)
        _swap(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return HatsCollection(target, target / name, table.height, tuple(pixels))


def _check_name(name: str) -> None:
    if not name or not all(c.isalnum() or c in "_-" for c in name) or not name.isascii():
        raise InputError(f"unfit catalogue name {name!r}", field="name", remedy="use letters, digits, _ and -")


def _prepare(frame: pl.DataFrame, ra: str, dec: str, nested: Mapping[str, Sequence[str]]) -> pl.DataFrame:
    """Checked, with the spatial index first, sorted by it, list columns packed."""
    from roman_assets.survey.healpix import cells_of

    wanted = [ra, dec, *(column for columns in nested.values() for column in columns)]
    for column in wanted:
        if column not in frame.columns:
            raise InputError("no such column in the table to export", field=column, remedy="name another")
    if frame.height == 0:
        raise InputError("an empty table has no place on the sky", remedy="export a product that has rows")
    longitude, latitude = (frame[c].cast(pl.Float64).fill_null(np.nan).to_numpy() for c in (ra, dec))
    bad = ~(np.isfinite(longitude) & (np.abs(latitude) <= 90.0))
    if bad.any():
        raise InputError(f"{int(bad.sum())} rows have no position on the sky", field=ra, remedy="drop them")
    for struct, columns in nested.items():
        frame = frame.with_columns(pl.struct(columns).alias(struct)).drop(columns)
    cells = pl.Series(HEALPIX_COLUMN, cells_of(longitude, latitude, HEALPIX_ORDER), dtype=pl.Int64)
    rest = frame.drop(HEALPIX_COLUMN, strict=False)
    return rest.select(cells, pl.all()).sort(HEALPIX_COLUMN, maintain_order=True)


def _plain(dtype: pa.DataType) -> pa.DataType:
    """Arrow type without the 64-bit offsets and views of polars, which not every reader knows."""
    import pyarrow as pa

    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(f.name, _plain(f.type)) for f in dtype])
    if pa.types.is_large_list(dtype) or pa.types.is_list(dtype):
        return pa.list_(pa.field("element", _plain(dtype.value_type)))
    if pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return pa.string()
    return dtype


def _write_catalog(catalog: Path, table: pl.DataFrame, pixels: Sequence[Pixel], schema: TableSchema | None) -> None:
    """Data files, `_metadata`, `_common_metadata` and `partition_info.csv`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    known = {} if schema is None else {column.name: column for column in schema.columns}
    fields = []
    for field in table.head(0).to_arrow().schema:
        column = known.get(field.name)
        facts = None if column is None else {"unit": column.unit, "description": column.description}
        fields.append(pa.field(field.name, _plain(field.type), metadata=facts))
    arrow_schema = pa.schema(fields)
    dataset = catalog / "dataset"
    collected: list[Any] = []
    for pixel in pixels:
        path = dataset / pixel.path
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = table.slice(pixel.start, pixel.stop - pixel.start).to_arrow().cast(arrow_schema)
        pq.write_table(rows, path, compression="zstd", metadata_collector=collected)
        collected[-1].set_file_path(pixel.path)
    pq.write_metadata(arrow_schema, dataset / "_metadata", metadata_collector=collected)
    pq.write_metadata(arrow_schema, dataset / "_common_metadata")
    lines = ["Norder,Npix", *(f"{pixel.order},{pixel.number}" for pixel in pixels)]
    (catalog / "partition_info.csv").write_text("\n".join(lines) + "\n")


def _write_properties(
    collection: Path,
    name: str,
    ra: str,
    dec: str,
    table: pl.DataFrame,
    pixels: Sequence[Pixel],
    properties: Mapping[str, str],
    max_rows: int,
) -> None:
    """`hats.properties` of the catalogue and `collection.properties`."""
    sky_fraction = sum(1.0 / (12 * 4**pixel.order) for pixel in pixels)
    size = sum(path.stat().st_size for path in (collection / name).rglob("*") if path.is_file())
    catalog = {
        "obs_collection": name,
        "dataproduct_type": "object",
        "hats_nrows": str(table.height),
        "hats_col_ra": ra,
        "hats_col_dec": dec,
        "hats_col_healpix": HEALPIX_COLUMN,
        "hats_col_healpix_order": str(HEALPIX_ORDER),
        "hats_npix_suffix": ".parquet",
        "hats_max_rows": str(max_rows),
        "hats_order": str(max(pixel.order for pixel in pixels)),
        "hats_estsize": str(max(1, size // 1024)),
        "hats_frame": "equatorial",
        "hats_version": "v1.0",
        "moc_sky_fraction": f"{sky_fraction:.10g}",
    }
    clash = sorted(set(catalog) & set(properties))
    if clash:
        raise InputError(f"{clash[0]} is set by the export", field=clash[0], remedy="leave it out")
    (collection / name / "hats.properties").write_text(_lines({**catalog, **properties}))
    whole = {"obs_collection": name, "hats_primary_table_url": name}
    (collection / "collection.properties").write_text(_lines(whole))


def _lines(values: Mapping[str, str]) -> str:
    for key, value in values.items():
        if any(c in f"{key}{value}" for c in "\r\n") or any(c in key for c in "=: "):
            raise InputError("a property cannot be written on one line", field=key, remedy="shorten it")
    return "".join(f"{key}={value}\n" for key, value in values.items())


def _swap(new: Path, target: Path) -> None:
    """Puts `new` in the place of `target`, which moves aside first and comes back if that fails."""
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        os.rename(new, target)
        return
    aside = target.with_name(f".{target.name}.{uuid.uuid4().hex}.old")
    os.rename(target, aside)
    try:
        os.rename(new, target)
    except OSError:
        os.rename(aside, target)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def nest_light_curves(objects: pl.DataFrame, curves: pl.DataFrame, epochs: pl.DataFrame) -> pl.DataFrame:
    """Objects with list columns `mjd`, `flux`, `flux_err`, `flag`, ready for `export_hats(nested=..)`.

    Parameters
    ----------
    objects
        season_objects: one row per object and optical element.
    curves, epochs
        season_light_curves and season_epochs of the same season and detector. Objects without a light curve
        get empty lists; InputError if a light curve is not as long as its epochs.
    """
    times = epochs.sort("optical_element", "epoch").group_by("optical_element").agg("mjd")
    lists = curves.select("object_id", "optical_element", "flux", "flux_err", "flag").join(
        times, on="optical_element", how="left"
    )
    wrong = lists.filter(pl.col("mjd").list.len().fill_null(0) != pl.col("flux").list.len())
    if wrong.height:
        raise InputError(
            f"{wrong.height} light curves are not as long as the epochs of their optical element",
            field="flux",
            remedy="give epochs of the same season and detector",
        )
    joined = objects.drop("flux", "flux_err", "flag", strict=False)
    means = objects.select(
        "object_id", "optical_element", *(pl.col(c).alias(f"mean_{c}") for c in ("flux", "flux_err"))
    )
    keys = ["object_id", "optical_element"]
    joined = joined.join(means, on=keys, how="left", maintain_order="left")
    joined = joined.join(lists, on=keys, how="left", maintain_order="left")
    return joined.with_columns(
        pl.col(name).fill_null(pl.lit([], dtype=joined.schema[name])) for name in ("mjd", "flux", "flux_err", "flag")
    )
