"""The matched filter on a grid, against the filter at single points, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.kernels.exposure import PsfField
from roman_assets.kernels.grid import BLOCK_PX, GridSums, add_exposure
from roman_assets.kernels.photometry import PaddedFrame, Stars, matched_sums, render
from roman_assets.systems.msos.psf.effective_psf import model_psf

quick = settings(max_examples=15, deadline=None, derandomize=True)
SHAPE = (37, 50)


@pytest.fixture(scope="module")
def psf():
    return model_psf("WFI01", "F146").spline


def images(seed, masked=0.05):
    rng = np.random.default_rng(seed)
    frame = PaddedFrame(*SHAPE)
    weight = np.where(rng.random(SHAPE) < masked, 0, rng.uniform(0.5, 2, SHAPE))
    return frame, frame.padded(rng.normal(0, 1, SHAPE)), frame.padded(weight)


def at_points(psf, frame, image, weight, dx, dy):
    """The two sums at every grid point, one by one, (2, 2, *SHAPE) each."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    wanted = np.empty((2, 2, 2, *SHAPE))
    for sy in range(2):
        for sx in range(2):
            stars = Stars.of((x + 0.5 * sx + dx).ravel(), (y + 0.5 * sy + dy).ravel(), 3)
            wanted[:, sy, sx] = matched_sums(psf, frame, stars, image, weight).T.reshape(2, *SHAPE)
    return wanted


@quick
@given(seed=st.integers(0, 999), dx=st.floats(-5, 5), dy=st.floats(-5, 5))
def test_same_as_the_filter_at_single_points(psf, seed, dx, dy):
    frame, image, weight = images(seed)
    sums = GridSums.zeros(SHAPE)
    offset = np.broadcast_to(np.array([dx, dy])[:, None, None], (2, *sums.blocks))
    add_exposure(sums, PsfField.of(psf), frame, offset, image, weight)
    wanted = at_points(psf, frame, image, weight, dx, dy)
    inside = (..., slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    np.testing.assert_allclose(sums.signal[inside], wanted[0], atol=3e-6)
    np.testing.assert_allclose(sums.norm[inside], wanted[1], atol=3e-6)
    np.testing.assert_array_equal(sums.top_signal, sums.signal)


def test_exposures_add_and_the_most_significant_is_remembered(psf):
    sums, single = GridSums.zeros(SHAPE), []
    offset = np.zeros((2, *sums.blocks))
    for seed in range(3):
        one = GridSums.zeros(SHAPE)
        for target in (sums, one):
            add_exposure(target, PsfField.of(psf), *images(seed)[:1], offset, *images(seed)[1:])
        single.append(one)
    np.testing.assert_allclose(sums.signal, sum(s.signal for s in single), atol=1e-5)
    with np.errstate(divide="ignore", invalid="ignore"):
        significance = np.array([np.nan_to_num(np.abs(s.signal) / np.sqrt(s.norm)) for s in single])
    best = significance.argmax(axis=0)
    np.testing.assert_array_equal(sums.top_signal, np.choose(best, [s.signal for s in single]))


def test_a_star_shows_its_flux_where_it_is(psf):
    frame = PaddedFrame(*SHAPE)
    image = render(psf, frame, Stars.of([20.5 + 0.3], [17.0 - 0.2], 15), [100.0])
    sums = GridSums.zeros(SHAPE)
    offset = np.stack([np.full(sums.blocks, 0.3), np.full(sums.blocks, -0.2)])
    add_exposure(sums, PsfField.of(psf), frame, offset, image, frame.padded(np.ones(SHAPE)))
    flux = sums.signal / np.maximum(sums.norm, 1e-9)
    assert np.unravel_index(flux[..., : SHAPE[0], : SHAPE[1]].argmax(), (2, 2, *SHAPE)) == (0, 1, 17, 20)
    assert flux[0, 1, 17, 20] == pytest.approx(100.0, rel=1e-5)


def test_masked_exposure_adds_nothing(psf):
    frame, image, weight = images(0)
    sums = GridSums.zeros(SHAPE)
    add_exposure(sums, PsfField.of(psf), frame, np.zeros((2, *sums.blocks)), image, 0 * weight)
    assert not sums.signal.any()
    assert not sums.norm.any()


def test_blocks_cover_the_image():
    assert GridSums.blocks_of((BLOCK_PX, BLOCK_PX + 1)) == (1, 2)
    assert GridSums.zeros((1, 1)).signal.shape == (2, 2, BLOCK_PX, BLOCK_PX)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("residual", lambda a: a["residual"].__setitem__((80, 80), np.nan)),
        ("weight", lambda a: a["weight"].__setitem__((80, 80), np.nan)),
        ("weight", lambda a: a["weight"].__setitem__((80, 80), -1)),
        ("residual", lambda a: a.update(residual=a["residual"][1:])),
        ("offset", lambda a: a.update(offset=a["offset"][:, :1])),
        ("offset", lambda a: a["offset"].__setitem__((0, 0, 0), np.nan)),
    ],
)
def test_invalid(psf, name, change):
    frame, residual, weight = images(1, masked=0)
    sums = GridSums.zeros(SHAPE)
    arguments = {"offset": np.zeros((2, *sums.blocks)), "residual": residual, "weight": weight}
    change(arguments)
    with pytest.raises(InputError, match=name):
        add_exposure(sums, PsfField.of(psf), frame, **arguments)
