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
from roman_assets.kernels.call import LEVELS, KernelError, lib, vector_level
from roman_assets.kernels.photometry import (
    JointFit,
    PaddedFrame,
    SplinePsf,
    Stars,
    joint_fit,
    matched_sums,
    position_sums,
    psf_stamps,
    render,
    splat,
)

prop = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)

OVERSAMPLE = 4
HALVES = (3, 7, 11)
seeds = st.integers(0, 2**32 - 1)
places = st.floats(-30, 30, allow_nan=False)


def bell(sigma: float = 0.7, half_px: int = 14, oversample: int = OVERSAMPLE) -> np.ndarray:
    """Coefficients of a lopsided bell with wings, of unit flux."""
    axis = np.arange(-half_px * oversample, half_px * oversample + 1) / oversample
    x, y = np.meshgrid(axis, axis)
    core = np.exp(-0.5 * ((x - 0.05) ** 2 / sigma**2 + (y + 0.1) ** 2 / (1.2 * sigma) ** 2))
    values = core + 0.02 / (1 + (x**2 + y**2) / 4) ** 1.5
    coefficients = ndimage.spline_filter(values, order=3, mode="mirror")
    return coefficients / coefficients.sum() * oversample**2


PSF = SplinePsf(bell(), OVERSAMPLE)
FRAME = PaddedFrame(36, 44)


def random_stars(rng: np.random.Generator, n: int, frame: PaddedFrame = FRAME, edge: float = 3.0) -> Stars:
    return Stars.of(
        rng.uniform(-edge, frame.nx - 1 + edge, n), rng.uniform(-edge, frame.ny - 1 + edge, n), rng.choice(HALVES, n)
    )


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


