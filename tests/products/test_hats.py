"""HATS collections, judged by hats' strict validation and by lsdb itself."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.products.hats import adaptive_pixels, export_hats, nest_light_curves
from roman_assets.systems.msos.tables import SEASON_OBJECTS
from tests.optional import needed

RA, DEC = 268.0, -29.2


def catalogue(n=3000, seed=0, spread=0.2):
    rng = np.random.default_rng(seed)
    return pl.DataFrame(
        {
            "object_id": np.arange(n),
            "ra": (RA + rng.uniform(-spread, spread, n)) % 360,
            "dec": DEC + rng.uniform(-spread, spread, n),
            "mag": rng.uniform(17, 25, n).astype("f4"),
            "field": rng.choice(["f01", "f02"], n),
        }
    )


def great_circle(ra, dec, ra0, dec0):
    a, d, a0, d0 = map(np.radians, (ra, dec, ra0, dec0))
    return np.degrees(np.arccos(np.clip(np.sin(d) * np.sin(d0) + np.cos(d) * np.cos(d0) * np.cos(a - a0), -1, 1)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12 * 4**29 - 1), min_size=1, max_size=200), st.integers(1, 20), st.integers(0, 8))
def test_pixels_hold_every_row_once(numbers, max_rows, max_order):
    cells = np.sort(np.array(numbers, dtype=np.int64))
    pixels = adaptive_pixels(cells, max_rows, max_order)
    assert [p.start for p in pixels] + [len(cells)] == [0] + [p.stop for p in pixels]
    for pixel in pixels:
        assert np.all(cells[pixel.start : pixel.stop] >> (2 * (29 - pixel.order)) == pixel.number)
        assert pixel.stop - pixel.start <= max_rows or pixel.order == max_order


def test_lsdb_opens_searches_and_counts(tmp_path):
    lsdb = needed("lsdb")
    from hats.io.validation import is_valid_collection

    frame = catalogue()
    made = export_hats(frame, tmp_path / "objects", "objects", max_rows=400, schema=SEASON_OBJECTS)
    assert made.rows == 3000
    assert len(made.pixels) > 5
    assert is_valid_collection(tmp_path / "objects", strict=True)
    opened = lsdb.open_catalog(tmp_path / "objects")
    assert len(opened) == 3000
    whole = opened.compute()
    assert sorted(whole["object_id"]) == list(range(3000))
    cone = opened.cone_search(RA, DEC, 0.05 * 3600).compute()
    inside = great_circle(frame["ra"].to_numpy(), frame["dec"].to_numpy(), RA, DEC) <= 0.05
    assert sorted(cone["object_id"]) == sorted(frame["object_id"].to_numpy()[inside])


def test_lsdb_cross_matches_a_shifted_catalogue(tmp_path):
    lsdb = needed("lsdb")
    left = catalogue(500)
    right = left.with_columns(dec=pl.col("dec") + 0.2 / 3600, object_id=pl.col("object_id") + 10_000)
    export_hats(left, tmp_path / "left", "left")
    export_hats(right, tmp_path / "right", "right")
    matched = (
        lsdb.open_catalog(tmp_path / "left")
        .crossmatch(
            lsdb.open_catalog(tmp_path / "right"),
            radius_arcsec=1,
            n_neighbors=1,
            suffixes=("_l", "_r"),
            suffix_method="all_columns",
        )
        .compute()
    )
    assert len(matched) >= 499
    same = matched["object_id_r"].to_numpy() - matched["object_id_l"].to_numpy() == 10_000
    assert same.mean() > 0.99


def test_nested_light_curves_come_back_from_lsdb(tmp_path):
    lsdb = needed("lsdb")
    n, epochs = 40, 12
    rng = np.random.default_rng(2)
    base = catalogue(n).with_columns(optical_element=pl.lit("F146"))
    objects = base.with_columns(flux=pl.lit(1.0), flux_err=pl.lit(0.1), flag=pl.lit(0))
    curves = base.head(n - 1).with_columns(
        flux=pl.Series(rng.normal(100, 1, (n - 1, epochs)).astype("f4").tolist(), dtype=pl.List(pl.Float32)),
        flux_err=pl.Series(np.ones((n - 1, epochs)).tolist(), dtype=pl.List(pl.Float32)),
        flag=pl.Series(np.zeros((n - 1, epochs), int).tolist(), dtype=pl.List(pl.UInt8)),
    )
    times = pl.DataFrame(
        {"optical_element": "F146", "epoch": np.arange(epochs)[::-1], "mjd": 61465.0 + np.arange(epochs)[::-1]}
    )
    frame = nest_light_curves(objects, curves, times)
    assert frame.height == n
    assert frame["mjd"].list.len().to_list() == [epochs] * (n - 1) + [0]
    nested = {"light_curve": ("mjd", "flux", "flux_err", "flag")}
    export_hats(frame, tmp_path / "curves", "curves", nested=nested)
    opened = lsdb.open_catalog(tmp_path / "curves").compute()
    row = opened[opened["object_id"] == 5].iloc[0]["light_curve"]
    np.testing.assert_allclose(row["mjd"], 61465.0 + np.arange(epochs))
    np.testing.assert_allclose(row["flux"], curves["flux"][5].to_numpy())


def test_light_curves_of_other_length_than_their_epochs_are_refused():
    base = catalogue(2).with_columns(optical_element=pl.lit("F146"))
    objects = base.with_columns(flux=pl.lit(1.0), flux_err=pl.lit(0.1), flag=pl.lit(0))
    lists = [[1.0, 2.0], [1.0]]
    curves = base.with_columns(flux=pl.Series(lists), flux_err=pl.Series(lists), flag=pl.Series([[0, 0], [0]]))
    times = pl.DataFrame({"optical_element": "F146", "epoch": [0, 1], "mjd": [1.0, 2.0]})
    with pytest.raises(InputError, match="1 light curves"):
        nest_light_curves(objects, curves, times)


def test_export_is_atomic_and_replaces_only_when_told(tmp_path):
    export_hats(catalogue(10), tmp_path / "c", "c")
    with pytest.raises(InputError, match="exists"):
        export_hats(catalogue(20), tmp_path / "c", "c")
    with pytest.raises(InputError, match="set by the export"):
        export_hats(catalogue(20), tmp_path / "c", "c", replace=True, properties={"hats_nrows": "1"})
    assert [path.name for path in tmp_path.iterdir()] == ["c"]
    assert "hats_nrows=10\n" in (tmp_path / "c" / "c" / "hats.properties").read_text()
    export_hats(catalogue(20), tmp_path / "c", "c", replace=True, properties={"obs_title": "Bulge objects"})
    text = (tmp_path / "c" / "c" / "hats.properties").read_text()
    assert "hats_nrows=20\n" in text
    assert "obs_title=Bulge objects\n" in text
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_same_table_same_files(tmp_path):
    for name in ("a", "b"):
        export_hats(catalogue(200), tmp_path / name, "objects", max_rows=50)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert len(files) > 6
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (catalogue(0), {}, "empty"),
        (catalogue(5), {"ra": "RA"}, "field RA"),
        (catalogue(5).with_columns(dec=pl.lit(95.0)), {}, "5 rows have no position"),
        (catalogue(5).with_columns(ra=pl.lit(float("nan"))), {}, "5 rows have no position"),
        (catalogue(5).with_columns(ra=pl.lit(None, pl.Float64)), {}, "5 rows have no position"),
        (catalogue(5), {"name": "../x"}, "unfit catalogue name"),
        (catalogue(5), {"nested": {"lc": ("flux",)}}, "field flux"),
        (catalogue(5), {"properties": {"obs_title": "a\nb"}}, "one line"),
    ],
)
def test_what_cannot_be_exported_is_named(tmp_path, frame, options, message):
    with pytest.raises(InputError, match=message):
        export_hats(frame, tmp_path / "c", options.pop("name", "c"), **options)
    assert not list(tmp_path.iterdir())
