"""Errors that the halos of very bright stars put on those around them."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.systems.msos.photometry.halos import halo_errors

X = np.array([50.0, 52.0, 62.0, 80.0, 150.0, 900.0])
Y = np.zeros(6)


def fluxes(brightest: float) -> np.ndarray:
    return np.array([brightest, 10.0, 10.0, 10.0, 10.0, 10.0])


def test_stars_of_usual_brightness_have_no_halo():
    assert halo_errors(X, Y, fluxes(5e3), fluxes(5e3)).tolist() == [0.0] * 6


def test_a_constant_star_of_12_mag_is_felt_nearby_alone():
    """Twelve pixels from F146 12.4 (1.3e6 DN/s) fluxes scattered by some 10 DN/s; far away by nothing."""
    errors = halo_errors(X, Y, fluxes(1.3e6), fluxes(1.3e6))
    assert errors[0] == errors[1] == 0.0  # itself, and what is solved for with it
    assert 5 < errors[2] < 20
    assert errors[2] > 5 * errors[3] > 0
    assert errors[4] == errors[5] == 0.0


@pytest.mark.parametrize(("here", "expected"), [(4e7, 1.3e6), (1.3e6, 4e7)], ids=["gained", "lost"])
def test_light_that_changed_reaches_farther(here, expected):
    errors = halo_errors(X, Y, fluxes(here), fluxes(expected))
    assert 5 < errors[4] < 50
    assert errors[5] == 0.0


def test_stars_without_a_flux_have_no_halo():
    light = fluxes(np.nan)
    assert np.isfinite(halo_errors(X, Y, light, light)).all()
