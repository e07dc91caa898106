"""Spectra of a field that is visited again and again: visits, how bright a source was at each, and whether it varies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.systems.gdps.extraction.combination import combine, common_grid
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

F64 = NDArray[np.float64]
#: Exposures that follow each other within this make one visit [d].
VISIT_GAP_DAYS = 0.5
#: What calibration, profiles and contamination leave of a constant source's brightness between visits, relative to it
#: (other rolls have other neighbours); the share of contamination in its light that may be wrong comes in addition.
FLOOR, CONTAMINATION_ERROR = 0.02, 0.1


def visits_of(mjd: ArrayLike, gap_days: float = VISIT_GAP_DAYS) -> NDArray[np.int64]:
    """The number of the visit of each exposure, (n,), in order of time; mjd: (n,) [d], in any order."""
    times = np.asarray(mjd, dtype=np.float64)
    order = np.argsort(times, kind="stable")
    numbers = np.zeros(len(times), dtype=np.int64)
    numbers[order[1:]] = np.cumsum(np.diff(times[order]) > gap_days)
    return numbers


@dataclass(frozen=True)
class SourceSeries:
    """One source's spectra by visit.

    Attributes
    ----------
    visit
        (n,) numbers of the visits that show it.
    spectra
        Of each, on one grid of wavelengths.
    mean
        Of all exposures.
    brightness, brightness_err
        (n,) of each visit over the mean of all visits, grey; NaN without a good pixel in common.
    """

    visit: NDArray[np.int64]
    spectra: list[Spectrum]
    mean: Spectrum
    brightness: F64
    brightness_err: F64


def source_series(spectra: Sequence[Spectrum], visit: ArrayLike) -> SourceSeries:
    """The series of one source from its spectra by exposure, each of the visit with its number, (n,)."""
    numbers = np.asarray(visit)
    grid = common_grid(spectra)
    mean = combine(spectra, grid)
    shown = np.unique(numbers)
    combined = [combine([s for s, v in zip(spectra, numbers, strict=True) if v == number], grid) for number in shown]
    brightness = np.array([relative_brightness(spectrum, mean) for spectrum in combined])
    # The combined spectrum of a source that varies is no mean: visits that contradict each other are left out of it.
    known = np.isfinite(brightness[:, 0])
    middle = float(brightness[known, 0].mean()) if known.any() else 1.0
    if middle > 0:
        brightness /= middle
    return SourceSeries(shown, combined, mean, brightness[:, 0], brightness[:, 1])


def relative_brightness(spectrum: Spectrum, mean: Spectrum) -> tuple[float, float]:
    """The factor by which `mean` fits `spectrum` best, on the same grid, and its error; NaN, infinite without pixels."""
    use = spectrum.good & mean.good & np.isfinite(mean.flux)
    weight = np.where(use, 1 / np.where(use, spectrum.variance, 1), 0)
    norm = float((weight * mean.flux**2)[use].sum())
    if not norm > 0:
        return float("nan"), float("inf")
    return float((weight * mean.flux * spectrum.flux)[use].sum()) / norm, norm**-0.5


@dataclass(frozen=True)
class Variability:
    """Whether brightness changes between visits: chi2 about its mean, degrees of freedom, the chance of as much from a
    constant source, and the largest change between two visits, relative to the mean."""

    chi2: float
    dof: int
    chance: float
    change: float


def variability(series: SourceSeries, contamination: float = 0.0) -> Variability:
    """How a source varies; contamination: its share in the light."""
    from scipy.special import gammaincc

    seen = np.isfinite(series.brightness) & np.isfinite(series.brightness_err)
    value, error = series.brightness[seen], series.brightness_err[seen]
    if seen.sum() < 2:
        return Variability(float("nan"), 0, float("nan"), float("nan"))
    share = min(max(contamination, 0.0), 0.95)
    floor = np.hypot(FLOOR, CONTAMINATION_ERROR * share / (1 - share))
    weight = 1 / (error**2 + floor**2)
    centre = float((weight * value).sum() / weight.sum())
    chi2, dof = float((weight * (value - centre) ** 2).sum()), int(seen.sum()) - 1
    return Variability(chi2, dof, float(gammaincc(dof / 2, chi2 / 2)), float((value.max() - value.min()) / centre))
