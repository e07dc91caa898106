"""The exposure fit against a dense solution by numpy, and its promises: threads, cells of ePSFs, bad input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.kernels.call import KernelError
from roman_assets.kernels.exposure import ExposureFit, PsfField, exposure_fit
from roman_assets.kernels.photometry import PaddedFrame, SplinePsf, Stars, psf_stamps, render
from roman_assets.systems.msos.psf.stamps import sky_basis

SIDE = 60


def gaussian(sigma: float) -> SplinePsf:
    grid = np.arange(-32, 33) / 4
    bell = np.exp(-0.5 * (grid / sigma) ** 2)
    values = np.outer(bell, bell)
    return SplinePsf(values * 16 / values.sum(), 4)


class Scene:
    """A small crowded image with noise of 1 per pixel."""

    def __init__(self, seed: int, stars: int = 120, sigma: float = 0.7) -> None:
        rng = np.random.default_rng(seed)
        self.psf = gaussian(sigma)
        self.frame = PaddedFrame(SIDE, SIDE)
        self.stars = Stars.of(*rng.uniform(4, SIDE - 5, (2, stars)), rng.choice([3, 7], stars))
        self.truth = 3 + 600 * rng.uniform(size=stars) ** 5
        self.basis = sky_basis(self.frame)
        sky = 5 * self.basis[0] - 0.5 * self.basis[1]
        noise = self.frame.padded(rng.normal(0, 1, (SIDE, SIDE)))
        self.data = render(self.psf, self.frame, self.stars, self.truth, sky) + noise
        self.weight = self.frame.padded(np.where(rng.uniform(size=(SIDE, SIDE)) < 0.02, 0, 1))

    def fit(self, expected: object = None, **options: object) -> ExposureFit:
        return exposure_fit(
            PsfField.of(self.psf),
            self.frame,
            self.stars,
            self.data,
            self.weight,
            self.basis,
            self.truth if expected is None else expected,
            **{"tolerance": 1e-3, "max_rounds": 60, **options},  # type: ignore[arg-type]
        )

    def design(self) -> np.ndarray:
        """Columns of the stars and of the sky, (pixels, n + 3)."""
        columns = []
        for s, stamp in enumerate(psf_stamps(self.psf, self.stars)):
            image = np.zeros(self.frame.shape)
            half = int(self.stars.half[s])
            y, x = (int(np.floor(v[s] + 0.5)) + self.frame.pad for v in (self.stars.y, self.stars.x))
            image[y - half : y + half + 1, x - half : x + half + 1] = stamp[:, : 2 * half + 1]
            columns.append(image.ravel())
        return np.stack([*columns, *(b.ravel() for b in self.basis)], axis=1).astype(float)


def dense(scene: Scene, expected: np.ndarray, spread: float = 0.1) -> np.ndarray:
    """Most likely flux of each star given the best fluxes of the others, by numpy's dense solver."""
    design, weight = scene.design(), scene.weight.ravel().astype(float)
    n = len(expected)
    matrix = design.T @ (weight[:, None] * design)
    norm = np.sqrt(np.diag(matrix)[:n])
    prior = norm**2 / (1 + (spread * expected * norm) ** 2)
    left = matrix + np.diag([*prior, 0, 0, 0])
    right = design.T @ (weight * scene.data.ravel())
    right[:n] += prior * expected
    best = np.linalg.solve(left, right)
    gradient = design.T @ (weight * (scene.data.ravel() - design @ best))
    return np.asarray(best[:n] + gradient[:n] / norm**2)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(0.97, 1.03))
def test_agrees_with_a_dense_solution(seed: int, scale: float) -> None:
    scene = Scene(seed)
    expected = scene.truth * scale
    fit = scene.fit(expected, release=1e9)
    difference = (fit.flux - dense(scene, expected)) / fit.flux_err
    assert fit.converged
    assert np.abs(difference).max() < 0.02


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), threads=st.integers(2, 5))
def test_any_number_of_threads_gives_the_same_bits(seed: int, threads: int) -> None:
    scene = Scene(seed, stars=3000)
    one, several = scene.fit(), scene.fit(threads=threads)
    for name in ("flux", "flux_err", "chi2", "sky", "residual"):
        assert getattr(one, name).tobytes() == getattr(several, name).tobytes()


def test_a_star_that_changed_is_not_drawn_to_the_catalogue() -> None:
    scene = Scene(4)
    faint = int(np.argmin(np.abs(scene.truth - 4)))
    changed = scene.truth.copy()
    changed[faint] += 80
    model = render(scene.psf, scene.frame, scene.stars, changed - scene.truth)
    scene.data = scene.data + model
    fit = scene.fit()
    assert fit.released >= 1
    assert fit.flux[faint] == pytest.approx(changed[faint], abs=3.5 * fit.flux_err[faint])


def test_errors_agree_with_the_scatter() -> None:
    pulls = []
    for seed in range(30):
        scene = Scene(seed)
        fit = scene.fit()
        pulls.append((fit.flux - scene.truth) / fit.flux_err)
    spread = 1.4826 * np.median(np.abs(np.concatenate(pulls)))
    assert 0.85 < spread < 1.1


def test_each_star_takes_the_epsf_of_its_cell() -> None:
    frame, left, right = PaddedFrame(SIDE, SIDE), gaussian(0.6), gaussian(0.9)
    stars = Stars.of([14.3, 44.6, 15.1, 45.2], [14.2, 15.4, 44.9, 44.1], 7)
    truth = np.array([300.0, 200.0, 250.0, 150.0])
    cells = PsfField([[left, right], [left, right]], 30.0)
    assert cells.cell(stars.x, stars.y).tolist() == [0, 1, 2, 3]
    data = np.zeros(frame.shape, dtype=np.float32)
    for s, psf in enumerate((left, right, left, right)):
        data = render(psf, frame, Stars.of(stars.x[[s]], stars.y[[s]], 7), truth[[s]], data)
    weight = frame.padded(np.ones((SIDE, SIDE)))
    fit = exposure_fit(cells, frame, stars, data, weight, sky_basis(frame), truth * 0.9, tolerance=1e-4)
    assert fit.flux == pytest.approx(truth, rel=1e-4)
    one = exposure_fit(PsfField.of(left), frame, stars, data, weight, sky_basis(frame), truth, tolerance=1e-4)
    assert abs(one.flux[1] / truth[1] - 1) > 0.05


@pytest.mark.parametrize("field", ["data", "weight", "basis", "expected"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(field: str, value: float) -> None:
    scene = Scene(1)
    arrays = {"data": scene.data, "weight": scene.weight, "basis": scene.basis, "expected": scene.truth.copy()}
    arrays[field].flat[arrays[field].size // 2] = value
    with pytest.raises(InputError, match=field):
        exposure_fit(PsfField.of(scene.psf), scene.frame, scene.stars, **arrays)


def test_an_image_without_weight_is_refused() -> None:
    scene = Scene(1)
    scene.weight[:] = 0
    with pytest.raises(KernelError):
        scene.fit()
    scene.weight[:] = -1
    with pytest.raises(InputError, match="weight"):
        scene.fit()


def test_a_ragged_grid_of_epsfs_is_refused() -> None:
    psf = gaussian(0.7)
    with pytest.raises(InputError, match="psf"):
        PsfField([[psf, psf], [psf]], 30)
    with pytest.raises(InputError, match="psf"):
        PsfField([], 30)
