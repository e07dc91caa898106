"""Injection and recovery: what is certain to be found, what cannot be, and the counting."""

import numpy as np
import polars as pl
import pytest
from scipy.stats import binomtest

from roman_assets.errors import InputError
from roman_assets.systems.msos.efficiency.injection import (
    CONTROL,
    MIRRORED,
    PLANET,
    POINT_LENS,
    InjectionConfig,
    NoiseLaw,
    draw,
    find_targets,
    inject,
    noise_law,
    without_signal,
)
from roman_assets.systems.msos.efficiency.recovery import counts, efficiency_map, interval, recover

ZERO_POINT = 26.5


@pytest.fixture(scope="module")
def curves():
    """Sixty stars of 18 to 24 mag at 96 epochs a day for 20 days."""
    rng = np.random.default_rng(4)
    mjd = 61465.0 + np.arange(20 * 96) / 96
    base = 10 ** (-0.4 * (np.linspace(18, 24, 60)[:, None] - ZERO_POINT))
    error = np.repeat(np.sqrt(4 * base + 100), mjd.size, axis=1)
    flux = base + error * rng.normal(size=error.shape)
    return {"F146": (mjd, flux.astype(np.float32), error.astype(np.float32))}


SMALL = InjectionConfig(
    te_edges=(0.01, 0.05, 2.0, 5.0),
    u0_edges=(0.0, 0.3, 1.0),
    mag_edges=(18.0, 20.0, 24.0),
    per_cell=6,
    log_s=(0.0, 0.4),
    log_q=(-6.0, -2.0),
    planets_per_cell=6,
    planet_te=(3.0, 6.0),
    planet_u0=(0.05, 0.5),
    planet_mag=(17.0, 20.0),
    controls=40,
)


@pytest.fixture(scope="module")
def recovered(curves):
    targets = find_targets(curves, np.arange(60), ZERO_POINT, SMALL)
    return recover(curves, targets, draw(targets, (61465.0, 61485.0), "s01", "WFI01", SMALL), SMALL)


def test_bright_long_events_are_found_and_invisible_ones_are_not(recovered):
    table = efficiency_map(recovered, SMALL).filter(pl.col("kind") == POINT_LENS)
    bright = table.filter((pl.col("mag_high") == 20) & (pl.col("te_low") == 2.0) & (pl.col("u0_high") == 0.3))
    faint = table.filter((pl.col("mag_low") == 20) & (pl.col("te_high") == 0.05) & (pl.col("u0_low") == 0.3))
    assert bright["injected"].sum() == 6
    assert bright["efficiency"][0] > 0.6  # some peak at the season's edge
    assert faint["efficiency"][0] < 0.2


def test_big_planets_are_found_more_often_than_dust(recovered):
    table = efficiency_map(recovered, SMALL).filter(pl.col("kind") == PLANET)
    share = dict(table.group_by("log_q").agg(pl.col("detected").sum()).iter_rows())
    assert share[-2.0] > share[-6.0]
    assert share[-6.0] == 0


def test_controls_are_not_events_and_everything_is_counted(recovered):
    found = counts(recovered)
    assert found.fp == 0
    assert found.tn == SMALL.controls
    assert found.tp + found.fn == (recovered["kind"] != CONTROL).sum()
    assert found.tp == recovered.filter(pl.col("kind") != CONTROL)["detected"].sum() > 0


def test_the_same_curves_get_the_same_signals(curves):
    targets = find_targets(curves, np.arange(60), ZERO_POINT, SMALL)
    one, two = (draw(targets, (61465.0, 61485.0), "s01", "WFI01", SMALL) for _ in range(2))
    other = draw(targets, (61465.0, 61485.0), "s02", "WFI01", SMALL)
    assert str(one) == str(two) != str(other)


def test_nothing_added_changes_nothing():
    rng = np.random.default_rng(1)
    flux, error = rng.normal(100, 5, 50), np.full(50, 5.0)
    same = inject(flux, error, np.zeros(50), 100.0, NoiseLaw(25.0, 1.0, 0.001))
    np.testing.assert_array_equal(same[0], flux)
    np.testing.assert_array_equal(same[1], error)


def test_added_light_has_its_own_noise_and_saturates():
    rng = np.random.default_rng(2)
    flux, error = 1000 + 10 * rng.normal(size=20000), np.full(20000, 10.0)
    law = NoiseLaw(0.0, 0.1, 0.0, saturation=20000.0)
    made, sigma = inject(flux, error, np.full(20000, 3000.0), 1000.0, law)
    assert sigma[0] == pytest.approx(20.0)
    assert made.std() == pytest.approx(20.0, rel=0.03)
    assert made.mean() == pytest.approx(4000.0, abs=1.0)
    assert np.isnan(inject(flux, error, np.full(20000, 3e4), 1000.0, law)[0]).all()


def test_the_noise_law_is_recovered():
    flux = np.geomspace(10, 1e6, 500)
    law = noise_law(flux, np.sqrt(100 + 4 * flux + (0.003 * flux) ** 2))
    assert law.read == pytest.approx(100, rel=0.1)
    assert law.slope == pytest.approx(4, rel=0.05)
    assert law.floor == pytest.approx(0.003, rel=0.05)


def test_a_mirrored_event_is_a_dip():
    flux = np.array([10.0, 10.0, 15.0, 10.0])
    mirrored, _ = without_signal(MIRRORED, np.arange(4.0), flux, np.ones(4), 10.0, np.random.default_rng(0))
    np.testing.assert_array_equal(mirrored, [10, 10, 5, 10])


@pytest.mark.parametrize(("found", "of"), [(0, 10), (3, 10), (10, 10), (50, 400)])
def test_the_interval_lies_within_the_exact_one(found, of):
    low, high = interval(found, of, 0.6827)
    exact = binomtest(found, of).proportion_ci(0.6827, "exact")
    assert exact.low - 1e-9 <= low <= found / of <= high <= exact.high + 1e-9


def test_curves_without_a_star_are_refused(curves):
    mjd, flux, error = curves["F146"]
    with pytest.raises(InputError, match="none of 60 stars"):
        find_targets({"F146": (mjd, np.full_like(flux, np.nan), error)}, np.arange(60), ZERO_POINT, SMALL)
    with pytest.raises(InputError, match="no light curves"):
        find_targets({}, np.arange(60), ZERO_POINT, SMALL)
    with pytest.raises(InputError, match="no edges"):
        InjectionConfig(te_edges=(3.0, 1.0))
