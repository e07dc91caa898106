"""What a candidate's light curve says for and against a lens: the numbers that rules and probabilities share.

Alternatives that cost much (a period, an outburst) are tried when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from roman_assets.systems.msos.events.classify_config import ClassifyConfig
from roman_assets.systems.msos.models.alternatives import (
    OutburstFit,
    PeriodicFit,
    binned,
    fit_outburst,
    fit_periodic,
    noise_scale,
)
from roman_assets.systems.msos.models.anomaly import find_anomaly
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, PointLensFit, fit_point_lens, model_flux
from roman_assets.systems.msos.search.templates import search

F64 = NDArray[np.float64]


class Evidence:
    """A candidate: its curve, its row of `search.search`, its fitted point lens.

    Attributes
    ----------
    main
        The band that was searched: the one with most points.
    noise
        White and red scale of the errors outside the event.
    explained
        Share of the curve's excess chi2 that the lens explains.
    strength
        dchi2 without the best point over the square of the red noise scale.
    high
        Points of the main band that are high because of the event (n,).
    """

    def __init__(
        self, curve: LightCurve, found: Mapping[str, float], lens: PointLensFit, config: ClassifyConfig
    ) -> None:
        self.curve, self.found, self.lens, self.config = curve, found, lens, config
        self.main = main = max(curve.bands, key=len)
        self.residual = main.flux - model_flux(lens, main.name, main.mjd)
        self.t0, self.teff = float(found["t0"]), float(found["teff"])
        self.noise = noise_scale(main.mjd, self.residual, main.flux_err, self.t0, self.teff)
        k2 = self.noise.white**2
        signal = lens.chi2_flat / k2 - (lens.n_points - sum(len(band) > 0 for band in curve.bands))
        left = max(lens.chi2 / k2 - (1.0 + config.noise_tolerance) * lens.dof, 0.0)
        self.explained = float(np.clip(1.0 - left / signal, 0.0, 1.0)) if signal > 0 else 0.0
        self.strength = float(found["dchi2_without_best_point"]) / self.noise.red**2
        self.high = high_points(main, found, lens, config)

    @property
    def dense(self) -> bool:
        """Whether the survey saw the event often enough for runs of points."""
        return is_dense(self.main, self.config)

    @property
    def run(self) -> int:
        """Longest run of high points."""
        return max(int(self.found["longest_run"]), longest_run(self.high))

    @cached_property
    def binned_run(self) -> int:
        """Consecutive bins of teff / 2 in the window that are high."""
        c = self.config
        inside = self.main.select(np.abs(self.main.mjd - self.t0) < c.search.reach * self.teff)
        if len(inside) < c.min_run_binned:
            return 0
        _, f, error = binned(inside.mjd, inside.flux, inside.flux_err, self.teff / 2)
        return longest_run(f - float(self.found["base"]) > c.search.high_sigma * self.noise.red * error)

    @property
    def clean(self) -> bool:
        """Whether the lens leaves nothing over that another model could explain."""
        left = self.lens.chi2 / self.noise.white**2 - self.lens.dof
        return left < (1.0 - self.config.explained_single) * self.lens.dchi2 and left < 0.5 * max(self.lens.dof, 1)

    @property
    def band_chi2(self) -> float:
        """chi2 of the lens in the main band."""
        return float(((self.residual / self.main.flux_err) ** 2).sum())

    @cached_property
    def periodic(self) -> PeriodicFit | None:
        """The best period of a curve that is not clean."""
        return None if self.clean else fit_periodic(self.main.mjd, self.main.flux, self.main.flux_err)

    @property
    def periodic_gain(self) -> float:
        """By how much the period beats the lens, in units of what BIC asks for; errors scaled to the better of the two.

        Among a few dozen points some frequency always fits a little better than any one model; a lens that fits
        is not asked.
        """
        n, lens_chi2 = len(self.main), self.band_chi2
        dof = max(n - 5, 1)
        if self.periodic is None or lens_chi2 < dof + self.config.periodic_misfit * np.sqrt(2.0 * dof):
            return 0.0
        best = min(self.periodic.chi2, lens_chi2)
        scale = max(1.0, best / max(n - self.periodic.parameters, 1))
        return float((lens_chi2 - self.periodic.chi2) / (scale * (self.periodic.parameters - 5 + 1) * np.log(n)))

    @cached_property
    def _outburst(self) -> tuple[OutburstFit | None, float]:
        if self.clean:
            return None, 0.0
        near = self.main.select(np.abs(self.main.mjd - self.t0) < 8.0 * self.teff)
        t, f, error = binned(near.mjd, near.flux, near.flux_err * self.noise.white, self.teff / 12)
        outburst = fit_outburst(t, f, error, self.t0, self.teff)
        if outburst is None or not outburst.covered:
            return outburst, 0.0
        local = LightCurve((Band(self.main.name, t, f, error),))
        lens = fit_point_lens(local, [(self.t0, self.teff), (self.lens.t0, self.lens.teff)], self.config.fit)
        if not lens.fitted:
            return outburst, 0.0
        scale = max(1.0, outburst.chi2 / max(len(t) - outburst.parameters, 1))
        least = max(self.config.outburst_gain * scale, self.config.outburst_share * lens.dchi2)
        return outburst, float((lens.chi2 - outburst.chi2) / least)

    @property
    def outburst(self) -> OutburstFit | None:
        """The outburst near the event of a curve that is not clean."""
        return self._outburst[0]

    @property
    def outburst_gain(self) -> float:
        """By how much it beats a lens fitted to the same points, in units of what is asked for."""
        return self._outburst[1]

    @cached_property
    def brightenings(self) -> int:
        """How many separate brightenings of comparable strength the curve has, up to `repeats_variable`."""
        if self.clean:
            return 1
        c = self.config
        flux, error = self.main.flux.astype(np.float32), self.main.flux_err.astype(np.float32)
        t0, teff = self.t0, self.teff
        least = max(c.repeat_share * float(self.found["dchi2_without_best_point"]), c.repeat_dchi2 * self.noise.red**2)
        count = 1
        while count < c.repeats_variable:
            flux = np.where(np.abs(self.main.mjd - t0) < c.search.reach * teff, np.nan, flux).astype(np.float32)
            again = search(self.main.mjd, flux[None], error[None], c.search).row(0, named=True)
            if again["template"] == 0 or again["dchi2_without_best_point"] < least:
                break
            t0, teff = again["t0"], again["teff"]
            count += 1
        return count

    @cached_property
    def dip(self) -> float:
        """dchi2 of the strongest dip outside the event, without its best point: a lens never dims."""
        outside = np.abs(self.main.mjd - self.lens.t0) > 2.0 * max(self.lens.teff, self.teff)
        dimmed = np.where(outside, -self.residual.astype(np.float32), np.nan)
        found = search(self.main.mjd, dimmed[None], self.main.flux_err.astype(np.float32)[None], self.config.search)
        return float(found["dchi2_without_best_point"].fill_nan(0.0)[0])

    @property
    def span(self) -> float:
        """Length of the main band [d]."""
        return float(self.main.mjd[-1] - self.main.mjd[0])

    @cached_property
    def anomaly(self) -> float:
        """dchi2 of the strongest bump or dip in the residuals over the noise scale squared; 0 if it is not significant."""
        return anomaly(self.curve, self.lens, self.noise.white, self.config)

    @cached_property
    def sides(self) -> tuple[bool, bool]:
        """Whether there are points before and after the peak, within three teff."""
        width = 3.0 * max(self.lens.teff, self.teff)
        after = self.main.mjd - self.lens.t0
        before_it, after_it = ((s * after > 0) & (s * after < width) for s in (-1, 1))
        return bool(before_it.any()), bool(after_it.any())


def high_points(
    main: Band, found: Mapping[str, float], lens: PointLensFit, config: ClassifyConfig = ClassifyConfig()
) -> NDArray[np.bool_]:
    """Which points of a band are high because of the event, (n,).

    They lie within 2 tE of the lens or in the window of the search, more than `high_sigma` above the lens's
    baseline; where that is an extrapolation below the data, above their 20th percentile.
    """
    base = float(np.percentile(main.flux, 20.0)) if len(main) else 0.0
    near = np.abs(main.mjd - float(found["t0"])) < config.search.reach * float(found["teff"])
    if lens.fitted:
        k = lens.bands.index(main.name)
        base = max(base, float(lens.fs[k] + lens.fb[k]))
        near |= np.abs(main.mjd - lens.t0) < 2.0 * lens.te
    sigma = config.search.high_sigma if is_dense(main, config) else config.sparse_sigma
    return near & (main.flux - base > sigma * main.flux_err)


def longest_run(high: NDArray[np.bool_]) -> int:
    """Longest run of true values in (n,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def is_dense(band: Band, config: ClassifyConfig) -> bool:
    """Whether a band has the cadence of the survey rather than that of a sparse series."""
    return len(band) > 1 and 1.0 / max(float(np.median(np.diff(band.mjd))), 1e-6) >= config.dense_per_day


def anomaly(curve: LightCurve, lens: PointLensFit, white: float, c: ClassifyConfig = ClassifyConfig()) -> float:
    """dchi2 of the strongest bump or dip in the residuals over the noise scale squared; 0 if it is not significant."""
    found = find_anomaly(curve, lens)
    if found is None:
        return 0.0
    main = max(curve.bands, key=len)
    near = main.select(np.abs(main.mjd - found.time) < c.search.reach * found.width)
    lensed = model_flux(lens, main.name, near.mjd) - model_flux(lens, main.name, np.array([lens.t0 + 1e3 * lens.te]))
    signal = float(((lensed / near.flux_err) ** 2).sum())
    strength = found.dchi2 / white**2
    return strength if strength > max(c.anomaly_dchi2, c.anomaly_share * signal) else 0.0
