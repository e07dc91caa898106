"""One spectrum of a source from several exposures and rolls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.systems.gdps.extraction.exposure import CONTAMINATED, LOW_THROUGHPUT, NO_DATA, OUTLIER
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

F64 = NDArray[np.float64]
#: A pixel disagrees with the others beyond so many sigma and such a share of their flux.
DISAGREE_SIGMA, DISAGREE_SHARE = 5.0, 0.2


def common_grid(spectra: Sequence[Spectrum]) -> F64:
    """Even wavelengths [nm] from the first to the last that any spectrum has, at the median step of them all."""
    step = float(np.median(np.concatenate([np.diff(s.wavelength) for s in spectra])))
    low, high = min(s.wavelength[0] for s in spectra), max(s.wavelength[-1] for s in spectra)
    return low + step * np.arange(max(int((high - low) / step + 1e-9), 1) + 1)


def combine(spectra: Sequence[Spectrum], grid: ArrayLike | None = None) -> Spectrum:
    """Inverse-variance mean of one source's spectra, without those pixels that the others contradict.

    Spectra are interpolated linearly. Neighbouring pixels then share noise, and their variances are not lowered
    for it: sums over several pixels have the right errors, single pixels scatter less than theirs.

    Parameters
    ----------
    spectra
        At least one; those of one exposure each.
    grid
        Rising wavelengths [nm]; `common_grid` if not given.

    Raises
    ------
    InputError
        There is no spectrum.
    """
    if not spectra:
        raise InputError("there is no spectrum", field="spectra", remedy="give at least one")
    wave = common_grid(spectra) if grid is None else np.asarray(grid, dtype=np.float64)
    layers = [_resampled(spectrum, wave) for spectrum in spectra]
    flux, variance, contamination, lsf = (np.array([layer[k] for layer in layers]) for k in range(4))
    flags = np.array([layer[4] for layer in layers])
    weight = np.where(flags == 0, 1 / variance, 0)
    # Contaminated pixels count where there is nothing better.
    only = (weight.sum(axis=0) == 0) & ((flags & ~np.uint32(CONTAMINATED)) == 0)
    weight = np.where(only, 1 / variance, weight)
    weight, doubtful = _without_contradicted(flux, weight)
    total = weight.sum(axis=0)
    seen = total > 0
    share = weight / np.where(seen, total, 1)
    result_flags = np.where(seen, 0, np.bitwise_and.reduce(flags, axis=0)).astype(np.uint32)
    result_flags[~seen & (result_flags == 0)] = NO_DATA
    result_flags[seen & only.any(axis=0)] |= CONTAMINATED
    result_flags[seen & doubtful] |= OUTLIER
    mean_lsf = np.sqrt((share * lsf**2).sum(axis=0))
    return Spectrum(
        wave,
        (share * flux).sum(axis=0),
        np.where(seen, 1 / np.where(seen, total, 1), np.inf),
        (share * contamination).sum(axis=0),
        result_flags,
        np.where(seen, mean_lsf, np.sqrt((lsf**2).mean(axis=0))),
        spectra[0].point_source,
    )


def _resampled(spectrum: Spectrum, wave: F64) -> tuple[F64, F64, F64, F64, NDArray[np.uint32]]:
    """Flux, variance, contamination, LSF and flags at `wave`; variance 1 where there is no value."""
    at = np.clip(np.searchsorted(spectrum.wavelength, wave) - 1, 0, max(len(spectrum) - 2, 0))
    after = np.minimum(at + 1, len(spectrum) - 1)
    step = spectrum.wavelength[after] - spectrum.wavelength[at]
    f = np.clip(np.divide(wave - spectrum.wavelength[at], step, out=np.zeros_like(wave), where=step > 0), 0, 1)
    # A pixel that has no share in the value has no say in its flags either.
    left, right = f < 1 - 1e-9, f > 1e-9
    flags = np.where(left, spectrum.flags[at], 0) | np.where(right, spectrum.flags[after], 0)
    # The ends of a spectrum are half a pixel beyond its outer wavelengths.
    margin = 0.5 * float(np.median(np.diff(spectrum.wavelength))) if len(spectrum) > 1 else 0.0
    outside = (wave < spectrum.wavelength[0] - margin) | (wave > spectrum.wavelength[-1] + margin)
    flags = np.where(outside, np.uint32(NO_DATA), flags)
    ratio = step / np.gradient(wave) if len(wave) > 1 else 1.0
    finite = np.where(np.isfinite(spectrum.variance), spectrum.variance, 0)
    variance = np.where(flags & (NO_DATA | LOW_THROUGHPUT), 1.0, 0) + (finite[at] * (1 - f) + finite[after] * f) * ratio
    values = [v[at] * (1 - f) + v[after] * f for v in (spectrum.flux, spectrum.contamination, spectrum.lsf_sigma)]
    return values[0], np.where(variance > 0, variance, 1.0), values[1], values[2], flags.astype(np.uint32)


def _without_contradicted(flux: F64, weight: F64) -> tuple[F64, NDArray[np.bool_]]:
    """Weights, 0 for pixels that at least two others contradict, and pixels where two disagree and none decides."""
    current = weight.copy()
    doubtful = np.zeros(flux.shape[1], dtype=bool)
    columns = np.arange(flux.shape[1])
    for _ in range(len(flux)):
        total = current.sum(axis=0)
        others = total - current
        # A weight beside which the others' sum vanishes leaves rounding errors.
        alone = others <= 1e-9 * total
        mean = np.divide((current * flux).sum(axis=0) - current * flux, others, out=flux.copy(), where=~alone)
        error = np.sqrt(
            np.divide(1, current, out=np.full_like(flux, np.inf), where=current > 0)
            + np.divide(1, others, out=np.full_like(flux, np.inf), where=~alone)
        )
        excess = np.abs(flux - mean) / (DISAGREE_SIGMA * error + DISAGREE_SHARE * np.abs(mean))
        excess[(current == 0) | alone] = 0
        worst = excess.argmax(axis=0)
        bad = excess[worst, columns] > 1
        count = (current > 0).sum(axis=0)
        doubtful |= bad & (count == 2)
        drop = bad & (count > 2)
        if not drop.any():
            break
        current[worst[drop], columns[drop]] = 0
    return current, doubtful
