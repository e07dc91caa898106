"""Visits and brightness of sources seen again and again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.systems.gdps.extraction.time_series import relative_brightness, source_series, variability, visits_of
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

WAVE = np.linspace(750.0, 1800.0, 200)
SHAPE = 1e-20 * (1 + 0.3 * np.sin(WAVE / 90))


def spectrum(rng: np.random.Generator, factor: float = 1.0, noise: float = 0.1, wave: np.ndarray = WAVE) -> Spectrum:
    sigma = np.full(len(wave), noise * 1e-20)
    flux = factor * np.interp(wave, WAVE, SHAPE) + rng.normal(0, sigma)
    return Spectrum(wave, flux, sigma**2, np.zeros(len(wave)), np.zeros(len(wave), np.uint32), np.full(len(wave), 5.0))


def test_exposures_of_a_night_are_a_visit() -> None:
    assert visits_of([10.2, 5.0, 5.1, 10.0, 15.4]).tolist() == [1, 0, 0, 1, 2]
    assert visits_of([]).tolist() == []


@settings(max_examples=25, deadline=None)
@given(st.floats(0.3, 3.0), st.integers(0, 500))
def test_brightness_is_the_factor_within_its_error(factor: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mean = spectrum(rng, noise=1e-3)
    value, error = relative_brightness(spectrum(rng, factor), mean)
    assert value == pytest.approx(factor, abs=5 * error)
    assert 0 < error < 0.02


def test_pulls_of_constant_sources_have_the_width_of_their_errors() -> None:
    rng = np.random.default_rng(4)
    visit = np.repeat(np.arange(5), 2)
    pulls, chances = [], []
    for _ in range(60):
        series = source_series([spectrum(rng, noise=0.4) for _ in visit], visit)
        # The mean contains the visit itself: a fifth of the weight.
        pulls += list((series.brightness - 1) / series.brightness_err / np.sqrt(1 - 1 / 5))
        chances.append(variability(series).chance)
    assert 0.85 < np.std(pulls) < 1.15
    assert min(chances) > 1e-4
    assert abs(np.mean(pulls)) < 0.2


def test_a_source_that_fades_varies() -> None:
    rng = np.random.default_rng(5)
    factors = [1.0, 0.9, 0.8, 0.7]
    # Exposures have wavelengths of their own.
    series = source_series([spectrum(rng, f, wave=WAVE + 0.7 * k) for k, f in enumerate(factors)], np.arange(4))
    ratio = series.brightness / series.brightness[0]
    assert ratio == pytest.approx(factors, abs=0.03)
    found = variability(series)
    assert found.chance < 1e-10
    assert found.change == pytest.approx(0.3 / 0.85, abs=0.05)
    assert variability(series, contamination=0.9).chance > 1e-3  # neighbours may do as much


def test_without_a_good_pixel_nothing_is_said() -> None:
    rng = np.random.default_rng(6)
    good = spectrum(rng)
    bad = replace(good, flags=np.ones(len(good), np.uint32))
    series = source_series([good, bad], [0, 1])
    assert np.isnan(series.brightness[1])
    assert np.isinf(series.brightness_err[1])
    assert variability(series).dof == 0
