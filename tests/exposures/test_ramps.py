"""What saturated pixels are worth, in both conventions of flags, on ramps made here from first principles."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.exposures.level2.ramps import DO_NOT_USE, JUMP_DET, SATURATED, Ramps, Resultants, judge_ramps
from roman_assets.exposures.level2.reader import read_image

PATTERN = [[1], [2, 3], [4, 5, 6, 7], list(range(8, 13)), list(range(13, 21)), [21]]
READ_S = 3.16247
WELL = 50_000.0  # DN
GAIN = 120.0  # DN^2 of Poisson variance per DN, times seconds: only ratios matter
RESULTANTS = Resultants.of(PATTERN, READ_S)
assert RESULTANTS is not None


def exposure(rates: np.ndarray, convention: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Slope, Poisson variance and flags of pixels with true rates [DN/s], and how many resultants each has left.

    Reads are clipped at the full well; a resultant counts as saturated when its mean is there, as in romanisim.
    """
    reads = np.arange(1, 22) * READ_S
    counts = np.minimum(rates[..., None] * reads, WELL)
    means = np.stack([counts[..., np.array(group) - 1].mean(axis=-1) for group in PATTERN], axis=-1)
    left = (means < WELL * 0.999).sum(axis=-1)
    data, variance = np.zeros_like(rates), np.zeros_like(rates)
    for k in range(2, 7):
        these = left == k
        span = RESULTANTS.mean[k - 1] - RESULTANTS.mean[0]
        data[these] = (means[these, k - 1] - means[these, 0]) / span
        variance[these] = data[these] * GAIN / span / 100
    dq = np.zeros(rates.shape, dtype=np.uint32)
    if convention == "romanisim":
        dq[left < 6] |= SATURATED
    else:
        dq[left == 0] |= SATURATED | DO_NOT_USE
        dq[left == 1] |= DO_NOT_USE
    return data.astype(np.float32), variance.astype(np.float32), dq, left


def scene(peak: float, size: int = 41) -> np.ndarray:
    """A star of a Gaussian core and a wing over a sky, true rates [DN/s]."""
    y, x = np.mgrid[:size, :size] - size // 2
    r2 = x**2 + y**2
    return 2.0 + peak * (np.exp(-r2 / 2.0) + 0.02 / (1 + r2))


@pytest.mark.parametrize("convention", ["romanisim", "romancal"])
@pytest.mark.parametrize("peak", [300.0, 900.0, 2e3, 5e3, 2e4, 1e5, 1e6])
def test_what_is_used_is_right_and_what_is_lost_is_left_out(peak: float, convention: str) -> None:
    rates = scene(peak)
    data, variance, dq, left = exposure(rates, convention)
    ramps = judge_ramps(data, variance, dq, RESULTANTS)
    used = ~ramps.unusable
    wrong = np.abs(data[used] / rates[used] - 1)
    assert wrong.max() < 0.21, "the worst is a slope whose last resultant filled between its reads"
    assert wrong[left[used] == 6].max() < 1e-5
    assert ramps.unusable[left <= 1].all()
    assert used[left >= 3].all(), "a ramp that saturated late has a slope"
    assert ramps.partial[used & (left < 6)].all(), "with a noise of its own"
    assert not ramps.partial[left == 6].any()
    assert not ramps.unclear
    # The lost core is one piece around the star.
    assert ramps.lost[left <= 1].all()
    if (left <= 1).any():
        assert ramps.lost[20, 20]


def test_both_conventions_leave_the_same_pixels() -> None:
    rates = scene(3e4)
    kinds = [judge_ramps(*exposure(rates, name)[:3], RESULTANTS) for name in ("romanisim", "romancal")]
    assert (kinds[0].unusable == kinds[1].unusable).all()
    assert (kinds[0].lost == kinds[1].lost).all()


def test_flags_that_nothing_explains_are_told() -> None:
    """No read pattern, or variances that do not grow: saturated slopes may be right or not."""
    rates = scene(2e3)
    data, variance, dq, left = exposure(rates, "romanisim")
    flat = (data * variance[0, 0] / data[0, 0]).astype(np.float32)
    for verdict in (judge_ramps(data, variance, dq, None), judge_ramps(data, flat, dq, RESULTANTS)):
        assert verdict.unclear
        assert (verdict.unusable == (left < 6)).all()
    dq[:] = 0
    assert not judge_ramps(data, variance, dq, None).unclear


def test_a_faint_pixel_that_is_flagged_was_filled_by_something_else() -> None:
    rates = scene(2e3)
    data, variance, dq, _ = exposure(rates, "romanisim")
    dq[3, 3] |= SATURATED | JUMP_DET
    ramps = judge_ramps(data, variance, dq, RESULTANTS)
    assert ramps.unusable[3, 3]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 20))
def test_any_planes_have_a_verdict(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -5.0, 3e38, 1.0, 500.0, 6e3], dtype=np.float32)
    data, variance = rng.choice(odd, (size, size)), rng.choice(odd, (size, size))
    dq = rng.integers(0, 8, (size, size)).astype(np.uint32)
    for times in (RESULTANTS, None):
        ramps = judge_ramps(data, variance, dq, times)
        assert isinstance(ramps, Ramps)
        assert ramps.unusable[(dq & DO_NOT_USE) != 0].all()
        assert not (ramps.partial & ramps.unusable).any()


@pytest.mark.parametrize(
    ("pattern", "read"),
    [
        (None, 3.0),
        ([], 3.0),
        ([[1]], 3.0),
        ([[1], []], 3.0),
        ([[2], [1]], 3.0),
        ([["a"], [2]], 3.0),
        (5, 3.0),
        ([[1], [2]], None),
        ([[1], [2]], 0.0),
        ([[1], [2]], float("nan")),
        ([[0], [0]], 1.0),
    ],
)
def test_what_is_no_read_pattern(pattern: object, read: object) -> None:
    assert Resultants.of(pattern, read) is None


@pytest.mark.parametrize("scene_name", ["wfi04", "wfi05", "wfi06"])
def test_independent_scenes_of_both_conventions(shared_data: Path, scene_name: str) -> None:
    files = sorted((shared_data / "bulge_bright" / scene_name).glob("*.asdf"))
    assert files
    image = read_image(files[0])
    ramps = judge_ramps(image.data, image.var_poisson, image.dq, image.resultants)
    assert not ramps.unclear
    flagged = (image.dq & SATURATED) != 0
    if scene_name != "wfi06":  # most of what romanisim flags is right
        assert (flagged & ~ramps.unusable).sum() > 0.6 * flagged.sum()
    # Nothing steeper than its first two resultants can hold is used.
    assert image.data[~ramps.unusable].max() < 5300


def test_a_star_that_only_just_saturates_is_used() -> None:
    """A slope that lost its last instant has the variance of a whole ramp."""
    rates = scene(700.0)
    data, variance, dq, _ = exposure(rates, "romanisim")
    dq[20, 20] |= SATURATED
    ramps = judge_ramps(data, variance, dq, RESULTANTS)
    assert not ramps.unclear
    assert not ramps.unusable[20, 20]
