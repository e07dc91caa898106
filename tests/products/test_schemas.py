"""Table schemas: what conforms, what is refused and how, and the parquet files they become."""

import io
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest

from roman_assets.errors import InputError
from roman_assets.products.parquet import encode_table, file_metadata, row_group_rows
from roman_assets.products.schemas import conform, data_dictionary, find_schema, to_arrow_schema, validate
from roman_assets.systems.gdps.tables import TABLES as GDPS
from roman_assets.systems.msos.tables import TABLES
from roman_assets.systems.msos.tables import TABLES as MSOS
from tests.products.product_frames import part_frame

PART = find_schema("psf_photometry_part")
CURVES = find_schema("season_light_curves")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "data_dictionary.md"


def curves(n: int, epochs: int) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    return pl.DataFrame(
        {
            "object_id": np.sort(rng.integers(0, 2**61, n)),
            "star": np.arange(n),
            "ra": rng.uniform(267, 268, n),
            "dec": rng.uniform(-30, -29, n),
            "field": "f01",
            "detector": "WFI01",
            "optical_element": "F146",
            "n_good": epochs,
            "flux": list(rng.normal(100, 3, (n, epochs)).astype("f4")),
            "flux_err": list(rng.uniform(1, 2, (n, epochs)).astype("f4")),
            "flag": list(np.zeros((n, epochs), "u1")),
        },
        schema_overrides=CURVES.polars_schema,
    )


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.kind)
def test_every_table_round_trips_empty_with_units_and_descriptions(schema):
    content = encode_table(schema.empty(), schema, {})
    assert pl.read_parquet(io.BytesIO(content)).schema == schema.polars_schema
    fields = pq.read_schema(io.BytesIO(content))
    for column in schema.columns:
        metadata = fields.field(column.name).metadata
        assert metadata[b"unit"].decode() == column.unit
        assert metadata[b"description"].decode() == column.description
        assert column.description
        assert fields.field(column.name).nullable == column.nullable


@pytest.mark.parametrize("schema", TABLES, ids=lambda schema: schema.kind)
def test_identifiers_and_positions_agree_between_tables(schema):
    dtypes = {column.name: (column.dtype, column.unit) for column in schema.columns}
    expected = {
        "object_id": (pl.Int64, ""),
        "star": (pl.Int32, ""),
        "ra": (pl.Float64, "deg"),
        "dec": (pl.Float64, "deg"),
    }
    for name, value in expected.items():
        assert dtypes.get(name, value) == value


def test_conform_orders_columns_and_rows_and_narrows_numbers():
    frame = part_frame(20).with_columns(pl.col("flux").cast(pl.Float64), pl.col("star").cast(pl.Int64))
    shuffled = frame.select(reversed(frame.columns)).sample(fraction=1.0, shuffle=True, seed=3)
    assert conform(shuffled, PART).equals(part_frame(20))


@pytest.mark.parametrize(
    ("change", "column", "message"),
    [
        (lambda f: f.drop("chi2"), "chi2", "missing columns: chi2"),
        (lambda f: f.with_columns(extra=1), "extra", "does not have: extra"),
        (lambda f: f.with_columns(star=pl.col("flux")), "star", "Float32 instead of Int32"),
        (lambda f: f.with_columns(flag=pl.lit(300)), None, "cannot be converted"),
        (lambda f: f.with_columns(flux=pl.lit("bright")), None, "cannot be converted"),
        (lambda f: f.with_columns(flux=pl.lit(None, pl.Float32)), "flux", "50 null values"),
    ],
)
def test_conform_names_what_is_wrong(change, column, message):
    with pytest.raises(InputError, match=message) as caught:
        conform(change(part_frame()), PART)
    assert caught.value.field == column
    assert "psf_photometry_part" in str(caught.value)
    assert caught.value.remedy


def test_validate_is_strict_about_order_and_type():
    validate(part_frame(), PART)
    for wrong in (
        part_frame().reverse(),
        part_frame().select("flux", pl.exclude("flux")),
        part_frame().with_columns(pl.col("star").cast(pl.Int64)),
    ):
        with pytest.raises(InputError):
            validate(wrong, PART)


def test_nan_is_a_value():
    assert conform(part_frame().with_columns(flux=pl.lit(float("nan"), pl.Float32)), PART)["flux"].is_nan().all()


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(InputError, match="season_light_curves"):
        find_schema("seasonal_light_curves")


def test_same_table_same_bytes_without_clock_or_host():
    content = encode_table(part_frame(), PART, {"b": "2", "a": "1"})
    assert content == encode_table(part_frame(), PART, {"a": "1", "b": "2"})
    assert content != encode_table(part_frame(seed=1), PART, {"a": "1", "b": "2"})
    assert file_metadata(content) == {"a": "1", "b": "2"}
    created_by = pq.ParquetFile(io.BytesIO(content)).metadata.created_by
    assert created_by.startswith("parquet-cpp-arrow version")


def test_encodings_and_compression_are_those_of_the_contract():
    metadata = pq.ParquetFile(io.BytesIO(encode_table(part_frame(), PART, {}))).metadata.row_group(0)
    columns = {metadata.column(i).path_in_schema: metadata.column(i) for i in range(metadata.num_columns)}
    assert all(column.compression == "ZSTD" for column in columns.values())
    assert "BYTE_STREAM_SPLIT" in columns["flux"].encodings
    assert "DELTA_BINARY_PACKED" in columns["star"].encodings


def test_light_curves_take_less_than_six_bytes_a_point_and_read_in_small_groups():
    frame = curves(400, 2000)
    content = encode_table(frame, CURVES, {})
    assert len(content) / (400 * 2000) < 8.0
    file = pq.ParquetFile(io.BytesIO(content))
    assert row_group_rows(frame, CURVES) == 87
    assert file.metadata.num_row_groups == 5
    assert pl.read_parquet(io.BytesIO(content)).equals(frame)


def test_short_light_curves_share_a_row_group():
    assert row_group_rows(curves(100, 10), CURVES) == 17_500


def test_arrow_types_of_lists():
    field = to_arrow_schema(CURVES).field("flux")
    assert str(field.type) == "list<element: float not null>"


def test_committed_data_dictionary_is_up_to_date():
    assert DOCS.read_text() == data_dictionary([*MSOS, *GDPS]), (
        "write data_dictionary([*MSOS, *GDPS]) to docs/data_dictionary.md"
    )
