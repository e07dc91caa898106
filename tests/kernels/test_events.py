"""Event kernels against slow numpy references; bits at every vector level; invariances."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.kernels import events as kernels

prop = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
GRID = {"teff_min": 0.05, "teff_max": 3.0, "teff_ratio": 1.5, "steps_per_teff": 3.0, "reach": 5.0, "high_sigma": 3.0}
LENS = {
    "n_bands": 1,
    "free_blend": True,
    "u0": [0.03, 0.1, 0.3, 1.0],
    "tolerance": 1e-6,
    "max_iterations": 60,
    "coarse_above": 2000,
    "te_range": (1e-3, 1e4),
    "u0_max": 5.0,
}
seeds = st.integers(0, 2**32 - 1)


def block(seed, stars=3, epochs=150):
    rng = np.random.default_rng(seed)
    mjd = np.sort(rng.uniform(60000, 60012, epochs))
    t0, teff = rng.uniform(60001, 60011, stars), rng.uniform(0.05, 1.0, stars)
    x = (mjd - t0[:, None]) / teff[:, None]
    flux = 50 + rng.uniform(0, 60, stars)[:, None] / np.sqrt(1 + x**2) + rng.normal(0, 4, (stars, epochs))
    error = np.full(flux.shape, 4.0)
    error[rng.random(flux.shape) < 0.1] = np.nan
    flux[rng.random(flux.shape) < 0.05] = np.inf
    return mjd, flux.astype(np.float32), error.astype(np.float32)


def at_levels(monkeypatch, function):
    results = []
    for level in ("baseline", "v3", "v4"):
        monkeypatch.setenv("ROMAN_SIMD", level)
        results.append(function())
    monkeypatch.delenv("ROMAN_SIMD")
    return results


def assert_same_bits(results):
    for other in results[1:]:
        for name, value in vars(results[0]).items():
            assert value.tobytes() == getattr(other, name).tobytes(), name


@prop
@given(seed=seeds)
def test_search_gives_the_same_bits_at_every_level(seed):
    with pytest.MonkeyPatch.context() as patch:
        assert_same_bits(at_levels(patch, lambda: kernels.event_search(*block(seed), **GRID)))


@prop
@given(seed=seeds, n=st.sampled_from([5, 40, 301, 2300]))
def test_fit_gives_the_same_bits_at_every_level(seed, n):
    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 40, n))
    f = 10 / np.sqrt(0.1 + ((t - 20) / 6) ** 2) + rng.normal(0, 1, n)

    def run():
        return kernels.point_lens_fit([0, n], t, f, np.ones(n), [0, 1], [19.0], [2.0], **LENS)

    with pytest.MonkeyPatch.context() as patch:
        assert_same_bits(at_levels(patch, run))


def reference_search(mjd, flux, error, t0, teff, shape):
    """dchi2 of one window by linear least squares on all points, and without its most significant point."""
    good = np.isfinite(flux) & np.isfinite(error)
    t, f, e = mjd[good], flux[good].astype(float), error[good].astype(float)

    def template(x):
        q = 1 + x**2
        return 1 / np.sqrt(q) if shape == 1 else (1 - (q / 2 + 1) ** -2) ** -0.5

    x = (t - t0) / teff
    a = np.where(np.abs(x) < GRID["reach"], template(x) - template(GRID["reach"]), 0.0)

    def gain(keep):
        design = np.stack([np.ones(keep.sum()), a[keep]], axis=1) / e[keep, None]
        value = f[keep] / e[keep]
        residual = value - design @ np.linalg.lstsq(design, value, rcond=None)[0]
        flat = value - design[:, :1] @ np.linalg.lstsq(design[:, :1], value, rcond=None)[0]
        return flat @ flat - residual @ residual

    keep = np.ones(len(t), dtype=bool)
    mean = np.average(f, weights=1 / e**2)
    best = int(np.argmax(a * (f - mean) / e**2))
    return gain(keep), gain(np.arange(len(t)) != best)


@prop
@given(seed=seeds)
def test_search_agrees_with_least_squares_and_finds_the_best_window(seed):
    mjd, flux, error = block(seed, stars=1)
    found = kernels.event_search(mjd, flux, error, **GRID)
    window = float(found.t0[0]), float(found.teff[0]), int(found.shape[0])
    dchi2, without = reference_search(mjd, flux[0], error[0], *window)
    assert found.dchi2[0] == pytest.approx(dchi2, rel=1e-6, abs=1e-6)
    assert found.dchi2_without[0] == pytest.approx(min(dchi2, without), rel=1e-6, abs=1e-6)
    # No window of the grid does clearly better; bins of teff/4 cost a little.
    teff = GRID["teff_min"]
    best = 0.0
    while teff < GRID["teff_max"]:
        for t0 in np.arange(mjd[0] - teff, mjd[-1] + teff, teff):
            for shape in (1, 2):
                best = max(best, min(reference_search(mjd, flux[0], error[0], t0, teff, shape)))
        teff *= 2.25
    assert found.dchi2_without[0] > 0.8 * best - 3


@prop
@given(seed=seeds, power=st.integers(-20, 20), shift=st.sampled_from([-40000.0, 0.0, 2.4e6]))
def test_search_does_not_depend_on_units_or_epoch(seed, power, shift):
    mjd, flux, error = block(seed)
    mjd = np.round(mjd * 1024) / 1024  # exact under the shift
    scale = np.float32(2.0**power)
    one = kernels.event_search(mjd, flux, error, **GRID)
    other = kernels.event_search(mjd + shift, flux * scale, error * scale, **GRID)
    np.testing.assert_allclose(other.t0 - shift, one.t0, atol=2e-3)
    np.testing.assert_allclose(other.dchi2, one.dchi2, rtol=1e-4)
    np.testing.assert_array_equal(other.n_high, one.n_high)


@prop
@given(seed=seeds)
def test_stars_do_not_depend_on_their_neighbours(seed):
    mjd, flux, error = block(seed, stars=21, epochs=60)
    every = kernels.event_search(mjd, flux, error, **GRID)
    alone = kernels.event_search(mjd, flux[17:18], error[17:18], **GRID)
    for name, value in vars(alone).items():
        assert value[0] == getattr(every, name)[17] or np.isnan(value[0]), name


def test_search_of_nothing():
    empty = kernels.event_search(np.zeros(0), np.zeros((2, 0)), np.zeros((2, 0)), **GRID)
    assert empty.shape.tolist() == [0, 0]
    assert np.isnan(empty.t0).all()
    none = kernels.event_search(np.arange(5.0), np.zeros((0, 5)), np.zeros((0, 5)), **GRID)
    assert len(none.t0) == 0


def test_search_refuses_bad_input():
    t, f = np.arange(5.0), np.zeros((1, 5))
    with pytest.raises(InputError, match="increasing"):
        kernels.event_search(t[::-1], f, f, **GRID)
    with pytest.raises(InputError, match="flux_err"):
        kernels.event_search(t, f, f[:, :3], **GRID)
    with pytest.raises(InputError, match="teff_ratio"):
        kernels.event_search(t, f, f, **{**GRID, "teff_ratio": 1.0})


@prop
@given(seed=seeds)
def test_fit_agrees_with_scipy(seed):
    from scipy.optimize import least_squares

    rng = np.random.default_rng(seed)
    t = np.sort(rng.uniform(0, 60, 400))
    t0, u0, te, fs, fb = rng.uniform(25, 35), rng.uniform(0.1, 0.6), rng.uniform(4, 9), 100.0, 30.0

    def model(p):
        u2 = p[1] ** 2 + ((t - p[0]) / np.exp(p[2])) ** 2
        return p[3] * (u2 + 2) / np.sqrt(u2 * (u2 + 4)) + p[4]

    truth = np.array([t0, u0, np.log(te), fs, fb])
    f = model(truth) + rng.normal(0, 1, len(t))
    peer = least_squares(lambda p: model(p) - f, truth, method="lm", xtol=1e-14, ftol=1e-14, gtol=1e-14)
    ours = kernels.point_lens_fit([0, len(t)], t, f, np.ones(len(t)), [0, 1], [t0 + 0.3], [1.4 * u0 * te], **LENS)
    assert ours.flags[0] == kernels.CONVERGED
    assert ours.chi2[0] == pytest.approx(2 * peer.cost, abs=1e-5)
    covariance = np.linalg.inv(peer.jac.T @ peer.jac)
    scale = np.diag([1, 1, np.exp(peer.x[2]), 1, 1])
    np.testing.assert_allclose(
        np.sqrt(np.diag(ours.covariance[0])), np.sqrt(np.diag(scale @ covariance @ scale)), rtol=0.02
    )


def lens_magnification(u):
    return 1 + kernels.point_lens_excess(np.zeros(1), 0.0, u, 1.0)[0]


def test_magnification_against_quadrature(shared_data):
    """A disk much smaller than u sees A + rho^2 / 8 (A'' + A' / u)."""
    rows = np.loadtxt(shared_data / "microlensing_values/finite_source_point_lens.csv", delimiter=",")
    far = rows[rows[:, 0] >= 10 * rows[:, 1]]
    assert len(far) >= 1
    for u, rho, finite, _ in far:
        h = 1e-3 * u
        low, middle, high = (lens_magnification(v) for v in (u - h, u, u + h))
        laplacian = (high - 2 * middle + low) / h**2 + (high - low) / (2 * h) / u
        assert middle + rho**2 / 8 * laplacian == pytest.approx(finite, rel=3 * (rho / u) ** 4)


def test_magnification_against_binary_lenses_of_tiny_mass_ratio(shared_data):
    """40-digit magnifications of binaries with q < 1e-5 lie within some q of the single lens."""
    rows = np.loadtxt(shared_data / "microlensing_values/binary_lens_point_source.csv", delimiter=",")
    tiny = rows[rows[:, 1] < 1e-5]
    assert len(tiny) >= 5
    ratios = []
    for s, q, x, y, expected, _ in tiny:
        ratios.append(abs(lens_magnification(np.hypot(x + q / (1 + q) * s, y)) / expected - 1) / q)
    assert np.median(ratios) < 10


def test_magnification_near_and_far():
    near = kernels.point_lens_excess(np.zeros(1), 0.0, 0.1, 1.0)[0]
    assert 1 + near == pytest.approx(10.0374610057, rel=1e-11)
    # Far away A - 1 -> 2 / u^4 (1 - 4 / u^2 + ..), where A itself has rounded to 1.
    far = kernels.point_lens_excess(np.array([1e5]), 0.0, 0.1, 1.0)[0]
    assert far == pytest.approx(2e-20, rel=1e-8)
