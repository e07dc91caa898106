"""The season's object catalogue: mean fluxes, scatter, variability measures and a coarse class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.systems.msos.light_curves.series import HIGH_SIGMA, SeriesBlock, usable

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class ClassThresholds:
    """What separates constant from variable objects.

    chi2_dof above `chi2_variable` (scaled by the expected spread for the number of points) is variable; with a
    von Neumann ratio below `eta_correlated` it is correlated in time.
    """

    chi2_variable: float = 1.0
    sigma_variable: float = 6.0
    eta_correlated: float = 1.0
    minimum_points: int = 8
    period_power: float = 0.6


def statistics(block: SeriesBlock, zero_point: float, thresholds: ClassThresholds = ClassThresholds()) -> pl.DataFrame:
    """Statistics of every light curve of a block, one row per star, columns as in season_objects.

    `zero_point` is the AB magnitude of 1 DN/s. Rows without two good points have NaN statistics.
    """
    flux, error = block.flux.astype(np.float64), block.flux_err.astype(np.float64)
    good = usable(flux, error, block.flag)
    f, w = np.where(good, flux, 0.0), np.where(good, 1.0 / np.where(good, error, 1.0) ** 2, 0.0)
    n = good.sum(axis=1)
    masked = np.where(good, flux, np.nan)
    with np.errstate(all="ignore"):
        sum_w = w.sum(axis=1)
        mean = (w * f).sum(axis=1) / sum_w
        residual = np.where(good, flux - mean[:, None], 0.0)
        chi2 = (w * residual**2).sum(axis=1)
        median = _nan_median(masked)
        scatter = 1.4826 * _nan_median(np.abs(masked - median[:, None])) * np.sqrt(n / np.maximum(n - 1, 1))
        expected = _nan_median(np.where(good, error, np.nan))
        variance = (residual**2).sum(axis=1) / np.maximum(n - 1, 1)
        skew = (residual**3).sum(axis=1) / n / variance**1.5
        kurtosis = (residual**4).sum(axis=1) / n / variance**2 - 3.0
        low, high = _nan_percentiles(masked, (5.0, 95.0))
        eta, stetson = _successive(good, residual, error)
        mean_err = 1.0 / np.sqrt(sum_w)
        chi2_dof = chi2 / np.maximum(n - 1, 1)
        mag = np.where(mean > 0, zero_point - 2.5 * np.log10(np.where(mean > 0, mean, 1.0)), np.nan)
        mag_err = 1.0857 * mean_err / np.where(mean > 0, mean, np.nan)
        few = n < 2
        for values in (scatter, chi2_dof, skew, kurtosis):
            values[few] = np.nan
        amplitude = np.where(few, np.nan, high - low)
    longest = _longest_run(np.where(good, (flux - median[:, None]) / np.where(good, error, 1), 0) > HIGH_SIGMA, good)
    first, last = _first_last(good, block.mjd)
    period, power = _periods(block, good, mean, chi2_dof, n, thresholds)
    kind = _classes(n, chi2_dof, eta, skew, power, longest, thresholds)
    return pl.DataFrame(
        {
            "flux": mean,
            "flux_err": mean_err,
            "mag": mag,
            "mag_err": mag_err,
            "n": n.astype(np.int32),
            "n_flagged": (flux.shape[1] - n).astype(np.int32),
            "first_mjd": first,
            "last_mjd": last,
            "scatter": scatter,
            "expected_scatter": expected,
            "chi2_dof": chi2_dof,
            "eta": eta,
            "stetson_j": stetson,
            "skew": skew,
            "kurtosis": kurtosis,
            "amplitude": amplitude,
            "longest_high": longest.astype(np.int16),
            "period": pl.Series(period).fill_nan(None),
            "period_power": pl.Series(power).fill_nan(None),
            "variability_class": kind,
        }
    )


def _nan_median(values: F64) -> F64:
    """Row medians without NaN, by one sort: several times faster than numpy's."""
    ordered = np.sort(values, axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(values))
    low = ordered[rows, np.maximum((count - 1) // 2, 0)]
    high = ordered[rows, np.minimum(count // 2, ordered.shape[1] - 1)]
    return np.where(count > 0, 0.5 * (low + high), np.nan)


def _nan_percentiles(values: F64, wanted: tuple[float, ...]) -> list[F64]:
    ordered = np.sort(values, axis=1)
    count = np.isfinite(ordered).sum(axis=1)
    rows = np.arange(len(values))
    return [
        np.where(count > 0, ordered[rows, np.rint(np.maximum(count - 1, 0) * p / 100).astype(int)], np.nan)
        for p in wanted
    ]


def _successive(good: NDArray[np.bool_], residual: F64, error: F64) -> tuple[F64, F64]:
    """Von Neumann's ratio and Stetson's J of successive good points."""
    rows = len(good)
    eta, stetson = np.full(rows, np.nan), np.full(rows, np.nan)
    complete = np.asarray(good.all(axis=1))
    for members in (np.flatnonzero(complete), np.flatnonzero(~complete)):
        if members.size and complete[members[0]]:
            r, d = residual[members], residual[members] / error[members]
            eta[members] = _ratio((np.diff(r, axis=1) ** 2).sum(axis=1), (r**2).sum(axis=1))
            product = d[:, 1:] * d[:, :-1]
            stetson[members] = (np.sign(product) * np.sqrt(np.abs(product))).mean(axis=1) if d.shape[1] > 1 else np.nan
        else:
            for row in members:
                r = residual[row, good[row]]
                if r.size < 2:
                    continue
                d = r / error[row, good[row]]
                eta[row] = (np.diff(r) ** 2).sum() / max((r**2).sum(), 1e-300)
                product = d[1:] * d[:-1]
                stetson[row] = (np.sign(product) * np.sqrt(np.abs(product))).mean()
    return eta, stetson


def _ratio(a: F64, b: F64) -> F64:
    return np.where(b > 0, a / np.where(b > 0, b, 1.0), np.nan)


def _longest_run(high: NDArray[np.bool_], good: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Longest run of high points per row; unusable points neither continue nor break a run."""
    run = np.zeros(len(high), dtype=np.int64)
    longest = run.copy()
    for epoch in range(high.shape[1]):
        run = np.where(high[:, epoch], run + 1, np.where(good[:, epoch], 0, run))
        longest = np.maximum(longest, run)
    return longest


def _first_last(good: NDArray[np.bool_], mjd: F64) -> tuple[F64, F64]:
    any_good = good.any(axis=1)
    first = mjd[good.argmax(axis=1)]
    last = mjd[good.shape[1] - 1 - good[:, ::-1].argmax(axis=1)]
    return np.where(any_good, first, np.nan), np.where(any_good, last, np.nan)


def _periods(
    block: SeriesBlock,
    good: NDArray[np.bool_],
    mean: F64,
    chi2_dof: F64,
    n: NDArray[np.int64],
    thresholds: ClassThresholds,
) -> tuple[F64, F64]:
    """Lomb-Scargle periods of the clearly variable objects; NaN elsewhere."""
    period, power = np.full(len(mean), np.nan), np.full(len(mean), np.nan)
    chosen = np.flatnonzero((n >= 2 * thresholds.minimum_points) & _variable(chi2_dof, n, thresholds))
    if chosen.size == 0:
        return period, power
    from astropy.timeseries import LombScargle

    for row in chosen:
        use = good[row]
        t = block.mjd[use]
        span = float(np.ptp(t))
        if span <= 0:
            continue
        shortest = max(2.0 * float(np.median(np.diff(t))), 0.02)
        count = int(min(5 * span / shortest, 20_000))
        frequency = np.linspace(0.5 / span, 1.0 / shortest, max(count, 50))
        found = LombScargle(t, block.flux[row, use].astype(float), block.flux_err[row, use].astype(float)).power(
            frequency
        )
        best = int(np.argmax(found))
        period[row], power[row] = 1.0 / frequency[best], float(found[best])
    return period, power


def _variable(chi2_dof: F64, n: NDArray[np.int64], thresholds: ClassThresholds) -> NDArray[np.bool_]:
    limit = thresholds.chi2_variable + thresholds.sigma_variable * np.sqrt(2.0 / np.maximum(n - 1, 1))
    return np.nan_to_num(chi2_dof) > limit


def _classes(
    n: NDArray[np.int64], chi2_dof: F64, eta: F64, skew: F64, power: F64, longest: NDArray[np.int64], t: ClassThresholds
) -> list[str]:
    """constant, periodic, transient, irregular or unknown."""
    variable = _variable(chi2_dof, n, t)
    names = np.full(len(n), "constant", dtype=object)
    names[variable] = "irregular"
    with np.errstate(invalid="ignore"):
        names[variable & (power > t.period_power)] = "periodic"
        names[variable & (eta < t.eta_correlated) & (skew > 0.8) & (longest >= 3)] = "transient"
    names[n < t.minimum_points] = "unknown"
    return [str(name) for name in names]
