"""How a table product is described, checked and turned into an Arrow schema with units and descriptions.

The tables themselves are in the `tables.py` of each system.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import polars as pl

from roman_assets.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

PolarsType = pl.DataType | pl.datatypes.DataTypeClass


@dataclass(frozen=True)
class Column:
    """One column: polars type, unit in the mission's notation ("" for none), meaning, whether null may
    occur.
    """

    name: str
    dtype: PolarsType
    unit: str
    description: str
    nullable: bool = False


@dataclass(frozen=True)
class TableSchema:
    """One kind of table.

    Attributes
    ----------
    partition
        What one table covers, in words.
    sort
        Columns that order the rows.
    row_group_rows
        Rows per parquet row group.
    row_group_values
        For tables of lists: list elements per column and row group; it then limits `row_group_rows`.
    """

    kind: str
    title: str
    version: str
    partition: str
    columns: tuple[Column, ...]
    sort: tuple[str, ...]
    row_group_rows: int = 1_048_576
    row_group_values: int | None = None

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"{self.kind}: a column is named twice")
        if not set(self.sort) <= set(names):
            raise ValueError(f"{self.kind}: sorted by a column it does not have")

    @property
    def names(self) -> tuple[str, ...]:
        """Column names in order."""
        return tuple(column.name for column in self.columns)

    @property
    def polars_schema(self) -> pl.Schema:
        """Names and types."""
        return pl.Schema({column.name: column.dtype for column in self.columns})

    def empty(self) -> pl.DataFrame:
        """A table without rows."""
        return pl.DataFrame(schema=self.polars_schema)


#: Tables by kind: every system registers its own when its `tables` are imported.
_TABLES: dict[str, TableSchema] = {}


def register(tables: Iterable[TableSchema]) -> tuple[TableSchema, ...]:
    """Makes the tables of a system known by their kind; returns them.

    ValueError if another table has the kind.
    """
    given = tuple(tables)
    for schema in given:
        if _TABLES.setdefault(schema.kind, schema) != schema:
            raise ValueError(f"there are two tables of kind {schema.kind}")
    return given


def find_schema(kind: str) -> TableSchema:
    """The schema of a kind of table, of the systems imported; InputError if there is none."""
    if kind not in _TABLES:
        raise InputError(
            f"no table schema for products of kind {kind!r}",
            field="kind",
            remedy=f"use one of {', '.join(_TABLES)}, or add it to the tables.py of its system",
        )
    return _TABLES[kind]


def to_arrow_schema(schema: TableSchema, metadata: dict[str, str] | None = None) -> pa.Schema:
    """Arrow schema whose fields carry `unit` and `description`, and whose own metadata is `metadata`."""
    import pyarrow as pa

    fields = [
        pa.field(
            column.name,
            _arrow_type(column.dtype),
            nullable=column.nullable,
            metadata={"unit": column.unit, "description": column.description},
        )
        for column in schema.columns
    ]
    return pa.schema(fields, metadata=metadata)


def _arrow_type(dtype: PolarsType) -> pa.DataType:
    import pyarrow as pa

    if isinstance(dtype, pl.List):
        return pa.list_(pa.field("element", _arrow_type(dtype.inner), nullable=False))
    simple: dict[Any, pa.DataType] = {
        pl.Int8: pa.int8(),
        pl.Int16: pa.int16(),
        pl.Int32: pa.int32(),
        pl.Int64: pa.int64(),
        pl.UInt8: pa.uint8(),
        pl.UInt16: pa.uint16(),
        pl.UInt32: pa.uint32(),
        pl.UInt64: pa.uint64(),
        pl.Float32: pa.float32(),
        pl.Float64: pa.float64(),
        pl.Boolean: pa.bool_(),
        pl.String: pa.string(),
    }
    for candidate, arrow in simple.items():
        if dtype == candidate:
            return arrow
    raise TypeError(f"no Arrow type for {dtype}")


def validate(frame: pl.DataFrame, schema: TableSchema) -> None:
    """Raises InputError where a frame is not what its schema says: columns, their order, types, nulls,
    rows' order.

    NaN is a value, for measurements that failed; null is for what does not apply, where the schema allows it.
    """
    _check_names(frame, schema)
    if tuple(frame.columns) != schema.names:
        raise _error(schema, None, f"columns are in the order {', '.join(frame.columns)}", "use conform()")
    for column in schema.columns:
        found = frame.schema[column.name]
        if found != column.dtype:
            raise _error(schema, column.name, f"type {found} instead of {column.dtype}", "cast it, or use conform()")
        if not column.nullable and (count := frame[column.name].null_count()):
            raise _error(
                schema, column.name, f"{count} null values in a column that allows none", "fill them, or use NaN"
            )
    if not _is_sorted(frame, schema):
        raise _error(schema, schema.sort[0], "rows are not sorted", f"sort by {', '.join(schema.sort)}")


def conform(frame: pl.DataFrame, schema: TableSchema) -> pl.DataFrame:
    """The frame in its schema's column order, types and row order, checked by `validate`.

    Numbers are converted where nothing but precision is lost; a float is never made an integer. InputError
    otherwise.
    """
    _check_names(frame, schema)
    casts = []
    for column in schema.columns:
        found, wanted = frame.schema[column.name], column.dtype
        if found == wanted:
            continue
        if _scalar(found).is_float() and not _scalar(wanted).is_float():
            raise _error(schema, column.name, f"type {found} instead of {wanted}", "round it yourself")
        casts.append(pl.col(column.name).cast(wanted))
    ordered = frame.select(schema.names)
    try:
        ordered = ordered.with_columns(casts)
    except pl.exceptions.PolarsError as error:
        first = str(error).splitlines()[0]
        raise _error(schema, None, f"a column cannot be converted: {first}", "check its values") from error
    if not _is_sorted(ordered, schema):
        ordered = ordered.sort(schema.sort, maintain_order=True)
    validate(ordered, schema)
    return ordered


def _scalar(dtype: PolarsType) -> Any:
    return _scalar(dtype.inner) if isinstance(dtype, pl.List | pl.Array) else dtype


def _check_names(frame: pl.DataFrame, schema: TableSchema) -> None:
    missing = [name for name in schema.names if name not in frame.columns]
    if missing:
        raise _error(schema, missing[0], f"missing columns: {', '.join(missing)}", "add them")
    extra = [name for name in frame.columns if name not in schema.names]
    if extra:
        raise _error(
            schema, extra[0], f"columns the schema does not have: {', '.join(extra)}", "drop them or add them there"
        )


def _is_sorted(frame: pl.DataFrame, schema: TableSchema) -> bool:
    if not schema.sort or frame.height < 2:
        return True
    if len(schema.sort) == 1:
        return bool(frame[schema.sort[0]].is_sorted())
    keys = frame.select(schema.sort)
    return bool(keys.equals(keys.sort(schema.sort)))


def _error(schema: TableSchema, column: str | None, problem: str, remedy: str) -> InputError:
    return InputError(f"{schema.kind}: {problem}", field=column, remedy=remedy)


def data_dictionary(schemas: Iterable[TableSchema]) -> str:
    """Markdown: every table's partition, order and columns with types, units and meaning."""
    lines = [
        "# Data dictionary",
        "",
        "Made from the `tables.py` of each system (`roman_assets/systems`) by `make docs`: edit those.",
        "Tables are parquet files (zstd, floats byte-stream-split); units and descriptions are also in the",
        "files' own schema. Times are MJD (UTC), angles ICRS degrees, pixels 0-based with integers at the",
        "centres, magnitudes AB. NaN is a measurement that failed, null what does not apply.",
        "",
    ]
    for schema in schemas:
        lines += [
            f"## {schema.kind}",
            "",
            f"{schema.title} One table per {schema.partition}; schema version {schema.version};"
            f" sorted by {', '.join(f'`{name}`' for name in schema.sort)}.",
            "",
            "| column | type | unit | null | description |",
            "|---|---|---|---|---|",
        ]
        for column in schema.columns:
            null = "yes" if column.nullable else ""
            unit, text = column.unit.replace("|", "\\|"), column.description.replace("|", "\\|")
            lines.append(f"| {column.name} | {_type_name(column.dtype)} | {unit} | {null} | {text} |")
        lines.append("")
    return "\n".join(lines)


def _type_name(dtype: PolarsType) -> str:
    if isinstance(dtype, pl.List):
        return f"list of {_type_name(dtype.inner)}"
    return str(dtype() if isinstance(dtype, type) else dtype).lower()
