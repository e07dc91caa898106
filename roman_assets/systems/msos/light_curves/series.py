"""Light curves: calibrated exposures, additive daily sums, rising-event alerts, the transpose to objects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.systems.msos.photometry.exposure_fit import COSMIC_RAY, MASKED, NO_DATA, UNSOLVED

F64 = NDArray[np.float64]
#: Measurements with any of these bits are kept but not used. The edge alone does not spoil one, nor do saturation and a bad
#: fit: the error says what they cost.
UNUSED_FLAGS = NO_DATA | MASKED | COSMIC_RAY | UNSOLVED
HIGH_SIGMA = 3.0
#: Epochs transposed together: whole cache lines are written, and the reads stay in cache.
EPOCHS_AT_ONCE = 32


@dataclass(frozen=True)
class AlertRule:
    """A rise: at least `n_high` points in a row above the baseline, worth `dchi2` together.

    KMTNet (Kim et al. 2018) alerts at (5, 250) and (10, 400); a sparse series needs fewer, clearer points.
    """

    n_high: int
    dchi2: float


ALERT_RULES = (AlertRule(5, 250.0), AlertRule(10, 400.0))
SPARSE_ALERT_RULES = (AlertRule(4, 400.0),)


def alert_rules(epochs_a_day: int) -> tuple[AlertRule, ...]:
    """The rules for a cadence: a day of fewer than 24 exposures cannot show five high points early enough."""
    return ALERT_RULES if epochs_a_day >= 24 else SPARSE_ALERT_RULES


def usable(flux: F64, flux_err: F64, flag: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Which measurements count; all arrays of one shape."""
    return np.isfinite(flux) & np.isfinite(flux_err) & (flux_err > 0) & ((flag & UNUSED_FLAGS) == 0)


def daily_sums(
    star: NDArray[np.int32], mjd: F64, flux: F64, flux_err: F64, flag: NDArray[np.uint8], reference: F64
) -> pl.DataFrame:
    """Sums of a day that add up over days in any order.

    Parameters
    ----------
    star
        (stars,) catalogue rows.
    mjd
        (epochs,) mid-exposure times, increasing [d].
    flux, flux_err, flag
        (stars, epochs) calibrated fluxes [DN/s].
    reference
        (stars,) reference fluxes [DN/s].
    """
    good = usable(flux, flux_err, flag)
    w = np.where(good, 1.0 / np.where(good, flux_err, 1.0) ** 2, 0.0)
    f = np.where(good, flux, 0.0)
    excess = np.where(good, (flux - reference[:, None]) / np.where(good, flux_err, 1.0), -np.inf)
    any_good = good.any(axis=1)
    best = excess.argmax(axis=1)
    times = np.where(good, mjd[None, :], np.nan)
    with np.errstate(all="ignore"):
        first = np.where(any_good, np.min(np.where(good, times, np.inf), axis=1), np.nan)
        last = np.where(any_good, np.max(np.where(good, times, -np.inf), axis=1), np.nan)
    return pl.DataFrame(
        {
            "star": star,
            "n": good.sum(axis=1).astype(np.int32),
            "sum_w": w.sum(axis=1),
            "sum_wf": (w * f).sum(axis=1),
            "sum_wf2": (w * f * f).sum(axis=1),
            "first_mjd": first,
            "last_mjd": last,
            "n_high": (excess > HIGH_SIGMA).sum(axis=1).astype(np.int32),
            "max_snr": np.where(any_good, excess.max(axis=1), 0.0).astype(np.float32),
            "max_mjd": np.where(any_good, mjd[best], np.nan),
        }
    )


