"""Parquet files: small, quick to read the way each table is read, and the same bytes for the same table."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import polars as pl

from roman_assets.errors import Damaged, first_line
from roman_assets.products.schemas import TableSchema, to_arrow_schema

COMPRESSION_LEVEL = 3


def encode_table(frame: pl.DataFrame, schema: TableSchema, metadata: dict[str, str]) -> bytes:
    """A conforming frame as a parquet file.

    zstd; floats byte-stream-split, 32 and 64-bit integers delta, the rest by dictionary. `metadata` goes
    into the schema's metadata beside each column's unit and description. Neither clock nor host enters.
    """
    import pyarrow.parquet as pq

    arrow_schema = to_arrow_schema(schema, dict(sorted(metadata.items())))
    table = frame.to_arrow().cast(arrow_schema)
    encodings, dictionaries = _encodings(schema)
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=row_group_rows(frame, schema),
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        use_dictionary=dictionaries or False,
        column_encoding=encodings or None,
        write_page_index=True,
        write_page_checksum=True,
        data_page_size=1 << 20,
        version="2.6",
        store_schema=True,
    )
    return sink.getvalue()


def read_part(source: Any, columns: Sequence[str] | None = None, where: tuple[str, Any] | None = None) -> pl.DataFrame:
    """Columns of a parquet file (path or stream), with `where` only the rows where a column has a value.

    Pages that are read are compared with their checksums; row groups that cannot hold the value are not read. Files
    that were written before there were checksums are read as they are.

    Raises
    ------
    Damaged
        A page, or the file's own description of itself, is not as written.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(source, page_checksum_verification=True)
        wanted = list(columns) if columns is not None else file.schema_arrow.names
        read = wanted if where is None or where[0] in wanted else [*wanted, where[0]]
        if where is None:
            table = file.read(columns=read)
        else:
            groups = [g for g in range(file.num_row_groups) if _may_hold(file.metadata.row_group(g), *where)]
            table = file.read_row_groups(groups, columns=read)
            table = table.filter(pc.equal(table[where[0]], where[1])).select(wanted)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk
        raise Damaged(f"cannot be read ({first_line(error)})") from error
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.select(wanted)


def _may_hold(group: Any, column: str, value: Any) -> bool:
    """Whether the statistics of a row group allow a value in a column."""
    for index in range(group.num_columns):
        chunk = group.column(index)
        if chunk.path_in_schema == column:
            bounds = chunk.statistics
            return bounds is None or not bounds.has_min_max or bounds.min <= value <= bounds.max
    return True


def row_group_rows(frame: pl.DataFrame, schema: TableSchema) -> int:
    """Rows per row group: the schema's, fewer where the rows hold long lists."""
    if schema.row_group_values is None or frame.height == 0:
        return schema.row_group_rows
    lists = [column.name for column in schema.columns if isinstance(column.dtype, pl.List)]
    length = max(frame[name].list.len().mean() or 0 for name in lists)  # type: ignore[type-var]
    return max(1, min(schema.row_group_rows, int(schema.row_group_values / max(float(length), 1.0))))  # type: ignore[arg-type]


def _encodings(schema: TableSchema) -> tuple[dict[str, str], list[str]]:
    encodings: dict[str, str] = {}
    dictionaries: list[str] = []
    for column in schema.columns:
        dtype: Any = column.dtype
        path = column.name
        while isinstance(dtype, pl.List):
            dtype, path = dtype.inner, f"{path}.list.element"
        if dtype.is_float():
            encodings[path] = "BYTE_STREAM_SPLIT"
        elif dtype in (pl.Int32, pl.Int64):
            encodings[path] = "DELTA_BINARY_PACKED"
        elif dtype != pl.Boolean:
            dictionaries.append(path)
    return encodings, dictionaries


def file_metadata(content: bytes) -> dict[str, str]:
    """The schema's own metadata of a parquet file, without Arrow's."""
    import pyarrow.parquet as pq

    found = pq.read_schema(io.BytesIO(content)).metadata or {}
    return {key.decode(): value.decode() for key, value in found.items() if key != b"ARROW:schema"}
