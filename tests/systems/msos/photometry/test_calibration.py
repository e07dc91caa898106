"""Zero points and error models on numbers whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.systems.msos.photometry.calibration import (
    AB_ZERO_JY,
    FLOOR,
    ErrorModel,
    ab_zero_point,
    ensemble_zero_point,
    error_model,
    position_terms,
)
from tests.systems.msos.conftest import CONFIG

quick = settings(max_examples=30, deadline=None, derandomize=True)


def test_ab_zero_point_of_the_simulation(survey):
    header = survey.images[0].header
    zero, caveat = ab_zero_point(header.conversion_megajanskys, header.pixel_area_sr)
    assert zero == pytest.approx(CONFIG.zero_point, abs=1e-9)
    assert caveat is None


def test_ab_zero_point_by_definition():
    """A source of 3631 Jy in one pixel of 1 sr: 1 DN/s is magnitude zero."""
    assert ab_zero_point(AB_ZERO_JY * 1e-6, 1.0)[0] == pytest.approx(0.0)
    fainter, _ = ab_zero_point(AB_ZERO_JY * 1e-8, 1.0)
    assert fainter == pytest.approx(5.0)


def test_two_wrong_signs_are_a_caveat():
    zero, caveat = ab_zero_point(-0.3, -2.8e-13)
    assert zero == ab_zero_point(0.3, 2.8e-13)[0]
    assert "negative" in caveat


@pytest.mark.parametrize("pair", [(0.3, -1e-13), (0.0, 1e-13), (np.nan, 1e-13), (0.3, np.inf)])
def test_photometry_keywords_invalid(pair):
    with pytest.raises(InputError, match=r"meta\.photometry"):
        ab_zero_point(*pair)


def scene(rng, scale=1.0, n=400):
    reference = rng.exponential(500, n) + 50
    error = np.sqrt(reference) * 0.2
    flux = scale * reference + rng.normal(size=n) * error
    return flux, error, reference, 0.2 * error, np.ones(n, dtype=bool)


@quick
@given(scale=st.floats(0.55, 1.8), seed=st.integers(0, 1000))
def test_scale_is_recovered_within_its_error(scale, seed):
    zero = ensemble_zero_point(*scene(np.random.default_rng(seed), scale))
    assert zero.scale == pytest.approx(scale, abs=6 * zero.scale_err)
    assert 0 < zero.scale_err < 0.01
    assert zero.n_stars > 300


def test_variables_and_gaps_do_not_matter():
    rng = np.random.default_rng(0)
    flux, error, reference, reference_err, usable = scene(rng)
    flux[:40] *= rng.uniform(1.3, 5, 40)
    flux[40:60] = np.nan
    usable[60:80] = False
    flux[60:80] *= 100
    zero = ensemble_zero_point(flux, error, reference, reference_err, usable)
    assert zero.scale == pytest.approx(1.0, abs=5 * zero.scale_err)


def test_faint_stars_serve_where_there_are_no_others():
    rng = np.random.default_rng(1)
    flux, error, reference, reference_err, usable = scene(rng)
    zero = ensemble_zero_point(flux, error * 30, reference, reference_err, usable)
    assert zero.scale == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("scale", [9e9, 0.3, -1.0])
def test_a_scale_that_no_exposure_can_have_is_refused(scale):
    with pytest.raises(InputError, match="times those of the catalogue"):
        ensemble_zero_point(*scene(np.random.default_rng(3), scale))


def test_too_few_stars_are_refused():
    flux, error, reference, reference_err, usable = scene(np.random.default_rng(2))
    usable[9:] = False
    with pytest.raises(InputError, match="only 9 stars"):
        ensemble_zero_point(flux, error, reference, reference_err, usable)


def test_exposures_agree_with_the_catalogue(survey, catalogue):
    """One sensitivity in the simulation: every scale is one."""
    from roman_assets.systems.msos.photometry.exposure_fit import fit_exposure

    assert len(survey.frames) >= 3
    for frame in survey.frames[:3]:
        fit = fit_exposure(frame, catalogue.ra, catalogue.dec, catalogue.stars.flux, catalogue.psf)
        zero = ensemble_zero_point(fit.flux, fit.flux_err, catalogue.stars.flux, catalogue.flux_err, fit.flag == 0)
        assert zero.scale == pytest.approx(1.0, abs=0.01)
        assert zero.scatter < 0.05


# --- errors --------------------------------------------------------------------------------------------


def curves(rng, factor, floor, n=600, epochs=60):
    flux = 10 ** rng.uniform(1, 5, n)
    formal = np.repeat((0.3 * np.sqrt(flux))[:, None], epochs, axis=1)
    true = np.hypot(factor * formal, floor * flux[:, None])
    return flux[:, None] + rng.normal(size=(n, epochs)) * true, formal


@pytest.mark.parametrize(("factor", "floor"), [(1.0, 0.001), (1.5, 0.003), (2.0, 0.01)])
def test_error_model_is_recovered(factor, floor):
    model = error_model(*curves(np.random.default_rng(0), factor, floor))
    assert model.factor == pytest.approx(factor, rel=0.08)
    assert model.floor == pytest.approx(floor, rel=0.25)


def test_formal_errors_that_are_too_large_are_left():
    model = error_model(*curves(np.random.default_rng(0), 0.5, 0.0))
    assert model.factor == 1.0
    assert model.floor == FLOOR


def test_few_or_empty_curves_give_the_default():
    nothing = np.full((30, 3), np.nan)
    assert error_model(nothing, nothing) == ErrorModel(1.0, FLOOR)
    flux, error = curves(np.random.default_rng(0), 2, 0.01, n=10)
    assert error_model(flux, error) == ErrorModel(1.0, FLOOR)


def test_gaps_do_not_change_the_model():
    rng = np.random.default_rng(3)
    flux, error = curves(rng, 1.4, 0.004)
    full = error_model(flux, error)
    flux[rng.random(flux.shape) < 0.2] = np.nan
    gappy = error_model(flux, error)
    assert gappy.factor == pytest.approx(full.factor, rel=0.05)


def test_apply():
    np.testing.assert_allclose(ErrorModel(2.0, 0.01).apply(np.array([100.0, -100.0]), np.array([1.0, 1.0])), 5**0.5)


def detector(rng, gradient, n=4000, error=0.005):
    """Positions and fluxes of constant stars on a detector whose sensitivity varies by `gradient`(u, v)."""
    x, y = rng.uniform(0, 999, n), rng.uniform(0, 799, n)
    reference = 10 ** rng.uniform(1, 4, n)
    true = 1 + gradient(2 * x / 999 - 1, 2 * y / 799 - 1)
    flux = 1.02 * reference * true * (1 + rng.normal(0, error, n))
    flux[:100] *= rng.uniform(0.5, 2, 100)  # variables
    fluxes = (flux, error * flux, reference, 1e-4 * reference, np.ones(n, dtype=bool))
    return x, y, true, fluxes


def test_a_sensitivity_that_varies_over_the_detector_is_taken_out_to_a_millimagnitude():
    x, y, true, fluxes = detector(np.random.default_rng(1), lambda u, v: 0.01 * u - 0.006 * v * u + 0.004 * v * v)
    zero = ensemble_zero_point(*fluxes)
    terms = position_terms(x, y, (800, 1000), *fluxes, zero)
    left = zero.scale * (1 + terms(x, y)) / (1.02 * true) - 1
    assert np.std(left) < 0.0005
    assert np.std(true) > 0.005
    assert terms.rms == pytest.approx(np.std(true), rel=0.1)


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_flat_field(seed):
    x, y, _, fluxes = detector(np.random.default_rng(seed), lambda u, v: 0 * u)
    terms = position_terms(x, y, (800, 1000), *fluxes, ensemble_zero_point(*fluxes))
    assert (terms.coefficients == 0).all()


def test_few_stars_or_bad_values_leave_no_position_terms():
    x, y, _, fluxes = detector(np.random.default_rng(3), lambda u, v: 0.01 * u)
    zero = ensemble_zero_point(*fluxes)
    few = (*fluxes[:4], np.arange(len(x)) < 150)
    assert position_terms(x, y, (800, 1000), *few, zero).rms == 0
    fluxes[0][:50], fluxes[1][50:100], fluxes[2][100:150] = np.nan, 0, 0
    terms = position_terms(x, y, (800, 1000), *fluxes, zero)
    assert np.isfinite(terms.coefficients).all()
    assert terms.coefficients[0] == pytest.approx(0.01, abs=0.001)