class Problem:
    """A noisy scene of stars in one or several images, its weights and a dense solution."""

    def __init__(
        self, rng: np.random.Generator, n: int, *, frames: int = 1, n_sky: int = 3, frame: PaddedFrame = FRAME
    ) -> None:
        self.frame, self.n = frame, n
        first = random_stars(rng, n, frame, edge=1.0)
        shifts = rng.uniform(-0.5, 0.5, (frames, 2))
        self.stars = [Stars.of(first.x + dx, first.y + dy, first.half) for dx, dy in shifts]
        self.truth = rng.exponential(300, n) + 20
        y, x = np.mgrid[0 : frame.ny, 0 : frame.nx]
        u, v = 2 * x / frame.nx - 1, 2 * y / frame.ny - 1
        terms = [np.ones_like(u), u, v, u * u, u * v, v * v, u**3, v**3][:n_sky]
        self.basis = np.array([frame.padded(t) for t in terms], dtype=np.float32).reshape(-1, *frame.shape)
        self.weight = np.stack(
            [frame.padded(rng.uniform(0.2, 1.5, u.shape) * (rng.random(u.shape) > 0.02)) for _ in range(frames)]
        )
        scene = np.stack([render(PSF, frame, s, self.truth) for s in self.stars])
        noise = rng.normal(size=scene.shape) / np.sqrt(np.maximum(self.weight, 1e-3))
        self.data = (scene + noise + (2.5 if n_sky else 0)).astype(np.float32)

    def fit(self, **changes: np.ndarray) -> JointFit:
        given = {"data": self.data, "weight": self.weight, **changes}
        start = given.pop("start", np.zeros(self.n))
        return joint_fit(
            PSF,
            self.frame,
            self.stars,
            given["data"],
            given["weight"],
            self.basis,
            start,
            tolerance=1e-7,
            max_iterations=5000,
        )

    def dense(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fluxes, sky (frames, terms) and the covariance of the fluxes, by dense least squares."""
        frames, k = len(self.stars), len(self.basis)
        pixels = self.frame.shape[0] * self.frame.shape[1]
        design = np.zeros((frames * pixels, self.n + frames * k))
        for e, stars in enumerate(self.stars):
            rows = slice(e * pixels, (e + 1) * pixels)
            for s in range(self.n):
                one = Stars.of(stars.x[s : s + 1], stars.y[s : s + 1], stars.half[s])
                design[rows, s] = render(PSF, self.frame, one, [1.0]).ravel()
            for t in range(k):
                design[rows, self.n + e * k + t] = self.basis[t].ravel()
        root = np.sqrt(self.weight.astype(float)).ravel()
        solution, *_ = np.linalg.lstsq(design * root[:, None], self.data.ravel() * root, rcond=None)
        normal = (design * root[:, None] ** 2).T @ design
        covariance = np.linalg.inv(normal)
        return solution[: self.n], solution[self.n :].reshape(frames, k), covariance[: self.n, : self.n]


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


# --- arguments that are refused ------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (8, 8), (9,), (3, 3, 3)])
def test_psf_invalid_shape(shape):
    with pytest.raises(InputError, match="square odd grid"):
        SplinePsf(np.zeros(shape), 4)


def test_psf_invalid():
    with pytest.raises(InputError, match="cut it"):
        SplinePsf(np.zeros((4 * 140 + 1, 4 * 140 + 1)), 4)
    with pytest.raises(InputError, match="oversample"):
        SplinePsf(np.zeros((9, 9)), 0)
    with pytest.raises(InputError, match="finite"):
        SplinePsf(np.full((9, 9), np.nan), 4)


def test_stars_invalid():
    for bad in (np.nan, np.inf):
        with pytest.raises(InputError, match="not finite"):
            Stars.of([1.0, bad], [1.0, 2.0], 3)
    with pytest.raises(InputError, match="y"):
        Stars.of([1.0, 2.0], [1.0], 3)
    with pytest.raises(InputError, match="half"):
        Stars.of([1.0, 2.0], [1.0, 2.0], [3, 3, 3])


@pytest.mark.parametrize("half", [-1, 0, 2, 4, 5, 6, 8, 67, 1000])
def test_half_size_invalid(half):
    stars = Stars.of([20.0], [18.0], half)
    image = np.zeros(FRAME.shape, np.float32)
    calls = (
        lambda: psf_stamps(PSF, stars),
        lambda: render(PSF, FRAME, stars, [1.0]),
        lambda: splat(PSF, FRAME, stars, [1.0], image),
        lambda: matched_sums(PSF, FRAME, stars, image, image),
        lambda: position_sums(PSF, FRAME, stars, image, image),
        lambda: joint_fit(PSF, FRAME, [stars], image[None], image[None], image[None], [0.0]),
    )
    for call in calls:
        with pytest.raises(InputError):
            call()


@pytest.mark.parametrize("x", [-90.0, 200.0, 1e12])
def test_star_outside_the_padded_frame_invalid(x):
    stars = Stars.of([x], [18.0], 7)
    image = np.zeros(FRAME.shape, np.float32)
    calls = (
        lambda: render(PSF, FRAME, stars, [1.0]),
        lambda: splat(PSF, FRAME, stars, [1.0], image),
        lambda: matched_sums(PSF, FRAME, stars, image, image),
        lambda: joint_fit(PSF, FRAME, [stars], image[None], image[None], image[None], [0.0]),
    )
    for call in calls:
        with pytest.raises(InputError):
            call()


def test_psf_stamps_invalid_derivative():
    with pytest.raises(InputError):
        psf_stamps(PSF, Stars.of([0.0], [0.0], 3), 3)


def test_render_invalid():
    stars = Stars.of([20.0], [18.0], 3)
    with pytest.raises(InputError, match="flux"):
        render(PSF, FRAME, stars, [1.0, 2.0])
    for out in (
        np.zeros((3, 3), np.float32),
        np.zeros(FRAME.shape, np.float64),
        np.zeros(FRAME.shape[::-1], np.float32).T,
    ):
        with pytest.raises(InputError, match="out"):
            render(PSF, FRAME, stars, [1.0], out)


def test_frame_invalid():
    for ny, nx, pad in ((0, 5, 10), (5, -1, 10), (5, 5, -1)):
        with pytest.raises(InputError):
            PaddedFrame(ny, nx, pad)
    with pytest.raises(InputError, match="image"):
        FRAME.padded(np.zeros((5, 5)))


def test_sums_invalid_shapes():
    stars, image = Stars.of([20.0], [18.0], 3), np.zeros(FRAME.shape, np.float32)
    for f in (matched_sums, position_sums):
        with pytest.raises(InputError, match="image"):
            f(PSF, FRAME, stars, image[1:], image)
        with pytest.raises(InputError, match="weight"):
            f(PSF, FRAME, stars, image, image[:, 1:])
    with pytest.raises(InputError, match="scale"):
        splat(PSF, FRAME, stars, [1.0, 2.0], image)


@pytest.mark.parametrize(
    ("name", "value"), [("data", np.nan), ("data", np.inf), ("weight", np.nan), ("weight", -1.0), ("start", np.nan)]
)
def test_joint_fit_invalid_values(name, value):
    """Each of these came back as a converged fit of NaN before."""
    problem = Problem(np.random.default_rng(4), 10)
    arrays = {"data": problem.data, "weight": problem.weight, "start": np.zeros(10)}
    arrays[name] = arrays[name].copy()
    arrays[name].flat[arrays[name].size // 2] = value
    with pytest.raises(InputError, match=name):
        problem.fit(**arrays)


def test_joint_fit_invalid_shapes():
    p = Problem(np.random.default_rng(4), 10, frames=2)
    start = np.zeros(10)
    with pytest.raises(InputError, match="stars"):
        joint_fit(PSF, FRAME, [], p.data[:0], p.weight[:0], p.basis, start)
    with pytest.raises(InputError, match="stars"):
        joint_fit(PSF, FRAME, [p.stars[0], Stars.of([1.0], [1.0], 3)], p.data, p.weight, p.basis, start)
    with pytest.raises(InputError, match="data"):
        joint_fit(PSF, FRAME, p.stars, p.data[:1], p.weight, p.basis, start)
    with pytest.raises(InputError, match="weight"):
        joint_fit(PSF, FRAME, p.stars, p.data, p.weight[:, 1:], p.basis, start)
    with pytest.raises(InputError, match="basis"):
        joint_fit(PSF, FRAME, p.stars, p.data, p.weight, p.basis[:, 1:], start)
    with pytest.raises(InputError, match="start"):
        joint_fit(PSF, FRAME, p.stars, p.data, p.weight, p.basis, start[1:])
    with pytest.raises(InputError):
        joint_fit(PSF, FRAME, p.stars, p.data, p.weight, np.repeat(p.basis, 3, axis=0), start)
    with pytest.raises(InputError):
        joint_fit(PSF, FRAME, p.stars, p.data, p.weight, p.basis, start, tolerance=0.0)
    empty = Stars.of([], [], 3)
    with pytest.raises(InputError):
        joint_fit(PSF, FRAME, [empty, empty], p.data, p.weight, p.basis, [])


def test_joint_fit_without_any_pixel_is_singular():
    p = Problem(np.random.default_rng(4), 10)
    with pytest.raises(KernelError, match="not constrained"):
        p.fit(weight=np.zeros_like(p.weight))
