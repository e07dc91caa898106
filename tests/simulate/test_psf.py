"""The simulator's PSF: normalisation, interpolation, drawing, and the reference file made of it."""

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.simulate.psf import (
    EpsfSpline,
    detector_number,
    draw_stars,
    photon_quantile_wavelengths,
    pixel_integrated_psf,
)

pytestmark = pytest.mark.usefixtures("galsim")


@pytest.fixture(scope="module")
def spline(galsim):
    samples = pixel_integrated_psf("WFI01", "F146", oversample=8, half_width_px=64)
    return EpsfSpline.from_samples(samples, 8)


def test_encircled_energy_is_that_of_the_mission(spline):
    stamp = spline.stamp(0.0, 0.0, 60)
    radius = np.hypot(*np.mgrid[-60:61, -60:61])
    # reference/roman-formats.md: 90 % within 7 px and 95 % within 15 px.
    assert stamp[radius <= 7].sum() == pytest.approx(0.90, abs=0.02)
    assert stamp[radius <= 15].sum() == pytest.approx(0.95, abs=0.02)
    assert 0.985 < stamp.sum() < 1.0


@pytest.mark.parametrize(("dx", "dy"), [(0.0, 0.0), (0.31, -0.47), (-0.5, 0.125)])
def test_spline_agrees_with_galsim_drawing_the_star_itself(spline, dx, dy):
    import galsim.roman as roman

    wave = roman.getBandpasses(AB_zeropoint=False)["W146"].effective_wavelength
    optics = roman.getPSF(1, "W146", wavelength=wave, pupil_bin=8)
    # Integrated over pixels by summing a fine image: GalSim's own pixel convolution is not in it.
    fine = 31
    image = optics.drawImage(
        nx=9 * fine, ny=9 * fine, scale=0.11 / fine, offset=(dx * fine, dy * fine), method="no_pixel", dtype=float
    ).array
    direct = image.reshape(9, fine, 9, fine).sum(axis=(1, 3))
    assert np.abs(spline.stamp(dx, dy, 4) - direct).max() < 1e-4


def test_total_flux_does_not_depend_on_the_phase(spline):
    sums = [spline.stamp(dx, dy, 60).sum() for dx in (-0.5, 0.1) for dy in (0.0, 0.37)]
    assert np.ptp(sums) < 2e-4


def test_isolated_bright_star_keeps_its_flux_and_place(spline):
    image = draw_stars((161, 161), np.array([80.3]), np.array([79.6]), np.array([3000.0]), spline)
    # What is missing lies outside the drawn stamp, and is known.
    assert image.sum() == pytest.approx(3000.0 * spline.stamp(0.3, -0.4, 62).sum(), rel=3e-4)
    assert np.unravel_index(image.argmax(), image.shape) == (80, 80)


def test_faint_stars_have_the_same_wings_as_bright_ones(spline):
    args = (161, 161), np.array([80.3]), np.array([79.6])
    bright = draw_stars(*args, np.array([1.0]), spline, bright=0.5)
    faint = draw_stars(*args, np.array([1.0]), spline, bright=2.0)
    assert faint.sum() == pytest.approx(bright.sum(), rel=1e-3)
    assert np.abs(faint - bright).max() < 2e-4


def test_star_off_the_image_lights_its_edge(spline):
    image = draw_stars((40, 40), np.array([-2.0]), np.array([20.0]), np.array([100.0]), spline)
    whole = draw_stars((40, 60), np.array([18.0]), np.array([20.0]), np.array([100.0]), spline)
    np.testing.assert_allclose(image[:, :20], whole[:, 20:40], atol=1e-12)


def test_wavelengths_of_equal_photon_shares_lie_in_the_band():
    waves = photon_quantile_wavelengths("F146", 5)
    assert np.all(np.diff(waves) > 0)
    assert waves[0] > 900
    assert waves[-1] < 2100


@pytest.mark.parametrize("name", ["WFI00", "WFI19", "WFI1", "wfi01", "CGI01", ""])
def test_unknown_detector_is_refused(name):
    with pytest.raises(InputError, match="WFI01 to WFI18"):
        detector_number(name)


def test_unknown_element_is_refused():
    with pytest.raises(InputError, match="F146"):
        pixel_integrated_psf("WFI01", "GRISM")


def test_epsf_reference_is_valid_and_normalised(tmp_path):
    import roman_datamodels

    from roman_assets.simulate.reference import write_epsf_reference

    grid = [(500.0, 500.0), (3500.0, 500.0)]
    path = write_epsf_reference(tmp_path / "epsf.asdf", "WFI02", "F146", positions=grid, extended_half_width_px=40)
    with roman_datamodels.open(path) as model:
        model.validate()
        assert model.meta.instrument.detector == "WFI02"
        assert model.meta.oversample == 4
        assert list(model.meta.pixel_x) == [500.0, 3500.0]
        psf = np.array(model.psf)
        wide = np.array(model.extended_psf)
    assert psf.shape == (1, 1, 2, 129, 129)
    assert np.all(psf[:, :, :, :-1, :-1].sum(axis=(-1, -2)) / 16 > 0.93)
    assert not np.allclose(psf[0, 0, 0], psf[0, 0, 1], rtol=1e-3)
    assert wide.shape == (81, 81)
    np.testing.assert_allclose(wide[40, 40], psf[0, 0, 0, 64, 64], rtol=1e-3)


def test_epsf_reference_without_position_is_refused(tmp_path):
    from roman_assets.simulate.reference import write_epsf_reference

    with pytest.raises(InputError, match="position"):
        write_epsf_reference(tmp_path / "epsf.asdf", "WFI02", "F146", positions=[])
    assert not list(tmp_path.iterdir())
