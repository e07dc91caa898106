"""Residual images of a constant sky, and what they refuse."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.kernels.photometry import Stars, matched_sums
from roman_assets.systems.msos.difference.residual import Registration, residual_image
from roman_assets.systems.msos.photometry.calibration import PositionTerms
from roman_assets.systems.msos.psf.phase_map import PhaseMap
from tests.systems.msos.difference_scene import PSF, SIDE, SKY, make_season


@pytest.fixture(scope="module")
def season():
    return make_season(3)


def flux_at(residual, x, y):
    """Matched-filter flux and its error at one place of an exposure."""
    sums = matched_sums(PSF.spline, residual.geometry, Stars.of([x], [y], 3), residual.image, residual.weight)[0]
    return sums[0] / sums[1], sums[1] ** -0.5


def test_a_constant_sky_leaves_noise(season):
    for number in range(3):
        residual = residual_image(season.frames[number], season.sky, season.registrations[number])
        pull = residual.image * np.sqrt(residual.weight)
        assert np.std(pull[residual.weight > 0]) == pytest.approx(1.0, abs=0.03)
        assert residual.sky[0] == pytest.approx(SKY, abs=0.05)
        assert residual.starlight.shape == (SIDE, SIDE)
        assert residual.cosmic_rays.sum() < 5


def test_what_the_catalogue_lacks_is_left_on_the_reference_zero_point():
    quiet = make_season(2, noise=False, extra=[(30.3, 31.7, np.array([50.0, 20.0]))])
    for number, flux in enumerate((50.0, 20.0)):
        frame, registration = quiet.load(number)
        residual = residual_image(frame, quiet.sky, registration)
        place = frame.wcs.dx + 30.3, frame.wcs.dy + 31.7
        assert flux_at(residual, *place)[0] == pytest.approx(flux, rel=0.02)


def test_sensitivity_that_varies_over_the_array_is_in_the_model():
    """A flat field error of 5 % across the array: with its terms nothing is left, without them it shows."""
    quiet = make_season(1, noise=False)
    terms = PositionTerms(np.array([0.05, 0, 0, 0, 0]), (SIDE, SIDE))
    brighter = quiet.sky.flux * Registration((0, 0), 1.0, terms).sensitivity(quiet.sky.x, quiet.sky.y)
    frame, registration = quiet.load(0)
    sky = replace(quiet.sky, flux=quiet.sky.flux**2 / brighter)
    left = [np.abs(residual_image(frame, sky, replace(registration, terms=t)).image).max() for t in (terms, None)]
    assert left[0] < 0.1 * left[1]


def test_inter_pixel_map_is_in_the_model():
    quiet = make_season(1, noise=False)
    frame, registration = quiet.load(0)
    phase = PhaseMap(np.array([0.1, *np.zeros(23)]))
    place = frame.to_pixels(quiet.sky.ra, quiet.sky.dec)
    wrong = replace(quiet.sky, phase_map=phase)
    right = replace(wrong, flux=quiet.sky.flux / (1 + phase(*place)))
    left = [np.abs(residual_image(frame, s, registration).image).max() for s in (right, wrong)]
    assert left[0] < 0.02 * left[1]


def test_known_background_and_some_stars_give_the_same_beside_them(season):
    frame, registration = season.load(1)
    full = residual_image(frame, season.sky, registration)
    near = np.hypot(season.x - 32, season.y - 32) < 40
    some = residual_image(frame, season.sky, registration, background=full.sky, only=near)
    middle = (slice(72 + 28, 72 + 37),) * 2
    np.testing.assert_allclose(some.image[middle], full.image[middle], atol=1e-4)
    np.testing.assert_array_equal(some.sky, full.sky)


def test_cosmic_ray_is_masked(season):
    frame, registration = season.load(0)
    data = frame.data.copy()
    data[20, 20] += 500
    residual = residual_image(replace(frame, data=data), season.sky, registration)
    assert residual.cosmic_rays[20, 20]
    assert residual.weight[residual.geometry.inner][20, 20] == 0


def test_flux_that_is_not_finite_is_no_star(season):
    frame, registration = season.load(0)
    flux = season.sky.flux.copy()
    flux[::5] = np.nan
    residual = residual_image(frame, replace(season.sky, flux=flux), registration)
    assert np.isfinite(residual.image).all()


def test_masked_pixels_do_not_count(season):
    frame, registration = season.load(0)
    good, data = frame.good.copy(), frame.data.copy()
    good[:40], data[:40] = False, np.nan
    data = np.where(good, data, 0).astype(np.float32)
    residual = residual_image(replace(frame, good=good, data=data), season.sky, registration)
    assert not residual.weight[residual.geometry.inner][:40].any()
    assert residual.sky[0] == pytest.approx(SKY, abs=0.5)


@pytest.mark.parametrize(
    "registration",
    [
        Registration((0, 0), 0.0),
        Registration((0, 0), np.nan),
        Registration((np.nan, 0), 1.0),
        Registration((0, 0), -1.0),
    ],
)
def test_no_registration_is_refused(season, registration):
    with pytest.raises(InputError, match="zero point"):
        residual_image(season.frames[0], season.sky, registration)


def test_no_usable_pixel_is_refused(season):
    frame = replace(season.frames[0], good=np.zeros((SIDE, SIDE), bool))
    with pytest.raises(InputError, match="no usable pixel"):
        residual_image(frame, season.sky, season.registrations[0])


def test_no_star_on_the_exposure_leaves_the_sky(season):
    sky = replace(season.sky, ra=season.sky.ra + 1.0)
    residual = residual_image(season.frames[0], sky, season.registrations[0])
    assert not residual.starlight.any()
