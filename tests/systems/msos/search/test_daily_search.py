"""The daily search: what it finds of lenses of all durations, in memory and time that do not grow."""

import numpy as np
import pytest

from roman_assets.systems.msos.light_curves.series import daily_sums
from roman_assets.systems.msos.models.point_lens import magnification
from roman_assets.systems.msos.photometry.exposure_fit import MASKED
from roman_assets.systems.msos.search.daily import DailyConfig, brightening, daily_points

EPOCHS, ERROR = 96, 10.0


def season(days, lens=None, stars=20, seed=1):
    """Sums of all days but the last, and the last day's arrays; star 0 is lensed."""
    rng = np.random.default_rng(seed)
    star, reference = np.arange(stars, dtype=np.int32), np.full(stars, 1000.0)
    history = []
    for day in range(days):
        mjd = 61465.0 + day + np.arange(EPOCHS) / EPOCHS
        flux = rng.normal(1000, ERROR, (stars, EPOCHS))
        if lens is not None:
            flux[0] += 1000 * (magnification(mjd, *lens) - 1)
        error, flag = np.full_like(flux, ERROR), np.zeros(flux.shape, np.uint8)
        if day < days - 1:
            history.append(daily_sums(star, mjd, flux, error, flag, reference))
    return history, mjd, flux, error, flag, reference, np.full(stars, 3.0)


@pytest.mark.parametrize("te", [0.1, 1.0, 20.0])
def test_lenses_of_all_durations_are_found_before_or_at_their_peak(te):
    day = 30
    t0 = 61465.0 + day - 0.4 if te < 2 else 61465.0 + day + 2.0
    found = brightening(*season(day, (t0, 0.5, te)))
    assert found["row"].to_list() == [0]
    assert found["t0"][0] == pytest.approx(t0, abs=max(te, 0.1))


def test_nothing_is_found_where_nothing_happens():
    for days in (1, 2, 40):
        assert brightening(*season(days, stars=200, seed=days)).height == 0


def test_what_happened_long_before_today_is_not_reported_again():
    assert brightening(*season(30, (61470.0, 0.3, 1.0))).height == 0


def test_the_past_does_not_reach_further_than_the_window():
    history, *today = season(30, (61494.0, 0.4, 8.0))
    window = DailyConfig(days=10)
    whole, last = brightening(history, *today, config=window), brightening(history[-10:], *today, config=window)
    assert whole.equals(last)
    assert whole.height == 1


def test_points_with_flags_do_not_count():
    history, mjd, flux, error, flag, reference, reference_err = season(3, stars=3)
    flux[1, 40:60] += 500
    assert brightening(history, mjd, flux, error, flag, reference, reference_err)["row"].to_list() == [1]
    flag[1, 40:60] = MASKED
    assert brightening(history, mjd, flux, error, flag, reference, reference_err).height == 0


def test_daily_points_are_the_weighted_means():
    star = np.array([0, 1], np.int32)
    mjd, flux = np.array([10.0, 10.5]), np.array([[1.0, 4.0], [np.nan, np.nan]])
    error = np.array([[1.0, 2.0], [1.0, 1.0]])
    sums = daily_sums(star, mjd, flux, error, np.zeros((2, 2), np.uint8), np.ones(2))
    time, mean, sigma = daily_points([sums], 2)
    assert time.tolist() == [10.25]
    assert mean[0, 0] == pytest.approx((1 + 4 / 4) / 1.25)
    assert sigma[0, 0] == pytest.approx(1 / np.sqrt(1.25))
    assert np.isnan(mean[1, 0])
