"""Photometry kernels against scipy, finite differences and dense linear algebra; bits at every vector level."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from roman_assets.errors import InputError
from roman_assets.kernels.call import LEVELS, lib, vector_level
from roman_assets.kernels.photometry import (
    PaddedFrame,
    Stars,
    joint_fit,
    matched_sums,
    position_sums,
    psf_stamps,
    render,
    splat,
)
from tests.kernels.crowd import FRAME, HALVES, OVERSAMPLE, PSF, Problem, bell, random_stars

prop = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

seeds = st.integers(0, 2**32 - 1)
places = st.floats(-30, 30, allow_nan=False)


def at_level(monkeypatch: pytest.MonkeyPatch, level: str, call: Callable[[], object]) -> object:
    monkeypatch.setenv("ROMAN_SIMD", level)
    return call()


# --- stamps --------------------------------------------------------------------------------------------


@prop
@given(x=places, y=places, half=st.sampled_from(HALVES))
def test_stamp_is_the_spline(x, y, half):
    """scipy evaluates the same B-spline from the same coefficients."""
    (stamp,) = psf_stamps(PSF, Stars.of([x], [y], half))
    centre = PSF.grid_half
    offsets = np.arange(-half, half + 1)
    rows = (np.floor(y + 0.5) + offsets - y) * OVERSAMPLE + centre
    cols = (np.floor(x + 0.5) + offsets - x) * OVERSAMPLE + centre
    grid = np.meshgrid(rows, cols, indexing="ij")
    expected = ndimage.map_coordinates(
        np.pad(bell(), 200), np.asarray(grid) + 200, order=3, prefilter=False, mode="constant"
    )
    assert stamp.shape == (2 * half + 1, 2 * half + 1)
    np.testing.assert_allclose(stamp, expected, atol=3e-7)


@prop
@given(x=places, y=places, axis=st.sampled_from([1, 2]))
def test_derivative_stamp_is_the_slope(x, y, axis):
    step = 1e-3
    dx, dy = (step, 0) if axis == 1 else (0, step)
    high, low = (Stars.of([x + s * dx], [y + s * dy], 7) for s in (1, -1))
    if np.floor(high.x + 0.5) != np.floor(low.x + 0.5) or np.floor(high.y + 0.5) != np.floor(low.y + 0.5):
        return  # the stamp's pixel changes between the two
    (slope,) = psf_stamps(PSF, Stars.of([x], [y], 7), axis)
    numeric = (psf_stamps(PSF, high)[0].astype(float) - psf_stamps(PSF, low)[0]) / (2 * step)
    np.testing.assert_allclose(slope, numeric, atol=2e-4)


def test_stamp_holds_the_flux():
    rng = np.random.default_rng(0)
    for stamp in psf_stamps(PSF, Stars.of(rng.uniform(-2, 2, 20), rng.uniform(-2, 2, 20), 15)):
        assert stamp.sum() == pytest.approx(1.0, abs=1e-3)


# --- render, splat, sums -------------------------------------------------------------------------------


@prop
@given(seed=seeds, n=st.integers(1, 30))
def test_splat_is_the_adjoint_of_render(seed, n):
    rng = np.random.default_rng(seed)
    stars, flux = random_stars(rng, n), rng.normal(0, 100, n)
    image = rng.normal(0, 1, FRAME.shape).astype(np.float32)
    forward = float((render(PSF, FRAME, stars, flux).astype(np.float64) * image).sum())
    backward = float((splat(PSF, FRAME, stars, flux, image) * bell()).sum())
    assert backward == pytest.approx(forward, rel=1e-5, abs=1e-3)


@prop
@given(seed=seeds)
def test_sums_are_those_of_the_stamps(seed):
    rng = np.random.default_rng(seed)
    stars = random_stars(rng, 12)
    image = rng.normal(0, 5, FRAME.shape).astype(np.float32)
    weight = rng.uniform(0, 2, FRAME.shape).astype(np.float32)
    matched, nine = (f(PSF, FRAME, stars, image, weight) for f in (matched_sums, position_sums))
    stamps = [psf_stamps(PSF, stars, d) for d in range(3)]
    for s in range(len(stars)):
        h = stars.half[s]
        row, col = (int(np.floor(v[s] + 0.5)) + FRAME.pad for v in (stars.y, stars.x))
        cut = (slice(row - h, row + h + 1), slice(col - h, col + h + 1))
        w, r = weight[cut].astype(float), image[cut].astype(float)
        p, px, py = (stamps[d][s].astype(float) for d in range(3))
        products = (p * r, px * r, py * r, p * p, p * px, p * py, px * px, px * py, py * py)
        expected = [float((w * product).sum()) for product in products]
        np.testing.assert_allclose(nine[s], expected, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(matched[s], [expected[0], expected[3]], rtol=1e-4, atol=1e-4)


def test_render_adds_to_what_is_there():
    stars = Stars.of([10.0, 20.2], [5.0, 30.7], 7)
    out = np.ones(FRAME.shape, dtype=np.float32)
    assert render(PSF, FRAME, stars, [3.0, 4.0], out) is out
    np.testing.assert_allclose(out - 1, render(PSF, FRAME, stars, [3.0, 4.0]), atol=1e-6)


# --- the same bits at every level ----------------------------------------------------------------------


@pytest.mark.parametrize("level", ["v3", "v4", "auto"])
def test_bits_do_not_depend_on_the_level(monkeypatch, level):
    """Every level must give the baseline's bits. A level that this machine lacks falls back to its widest."""
    reached = lib.roman_effective_level(LEVELS[level])
    print(f"{level} runs as {next(k for k, v in LEVELS.items() if v == reached)} here")
    rng = np.random.default_rng(3)
    frame = PaddedFrame(50, 61)
    stars, flux = random_stars(rng, 300, frame), rng.exponential(200, 300)
    image = rng.normal(0, 5, frame.shape).astype(np.float32)
    weight = rng.uniform(0, 2, frame.shape).astype(np.float32)
    problem = Problem(rng, 250, frames=2, n_sky=3, frame=frame)

    def everything() -> list[np.ndarray]:
        fit = problem.fit()
        stamps = [s for d in range(3) for s in psf_stamps(PSF, stars, d)]
        sums = [f(PSF, frame, stars, image, weight) for f in (matched_sums, position_sums)]
        fitted = [fit.flux, fit.flux_err, fit.chi2, fit.sky, fit.residual]
        return [*stamps, *sums, render(PSF, frame, stars, flux), splat(PSF, frame, stars, flux, image), *fitted]

    base = at_level(monkeypatch, "baseline", everything)
    wide = at_level(monkeypatch, level, everything)
    for a, b in zip(base, wide, strict=True):
        assert a.tobytes() == b.tobytes()


