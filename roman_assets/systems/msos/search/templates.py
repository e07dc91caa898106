"""Search of blocks of light curves for brightenings of the shape of a point lens."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import ArrayLike

from roman_assets.bounds import ANY, Bound, check_bounds
from roman_assets.errors import InputError
from roman_assets.kernels import events as kernels

#: Changes when the search can give other candidates.
FINDER_VERSION = "1"


@dataclass(frozen=True)
class SearchConfig:
    """Grid of the search: KMTNet's EventFinder (Kim et al. 2018, AJ 155, 76), from free-floating planets on.

    teff_min, teff_max [d] with geometric steps of `teff_ratio`; `steps_per_teff` t0 steps in one teff; a
    window reaches `reach` teff to each side of t0. teff_max is cut to the span of the data: a longer event has
    no baseline in them. `high_sigma` is what counts as a high point.
    """

    teff_min: float = 0.02
    teff_max: float = 100.0
    teff_ratio: float = 4.0 / 3.0
    steps_per_teff: float = 3.0
    reach: float = 5.0
    high_sigma: float = 3.0

    def __post_init__(self) -> None:
        check_bounds(
            self,
            teff_min=Bound(ge=kernels.LEAST_DAYS, le=1e6),
            teff_max=Bound(ge=kernels.LEAST_DAYS, le=1e6),
            teff_ratio=Bound(ge=1.01, le=1000),
            steps_per_teff=Bound(ge=0.5, le=64),
            reach=Bound(ge=1, le=20),
            high_sigma=ANY,
        )
        if self.teff_min > self.teff_max:
            raise InputError(
                f"teff from {self.teff_min} to {self.teff_max} d",
                field="teff_min, teff_max",
                remedy="use teff_min <= teff_max",
            )


def search(mjd: ArrayLike, flux: ArrayLike, flux_err: ArrayLike, config: SearchConfig = SearchConfig()) -> pl.DataFrame:
    """Best brightening of every star of a block, one row per star.

    The model is a constant outside the window |t - t0| < reach teff and, inside, the constant plus a template
    that goes to zero at the window's edge; both fluxes are fitted, the constant to the whole curve. Windows
    compete by the delta-chi2 that is left without their most significant point.

    Parameters
    ----------
    mjd
        (epochs,) times [d], in any order.
    flux, flux_err
        (stars, epochs), any unit. A point does not count if its flux or error is not finite or its error is
        not positive: set either to NaN to mask it.

    Returns
    -------
    pl.DataFrame
        row; t0, teff [d] (NaN where nothing brightens); template (1 high magnification, 2 u0 = 1, 0 nothing);
        dchi2 against a constant; dchi2_without_best_point; base, height [flux] of the template;
        n_over_3sigma, longest_run: points in the window more than `high_sigma` above the base, and the longest
        run of them (unusable points neither continue nor break a run).

    Raises
    ------
    InputError
        Shapes disagree, or a time is not finite.
    """
    times = np.asarray(mjd, dtype=np.float64)
    fluxes, errors = np.asarray(flux), np.asarray(flux_err)
    if times.ndim == 1 and times.size > 1 and (np.diff(times) < 0).any():
        order = np.argsort(times, kind="stable")
        times, fluxes, errors = times[order], fluxes[:, order], errors[:, order]
    span = float(times[-1] - times[0]) if times.size else 0.0
    found = kernels.event_search(
        times,
        fluxes,
        errors,
        teff_min=config.teff_min,
        teff_max=max(config.teff_min, min(config.teff_max, span)),
        teff_ratio=config.teff_ratio,
        steps_per_teff=config.steps_per_teff,
        reach=config.reach,
        high_sigma=config.high_sigma,
    )
    return pl.DataFrame(
        {
            "row": np.arange(len(found.t0), dtype=np.int32),
            "t0": found.t0,
            "teff": found.teff,
            "template": found.shape,
            "dchi2": found.dchi2,
            "dchi2_without_best_point": found.dchi2_without,
            "base": found.base,
            "height": found.height,
            "n_over_3sigma": found.n_high,
            "longest_run": found.run,
        }
    )
