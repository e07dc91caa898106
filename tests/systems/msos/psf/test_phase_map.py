"""The inter-pixel residual map is recovered from stars whose fluxes are unknown, and not invented."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.systems.msos.psf.phase_map import NO_MAP, PhaseMap, _terms, fit_phase_map


def stars(seed: int, exposures: int = 6, count: int = 400) -> tuple[np.ndarray, ...]:
    """Positions (exposures, stars), true fluxes and errors of 0.5 %."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 200, count) + rng.uniform(-0.5, 0.5, (exposures, 1))
    y = rng.uniform(0, 200, count) + rng.uniform(-0.5, 0.5, (exposures, 1))
    flux = rng.uniform(200, 2000, count)
    return x, y, flux, np.broadcast_to(0.005 * flux, x.shape)


def test_a_map_is_recovered_to_its_noise() -> None:
    x, y, flux, error = stars(1)
    truth = PhaseMap(np.zeros(_terms(np.zeros(1), np.zeros(1)).shape[1]))
    truth.coefficients[1], truth.coefficients[6] = 0.006, -0.004
    rng = np.random.default_rng(2)
    measured = flux * (1 + truth(x, y)) + rng.normal(0, 1, x.shape) * error
    found = fit_phase_map(x, y, measured, error, np.ones(x.shape, dtype=bool))
    grid = np.linspace(0, 1, 21)
    gx, gy = np.meshgrid(grid, grid)
    assert np.abs(found(gx, gy) - truth(gx, gy)).max() < 0.002
    assert found.amplitude == pytest.approx(truth.amplitude, rel=0.15)


def test_noise_alone_gives_next_to_nothing() -> None:
    x, y, flux, error = stars(3)
    measured = flux + np.random.default_rng(4).normal(0, 1, x.shape) * error
    found = fit_phase_map(x, y, measured, error, np.ones(x.shape, dtype=bool))
    assert found.amplitude < 0.001


def test_variable_stars_do_not_make_a_map() -> None:
    x, y, flux, error = stars(5)
    rng = np.random.default_rng(6)
    measured = flux + rng.normal(0, 1, x.shape) * error
    measured[3, :20] *= 3.0
    assert fit_phase_map(x, y, measured, error, np.ones(x.shape, dtype=bool)).amplitude < 0.0015


def test_too_few_measurements_give_no_map() -> None:
    x, y, flux, error = stars(7, count=20)
    assert fit_phase_map(x, y, np.broadcast_to(flux, x.shape), error, np.ones(x.shape, dtype=bool)) is NO_MAP
    assert NO_MAP(x, y).shape == x.shape
    assert NO_MAP.amplitude == 0
