"""The finder end to end: sparse and dense blocks, real events, the 2018 data challenge, users' files."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.msos.events.finder import (
    EventConfig,
    coverage,
    empty_events,
    find_events,
    find_events_in_curves,
    microlensing,
)
from roman_assets.systems.msos.events.light_curve_files import read_light_curves
from roman_assets.systems.msos.models.point_lens import Band, LightCurve
from roman_assets.systems.msos.tables import SEASON_EVENTS
from tests.systems.msos import event_curves as sim


def find(mjd, flux, error, **kwargs):
    return find_events({"F146": mjd}, {"F146": flux}, {"F146": error}, **kwargs)


def test_sparse_events_are_found():
    """24 epochs in 4 days: every event of dchi2 > 300 and 4 points over 3 sigma."""
    rng = np.random.default_rng(41)
    mjd = sim.sparse_epochs(rng)
    flux, error, truth = sim.events(rng, mjd, 900)
    over = (flux - truth["baseline"][:, None] > 3 * error).sum(1)
    must = np.flatnonzero((sim.delta_chi2(flux, error, truth["flux"]) > 300) & (over >= 4))
    assert len(must) > 200
    events = microlensing(find(mjd, flux, error))
    missed = set(must) - set(events["row"])
    assert len(missed) <= 0.005 * len(must)
    kept = events.filter(pl.col("row").is_in(must.tolist()))
    pull = (kept["t0"].to_numpy() - truth["t0"][kept["row"].to_numpy()]) / kept["t0_err"].to_numpy()
    assert (np.abs(pull) < 3).mean() > 0.99


@pytest.mark.parametrize("cadence", ["sparse", "dense"])
def test_variables_and_constants_are_no_events(cadence):
    rng = np.random.default_rng(42)
    mjd = sim.sparse_epochs(rng) if cadence == "sparse" else sim.dense_epochs(rng, 1500)
    n = 600 if cadence == "sparse" else 60
    assert microlensing(find(mjd, *sim.variables(rng, mjd, n))).height == 0
    assert find(mjd, *sim.constants(rng, mjd, n)).height == 0


def test_columns_are_those_of_the_product():
    rng = np.random.default_rng(43)
    mjd = sim.dense_epochs(rng, 600)
    flux, error, _ = sim.events(rng, mjd, 5, flux=(3.5, 4.0))
    events = find(mjd, flux, error)
    assert events.height >= 3
    assert events.schema == empty_events().schema
    model = {name: dtype for name, dtype in SEASON_EVENTS.empty().schema.items() if name in events.columns}
    assert {name: events.schema[name] for name in model} == model
    for column in SEASON_EVENTS.columns:
        if column.name in events.columns and not column.nullable:
            assert events[column.name].null_count() == 0, column.name
    first = events.row(0, named=True)
    assert len(first["covariance"]) == len(first["parameters"]) ** 2
    assert first["teff"] == pytest.approx(first["u0"] * first["te"])
    assert first["dchi2_flat"] == pytest.approx(first["chi2_flat"] - first["chi2_pspl"])


def test_elements_with_different_epochs_are_fitted_together():
    rng = np.random.default_rng(44)
    main, second = sim.dense_epochs(rng, 900), sim.sparse_epochs(rng) + 2
    lens = (61469.0, 0.2, 1.5)
    flux = {
        "F146": 50 + 100 * sim.paczynski(main, *lens)[None].repeat(2, 0),
        "F087": 5 + 30 * sim.paczynski(second, *lens)[None].repeat(2, 0),
    }
    flux["F146"][0] = 150.0
    flux["F087"][0] = 35.0
    flux = {name: f + rng.normal(0, 1, f.shape) for name, f in flux.items()}
    flux["F146"][1, 100:110] = np.nan
    error = {name: np.ones(f.shape) for name, f in flux.items()}
    events = find_events({"F146": main, "F087": second}, flux, error)
    assert events["row"].to_list() == [1]
    row = events.row(0, named=True)
    assert row["bands"] == ["F146", "F087"]
    assert row["fs"] == pytest.approx([100, 30], rel=0.1)
    assert row["n_points"] == 900 - 10 + 24
    assert row["event_class"] == "single_lens"


def test_light_curve_fluxes_in_single_precision_and_nothing_found():
    rng = np.random.default_rng(45)
    mjd = sim.sparse_epochs(rng)
    flux, error = sim.constants(rng, mjd, 4)
    assert find(mjd, flux.astype(np.float32), error.astype(np.float32)).height == 0
    assert find(mjd, np.full((2, 24), np.nan), np.full((2, 24), np.nan)).height == 0
    assert find_events({}, {}, {}).schema == empty_events().schema
    assert find_events_in_curves({}).height == 0


def test_blocks_that_disagree_are_refused():
    with pytest.raises(InputError, match="same elements"):
        find_events({"F146": np.zeros(3)}, {"F087": np.zeros((1, 3))}, {"F146": np.zeros((1, 3))})
    with pytest.raises(InputError, match="F146"):
        find(np.zeros(3), np.zeros((1, 4)), np.zeros((1, 4)))


def test_coverage():
    t = np.arange(0, 10, 0.1)
    curve = LightCurve((Band("b", t, t, t + 1),))
    assert coverage(curve, 5.0, 2.0) == 1.0
    assert coverage(curve, 10.0, 2.0) == pytest.approx(0.5, abs=0.06)
    assert coverage(curve, 50.0, 2.0) == 0.0


@pytest.mark.parametrize(
    ("name", "t0", "within", "te", "factor", "kind"),
    [
        ("OB08092/phot_ob08092_O4.dat", 5379.571, 0.5, 17.94, 1.3, "single_lens"),
        ("OB05086/starBLG234.6.I.218982.dat", 3628.3, 0.5, 102, 1.3, "microlensing"),
        # Minutes of two-lens fits on 1,250 points, and half a minute on fewer.
        pytest.param("OB03235/OB03235_OGLE.tbl.txt", 2452848.06, 1.0, 61.5, 2.0, "binary_lens", marks=pytest.mark.slow),
        pytest.param("OB03235/OB03235_MOA.tbl.txt", 2452848.06, 1.0, 61.5, 2.0, "binary_lens", marks=pytest.mark.slow),
    ],
)
def test_ogle_events(shared_data, name, t0, within, te, factor, kind):
    """Published values; each survey's half of the first planet (Bond et al. 2004) leaves tE uncertain by the blend."""
    best = microlensing(find_events_in_curves(read_light_curves(shared_data / "ogle" / name)))
    best = best.filter(pl.col("degeneracy").fill_null(0) == 0)
    assert best["event_class"].to_list() == [kind]
    row = best.row(0, named=True)
    assert row["t0"] == pytest.approx(t0, abs=within)
    assert te / factor < row["te"] < te * factor


