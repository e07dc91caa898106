"""The search on simulated blocks: recovery, outliers, false alarms, order of epochs, runs."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.msos.search.templates import SearchConfig, search
from tests.systems.msos.event_curves import constants, dense_epochs, events


def test_finds_events_of_every_duration():
    rng = np.random.default_rng(11)
    mjd = dense_epochs(rng, 2500)
    flux, error, truth = events(rng, mjd, 40, te=(0.1, 8.0), u0=(0.05, 0.8), flux=(3.5, 4.5))
    found = search(mjd, flux, error)
    near = np.abs(found["t0"].to_numpy() - truth["t0"]) < 1.5 * found["teff"].to_numpy()
    inside = (truth["t0"] > mjd[0] + 1) & (truth["t0"] < mjd[-1] - 1)
    assert near[inside].all()
    assert (found["dchi2"].to_numpy() >= found["dchi2_without_best_point"].to_numpy()).all()


def test_constants_stay_below_the_threshold():
    rng = np.random.default_rng(12)
    mjd = dense_epochs(rng, 2500)
    found = search(mjd, *constants(rng, mjd, 300))
    # A few ten thousand windows of white noise: the largest of 300 curves is about 25.
    assert found["dchi2"].max() < 40
    assert 3 < found["dchi2"].median() < 25


def test_one_exposure_never_wins():
    rng = np.random.default_rng(13)
    mjd = dense_epochs(rng, 1000)
    flux, error = constants(rng, mjd, 5)
    flux[:, 500] += 100 * error[:, 0]
    flux[1] += 8 * error[1] / np.sqrt(1 + ((mjd - mjd[300]) / 0.1) ** 2)
    found = search(mjd, flux, error)
    assert (found["dchi2_without_best_point"].to_numpy()[[0, 2, 3, 4]] < 40).all()
    assert found["t0"][1] == pytest.approx(mjd[300], abs=0.1)


def test_masked_points_neither_continue_nor_break_a_run():
    mjd = np.arange(60) * 0.1
    flux = np.ones((1, 60))
    flux[0, 30:36] = 20.0
    error = np.ones((1, 60))
    whole = search(mjd, flux, error).row(0, named=True)
    assert (whole["n_over_3sigma"], whole["longest_run"]) == (6, 6)
    error[0, 32] = np.nan
    masked = search(mjd, flux, error).row(0, named=True)
    assert (masked["n_over_3sigma"], masked["longest_run"]) == (5, 5)
    flux[0, 33] = 1.0
    broken = search(mjd, flux, error).row(0, named=True)
    assert (broken["n_over_3sigma"], broken["longest_run"]) == (4, 2)


def test_epochs_may_come_in_any_order():
    rng = np.random.default_rng(14)
    mjd = dense_epochs(rng, 400)
    flux, error, _ = events(rng, mjd, 3)
    order = rng.permutation(400)
    assert search(mjd[order], flux[:, order], error[:, order]).equals(search(mjd, flux, error))


def test_a_dip_is_not_a_brightening():
    mjd = np.arange(200) * 0.05
    flux = 100 - 50 / np.sqrt(1 + ((mjd - 5) / 0.2) ** 2)
    found = search(mjd, flux[None], np.ones((1, 200))).row(0, named=True)
    assert not (abs(found["t0"] - 5) < 0.3 and found["dchi2"] > 100)


def test_a_grid_that_makes_no_sense_is_refused():
    with pytest.raises(InputError, match="teff_min"):
        search(np.arange(5.0), np.ones((1, 5)), np.ones((1, 5)), SearchConfig(teff_min=2.0, teff_max=1.0))
    with pytest.raises(InputError, match="not finite"):
        search([0.0, np.nan], np.ones((1, 2)), np.ones((1, 2)))
