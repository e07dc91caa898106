"""Arguments that the photometry kernels refuse."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.kernels.call import KernelError
from roman_assets.kernels.photometry import (
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
from tests.kernels.crowd import FRAME, PSF, Problem


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