def rising(
    mjd: F64,
    flux: F64,
    flux_err: F64,
    flag: NDArray[np.uint8],
    reference: F64,
    reference_err: F64,
    rules: Sequence[AlertRule],
) -> pl.DataFrame:
    """Objects with a run of consecutive high points that satisfies a rule.

    Arrays as in `daily_sums`; the error of the reference flux counts. Returns row (index into the stars),
    mjd and first_high_mjd of the run [d], n_high, dchi2, flux and flux_err of its last point [DN/s].
    """
    good = usable(flux, flux_err, flag)
    sigma = np.hypot(np.where(good, flux_err, 1.0), reference_err[:, None])
    snr = np.where(good, (flux - reference[:, None]) / sigma, 0.0)
    run, gain = np.zeros(len(flux), dtype=np.int32), np.zeros(len(flux))
    start = np.full(len(flux), np.nan)
    best: dict[str, NDArray[Any]] = {
        "n_high": np.zeros(len(flux), dtype=np.int32),
        "dchi2": np.zeros(len(flux)),
        "mjd": np.full(len(flux), np.nan),
        "first_high_mjd": np.full(len(flux), np.nan),
        "epoch": np.zeros(len(flux), dtype=np.int64),
    }
    for epoch, time in enumerate(mjd):
        high, seen = snr[:, epoch] > HIGH_SIGMA, good[:, epoch]
        start = np.where(high & (run == 0), time, start)
        # An unusable point neither continues nor breaks a run.
        run = np.where(high, run + 1, np.where(seen, 0, run)).astype(np.int32)
        gain = np.where(high, gain + snr[:, epoch] ** 2, np.where(seen, 0.0, gain))
        meets = np.zeros(len(flux), dtype=bool)
        for rule in rules:
            meets |= (run >= rule.n_high) & (gain >= rule.dchi2)
        better = meets & high & (gain > best["dchi2"])
        for name, value in (("n_high", run), ("dchi2", gain), ("first_high_mjd", start)):
            best[name] = np.where(better, value, best[name])
        best["mjd"] = np.where(better, time, best["mjd"])
        best["epoch"] = np.where(better, epoch, best["epoch"])
    rows = np.flatnonzero(np.asarray(best["n_high"]) > 0)
    at = np.asarray(best["epoch"])[rows].astype(int)
    return pl.DataFrame(
        {
            "row": rows,
            "mjd": best["mjd"][rows],
            "first_high_mjd": best["first_high_mjd"][rows],
            "n_high": best["n_high"][rows].astype(np.int32),
            "dchi2": best["dchi2"][rows],
            "flux": flux[rows, at],
            "flux_err": flux_err[rows, at],
        }
    )


@dataclass(frozen=True)
class SeriesBlock:
    """Light curves of one detector and optical element, epoch-major as the exposures come.

    mjd (epochs,); flux, flux_err (stars, epochs) float32 [DN/s], NaN where there is none; flag uint8.
    """

    mjd: F64
    flux: NDArray[np.float32]
    flux_err: NDArray[np.float32]
    flag: NDArray[np.uint8]


def transpose(parts: Sequence[pl.DataFrame], mjd: Sequence[float], stars: int) -> SeriesBlock:
    """Object-major arrays from epoch-major parts (columns star, flux, flux_err, flag), in order of time.

    Stars that a part lacks get NaN and the flag NO_DATA.
    """
    order = np.argsort(np.asarray(mjd), kind="stable")
    shape = (stars, len(parts))
    flux, error = np.empty(shape, dtype=np.float32), np.empty(shape, dtype=np.float32)
    flag = np.empty(shape, dtype=np.uint8)
    for start in range(0, len(parts), EPOCHS_AT_ONCE):
        chosen = [parts[i] for i in order[start : start + EPOCHS_AT_ONCE]]
        columns = slice(start, start + len(chosen))
        for name, output, missing in (("flux", flux, np.nan), ("flux_err", error, np.nan), ("flag", flag, NO_DATA)):
            output[:, columns] = _epoch_major(chosen, name, stars, output.dtype, missing).T
    return SeriesBlock(np.asarray(mjd, dtype=np.float64)[order], flux, error, flag)


def rounded_errors(flux_err: NDArray[np.float32]) -> NDArray[np.float32]:
    """Errors to a part in 16,384 (13 bits of the fraction), any shape; what is not finite stays.

    An error is itself known to a per cent at best; the bits below are noise that no compression removes, a quarter
    of a season's bytes.
    """
    values = np.ascontiguousarray(flux_err, dtype=np.float32)
    bits = (values.view(np.uint32) + np.uint32(0x1FF + 1)) & np.uint32(0xFFFFFC00)
    return np.where(np.isfinite(values), bits.view(np.float32), values)


def _epoch_major(
    parts: Sequence[pl.DataFrame], name: str, stars: int, dtype: np.dtype[Any], missing: float
) -> NDArray[Any]:
    """A column of several parts, (parts, stars); `missing` where a part lacks a star."""
    values = np.empty((len(parts), stars), dtype=dtype)
    for row, part in zip(values, parts, strict=True):
        star = part["star"].to_numpy()
        if len(star) == stars and (star == np.arange(stars, dtype=star.dtype)).all():
            row[:] = part[name].to_numpy()
        else:
            row[:] = missing
            row[star] = part[name].to_numpy()
    return values


def list_column(values: NDArray[np.generic], dtype: pl.DataType | type[pl.DataType]) -> pl.Series:
    """A polars list column from a (rows, length) array, without copying element by element."""
    rows, length = values.shape
    flat = pl.Series(values.ravel()).cast(dtype)
    return flat.reshape((rows, length)).arr.to_list() if length else pl.Series([[]] * rows, dtype=pl.List(dtype))
