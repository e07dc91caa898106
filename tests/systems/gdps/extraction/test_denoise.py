"""What counts as significant: lines and continua stay, noise goes."""

from __future__ import annotations

import numpy as np

from roman_assets.systems.gdps.extraction.denoise import significant

N = 600
NONE, WIDE = np.zeros(N), np.full(N, 1e6)


def _noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=N)


def test_noise_is_suppressed() -> None:
    left = [significant(_noise(s), np.ones(N), np.full(N, 0.01), NONE, 4.0).std() for s in range(10)]
    assert np.median(left) < 0.05


def test_a_line_stays() -> None:
    line = 30 * np.exp(-0.5 * ((np.arange(N) - 300) / 1.5) ** 2)
    found = significant(line + _noise(1), np.ones(N), np.full(N, 0.01), NONE, 4.0)
    assert abs(found[290:311].sum() / line.sum() - 1) < 0.15
    assert np.abs(found[:250]).max() < 2


def test_a_smooth_offset_stays_where_the_prior_lets_it() -> None:
    values = 0.5 + _noise(2)
    assert abs(significant(values, np.ones(N), WIDE, NONE).mean() - 0.5) < 0.15
    assert abs(significant(values, np.ones(N), np.full(N, 1e-3), NONE).mean()) < 0.02
    # An error that does not average out holds it back just so.
    assert abs(significant(values, np.ones(N), np.full(N, 0.5), np.full(N, 5.0)).mean()) < 0.02


def test_gaps_do_not_spread() -> None:
    weight = np.ones(N)
    weight[200:260] = 0
    values = np.where(weight > 0, 2.0, 1e30)
    found = significant(values, weight, WIDE, NONE)
    assert np.isfinite(found).all()
    assert np.abs(found[:150] - 2).max() < 0.05


def test_hardly_any_data() -> None:
    assert not significant(np.ones(20), np.zeros(20), np.ones(20), np.zeros(20)).any()