def test_level_invalid(monkeypatch):
    monkeypatch.setenv("ROMAN_SIMD", "v5")
    with pytest.raises(InputError, match="ROMAN_SIMD"):
        vector_level()
    monkeypatch.delenv("ROMAN_SIMD")
    assert vector_level() == LEVELS[os.environ.get("ROMAN_SIMD", "auto")]


# --- the joint fit -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "n_sky"), [(1, 0), (1, 1), (1, 3), (2, 3), (3, 1), (1, 8)])
def test_joint_fit_is_the_least_squares_solution(frames, n_sky):
    problem = Problem(np.random.default_rng(10 * frames + n_sky), 45, frames=frames, n_sky=n_sky)
    fit = problem.fit()
    flux, sky, covariance = problem.dense()
    assert fit.converged
    error = np.sqrt(np.diag(covariance))
    np.testing.assert_allclose((fit.flux - flux) / error, 0, atol=2e-3)
    np.testing.assert_allclose(fit.sky, sky, atol=2e-3)
    assert fit.sky.shape == (frames, n_sky)


@given(seed=seeds)
@settings(prop, max_examples=8)
def test_joint_fit_does_not_depend_on_the_start(seed):
    rng = np.random.default_rng(seed)
    problem = Problem(rng, 30)
    cold, warm = problem.fit(), problem.fit(start=problem.truth)
    np.testing.assert_allclose((cold.flux - warm.flux) / cold.flux_err, 0, atol=2e-4)
    assert warm.iterations <= cold.iterations


@prop
@given(separation=st.floats(0.7, 6.0), angle=st.floats(0, 6.28), frames=st.sampled_from([1, 2]))
def test_flux_err_of_pairs_is_that_of_the_covariance(separation, angle, frames):
    problem = Problem(np.random.default_rng(5), 2, frames=frames, n_sky=0)
    x, y = 20.3, 18.6
    pair = (np.array([x, x + separation * np.cos(angle)]), np.array([y, y + separation * np.sin(angle)]))
    problem.stars = [Stars.of(pair[0] + 0.3 * e, pair[1] - 0.2 * e, 11) for e in range(frames)]
    expected = np.sqrt(np.diag(problem.dense()[2]))
    # Correlations below 0.02 are left out of a star's error: 2e-4 of it.
    np.testing.assert_allclose(problem.fit().flux_err, expected, rtol=2e-3)


@given(seed=seeds)
@settings(prop, max_examples=10)
def test_masked_pixels_have_no_influence(seed):
    rng = np.random.default_rng(seed)
    problem = Problem(rng, 30)
    masked = problem.weight == 0
    spoiled = problem.data.copy()
    spoiled[masked] = rng.choice([-1e30, 0, 1e30, 7], masked.sum())
    clean, other = problem.fit(), problem.fit(data=spoiled)
    for name in ("flux", "flux_err", "sky", "chi2"):
        np.testing.assert_array_equal(getattr(clean, name), getattr(other, name))


@given(seed=seeds, share=st.floats(0, 1))
@settings(prop, max_examples=15)
def test_no_nan_comes_out(seed, share):
    """Whatever is masked: fluxes are finite, errors positive or infinite, chi2 NaN only without a pixel."""
    rng = np.random.default_rng(seed)
    problem = Problem(rng, 25, n_sky=0)
    weight = problem.weight * (rng.random(problem.weight.shape) >= share)
    fit = problem.fit(weight=weight.astype(np.float32))
    assert np.isfinite(fit.flux).all()
    assert (fit.flux_err > 0).all()
    assert np.isfinite(fit.residual).all()
    unseen = ~np.isfinite(fit.flux_err)
    assert (fit.flux[unseen] == 0).all()
    for s in np.flatnonzero(np.isnan(fit.chi2)):
        row, col = (int(np.floor(v[s] + 0.5)) + FRAME.pad for v in (problem.stars[0].y, problem.stars[0].x))
        assert not weight[0, row - 2 : row + 3, col - 2 : col + 3].any()


def test_chi2_is_one_for_a_right_model():
    problem = Problem(np.random.default_rng(1), 20)
    fit = problem.fit()
    assert np.nanmedian(fit.chi2) == pytest.approx(1.0, abs=0.25)
    np.testing.assert_array_equal(fit.residual.shape, problem.data.shape)


def test_iteration_limit_is_reported_not_raised():
    problem = Problem(np.random.default_rng(2), 30)
    fit = joint_fit(
        PSF, FRAME, problem.stars, problem.data, problem.weight, problem.basis, np.zeros(30), max_iterations=1
    )
    assert not fit.converged
    assert fit.iterations == 1
    assert np.isfinite(fit.flux).all()
