"""The simulated pointing: its inverse, its gWCS twin, and the turn of the field between seasons."""

import numpy as np
import pytest

from roman_assets.simulate.config import MiniSurvey, detector_frame, patch_of
from roman_assets.simulate.geometry import DetectorFrame, build_gwcs, plane_to_sky, sky_to_plane

FRAME = DetectorFrame(ra=268.0, dec=-29.2, x_ref=100.3, y_ref=98.9, roll=60.0)


def test_pixel_round_trip_far_from_the_reference_pixel():
    x, y = np.meshgrid(np.linspace(-600, 4688, 23), np.linspace(-600, 4688, 23))
    back_x, back_y = FRAME.to_pixel(*FRAME.to_sky(x, y))
    np.testing.assert_allclose(back_x, x, atol=1e-7)
    np.testing.assert_allclose(back_y, y, atol=1e-7)


def test_gwcs_says_the_same():
    x, y = np.meshgrid(np.linspace(-50, 4100, 11), np.linspace(-50, 4100, 11))
    ra, dec = FRAME.to_sky(x, y)
    wcs_ra, wcs_dec = build_gwcs(FRAME)(x, y)
    np.testing.assert_allclose(wcs_ra, ra, atol=1e-11)
    np.testing.assert_allclose(wcs_dec, dec, atol=1e-11)


def test_distortion_is_a_few_pixels_at_the_edge_of_a_full_detector():
    undistorted = 2000.0 * 0.11 / 3600
    xi, eta = FRAME.to_plane(np.array(100.3 + 2000.0), np.array(98.9))
    shift_px = (np.hypot(xi, eta) - undistorted) * 3600 / 0.11
    assert 0.5 < shift_px < 5


def test_gnomonic_projection_against_its_inverse_across_ra_zero():
    ra, dec = plane_to_sky(np.array([0.3, -0.3]), np.array([0.2, 0.1]), 359.9, -29.0)
    assert ra[0] < 1 < ra[1]
    xi, eta = sky_to_plane(ra, dec, 359.9, -29.0)
    np.testing.assert_allclose(xi, [0.3, -0.3], atol=1e-12)
    np.testing.assert_allclose(eta, [0.2, 0.1], atol=1e-12)


@pytest.mark.parametrize("detectors", [("WFI01",), ("WFI01", "WFI02"), ("WFI01", "WFI05", "WFI09")])
def test_field_turns_by_180_degrees_between_seasons(detectors):
    config = MiniSurvey(detectors=detectors, seasons=2)
    for detector in detectors:
        now = detector_frame(config, detector, 1)
        patch = patch_of(config, detector, 1)
        before = detector_frame(config, detectors[patch], 0)
        x, y = now.to_pixel(*before.to_sky(np.array([20.0, 150.0]), np.array([30.0, 170.0])))
        np.testing.assert_allclose(x, 199 - np.array([20.0, 150.0]), atol=0.05)
        np.testing.assert_allclose(y, 199 - np.array([30.0, 170.0]), atol=0.05)


def test_a_dither_moves_stars_by_pixels():
    config = MiniSurvey()
    sky = detector_frame(config, "WFI01", 0).to_sky(np.array([50.0]), np.array([60.0]))
    x, y = detector_frame(config, "WFI01", 0, 0.25, -1.5).to_pixel(*sky)
    np.testing.assert_allclose([x[0], y[0]], [50.25, 58.5], atol=1e-9)
