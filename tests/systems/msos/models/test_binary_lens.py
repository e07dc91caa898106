"""Binary lenses: magnifications of others, and planets that come back from their own light curves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.msos.events.finder import EventConfig, find_events
from roman_assets.systems.msos.events.models import ModelConfig, model_curve, twins
from roman_assets.systems.msos.models.anomaly import find_anomaly, host_lens
from roman_assets.systems.msos.models.binary_bins import reduced
from roman_assets.systems.msos.models.binary_lens import fit_binary_lens
from roman_assets.systems.msos.models.binary_magnification import (
    BinaryLensConfig,
    binary_magnification,
    centre_of_magnification,
)
from roman_assets.systems.msos.models.binary_minimum import NAMES, Problem, linear_covariance, minimum, model_of, orbit
from roman_assets.systems.msos.models.binary_posterior import covariance_about, explore
from roman_assets.systems.msos.models.lens_models import BINARY_SOURCE, FSPL, blend_widths, solve_fluxes
from roman_assets.systems.msos.models.parallax import Observer
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, fit_point_lens, magnification

MJD = 61465.0 + np.arange(40 * 48) / 48
WIDE = {"t0": 61485.0, "u0": 0.2, "te": 6.0, "rho": 1e-3, "s": 1.3, "q": 3e-3, "alpha": 0.9}
#: A coarser grid and fewer fits than the pipeline's: the tests' planet is plain to see.
QUICK = BinaryLensConfig(alphas=16, log_q=(-3.6, -2.6), rhos=(1e-3,), starts=4, kept=2, steps=20)


def curve_of(parameters, seed=1, error=5.0, shift=(0.0, 0.0)):
    rng = np.random.default_rng(seed)
    flux = 500 * binary_magnification(MJD, **parameters, shift=shift) + 200 + error * rng.normal(size=MJD.size)
    return LightCurve((Band("F146", MJD, flux, np.full(MJD.size, error)),))


def single(curve):
    return fit_point_lens(curve, [(61485.0, 1.2)])


@pytest.fixture(scope="module")
def fitted():
    curve = curve_of(WIDE)
    return curve, fit_binary_lens(curve, single(curve), QUICK)


def test_magnification_of_a_known_binary():
    """18.283382 at (0.01, 0.01) from the centre of mass, s 0.8, q 0.1, rho 0.01, heavier lens at negative x."""
    alpha = 0.3
    tau, u0 = 0.01 * (np.cos(alpha) + np.sin(alpha)), 0.01 * (np.cos(alpha) - np.sin(alpha))
    a = binary_magnification([tau], 0.0, u0, 1.0, 0.01, 0.8, 0.1, alpha, 1e-5)[0]
    assert a == pytest.approx(18.283382, rel=1e-4)


def test_a_vanishing_companion_is_a_point_lens():
    t = np.linspace(-3, 3, 50)
    for s in (0.5, 2.0):
        a = binary_magnification(t, 0.0, 0.3, 1.0, 1e-4, s, 1e-9, 1.0)
        np.testing.assert_allclose(a, magnification(t, 0.0, 0.3, 1.0), rtol=1e-4)


def test_a_wide_companion_leaves_the_peak_where_the_point_lens_has_it():
    t = np.linspace(-0.3, 0.3, 601)
    a = binary_magnification(t, 0.0, 0.05, 1.0, 1e-4, 4.0, 0.02, 0.7)
    assert abs(t[np.argmax(a)]) < 0.005
    assert centre_of_magnification(4.0, 0.02) == pytest.approx((0.25 - 4.0) * 0.02 / 1.02)


@pytest.mark.parametrize(("name", "value"), [("te", 0.0), ("s", -1.0), ("q", np.nan), ("rho", 0.0)])
def test_impossible_lenses_are_refused(name, value):
    with pytest.raises(InputError, match="no binary lens"):
        binary_magnification(MJD, **(WIDE | {name: value}))


def test_the_anomaly_is_where_the_planet_is():
    curve = curve_of(WIDE)
    bare = 500 * magnification(MJD, WIDE["t0"], WIDE["u0"], WIDE["te"]) + 200
    apart = MJD[np.argmax(np.abs(curve.bands[0].flux - bare))]
    found = find_anomaly(curve, single(curve))
    assert found is not None
    assert abs(found.time - apart) < 1.0
    host, _ = host_lens(curve, single(curve))
    assert abs(host.u0 - WIDE["u0"]) < 0.05


def test_a_planet_comes_back(fitted):
    """As the best solution, or as one that these data cannot tell from it (a larger source nearer in)."""
    _, models = fitted
    assert models[0].chi2 / models[0].dof < 1.1
    alike = [m for m in models if m.chi2 < models[0].chi2 + ModelConfig().twin_dchi2]
    names = ("t0", "u0", "te", "s", "q")
    assert any(all(abs(m[n] - WIDE[n]) < 4 * m.error(n) for n in names) for m in alike)
    assert all(m.usable for m in alike)


def test_solutions_are_in_order_and_differ(fitted):
    _, models = fitted
    assert [m.chi2 for m in models] == sorted(m.chi2 for m in models)
    places = {(round(np.log(m["s"]), 2), round(np.log(m["q"]), 1), round(np.log(m["rho"]))) for m in models}
    assert len(places) == len(models)


def test_a_single_lens_has_no_second(monkeypatch):
    rng = np.random.default_rng(3)
    flux = 500 * magnification(MJD, 61485.0, 0.2, 6.0) + 5 * rng.normal(size=MJD.size)
    events = find_events({"F146": MJD}, {"F146": flux[None]}, {"F146": np.full((1, MJD.size), 5.0)})
    assert events["event_class"].to_list() == ["single_lens"]
    assert events["chi2_binary_lens"].to_list() == [None]


@pytest.mark.slow
def test_the_pipeline_names_the_planet_and_its_columns_give_the_model():
    curve = curve_of(WIDE)
    band, config = curve.bands[0], EventConfig(models=ModelConfig(binary=QUICK))
    events = find_events({"F146": MJD}, {"F146": band.flux[None]}, {"F146": band.flux_err[None]}, config)
    best = events.filter(events["degeneracy"] == 0).row(0, named=True)
    assert best["event_class"] == "binary_lens"
    assert best["model"] == "BINARY_LENS"
    assert best["dchi2_binary"] > 160
    z = (model_curve(best, "F146", MJD) - band.flux) / band.flux_err
    assert float(z @ z) == pytest.approx(best["chi2"], rel=0.02)


def test_parallax_moves_the_source_as_in_the_point_lens_fit():
    observer = Observer(268.0, -29.2)
    north, east = observer.offsets(MJD, 61485.0)
    shift = (0.8 * north, 0.8 * east)
    still = binary_magnification(MJD, **(WIDE | {"q": 1e-9}), shift=shift)
    u = np.hypot((MJD - 61485.0) / 6.0 + shift[0], 0.2 + shift[1])
    np.testing.assert_allclose(still, (u * u + 2) / (u * np.sqrt(u * u + 4)), rtol=2e-3)


def test_lenses_that_orbit_turn_and_come_nearer():
    times = np.array([0.0, 365.25])
    apart, angle = orbit(1.2, 0.3, -0.4, 0.5, times, 0.0)
    np.testing.assert_allclose(apart, [1.2, 0.8])
    np.testing.assert_allclose(angle, [0.3, 0.8])
    still = binary_magnification(MJD, **WIDE)
    years = (MJD - WIDE["t0"]) / 365.25
    moved = binary_magnification(MJD, **(WIDE | {"s": 1.3 + 0 * years, "alpha": 0.9 + 0 * years}))
    np.testing.assert_allclose(moved, still, rtol=1e-6)
    assert np.abs(binary_magnification(MJD, **(WIDE | {"alpha": 0.9 + 10 * years})) - still).max() > 0.01


@pytest.mark.slow
def test_an_orbit_that_the_data_show_is_fitted():
    """Without it s would be off by many errors, as in event 128 of the data challenge."""
    truth, observer = WIDE | {"te": 12.0, "s": 1.1, "q": 0.02}, Observer(268.0, -29.2)
    s, alpha = orbit(1.1, 0.9, -1.0, 4.0, MJD, 61485.0)
    rng = np.random.default_rng(5)
    flux = 5000 * binary_magnification(MJD, **(truth | {"s": s, "alpha": alpha})) + 2000 + 5 * rng.normal(size=MJD.size)
    curve = LightCurve((Band("F146", MJD, flux, np.full(MJD.size, 5.0)),))
    lens = fit_point_lens(curve, [(61485.0, 2.4)])
    best = fit_binary_lens(curve, lens, replace(QUICK, log_q=(-1.7,), starts=6), observer)[0]
    assert "dalpha_dt" in best.parameters
    assert best.chi2 / best.dof < 1.1
    years = (61485.0 - lens.t0) / 365.25
    assert abs(best["dalpha_dt"] * np.sign(best["u0"]) - 4.0) < 4 * best.error("dalpha_dt")  # or its mirror image
    for name, value in (("te", 12.0), ("q", 0.02), ("ds_dt", -1.0), ("s", 1.1 + years)):
        assert abs(best[name] - value) < 4 * best.error(name), name


def test_without_a_covariance_every_parameter_counts_as_free():
    curve, observer = curve_of(WIDE), Observer(268.0, -29.2)
    offsets = tuple(observer.offsets(b.mjd, 61485.0) for b in curve.bands)
    whole = Problem(curve, QUICK, 1e-4, blend_widths(curve), reference=61485.0, sides=True, offsets=offsets)
    p = np.array([WIDE[n] if n in ("t0", "u0", "alpha") else np.log(WIDE[n]) for n in NAMES[:7]] + [0.0, 0.0])
    model = model_of(whole, p, np.full((9, 9), np.nan))
    assert model.dof == len(curve) - 9 - 2
    assert not model.usable


def test_errors_of_two_lenses_that_another_model_beats_need_no_chain(fitted, monkeypatch):
    curve, by_chain = fitted
    monkeypatch.delattr("roman_assets.systems.msos.models.binary_lens.explore")
    beaten = fit_binary_lens(curve, single(curve), QUICK, rival_bic=by_chain[0].bic - 100)
    assert beaten[0].chi2 < min(m.chi2 for m in by_chain) + ModelConfig().twin_dchi2
    assert beaten[0].usable


def test_two_lenses_that_come_nowhere_near_another_model_are_not_refined(fitted):
    curve, _ = fitted
    hopeless = fit_binary_lens(curve, single(curve), QUICK, rival_bic=10.0)
    assert min(m.chi2 for m in hopeless) > 100.0


def test_two_lenses_are_not_refined_on_a_variable_star(monkeypatch):
    """They leave most of what a point lens leaves of a pulsating star in outburst: one rough model says so."""
    rng = np.random.default_rng(5)
    shape = 1 + 0.3 * np.exp(-0.5 * ((MJD - 61485.0) / 3.0) ** 2) + 0.05 * np.sin((MJD - MJD[0]) / 0.9)
    curve = LightCurve((Band("F146", MJD, 1000 * shape + 2 * rng.normal(size=MJD.size), np.full(MJD.size, 2.0)),))
    monkeypatch.delattr("roman_assets.systems.msos.models.binary_lens._settled")
    models = fit_binary_lens(curve, single(curve), QUICK)
    assert len(models) == 1
    assert models[0].chi2 / models[0].dof > 10


def test_bins_that_follow_a_model_keep_what_tells_it_from_its_neighbours():
    curve = curve_of(WIDE)
    whole = Problem(curve, QUICK, 1e-4, blend_widths(curve), sides=True)
    p = np.array([WIDE[n] if n in ("t0", "u0", "alpha") else np.log(WIDE[n]) for n in NAMES[:7]])
    few = reduced(whole, p)
    assert len(few.curve) < 0.6 * len(curve)
    for index, step in ((1, 0.002), (2, 0.01), (4, 0.002), (5, 0.1), (6, 0.01)):
        other = p.copy()
        other[index] += step
        assert few.chi2(other) - few.chi2(p) == pytest.approx(whole.chi2(other) - whole.chi2(p), rel=0.05, abs=1.0), (
            index
        )


def test_bins_do_not_hide_what_the_model_does_not_know():
    """A caustic crossing stays in the data, although the point lens that bins them is straight there."""
    curve = curve_of(WIDE)
    whole = Problem(curve, QUICK, 1e-4, blend_widths(curve))
    bare = np.array([WIDE["t0"], WIDE["u0"], np.log(WIDE["te"]), np.log(1e-3), 0.26, np.log(1e-7), 0.9])
    few = reduced(whole, bare)
    lost = (whole.chi2(bare) - len(curve)) - (few.chi2(bare) - len(few.curve))
    assert abs(lost) < 0.05 * (whole.chi2(bare) - len(curve))


@pytest.mark.slow
def test_a_chain_gives_the_errors_of_the_slopes_where_chi2_is_a_parabola():
    curve = curve_of(WIDE)
    problem = Problem(curve, replace(QUICK, steps=60), 1e-4, blend_widths(curve), sides=True)
    start = np.array([WIDE[n] if n in ("t0", "u0", "alpha") else np.log(WIDE[n]) for n in NAMES[:7]])
    p = minimum(problem, start, evaluations=20)[1]
    few = reduced(problem, p)
    samples, _ = explore(few, p)
    again, _ = explore(few, p)
    np.testing.assert_array_equal(samples, again)
    ratio = np.sqrt(np.diag(covariance_about(p, samples)) / np.diag(linear_covariance(few, p)))
    for index in (0, 1, 2, 4, 6):
        assert 0.6 < ratio[index] < 1.7, NAMES[index]


def test_a_negative_blend_costs_what_its_width_says():
    """fs 2 over a flux of 1 asks for a blend of -1: with a width of 0.1 it stays near zero."""
    t = np.arange(100.0)
    a = magnification(t, 50.0, 0.5, 10.0)
    curve = LightCurve((Band("F146", t, 2 * a - 1, np.full(100, 0.5)),))
    free = solve_fluxes(curve, [a[None]])
    held = solve_fluxes(curve, [a[None]], np.array([0.1]))
    assert free[1][0] == pytest.approx(-1.0)
    assert -0.3 < held[1][0] < 0
    assert len(held[2]) == len(free[2]) + 1
    assert held[2][-1] == pytest.approx(held[1][0] / 0.1)
    assert np.isinf(blend_widths(LightCurve((Band("F146", t, a - a.min(), np.full(100, 0.5)),)))).all()


@pytest.mark.slow
def test_parallax_is_fitted_with_its_prior_and_te_stays_unbiased():
    times = 61465.0 + np.arange(60 * 16) / 16
    observer, truth = Observer(268.0, -29.2), WIDE | {"te": 20.0}
    north, east = observer.offsets(times, 61485.0)
    shift = (0.05 * north + 0.12 * east, 0.05 * east - 0.12 * north)
    rng = np.random.default_rng(7)
    flux = 500 * binary_magnification(times, **truth, shift=shift) + 200 + 5 * rng.normal(size=times.size)
    curve = LightCurve((Band("F146", times, flux, np.full(times.size, 5.0)),))
    lens = fit_point_lens(curve, [(61485.0, 4.0)])
    still, moving = fit_binary_lens(curve, lens, QUICK)[0], fit_binary_lens(curve, lens, QUICK, observer)[0]
    assert moving.error("te") > still.error("te")
    assert abs(moving["te"] - truth["te"]) < 3 * moving.error("te")
    assert 0 < moving.error("pi_en") < 0.31
    assert np.hypot(moving["pi_en"], moving["pi_ee"]) < 0.6
    assert moving.dof < still.dof
    assert moving.chi2 < still.chi2


def test_two_sources_as_good_as_two_lenses_are_reported_beside_them(fitted):
    _, models = fitted
    best = models[0]
    rival, worse = (replace(best, name=BINARY_SOURCE, chi2=best.chi2 + extra) for extra in (5.0, 500.0))
    disc = replace(best, name=FSPL, chi2=best.chi2 + 1.0)
    assert twins([rival, best, worse, disc], best) == [rival]


DATA = Path(__file__).resolve().parents[5] / "shared" / "data" / "microlensing_values"


@pytest.mark.skipif(not DATA.exists(), reason="needs ../shared/data/microlensing_values")
def test_point_source_values_of_forty_digits():
    table = np.loadtxt(DATA / "binary_lens_point_source.csv", delimiter=",")
    for s, q, x, y, expected in table[:40, :5]:
        # alpha 0 puts the source at (tau + centre, u0).
        a = binary_magnification([x - centre_of_magnification(s, q)], 0.0, y, 1.0, 1e-7, s, q, 0.0, 1e-4)[0]
        if expected < 50:  # far enough from a caustic for a source of no size
            assert a == pytest.approx(expected, rel=5e-3)
