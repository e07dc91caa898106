"""Stars that the catalogue misplaces: their neighbours must not take the light that the model leaves."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.survey.sky import MAS_DEG
from roman_assets.systems.msos.photometry.exposure_fit import DISPLACED_PX, fit_exposure
from roman_assets.systems.msos.photometry.positions import alone

PIXEL_DEG = 110.0 * MAS_DEG


def places(survey):
    return survey.stars["ra"].to_numpy().copy(), survey.stars["dec"].to_numpy().copy()


@pytest.fixture(scope="module")
def star(survey):
    """The brightest star that outshines all within 4 px and stands well inside."""
    x, y = survey.frames[0].to_pixels(*places(survey))
    ny, nx = survey.frames[0].shape
    order = np.argsort(-survey.flux)
    for k in order:
        near = np.hypot(x - x[k], y - y[k]) < 4
        near[k] = False
        inside = 12 < x[k] < nx - 12 and 12 < y[k] < ny - 12
        if inside and survey.flux[near].max(initial=0) < 0.02 * survey.flux[k] < 100:
            return int(k)
    raise AssertionError("no such star")


@pytest.mark.parametrize("displaced", [0.03, 0.1])
def test_a_misplaced_star_keeps_its_light(survey, star, displaced):
    """A variable star whose place the catalogue has wrong, and a faint entry beside it on the side where it really is."""
    ra, dec = places(survey)
    right = fit_exposure(survey.frames[0], ra, dec, survey.flux, survey.psf)
    expected = survey.flux.copy()
    expected[star] /= 3
    dec[star] += displaced * PIXEL_DEG
    ra, dec, expected = np.append(ra, ra[star]), np.append(dec, dec[star] - 1.1 * PIXEL_DEG), np.append(expected, 10.0)
    wrong = fit_exposure(survey.frames[0], ra, dec, expected, survey.psf)
    assert abs(wrong.flux[star] - right.flux[star]) < 2 * right.flux_err[star]
    assert abs(wrong.flux[-1]) < 25
    assert np.hypot(wrong.x[star] - right.x[star], wrong.y[star] - right.y[star]) < 0.02


def test_stars_whose_place_is_right_stay(survey):
    """The exposures have the PSF of another place on the detector: what moves for that moves hardly."""
    fit = fit_exposure(survey.frames[1], *places(survey), survey.flux, survey.psf)
    x, y = survey.frames[1].to_pixels(*places(survey))
    moved = np.hypot(fit.x - x - fit.shift[0], fit.y - y - fit.shift[1])
    assert (moved > DISPLACED_PX).mean() < 0.01
    assert moved.max() < 0.1


def test_of_two_stars_alike_neither_is_moved():
    x, y = np.array([10.0, 11.0, 30.0, 31.0]), np.zeros(4)
    flux = np.array([1000.0, 900.0, 1000.0, 10.0])
    chosen = np.array([0, 1, 2])
    assert alone(x, y, flux, chosen).tolist() == [False, False, True]
    assert alone(x, y, flux, chosen[:0]).tolist() == []