@pytest.mark.slow
def test_data_challenge(shared_data):
    """Planets of the 2018 challenge are microlensing, cataclysmic variables are not."""
    curves = read_light_curves(shared_data / "dc2018/light_curves.parquet")
    truth = pl.read_parquet(shared_data / "dc2018/truth.parquet").with_columns(pl.col("id").cast(pl.String))
    some = truth.filter(pl.col("id").is_in(["1", "4", "11", "32", "47", "226"]))
    events = find_events_in_curves({name: curves[name] for name in some["id"]})
    lenses = set(microlensing(events)["id"])
    assert lenses == set(some.filter(pl.col("cls") == "omcassan")["id"])
    assert events.filter(pl.col("id") == "11")["event_class"].to_list() == ["cataclysmic"]
    sharp = events.join(some, on="id").filter(pl.col("id").is_in(["32", "47"]))
    assert ((sharp["t0"] - sharp["t0_bjd"]).abs() < 0.05).all()
    assert ((sharp["te"] / sharp["tE"] - 1).abs() < 0.02).all()


def test_a_stricter_threshold_keeps_fewer():
    rng = np.random.default_rng(46)
    mjd = sim.sparse_epochs(rng)
    flux, error, _ = sim.events(rng, mjd, 60)
    every, strong = find(mjd, flux, error), find(mjd, flux, error, config=EventConfig(min_dchi2=2000))
    assert 0 < strong.height < every.height
    assert strong["dchi2_flat"].min() >= 2000


IPAC = '\\TIME_SERIES_DATA_FILTER = "I"\n'
POINTS = [(60000.0 + 0.25 * i, 10.0 + i, 0.5) for i in range(8)]


