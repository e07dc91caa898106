"""Classes of simulated curves: lenses, anomalies, outbursts, periodic variables, artefacts."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.systems.msos.events import classify as rules
from roman_assets.systems.msos.events.classify import classify
from roman_assets.systems.msos.events.classify_config import ClassifyConfig
from roman_assets.systems.msos.models.alternatives import fit_outburst, fit_periodic, noise_scale
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, fit_point_lens
from roman_assets.systems.msos.search.templates import search
from tests.systems.msos.event_curves import dense_epochs, paczynski


def judge(mjd, flux, error, config=ClassifyConfig()):
    curve = LightCurve((Band("F146", mjd, flux, error),))
    found = search(mjd, flux[None], error[None]).row(0, named=True)
    return classify(curve, found, fit_point_lens(curve, [(found["t0"], found["teff"])]), config)


@pytest.fixture
def rng():
    return np.random.default_rng(31)


@pytest.fixture
def mjd(rng):
    return dense_epochs(rng, 2500)


def curve_of(rng, true, error=3.0):
    return true + rng.normal(0, error, true.shape), np.full(true.shape, error)


def test_single_lens(rng, mjd):
    verdict = judge(mjd, *curve_of(rng, 80 + 20 * paczynski(mjd, mjd[1100], 0.2, 3.0)))
    assert verdict.event_class == rules.SINGLE_LENS
    assert verdict.veto == 0
    assert verdict.probability > 0.9


def test_planet_on_the_wing_is_microlensing_without_a_sub_class(rng, mjd):
    true = 80 + 20 * paczynski(mjd, mjd[1100], 0.2, 3.0)
    true += 25 * np.exp(-0.5 * ((mjd - mjd[1300]) / 0.08) ** 2)
    verdict = judge(mjd, *curve_of(rng, true))
    assert verdict.event_class == "microlensing"
    assert "residuals" in verdict.reason


def test_outburst_is_cataclysmic(rng, mjd):
    x = mjd - mjd[700]
    true = 100 + 60 * np.clip(x / 0.15, 0, 1) * np.exp(-np.maximum(x, 0) / 3.0)
    verdict = judge(mjd, *curve_of(rng, true))
    assert verdict.event_class == rules.CATACLYSMIC
    assert verdict.veto & rules.VETO_ASYMMETRY


@pytest.mark.parametrize("period", [0.2, 1.3, 5.0, 14.0])
def test_sinusoid_is_variable(rng, mjd, period):
    true = 100 * 10 ** (-0.06 * np.sin(2 * np.pi * mjd / period))
    verdict = judge(mjd, *curve_of(rng, true))
    assert verdict.event_class == rules.VARIABLE
    named = float(verdict.reason.split("period of ")[1].split()[0])
    assert named == pytest.approx(period, rel=0.05)
    assert verdict.veto & rules.VETO_PERIOD


def test_repeated_flares_are_no_lens(rng, mjd):
    true = np.full(mjd.shape, 100.0)
    for start in (200, 900, 1300, 2200):
        true += 30 / np.sqrt(1 + ((mjd - mjd[start]) / 0.2) ** 2)
    assert judge(mjd, *curve_of(rng, true)).event_class not in rules.MICROLENSING


def test_one_exposure_is_an_artefact(rng, mjd):
    flux, error = curve_of(rng, np.full(mjd.shape, 100.0))
    flux[800] += 200
    flux[801] += 15
    verdict = judge(mjd, flux, error)
    assert verdict.event_class not in rules.MICROLENSING
    assert verdict.veto & (rules.VETO_ONE_EXPOSURE | rules.VETO_FEW_POINTS)


def test_underestimated_errors_are_no_event(rng, mjd):
    flux, error = curve_of(rng, np.full(mjd.shape, 100.0))
    assert judge(mjd, flux, error / 4).event_class not in rules.MICROLENSING


def test_thresholds_are_configurable(rng, mjd):
    flux, error = curve_of(rng, 98 + 2 * paczynski(mjd, mjd[1100], 0.2, 0.15))
    assert judge(mjd, flux, error).event_class == rules.UNCLEAR
    loose = ClassifyConfig(min_run_dense=1, min_dchi2_without=5, min_strength=5)
    assert judge(mjd, flux, error, loose).event_class in rules.MICROLENSING


def test_class_does_not_depend_on_the_unit(rng, mjd):
    flux, error = curve_of(rng, 80 + 20 * paczynski(mjd, mjd[1100], 0.2, 3.0))
    for scale in (1e-6, 1e6):
        assert judge(mjd, scale * flux, scale * error).event_class == rules.SINGLE_LENS


def test_periodic_fit_finds_the_period_and_its_chi2(rng):
    t = np.sort(rng.uniform(0, 20, 300))
    f = 10 + 3 * np.sin(2 * np.pi * t / 1.37) + np.sin(4 * np.pi * t / 1.37 + 1) + rng.normal(0, 0.5, 300)
    fit = fit_periodic(t, f, np.full(300, 0.5))
    assert min(abs(fit.period - 1.37), abs(fit.period - 0.685)) < 0.002
    assert fit.chi2 / 295 == pytest.approx(1.0, abs=0.25)
    assert fit_periodic(t[:5], f[:5], np.ones(5)) is None


def test_outburst_fit(rng):
    t = np.arange(0, 20, 0.1)
    x = t - 6.0
    f = 5 + 8 * np.clip(x / 0.3, 0, 1) * np.exp(-np.maximum(x - 0.3, 0) / 2.5) + rng.normal(0, 0.1, 200)
    fit = fit_outburst(t, f, np.full(200, 0.1), 7.5, 1.5)
    assert fit.covered
    assert fit.start == pytest.approx(6.0, abs=0.1)
    assert fit.decay == pytest.approx(2.5, rel=0.1)
    assert fit.chi2 < 400
    late = t > 6.5
    assert not fit_outburst(t[late], f[late], np.full(late.sum(), 0.1), 7.5, 1.5).covered


def test_noise_scales(rng):
    t = np.arange(2000) * 0.01
    white = rng.normal(0, 2.0, 2000)
    scale = noise_scale(t, white, np.ones(2000), 10.0, 0.5)
    assert scale.white == pytest.approx(2.0, rel=0.1)
    assert scale.red < 3.5
    slow = white / 2 + 3 * np.sin(2 * np.pi * t / 3.0)
    scale = noise_scale(t, slow, np.ones(2000), 10.0, 0.5)
    assert scale.white < 1.1
    assert scale.red > 5
