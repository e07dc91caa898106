"""Masks, noise model and sky-to-pixel map of prepared exposures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import pixel_map, prepare, sky_of, tangent_plane
from roman_assets.exposures.level2.ramps import DO_NOT_USE, JUMP_DET, SATURATED
from tests.systems.msos.conftest import CONFIG


def changed(image, **planes):
    return replace(image, **{name: value.astype(getattr(image, name).dtype) for name, value in planes.items()})


def test_map_inverts_the_wcs(survey):
    rng = np.random.default_rng(0)
    for image, frame in zip(survey.images, survey.frames, strict=True):
        x, y = rng.uniform(-20, 130, (2, 500))
        ra, dec = sky_of(image.wcs, x, y)
        px, py = frame.to_pixels(ra, dec)
        assert np.hypot(px - x, py - y).max() < 1e-3
        assert frame.to_pixels.accuracy < 1e-3


def test_map_puts_true_stars_where_they_are(survey):
    x, y = survey.frames[0].to_pixels(survey.stars["ra"].to_numpy(), survey.stars["dec"].to_numpy())
    np.testing.assert_allclose(x, survey.stars["x"].to_numpy(), atol=2e-3)
    np.testing.assert_allclose(y, survey.stars["y"].to_numpy(), atol=2e-3)


def test_map_across_ra_zero_and_near_the_pole():
    """Right ascension wraps and shrinks; the tangent plane does not."""
    scale = 0.11 / 3600

    for ra0, dec0 in ((0.0001, -29.0), (123.0, 89.9)):

        def wcs(x, y, ra0=ra0, dec0=dec0):
            xi, eta = np.deg2rad((np.asarray(x) - 50) * scale), np.deg2rad((np.asarray(y) - 50) * scale)
            d0 = np.deg2rad(dec0)
            below = np.cos(d0) - eta * np.sin(d0)
            ra = ra0 + np.rad2deg(np.arctan2(xi, below))
            dec = np.arctan2(np.sin(d0) + eta * np.cos(d0), np.hypot(xi, below))
            return ra % 360, np.rad2deg(dec)

        mapping = pixel_map(wcs, (100, 100))
        x, y = np.array([0.0, 99.0, 40.0]), np.array([10.0, 99.0, 60.0])
        np.testing.assert_allclose(mapping(*wcs(x, y)), [x, y], atol=1e-3)


@pytest.mark.parametrize("value", [np.nan, 268.0])
def test_degenerate_wcs_is_refused(value):
    with pytest.raises(InputError, match=r"degenerate.*meta\.wcs|meta\.wcs"):
        pixel_map(lambda x, y: (np.full_like(x, value), np.full_like(y, -29.0)), (100, 100))


def test_wcs_that_no_polynomial_follows_is_refused():
    def folded(x, y):
        return 268 + 3e-5 * np.abs(x - 50), -29 + 3e-5 * y

    with pytest.raises(InputError, match="inverted"):
        pixel_map(folded, (100, 100))


def test_tangent_plane_is_flat_at_its_centre():
    xi, eta = tangent_plane(np.array([268.0, 268.0]), np.array([-29.0, -28.999]), 268.0, -29.0)
    assert xi[0] == eta[0] == 0
    assert eta[1] == pytest.approx(np.deg2rad(0.001), rel=1e-9)


def test_mask(survey):
    image, frame = survey.images[0], survey.frames[0]
    assert not frame.good[(image.dq & DO_NOT_USE) != 0].any()
    assert frame.good[(image.dq == JUMP_DET) & (image.err > 0)].all(), "repaired pixels stay in"
    assert (frame.data[~frame.good] == 0).all()
    assert not frame.good[frame.saturated].any(), "a lost core has no light"
    flagged = (image.dq & SATURATED) != 0
    assert (frame.good[flagged] | frame.saturated[flagged] | ((image.dq & DO_NOT_USE) != 0)[flagged]).all()


def test_values_that_are_not_finite_are_masked(survey):
    image = survey.images[0]
    data, err = image.data.copy(), image.err.copy()
    data[3, 4], data[5, 6], err[7, 8], err[9, 10], err[11, 12] = np.nan, np.inf, np.nan, 0, -1
    frame = prepare(changed(image, data=data, err=err))
    for row, col in ((3, 4), (5, 6), (7, 8), (9, 10), (11, 12)):
        assert not frame.good[row, col]
    assert np.isfinite(frame.data).all()
    assert np.isfinite(frame.weight(frame.data, 0.01)).all()


def test_noise_model_is_that_of_the_simulation(survey):
    """Photons: 1 / (gain x time) per DN/s; read-out: (read noise / gain / time)^2, plus what digitising adds."""
    frame = survey.frames[0]
    time = CONFIG.exposure_time_s
    plain = (survey.images[0].dq & JUMP_DET) == 0
    assert np.median(frame.poisson_slope[plain]) == pytest.approx(1 / (CONFIG.gain * time), rel=0.05)
    assert np.median(frame.read_variance[plain]) == pytest.approx((CONFIG.read_noise / time) ** 2, rel=0.15)
    jump = ~plain & frame.good
    assert np.median(frame.read_variance[jump]) >= np.median(frame.read_variance[plain])


def test_weight_follows_the_model_not_the_data(survey):
    frame = survey.frames[0]
    model = np.full(frame.shape, 50.0)
    weight = frame.weight(model, 0.0)
    assert (weight[~frame.good] == 0).all()
    expected = 1 / (frame.read_variance + frame.poisson_slope * 50)
    np.testing.assert_allclose(weight[frame.good], expected[frame.good], rtol=1e-5)
    assert (frame.weight(model, 0.1)[frame.good] < weight[frame.good]).all()
    np.testing.assert_array_equal(frame.weight(-model, 0.0), frame.weight(0 * model, 0.0))


def test_exposure_without_usable_pixels_is_refused(survey):
    image = survey.images[0]
    with pytest.raises(InputError, match="usable"):
        prepare(changed(image, dq=np.full(image.dq.shape, DO_NOT_USE)))