def as_text(separator, header=None):
    rows = [separator.join(map(str, point)) for point in POINTS]
    return "\n".join(([header] if header else []) + rows) + "\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", as_text(",", "MJD,Flux,Flux_Err")),
        ("a.csv", as_text(",", "bjd,flux,err")),
        ("a.txt", as_text("  ", "# time flux error")),
        ("a.dat", "# a comment\n" + as_text(" ", "hjd f sigma")),
        ("a.tbl.txt", IPAC + as_text(" ", "| HJD | Relative_Flux | Relative_Flux_Uncertainty |")),
    ],
)
def test_text_formats(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    ((key, curve),) = read_light_curves(tmp_path / name).items()
    assert key == "a"
    assert curve.bands[0].name == ("I" if "tbl" in name else "band")
    assert curve.bands[0].flux.tolist() == [p[1] for p in POINTS]
    assert curve.bands[0].flux_err.tolist() == [0.5] * 8


def test_long_and_list_tables_say_the_same(tmp_path):
    long = pl.DataFrame(
        {
            "object_id": [7] * 4 + [9] * 2,
            "filter": ["F146"] * 3 + ["F087"] + ["F146"] * 2,
            "mjd": [3.0, 1.0, 2.0, 1.0, 5.0, 6.0],
            "flux": [30.0, 10.0, 20.0, 1.0, 5.0, None],
            "flux_err": [1.0] * 6,
        }
    )
    long.write_parquet(tmp_path / "long.parquet")
    long.write_csv(tmp_path / "long.csv")
    lists = long.group_by("object_id", "filter", maintain_order=True).agg("mjd", "flux", "flux_err")
    lists.write_parquet(tmp_path / "lists.parquet")
    for name in ("long.parquet", "long.csv", "lists.parquet"):
        curves = read_light_curves(tmp_path / name)
        assert list(curves) == ["7", "9"]
        assert [band.name for band in curves["7"].bands] == ["F146", "F087"]
        assert curves["7"].bands[0].flux.tolist() == [10, 20, 30]
        assert len(curves["9"]) == 1


def test_magnitudes_and_named_columns(tmp_path):
    file = tmp_path / "m.csv"
    file.write_text("when,m1,dm\n1,22.0,0.1\n2,19.5,0.1\n")
    curve = read_light_curves(file, columns={"time": "when", "mag": "m1", "mag_err": "dm"}, band="I")["m"]
    assert curve.bands[0].flux == pytest.approx([1.0, 10.0])
    assert curve.bands[0].flux_err == pytest.approx([0.0921034, 0.921034])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no rows"),
        ("when,flux,err\n1,2,3\n", "time.*call it one of"),
        ("mjd,brightness,err\n1,2,3\n", "flux or mag"),
        ("mjd,flux,err\n1,2,3\n1,2\n", "row 3 has 2 cells"),
        ("mjd,flux,err\n1,high,3\n", "field flux.*'high' is not a number"),
        ("mjd,flux,err\n1,2,-3\n", "no usable point"),
        ("mjd,mjd,err\n1,2,3\n", "repeat"),
        ("1 500 3\n2 600 3\n", "no magnitudes.*values='flux'"),
        ("1 2\n", "without names"),
    ],
)
def test_bad_files_name_the_file_and_the_remedy(tmp_path, text, message):
    file = tmp_path / "x.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        read_light_curves(file)
    assert str(file) in str(caught.value)
    assert caught.value.remedy


def test_missing_file_and_unknown_column(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_light_curves(tmp_path / "none.csv")
    file = tmp_path / "x.csv"
    file.write_text("mjd,flux,err\n1,2,3\n")
    with pytest.raises(InputError, match="no such column"):
        read_light_curves(file, columns={"time": "bjd"})
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nonsense")
    with pytest.raises(InputError, match="cannot be read"):
        read_light_curves(tmp_path / "broken.parquet")
    uneven = pl.DataFrame({"mjd": [[1.0, 2.0]], "flux": [[1.0]], "flux_err": [[1.0]]})
    uneven.write_parquet(tmp_path / "uneven.parquet")
    with pytest.raises(InputError, match="different lengths"):
        read_light_curves(tmp_path / "uneven.parquet")
