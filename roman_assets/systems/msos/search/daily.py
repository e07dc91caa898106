"""Daily search for brightenings in bounded memory: the day's exposures on top of daily means of the days before.

A day costs the same at the end of a season as in its second month: the past is a mean a day, from the additive sums
of the daily light curves, over at most `DailyConfig.days`, and one point far in the past stands for the reference
catalogue. The grid, the templates and the kernel are those of the search of a season.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.bounds import THRESHOLD, check_bounds, whole
from roman_assets.systems.msos.light_curves.series import usable
from roman_assets.systems.msos.search.templates import SearchConfig, search

F64 = NDArray[np.float64]
#: How far before the first point the reference stands [d]: no window reaches both.
LONG_AGO = 1e4


@dataclass(frozen=True)
class DailyConfig:
    """days: how far back the search looks. min_dchi2: what the brightening must be worth without its most
    significant point, over at least `min_high` high points (a mean of a day counts as one). short: the search of
    today's exposures alone; long: of the means of the days, today's in `parts`."""

    days: int = 60
    min_dchi2: float = 250.0
    min_high: int = 5
    parts: int = 4
    short: SearchConfig = field(default_factory=lambda: SearchConfig(teff_max=0.5))
    long: SearchConfig = field(default_factory=lambda: SearchConfig(teff_min=0.5, teff_max=20.0))

    def __post_init__(self) -> None:
        check_bounds(self, days=whole(1, 10_000), min_dchi2=THRESHOLD, min_high=whole(0, 10**6), parts=whole(1, 10_000))


def daily_points(history: Sequence[pl.DataFrame], stars: int) -> tuple[F64, NDArray[np.float32], NDArray[np.float32]]:
    """Mean of each day: times (days,), fluxes and errors (stars, days), NaN where a star has no point.

    `history` holds tables of daily_sums in order of time. A day's time is the middle of its first and last point.
    """
    mjd = np.full(len(history), np.nan)
    flux = np.full((stars, len(history)), np.nan, dtype=np.float32)
    error = np.full((stars, len(history)), np.nan, dtype=np.float32)
    for day, sums in enumerate(history):
        rows, weight = sums["star"].to_numpy(), sums["sum_w"].to_numpy()
        seen = weight > 0
        if not seen.any():
            continue
        middle = 0.5 * (sums["first_mjd"].to_numpy()[seen] + sums["last_mjd"].to_numpy()[seen])
        mjd[day] = float(np.median(middle))
        flux[rows[seen], day] = (sums["sum_wf"].to_numpy()[seen] / weight[seen]).astype(np.float32)
        error[rows[seen], day] = (1.0 / np.sqrt(weight[seen])).astype(np.float32)
    kept = np.isfinite(mjd)
    return mjd[kept], flux[:, kept], error[:, kept]


def brightening(
    history: Sequence[pl.DataFrame],
    mjd: F64,
    flux: F64,
    flux_err: F64,
    flag: NDArray[np.uint8],
    reference: F64,
    reference_err: F64,
    config: DailyConfig = DailyConfig(),
) -> pl.DataFrame:
    """Objects that brighten as a lens does, up to and with today.

    Parameters
    ----------
    history
        Tables of daily_sums of the days before, in order of time; the last `days` of them count.
    mjd
        (epochs,) times of today, increasing [d].
    flux, flux_err, flag
        (stars, epochs) of today [DN/s].
    reference, reference_err
        (stars,) fluxes of the reference catalogue [DN/s].

    Returns
    -------
    pl.DataFrame
        row (index into the stars), t0, teff [d], n_high, dchi2, baseline [DN/s]: brightenings that today takes part in.
    """
    past, past_flux, past_error = daily_points(history[-config.days :], len(flux))
    good = usable(flux, flux_err, flag)
    today, error = np.where(good, flux, np.nan).astype(np.float32), flux_err.astype(np.float32)
    baseline, baseline_err = reference[:, None].astype(np.float32), reference_err[:, None].astype(np.float32)
    ago = (float(past[0]) if past.size else float(mjd[0])) - LONG_AGO

    def found(columns: Sequence[tuple[F64, Any, Any]], grid: SearchConfig) -> pl.DataFrame:
        parts = [(np.array([ago]), baseline, baseline_err), *columns]
        times, fluxes, errors = (np.concatenate(c, axis=-1) for c in zip(*parts, strict=True))
        table = search(times, fluxes, errors, grid)
        enough = (pl.col("dchi2_without_best_point") >= config.min_dchi2) & (pl.col("n_over_3sigma") >= config.min_high)
        return _of_today(table.filter(enough), mjd, today, error, grid)

    both = [
        found([(mjd, today, error)], config.short),
        found([(past, past_flux, past_error), *_means(mjd, today, error, config.parts)], config.long),
    ]
    return (
        pl.concat(both).sort("row", "dchi2", descending=[False, True]).unique("row", keep="first", maintain_order=True)
    )


def _means(mjd: F64, flux: NDArray[np.float32], error: NDArray[np.float32], parts: int) -> list[tuple[F64, Any, Any]]:
    """Today as means of `parts` stretches of exposures."""
    means = []
    for part in np.array_split(np.arange(len(mjd)), min(parts, len(mjd))):
        good = np.isfinite(flux[:, part])
        weight = np.where(good, 1.0 / np.where(good, error[:, part], 1.0) ** 2, 0.0)
        total = weight.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (weight * np.where(good, flux[:, part], 0.0)).sum(axis=1) / total
            sigma = 1.0 / np.sqrt(total)
        means.append(
            (np.array([mjd[part].mean()]), mean[:, None].astype(np.float32), sigma[:, None].astype(np.float32))
        )
    return means


def _of_today(
    worth: pl.DataFrame, mjd: F64, today: NDArray[np.float32], error: NDArray[np.float32], grid: SearchConfig
) -> pl.DataFrame:
    """The brightenings with a high mean or point of today under their window."""
    rows, reach = worth["row"].to_numpy(), grid.reach * worth["teff"].to_numpy()
    inside = np.abs(mjd[None, :] - worth["t0"].to_numpy()[:, None]) < reach[:, None]
    excess = (today[rows] - worth["base"].to_numpy()[:, None]) / error[rows]
    good = inside & np.isfinite(excess)
    mean = np.where(good, excess, 0.0).sum(axis=1) / np.sqrt(np.maximum(good.sum(axis=1), 1))
    return worth.filter(pl.Series(mean > grid.high_sigma, dtype=pl.Boolean)).select(
        "row", "t0", "teff", n_high="n_over_3sigma", dchi2="dchi2_without_best_point", baseline="base"
    )
