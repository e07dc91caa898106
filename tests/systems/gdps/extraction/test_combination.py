"""Combination: errors, outliers, gaps and different grids."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.extraction.combination import combine, common_grid
from roman_assets.systems.gdps.extraction.exposure import CONTAMINATED, MASKED, NO_DATA, OUTLIER
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

N = 400


def spectrum(seed: int = 0, *, start: float = 1000.0, error: float = 0.1, level: float = 5.0) -> Spectrum:
    rng = np.random.default_rng(seed)
    wave = start + 1.1 * np.arange(N)
    return Spectrum(
        wave,
        level + error * rng.normal(size=N),
        np.full(N, error**2),
        np.full(N, 0.5),
        np.zeros(N, dtype=np.uint32),
        np.full(N, 1.5),
    )


def changed(given: Spectrum, **values: np.ndarray) -> Spectrum:
    return Spectrum(**({n: getattr(given, n) for n in given.__dataclass_fields__} | values))


def test_one_spectrum_on_its_own_grid_is_itself() -> None:
    one = spectrum()
    result = combine([one], one.wavelength)
    for name in ("flux", "variance", "contamination", "lsf_sigma", "flags"):
        assert np.allclose(getattr(result, name), getattr(one, name))


def test_sums_have_the_right_errors() -> None:
    """Means over blocks of combined, interpolated spectra scatter as their variances say."""
    pulls = []
    for trial in range(40):
        spectra = [spectrum(3 * trial + k, start=1000 + 0.37 * k, error=0.1 * (k + 1)) for k in range(3)]
        result = combine(spectra)
        block = slice(20, 380)
        flux = (result.flux[block] - 5.0).reshape(-1, 12).sum(axis=1)
        pulls.extend(flux / np.sqrt(result.variance[block].reshape(-1, 12).sum(axis=1)))
    assert np.std(pulls) == pytest.approx(1.0, abs=0.08)


def test_outlier_of_one_exposure_is_left_out() -> None:
    spectra = [spectrum(k) for k in range(3)]
    flux = spectra[1].flux.copy()
    flux[100] += 50
    spectra[1] = changed(spectra[1], flux=flux)
    result = combine(spectra, spectra[0].wavelength)
    assert abs(result.flux[100] - 5) < 0.5
    assert result.flags[100] == 0
    assert result.variance[100] == pytest.approx(0.01 / 2)
    assert result.variance[99] == pytest.approx(0.01 / 3)


def test_two_that_disagree_are_flagged() -> None:
    flux = spectrum(0).flux.copy()
    flux[100] += 50
    result = combine([changed(spectrum(0), flux=flux), spectrum(1)], spectrum(0).wavelength)
    assert result.flags[100] == OUTLIER
    assert (result.flags[:99] == 0).all()


def test_gaps_and_flags() -> None:
    flags = np.zeros(N, dtype=np.uint32)
    flags[50:60], flags[80:90] = MASKED, CONTAMINATED
    one = changed(spectrum(0), flags=flags)
    both = combine([one, spectrum(1)], one.wavelength)
    assert (both.flags == 0).all()
    assert both.variance[55] == pytest.approx(0.01)
    assert both.variance[85] == pytest.approx(0.01)
    alone = combine([one], one.wavelength)
    assert (alone.flags[50:60] == MASKED).all()
    # Contaminated pixels count where there is nothing better, and say so.
    assert (alone.flags[80:90] == CONTAMINATED).all()
    assert alone.flux[85] == pytest.approx(one.flux[85])


def test_pixels_without_data_stay_so() -> None:
    variance, flags = np.full(N, 0.01), np.zeros(N, dtype=np.uint32)
    variance[:30], flags[:30] = np.inf, NO_DATA
    result = combine([changed(spectrum(), variance=variance, flags=flags)], spectrum().wavelength)
    assert (result.flags[:30] == NO_DATA).all()
    assert np.isfinite(result.flux).all()


def test_grid_spans_all() -> None:
    grid = common_grid([spectrum(), spectrum(start=1100.3)])
    assert grid[0] == 1000.0
    assert grid[-1] >= 1100.3 + 1.1 * (N - 1) - 1.1
    assert np.allclose(np.diff(grid), 1.1)


def test_nothing_to_combine() -> None:
    with pytest.raises(InputError, match="no spectrum"):
        combine([])
