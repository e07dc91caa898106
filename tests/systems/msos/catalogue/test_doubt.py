"""Errors of a catalogue by what its stack's residuals show."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.systems.msos.catalogue.doubt import ABSORBED_FLUX, BRIGHT_SHARE, doubt, flux_factor, position_factor
from roman_assets.systems.msos.catalogue.stack import DETECTION_GRID, DETECTION_MARGIN, StarList

SIDE = 120


def residuals(scatter: float, seed: int = 0) -> np.ndarray:
    points = (SIDE + 2 * DETECTION_MARGIN) * DETECTION_GRID
    return np.random.default_rng(seed).normal(0.0, scatter, (points, points))


def stars(count: int = 200) -> StarList:
    rng = np.random.default_rng(1)
    return StarList(rng.uniform(0, SIDE, count), rng.uniform(0, SIDE, count), np.full(count, 100.0))


@pytest.mark.parametrize("scatter", [0.5, 1.0, 3.0])
def test_the_scatter_of_the_residuals_is_measured(scatter):
    assert doubt(residuals(scatter), stars()) == pytest.approx(scatter, rel=0.15)


def test_it_is_local_and_one_variable_star_is_not_the_noise_of_others():
    snr = residuals(1.0)
    snr[:, : snr.shape[1] // 2] *= 4.0
    snr[200:204, 200:204] = 1e4
    where = stars()
    found = doubt(snr, where)
    assert found[where.x > 80] == pytest.approx(1.0, rel=0.3)
    assert np.median(found[where.x < 40]) == pytest.approx(4.0, rel=0.2)


def test_points_that_see_no_sky_and_a_field_full_of_stars_have_an_answer():
    snr = residuals(2.0)
    x, y = (v.ravel().astype(float) for v in np.meshgrid(np.arange(SIDE), np.arange(SIDE)))
    found = doubt(snr, StarList(x, y, np.ones(x.size)))
    assert np.isfinite(found).all()
    assert (doubt(np.zeros_like(snr), stars()) == 0.0).all()


def test_errors_are_never_smaller_than_the_noise_of_the_pixels():
    errors = np.array([1.0, 1.0, 1.0, 30.0, 1e4, np.inf])
    assert (flux_factor(np.full(6, 0.1), errors) == 1.0).all()
    assert (position_factor(np.full(6, 0.1)) == 1.0).all()
    factor = flux_factor(np.full(6, 2.0), errors)
    assert factor[0] == pytest.approx(2 * ABSORBED_FLUX)
    assert (np.diff(factor[:5]) <= 0).all()
    assert factor[4] == pytest.approx(2 * ABSORBED_FLUX * BRIGHT_SHARE)
