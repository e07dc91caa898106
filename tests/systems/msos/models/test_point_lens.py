"""Point-lens fits: a published event, calibrated errors, several bands, blends, degenerate input."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.msos.events.light_curve_files import read_light_curves
from roman_assets.systems.msos.models.point_lens import (
    Band,
    FitOptions,
    LightCurve,
    fit_point_lens,
    fit_point_lenses,
    model_flux,
)
from tests.systems.msos.event_curves import events, paczynski, sparse_epochs


def test_ob08092(shared_data):
    """chi2 and parameters that MulensModel finds (its manual and ours agree to the digits given)."""
    (curve,) = read_light_curves(shared_data / "ogle/OB08092/phot_ob08092_O4.dat").values()
    fit = fit_point_lens(curve, [(5380.0, 8.0)])
    assert fit.chi2 == pytest.approx(427.20382, abs=1e-4)
    assert (fit.t0, fit.u0, fit.te) == pytest.approx((5379.57091, 0.52298, 17.94002), abs=2e-4)
    assert fit.converged
    assert fit.blend == "free"
    model = model_flux(fit, "band", curve.bands[0].mjd)
    z = (curve.bands[0].flux - model) / curve.bands[0].flux_err
    assert float(z @ z) == pytest.approx(fit.chi2, rel=1e-9)


def test_errors_are_calibrated():
    """300 events with blends: pulls of t0, u0, tE, fs, fb have width one."""
    rng = np.random.default_rng(21)
    mjd = np.sort(rng.uniform(61465, 61505, 400))
    n = 300
    t0, u0, te = rng.uniform(61480, 61490, n), rng.uniform(0.1, 0.5, n), rng.uniform(2, 6, n)
    fs, fb = rng.uniform(500, 2000, n), rng.uniform(0, 1000, n)
    a = np.stack([paczynski(mjd, *p) for p in zip(t0, u0, te, strict=True)])
    flux = fs[:, None] * a + fb[:, None] + rng.normal(0, 10, a.shape)
    curves = [LightCurve((Band("F146", mjd, f, np.full(400, 10.0)),)) for f in flux]
    seeds = [[(a + 0.3, 1.3 * b * c)] for a, b, c in zip(t0, u0, te, strict=True)]
    fits = fit_point_lenses(curves, seeds)
    assert all(fit.converged and fit.blend == "free" for fit in fits)
    for i, truth in enumerate((t0, u0, te, fs, fb)):
        names = ("t0", "u0", "te", "fs_F146", "fb_F146")
        assert fits[0].parameters == names
        value = np.array([(f.t0, f.u0, f.te, f.fs[0], f.fb[0])[i] for f in fits])
        error = np.array([np.sqrt(f.covariance[i, i]) for f in fits])
        pull = (value - truth) / error
        assert 0.9 < pull.std() < 1.1, names[i]
        assert abs(np.mean(pull)) < 0.25, names[i]
    assert np.mean([f.chi2 / f.dof for f in fits]) == pytest.approx(1.0, abs=0.02)


def test_bands_share_the_lens_and_not_the_flux():
    rng = np.random.default_rng(22)
    bands = []
    for name, n, fs, fb in (("F146", 300, 900.0, 100.0), ("F087", 40, 50.0, 30.0), ("F213", 30, 400.0, 0.0)):
        t = np.sort(rng.uniform(0, 30, n))
        bands.append(Band(name, t, fs * paczynski(t, 14.0, 0.2, 4.0) + fb + rng.normal(0, 3, n), np.full(n, 3.0)))
    fit = fit_point_lens(LightCurve(tuple(bands)), [(13.5, 1.0)])
    assert fit.fs == pytest.approx([900, 50, 400], rel=0.05)
    assert np.abs((fit.fs - [900, 50, 400]) / fit.fs_err).max() < 4
    assert fit.dof == 370 - 9
    alone = fit_point_lens(LightCurve((*bands, Band("F062", [], [], []))), [(13.5, 1.0)])
    assert alone.chi2 == pytest.approx(fit.chi2)
    assert np.isnan(alone.fs[3])
    assert alone.parameters == fit.parameters


def test_shift_and_scale():
    rng = np.random.default_rng(23)
    t = np.sort(rng.uniform(0, 30, 200))
    f = 100 * paczynski(t, 14.0, 0.2, 4.0) + 20 + rng.normal(0, 3, 200)
    one = fit_point_lens(LightCurve((Band("b", t, f, np.full(200, 3.0)),)), [(13.5, 1.0)])
    two = fit_point_lens(LightCurve((Band("b", t + 2.4e6, 1e-6 * f, np.full(200, 3e-6)),)), [(13.5 + 2.4e6, 1.0)])
    assert two.t0 - 2.4e6 == pytest.approx(one.t0, abs=1e-6)
    assert (two.u0, two.te, two.chi2) == pytest.approx((one.u0, one.te, one.chi2), rel=1e-5)


def test_binned_starts_end_at_the_same_minimum():
    rng = np.random.default_rng(24)
    t = np.sort(rng.uniform(0, 60, 6000))
    f = 100 * paczynski(t, 24.0, 0.1, 6.0) + 20 + rng.normal(0, 3, 6000)
    curve = LightCurve((Band("b", t, f, np.full(6000, 3.0)),))
    coarse = fit_point_lens(curve, [(24.2, 0.9)])
    exact = fit_point_lens(curve, [(24.2, 0.9)], FitOptions(coarse_above=10**9))
    assert coarse.chi2 == pytest.approx(exact.chi2, abs=1e-5)
    assert coarse.u0 == pytest.approx(exact.u0, abs=0.01 * exact.u0_err)


def test_sparse_events_keep_honest_errors():
    """Five informative points: t0 pulls have width one, and u0 errors are large rather than invented."""
    rng = np.random.default_rng(25)
    mjd = sparse_epochs(rng)
    flux, error, truth = events(rng, mjd, 200, te=(0.3, 0.8), u0=(0.05, 0.5), flux=(3.0, 4.0))
    curves = [LightCurve((Band("F146", mjd, f, e),)) for f, e in zip(flux, error, strict=True)]
    fits = fit_point_lenses(
        curves, [[(a, b * c)] for a, b, c in zip(truth["t0"], truth["u0"], truth["te"], strict=True)]
    )
    pull = np.array([(f.t0 - t) / f.t0_err for f, t in zip(fits, truth["t0"], strict=True) if f.dchi2 > 300])
    assert len(pull) > 100
    assert (np.abs(pull) < 3).mean() > 0.98
    assert np.mean([f.degenerate for f in fits]) > 0.1


def test_zero_blend_is_used_and_said_where_a_blend_is_not_constrained():
    t = np.arange(24) / 6
    f = 100 * paczynski(t, 2.0, 1.5, 0.7) + np.random.default_rng(26).normal(0, 0.5, 24)
    fit = fit_point_lens(LightCurve((Band("b", t, f, np.full(24, 0.5)),)), [(2.0, 0.6)])
    if fit.blend == "zero":
        assert fit.parameters == ("t0", "u0", "te", "fs_b")
        assert (fit.fb[0], fit.fb_err[0]) == (0, 0)
    else:
        assert fit.degenerate
    forced = fit_point_lens(LightCurve((Band("b", t, f, np.full(24, 0.5)),)), [(2.0, 0.6)], blend="zero")
    assert forced.blend == "zero"
    assert forced.u0 == pytest.approx(1.5, abs=5 * forced.u0_err)
    assert forced.dof == 20


def test_difference_fluxes_keep_their_negative_baseline():
    rng = np.random.default_rng(27)
    t = np.sort(rng.uniform(0, 40, 300))
    f = 100 * (paczynski(t, 20.0, 0.1, 6.0) - 1) - 30 + rng.normal(0, 2, 300)
    fit = fit_point_lens(LightCurve((Band("b", t, f, np.full(300, 2.0)),)), [(19.8, 0.8)])
    assert fit.blend == "free"
    assert fit.fb[0] == pytest.approx(-130, abs=5 * fit.fb_err[0])


def test_too_few_points_and_bad_input():
    few = fit_point_lens(LightCurve((Band("b", [1, 2, 3], [1, 2, 1], [1, 1, 1]),)), [(2.0, 1.0)])
    assert not few.fitted
    assert not few.converged
    with pytest.raises(InputError, match="same length"):
        Band("b", [1, 2], [1], [1])
    with pytest.raises(InputError, match="repeat"):
        LightCurve((Band("b", [], [], []), Band("b", [], [], [])))
    with pytest.raises(InputError, match="bands"):
        fit_point_lens(LightCurve(()), [(1.0, 1.0)])
    fit = fit_point_lens(LightCurve((Band("b", np.arange(9.0), np.ones(9), np.ones(9)),)), [(4.0, 1.0)])
    with pytest.raises(InputError, match="bands b"):
        model_flux(fit, "F146", [1.0])


def test_band_drops_unusable_points_and_sorts():
    band = Band("b", [3, 1, 2, 4, 5], [1, 2, np.nan, 4, 5], [1, 1, 1, 0, np.inf])
    assert band.mjd.tolist() == [1, 3]
    assert band.flux.tolist() == [2, 1]
