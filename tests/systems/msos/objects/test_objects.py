"""Object statistics against plain numpy, one light curve at a time, and the coarse classes."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from roman_assets.systems.msos.light_curves.series import SeriesBlock
from roman_assets.systems.msos.objects.statistics import ClassThresholds, statistics
from roman_assets.systems.msos.photometry.exposure_fit import MASKED, NO_DATA

ZERO_POINT = 26.79


def block_of(flux, error=5.0, mjd=None, flag=None):
    flux = np.atleast_2d(np.asarray(flux, dtype=np.float32))
    times = np.arange(flux.shape[1]) * 0.125 if mjd is None else np.asarray(mjd, dtype=np.float64)
    flags = np.zeros(flux.shape, np.uint8) if flag is None else flag
    errors = np.full(flux.shape, error, np.float32) if np.isscalar(error) else error.astype(np.float32)
    return SeriesBlock(times, flux, errors, flags)


def noisy(rng, stars=40, epochs=64):
    error = rng.uniform(3, 8, (stars, epochs))
    flux = 500 + rng.normal(size=(stars, epochs)) * error
    flag = np.where(rng.random((stars, epochs)) < 0.1, MASKED, 0).astype(np.uint8)
    flag[:5] = 0
    flux[flag > 0] = 1e6
    return block_of(flux, error, flag=flag)


def test_against_plain_numpy():
    block = noisy(np.random.default_rng(0))
    table = statistics(block, ZERO_POINT)
    assert table.height == 40
    for s in range(40):
        good = block.flag[s] == 0
        f, e = block.flux[s, good].astype(float), block.flux_err[s, good].astype(float)
        row = table.row(s, named=True)
        w = 1 / e**2
        mean = (w * f).sum() / w.sum()
        residual = f - mean
        n = good.sum()
        scatter = 1.4826 * np.median(np.abs(f - np.median(f))) * np.sqrt(n / (n - 1))
        variance = (residual**2).sum() / (n - 1)
        expected = {
            "flux": mean,
            "flux_err": w.sum() ** -0.5,
            "mag": ZERO_POINT - 2.5 * np.log10(mean),
            "mag_err": 1.0857 * w.sum() ** -0.5 / mean,
            "n": n,
            "n_flagged": (~good).sum(),
            "first_mjd": block.mjd[good][0],
            "last_mjd": block.mjd[good][-1],
            "scatter": scatter,
            "expected_scatter": np.median(e),
            "chi2_dof": (w * residual**2).sum() / (n - 1),
            "eta": (np.diff(residual) ** 2).sum() / (residual**2).sum(),
            "skew": (residual**3).mean() / variance**1.5,
            "kurtosis": (residual**4).mean() / variance**2 - 3,
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, rel=2e-4, abs=1e-6), (s, name)
        product = (residual / e)[1:] * (residual / e)[:-1]
        assert row["stetson_j"] == pytest.approx(
            (np.sign(product) * np.sqrt(np.abs(product))).mean(), rel=1e-3, abs=1e-6
        )
        ordered = np.sort(f)
        low, high = (ordered[round((n - 1) * p)] for p in (0.05, 0.95))
        assert row["amplitude"] == pytest.approx(high - low, rel=1e-4)


def test_constant_stars_are_constant():
    rng = np.random.default_rng(1)
    table = statistics(block_of(1000 + rng.normal(0, 5, (300, 48))), ZERO_POINT)
    assert (table["variability_class"] == "constant").mean() > 0.98
    assert table["chi2_dof"].median() == pytest.approx(1, abs=0.1)
    assert table["period"].null_count() > 290


def test_sinusoid_is_periodic_with_its_period():
    rng = np.random.default_rng(2)
    t = np.sort(rng.uniform(0, 6, 96))
    flux = 1000 + 80 * np.sin(2 * np.pi * t / 0.7) + rng.normal(0, 5, 96)
    row = statistics(block_of(flux, mjd=t), ZERO_POINT).row(0, named=True)
    assert row["variability_class"] == "periodic"
    assert row["period"] == pytest.approx(0.7, rel=0.02)
    assert 0.6 < row["period_power"] <= 1


def test_event_is_transient():
    rng = np.random.default_rng(3)
    t = np.arange(160) * 0.125
    u = np.hypot(0.1, (t - 9) / 1.2)
    flux = 300 * (u**2 + 2) / (u * np.sqrt(u**2 + 4)) + rng.normal(0, 5, t.size)
    row = statistics(block_of(flux, mjd=t), ZERO_POINT).row(0, named=True)
    assert row["variability_class"] == "transient"
    assert row["longest_high"] >= 8
    assert row["skew"] > 1


def test_white_scatter_is_irregular():
    rng = np.random.default_rng(4)
    row = statistics(block_of(1000 + rng.normal(0, 60, 64)), ZERO_POINT).row(0, named=True)
    assert row["variability_class"] == "irregular"


def test_too_few_points_are_unknown():
    flux = np.full((2, 30), 100.0)
    flag = np.zeros((2, 30), np.uint8)
    flag[0, 7:] = NO_DATA
    table = statistics(block_of(flux, flag=flag), ZERO_POINT)
    assert table["variability_class"].to_list() == ["unknown", "constant"]


@pytest.mark.parametrize("points", [0, 1])
def test_almost_nothing_measured(points):
    flux = np.full((1, 10), np.nan)
    flag = np.full((1, 10), NO_DATA, np.uint8)
    flux[0, :points], flag[0, :points] = 100.0, 0
    row = statistics(block_of(flux, flag=flag), ZERO_POINT).row(0, named=True)
    assert row["n"] == points
    assert row["variability_class"] == "unknown"
    assert np.isnan(row["eta"])
    assert np.isnan(row["flux"]) == (points == 0)


def test_negative_mean_flux_has_no_magnitude():
    row = statistics(block_of(np.full((1, 20), -3.0)), ZERO_POINT).row(0, named=True)
    assert row["flux"] == pytest.approx(-3)
    assert np.isnan(row["mag"])


def test_rows_do_not_influence_each_other():
    block = noisy(np.random.default_rng(5))
    whole = statistics(block, ZERO_POINT)
    half = statistics(SeriesBlock(block.mjd, block.flux[20:], block.flux_err[20:], block.flag[20:]), ZERO_POINT)
    assert whole[20:].equals(half, null_equal=True)


def test_bad_points_break_no_run():
    flux = np.full((1, 40), 100.0)
    flux[0, 20:25] = 150.0
    flag = np.zeros((1, 40), np.uint8)
    flag[0, 22] = MASKED
    row = statistics(block_of(flux, error=2.0, flag=flag), ZERO_POINT).row(0, named=True)
    assert row["longest_high"] == 4


def test_columns_are_those_of_the_product():
    from roman_assets.systems.msos.tables import SEASON_OBJECTS

    columns = statistics(block_of(np.full((2, 20), 5.0)), ZERO_POINT).columns
    known = {column.name for column in SEASON_OBJECTS.columns}
    assert set(columns) <= known, set(columns) - known


def test_thresholds_are_used():
    rng = np.random.default_rng(6)
    block = block_of(1000 + rng.normal(0, 8, (50, 40)))
    strict = statistics(block, ZERO_POINT, ClassThresholds(chi2_variable=100.0))
    loose = statistics(block, ZERO_POINT, ClassThresholds(sigma_variable=0.0))
    assert (strict["variability_class"] == "constant").all()
    assert loose.filter(pl.col("variability_class") == "constant").height < 10
