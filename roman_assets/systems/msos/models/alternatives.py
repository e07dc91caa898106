"""What a brightening may be instead of a lens: noise, a periodic variable, an outburst, one of several."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
_MAD = 1.4826


@dataclass(frozen=True)
class NoiseScale:
    """By how much the errors fall short, never below 1.

    white: from differences of successive residuals, blind to slow changes; red: from the scatter of the
    residuals away from the event, of single points and of bins as wide as the event, whichever is larger.
    """

    white: float
    red: float


def noise_scale(mjd: F64, residual: F64, error: F64, t0: float, width: float, minimum: int = 8) -> NoiseScale:
    """Noise of residuals (n,) in units of their errors (n,); the event is |mjd - t0| < 3 width [d].

    Scales from fewer than `minimum` values are 1: too few say nothing.
    """
    z = residual / error
    white = 1.0
    if len(z) > minimum:
        white = max(1.0, _lower_scale(np.diff(z) / np.sqrt(2.0)))
    away = np.abs(mjd - t0) > 3.0 * width
    red = white
    if away.sum() >= minimum:
        zo = z[away]
        red = max(red, _lower_scale(zo - np.median(zo)))
        cell = np.floor((mjd[away] - mjd[0]) / width).astype(np.int64)
        _, start, count = np.unique(cell, return_index=True, return_counts=True)
        if len(start) >= minimum and count.max() > 1:
            means = np.add.reduceat(zo, start) / np.sqrt(count)
            red = max(red, _lower_scale(means - np.median(means)))
    return NoiseScale(white, red)


def _lower_scale(values: F64) -> float:
    """Robust standard deviation, lowered by its own standard error: what the values prove."""
    return float(_MAD * np.median(np.abs(values)) * (1.0 - 1.17 / np.sqrt(len(values))))


@dataclass(frozen=True)
class PeriodicFit:
    """Best sinusoid with one harmonic: period [d], chi2, number of parameters."""

    period: float
    chi2: float
    parameters: int = 6


def fit_periodic(mjd: F64, flux: F64, error: F64, *, minimum_cycles: float = 1.5) -> PeriodicFit | None:
    """Sinusoid with its first harmonic, over all frequencies the sampling supports.

    Frequencies run from `minimum_cycles` in the span of the data to the Nyquist frequency of the median
    spacing (at most 20 per day). None where the data are too few.
    """
    n, span = len(mjd), float(mjd[-1] - mjd[0]) if len(mjd) else 0.0
    if n < 10 or span <= 0:
        return None
    spacing = max(float(np.median(np.diff(mjd))), 1e-6)
    low, high = minimum_cycles / span, min(0.5 / spacing, 20.0)
    if high <= low:
        return None
    oversample = 10.0 if n < 500 else 4.0
    frequency = np.linspace(low, high, int(np.clip(oversample * (high - low) * span, 50, 200_000)))
    t, w = mjd - mjd[0], 1.0 / error**2
    if n * len(frequency) > 2_000_000:
        frequency = _strongest(t, flux, error, frequency)
    best = _harmonic_chi2(t, flux, w, frequency)
    i = int(np.argmin(best))
    near = frequency[i] + np.linspace(-1, 1, 41) * (0.5 / (span * oversample))
    near = near[(near >= low) & (near <= high)]
    refined = _harmonic_chi2(t, flux, w, near)
    j = int(np.argmin(refined))
    if refined[j] < best[i]:
        return PeriodicFit(float(1.0 / near[j]), float(refined[j]))
    return PeriodicFit(float(1.0 / frequency[i]), float(best[i]))


def _strongest(t: F64, flux: F64, error: F64, frequency: F64, keep: int = 12) -> F64:
    """The strongest frequencies of a Lomb-Scargle periodogram and their halves."""
    from astropy.timeseries import LombScargle

    power = LombScargle(t, flux, error).power(frequency, method="fast", assume_regular_frequency=True)
    inner = np.flatnonzero((power[1:-1] >= power[:-2]) & (power[1:-1] >= power[2:])) + 1
    peaks = inner if len(inner) else np.array([int(np.argmax(power))])
    chosen = frequency[peaks[np.argsort(power[peaks])[-keep:]]]
    halves = chosen / 2
    return np.concatenate([chosen, halves[halves >= frequency[0]]])


def _harmonic_chi2(t: F64, flux: F64, w: F64, frequency: F64) -> F64:
    """chi2 of a constant, a sinusoid and its first harmonic at each frequency."""
    f = flux - np.average(flux, weights=w)
    total, chi2 = float((w * f * f).sum()), np.empty(len(frequency))
    chunk = max(1, 400_000 // len(t))
    for at in range(0, len(frequency), chunk):
        phase = 2.0 * np.pi * frequency[at : at + chunk, None] * t[None, :]
        s, c = np.sin(phase), np.cos(phase)
        basis = np.stack([np.ones_like(s), s, c, 2 * s * c, c * c - s * s], axis=1)
        weighted = basis * w
        normal = weighted @ basis.transpose(0, 2, 1)
        right = weighted @ f
        scale = np.trace(normal, axis1=1, axis2=2)[:, None, None] * 1e-10
        solution = np.linalg.solve(normal + scale * np.eye(5), right[:, :, None])[:, :, 0]
        chi2[at : at + chunk] = total - (solution * right).sum(axis=1)
    return chi2


def binned(mjd: F64, flux: F64, error: F64, width: float, origin: float | None = None) -> tuple[F64, F64, F64]:
    """Weighted means in bins of `width` [d], counted from `origin` or the first point: times, fluxes, errors."""
    if len(mjd) == 0:
        return mjd, flux, error
    cell = np.floor((mjd - (mjd[0] if origin is None else origin)) / width).astype(np.int64)
    start = np.flatnonzero(np.concatenate([[True], np.diff(cell) != 0]))
    w = 1.0 / error**2
    total = np.add.reduceat(w, start)
    return (np.add.reduceat(w * mjd, start) / total, np.add.reduceat(w * flux, start) / total, 1.0 / np.sqrt(total))


@dataclass(frozen=True)
class OutburstFit:
    """Best outburst: it starts at `start`, rises linearly in `rise`, decays over `decay` [d].

    `covered`: the data show the level before the rise, and the decay.
    """

    start: float
    rise: float
    decay: float
    chi2: float
    covered: bool
    parameters: int = 6


def fit_outburst(mjd: F64, flux: F64, error: F64, t0: float, teff: float) -> OutburstFit | None:
    """Fast rise and slow decay (exponential or half a Gaussian) on a constant, near (t0, teff) [d].

    The rise takes at most 0.3 of the decay: slower rises are not what tells a dwarf nova from a lens.
    """
    if len(mjd) < 8:
        return None
    w = 1.0 / error**2
    decays = teff * np.geomspace(0.5, 8.0, 9)
    rises = np.array([0.02, 0.1, 0.3])
    starts = np.linspace(t0 - 4.0 * teff, t0 + teff, 61)
    best = (np.inf, 0.0, 0.0, 0.0, 0)
    for zoom in range(3):
        for kind in (0, 1) if zoom == 0 else (best[4],):
            for decay in decays:
                for rise in rises * decay:
                    tried = _outburst_chi2(mjd, flux, w, starts, float(rise), float(decay), kind)
                    i = int(np.argmin(tried))
                    if tried[i] < best[0]:
                        best = (float(tried[i]), float(starts[i]), float(rise), float(decay), kind)
        if not np.isfinite(best[0]):
            return None
        step = (starts[1] - starts[0]) if len(starts) > 1 else 0.0
        starts = best[1] + np.linspace(-1.5, 1.5, 31) * step
        decays = best[3] * np.geomspace(0.8 + 0.1 * zoom, 1.25 - 0.11 * zoom, 5)
        rises = np.clip(best[2] / best[3] * np.array([0.5, 0.8, 1.0, 1.3]), 0.005, 0.3)
    chi2, start, rise, decay, _ = best
    before = int(((mjd < start) & (mjd > start - max(3.0 * decay, 2.0 * teff))).sum())
    just_before = bool(((mjd < start) & (mjd > start - decay)).any())
    after = int(((mjd > start + rise) & (mjd < start + rise + 2.0 * decay)).sum())
    return OutburstFit(start, rise, decay, chi2, before >= 3 and just_before and after >= 3)


def _outburst_chi2(mjd: F64, flux: F64, w: F64, starts: F64, rise: float, decay: float, kind: int) -> F64:
    x = mjd[None, :] - starts[:, None]
    tail = np.maximum(x - rise, 0.0) / decay
    g = np.clip(x / rise, 0.0, 1.0) * (np.exp(-tail) if kind == 0 else np.exp(-0.5 * tail**2))
    total = w.sum()
    mean_g, mean_f = (g @ w) / total, float(flux @ w) / total
    gc = g - mean_g[:, None]
    spread, product = (gc * gc) @ w, gc @ (w * (flux - mean_f))
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = np.where((spread > 0) & (product > 0), product**2 / spread, 0.0)
    return float((w * (flux - mean_f) ** 2).sum()) - gain
