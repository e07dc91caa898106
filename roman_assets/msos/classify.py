"""What a brightening is: a lens, a cataclysmic or periodic variable, an artefact, or not clear.

The rules compare models on the data of the curve alone. The probability is a rank between 0 and 1 built from
named penalties, not a calibrated frequency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from roman_assets.msos.alternatives import (
    NoiseScale,
    OutburstFit,
    PeriodicFit,
    binned,
    fit_outburst,
    fit_periodic,
    noise_scale,
)
from roman_assets.msos.anomaly import find_anomaly
from roman_assets.msos.point_lens import (
    Band,
    FitOptions,
    LightCurve,
    PointLensFit,
    fit_point_lens,
    model_flux,
)
from roman_assets.msos.search import SearchConfig, search

F64 = NDArray[np.float64]

SINGLE_LENS, ANOMALOUS_LENS = "single_lens", "microlensing"
FINITE_SOURCE, PARALLAX, BINARY_SOURCE, BINARY_LENS = "finite_source", "parallax", "binary_source", "binary_lens"
CATACLYSMIC, VARIABLE, ARTEFACT, UNCLEAR = "cataclysmic", "variable", "artefact", "unclear"
#: Classes that are microlensing. One without a sub-class ("microlensing") has one dominant symmetric
#: brightening and significant residuals that no single lens explains: a binary lens or a planet.
MICROLENSING = (SINGLE_LENS, FINITE_SOURCE, PARALLAX, BINARY_SOURCE, BINARY_LENS, ANOMALOUS_LENS)
CLASSES = (*MICROLENSING, CATACLYSMIC, VARIABLE, ARTEFACT, UNCLEAR)

VETO_FEW_POINTS, VETO_ONE_EXPOSURE, VETO_NEIGHBOURS = 1, 2, 4
VETO_COLOUR, VETO_PERIOD, VETO_ASYMMETRY = 8, 16, 32


@dataclass(frozen=True)
class ClassifyConfig:
    """All thresholds of the classification.

    dense_per_day: cadence [1/d] from which a series is dense. A dense event needs `min_run_dense` consecutive
    points over 3 sigma (Johnson et al. 2020 ask for 6), or `min_run_binned` consecutive bins of teff / 2
    and a strength of `min_strength_binned` (long faint events; correlated noise of some days looks like them, and
    a season is too short to measure it); a sparse one `min_high_sparse` points.
    min_dchi2_without: what must remain without the best point, and `min_share_without` as a share of dchi2.
    min_strength: dchi2 over the square of the red noise scale of the curve outside the event.
    explained_single, explained_lens: share of the curve's excess chi2 that the lens must explain to be looked
    at no further, and to be a lens at all; chi2 may exceed dof by a share of `noise_tolerance` before it
    counts as unexplained. anomaly_dchi2, anomaly_share: residual bump or dip that makes an anomaly, over the noise
    scale squared and as a share of the lens's own signal at the same time (flux errors of a bright event are never
    perfect).
    outburst_gain, outburst_share: by how much an outburst must beat the lens, absolutely and as a share of
    dchi2. periodic_misfit: excess of the lens's chi2, in standard deviations of chi2, below which no period is
    considered. sparse_sigma: threshold of a high point in a sparse series, whose baseline is itself uncertain
    by a fraction of sigma. restless_share, restless_dchi2: dchi2 of a dip outside the event, as a share of the
    brightening's and absolutely, that no lens explains. slow_share, slow_dchi2: teff as a share of the dense
    series, from which a brightening must reach that dchi2. repeat_share, repeat_dchi2: dchi2 of a further
    brightening that counts as a repeat, as a share of the first and over the square of the red noise scale.
    """

    dense_per_day: float = 24.0
    min_run_dense: int = 6
    min_run_binned: int = 5
    min_strength_binned: float = 200.0
    min_high_sparse: int = 4
    min_dchi2_without: float = 30.0
    min_share_without: float = 0.02
    min_strength: float = 60.0
    explained_single: float = 0.98
    explained_lens: float = 0.6
    noise_tolerance: float = 0.05
    anomaly_dchi2: float = 100.0
    anomaly_share: float = 3e-6
    outburst_gain: float = 30.0
    outburst_share: float = 0.01
    restless_share: float = 0.15
    restless_dchi2: float = 30.0
    slow_share: float = 0.1
    slow_dchi2: float = 1000.0
    repeat_share: float = 0.1
    repeat_dchi2: float = 60.0
    repeats_variable: int = 3
    colour_sigma: float = 4.0
    periodic_misfit: float = 2.5
    sparse_sigma: float = 2.7
    fit: FitOptions = field(default_factory=FitOptions)
    search: SearchConfig = field(default_factory=SearchConfig)


@dataclass(frozen=True)
class Classification:
    """Class of a candidate, its probability, the reason in words, veto bits, and what decided."""

    event_class: str
    probability: float
    reason: str
    veto: int
    explained: float
    strength: float


@dataclass(frozen=True)
class _Evidence:
    curve: LightCurve
    main: Band
    found: Mapping[str, float]
    lens: PointLensFit
    noise: NoiseScale
    explained: float
    strength: float
    high: NDArray[np.bool_]  # points of the main band over the threshold, near the event


def classify(
    curve: LightCurve,
    found: Mapping[str, float],
    lens: PointLensFit,
    config: ClassifyConfig = ClassifyConfig(),
) -> Classification:
    """Class of a candidate.

    Parameters
    ----------
    curve
        The light curve; its band with most points is the one that was searched.
    found
        Row of `search.search` for it.
    lens
        Its point-lens fit.
    """
    if not lens.fitted:
        return Classification(UNCLEAR, 0.3, "too few points for a lens model", VETO_FEW_POINTS, 0.0, 0.0)
    e = _evidence(curve, found, lens, config)
    for rule in (_artefact, _periodic, _few_points, _outburst, _restless, _slow, _weak):
        verdict = rule(e, config)
        if verdict is not None:
            return verdict
    return _lens_verdict(e, config)


def _verdict(e: _Evidence, name: str, probability: float, reason: str, veto: int = 0) -> Classification:
    return Classification(name, float(probability), reason, veto, e.explained, e.strength)


def _evidence(
    curve: LightCurve, found: Mapping[str, float], lens: PointLensFit, c: ClassifyConfig
) -> _Evidence:
    main = max(curve.bands, key=len)
    residual = main.flux - model_flux(lens, main.name, main.mjd)
    teff = float(found["teff"])
    noise = noise_scale(main.mjd, residual, main.flux_err, float(found["t0"]), teff)
    bands = sum(len(band) > 0 for band in curve.bands)
    k2 = noise.white**2
    signal = lens.chi2_flat / k2 - (lens.n_points - bands)
    left = max(lens.chi2 / k2 - (1.0 + c.noise_tolerance) * lens.dof, 0.0)
    explained = float(np.clip(1.0 - left / signal, 0.0, 1.0)) if signal > 0 else 0.0
    strength = float(found["dchi2_without_best_point"]) / noise.red**2
    high = high_points(main, found, lens, c)
    return _Evidence(curve, main, found, lens, noise, explained, strength, high)


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
    sigma = config.search.high_sigma if _is_dense(main, config) else config.sparse_sigma
    return near & (main.flux - base > sigma * main.flux_err)


def longest_run(high: NDArray[np.bool_]) -> int:
    """Longest run of true values in (n,)."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], high, [False]]).astype(np.int8)))
    return int((edges[1::2] - edges[::2]).max()) if len(edges) else 0


def _artefact(e: _Evidence, c: ClassifyConfig) -> Classification | None:
    dchi2, without = float(e.found["dchi2"]), float(e.found["dchi2_without_best_point"])
    single = without < c.min_dchi2_without or without < c.min_share_without * dchi2
    if single and e.high.sum() < c.min_high_sparse:
        return _verdict(
            e, ARTEFACT, 0.9, f"one exposure holds the signal: dchi2 {dchi2:.0f}, {without:.0f} without it",
            VETO_ONE_EXPOSURE,
        )  # fmt: skip
    if e.lens.negative_source:
        dips = [b for b, s, d in zip(e.lens.bands, e.lens.fs, e.lens.fs_err, strict=True)
                if s < -c.colour_sigma * d]  # fmt: skip
        if dips or len(e.curve.bands) == 1:
            return _verdict(
                e, ARTEFACT, 0.7, f"negative source flux in {', '.join(dips) or e.main.name}", VETO_COLOUR
            )
    return None


def _is_dense(band: Band, c: ClassifyConfig) -> bool:
    return len(band) > 1 and 1.0 / max(float(np.median(np.diff(band.mjd))), 1e-6) >= c.dense_per_day


def _few_points(e: _Evidence, c: ClassifyConfig) -> Classification | None:
    run, high = max(int(e.found["longest_run"]), longest_run(e.high)), int(e.high.sum())
    if not _is_dense(e.main, c):
        if high >= c.min_high_sparse:
            return None
        reason = f"only {high} high points (a sparse series needs {c.min_high_sparse})"
    else:
        bins = _binned_run(e, c)
        if run >= c.min_run_dense or (bins >= c.min_run_binned and e.strength >= c.min_strength_binned):
            return None
        reason = (
            f"only {run} consecutive points over 3 sigma (needs {c.min_run_dense}), {bins} bins of teff/2 "
            f"and dchi2 {e.strength:.0f} over the noise (need {c.min_run_binned} and {c.min_strength_binned:.0f})"
        )
    return _verdict(e, UNCLEAR, 0.5, reason, VETO_FEW_POINTS)


def _binned_run(e: _Evidence, c: ClassifyConfig) -> int:
    """Consecutive bins of teff / 2 in the window that are high."""
    t0, teff = float(e.found["t0"]), float(e.found["teff"])
    inside = e.main.select(np.abs(e.main.mjd - t0) < c.search.reach * teff)
    if len(inside) < c.min_run_binned:
        return 0
    _, f, error = binned(inside.mjd, inside.flux, inside.flux_err, teff / 2)
    high = f - float(e.found["base"]) > c.search.high_sigma * e.noise.red * error
    return longest_run(high)


def _clean(e: _Evidence, c: ClassifyConfig) -> bool:
    """Whether the lens leaves nothing over that another model could explain."""
    left = e.lens.chi2 / e.noise.white**2 - e.lens.dof
    return left < (1.0 - c.explained_single) * e.lens.dchi2 and left < 0.5 * max(e.lens.dof, 1)


def _periodic(e: _Evidence, c: ClassifyConfig) -> Classification | None:
    if _clean(e, c):
        return None
    periodic = fit_periodic(e.main.mjd, e.main.flux, e.main.flux_err)
    if periodic is None or not _periodic_wins(periodic, _band_chi2(e), len(e.main), c.periodic_misfit):
        return None
    reason = f"a period of {periodic.period:.4g} d explains the curve better than a lens"
    return _verdict(e, VARIABLE, 0.9, reason, VETO_PERIOD)


def _outburst(e: _Evidence, c: ClassifyConfig) -> Classification | None:
    """Outbursts, and objects that brighten again and again."""
    if _clean(e, c):
        return None
    outburst = _outburst_wins(e, c)
    repeats = _brightenings(e, c)
    if outburst is not None:
        text = f"rise in {outburst.rise:.2g} d, decay over {outburst.decay:.2g} d: an outburst beats a lens"
        text += f"; {repeats} brightenings" if repeats > 1 else ""
        return _verdict(e, CATACLYSMIC, 0.95 if repeats > 1 else 0.85, text, VETO_ASYMMETRY)
    if repeats >= c.repeats_variable:
        return _verdict(e, VARIABLE, 0.8, f"brightens {repeats} times or more", VETO_PERIOD)
    return None


def _band_chi2(e: _Evidence) -> float:
    z = (e.main.flux - model_flux(e.lens, e.main.name, e.main.mjd)) / e.main.flux_err
    return float((z * z).sum())


def _periodic_wins(periodic: PeriodicFit, lens_chi2: float, n: int, misfit: float) -> bool:
    """Whether the lens fits badly and the periodic model does better by BIC, errors scaled to the better of
    the two. Among a few dozen points some frequency always fits a little better than any one model."""
    dof = max(n - 5, 1)
    if lens_chi2 < dof + misfit * np.sqrt(2.0 * dof):
        return False
    best = min(periodic.chi2, lens_chi2)
    scale = max(1.0, best / max(n - periodic.parameters, 1))
    return bool(lens_chi2 - periodic.chi2 > scale * (periodic.parameters - 5 + 1) * np.log(n))


def _outburst_wins(e: _Evidence, c: ClassifyConfig) -> OutburstFit | None:
    """The outburst near the event, if it beats a lens fitted to the same points."""
    t0, teff = float(e.found["t0"]), float(e.found["teff"])
    near = e.main.select(np.abs(e.main.mjd - t0) < 8.0 * teff)
    t, f, error = binned(near.mjd, near.flux, near.flux_err * e.noise.white, teff / 12)
    outburst = fit_outburst(t, f, error, t0, teff)
    if outburst is None or not outburst.covered:
        return None
    local = LightCurve((Band(e.main.name, t, f, error),))
    lens = fit_point_lens(local, [(t0, teff), (e.lens.t0, e.lens.teff)], c.fit)
    if not lens.fitted:
        return None
    gain = lens.chi2 - outburst.chi2
    scale = max(1.0, outburst.chi2 / max(len(t) - outburst.parameters, 1))
    if gain > c.outburst_gain * scale and gain > c.outburst_share * lens.dchi2:
        return outburst
    return None


def _brightenings(e: _Evidence, c: ClassifyConfig) -> int:
    """How many separate brightenings of comparable strength the curve has, up to `repeats_variable`."""
    flux = e.main.flux.astype(np.float32)
    error = e.main.flux_err.astype(np.float32)
    t0, teff = float(e.found["t0"]), float(e.found["teff"])
    least = max(c.repeat_share * float(e.found["dchi2_without_best_point"]), c.repeat_dchi2 * e.noise.red**2)
    count = 1
    while count < c.repeats_variable:
        flux = np.where(np.abs(e.main.mjd - t0) < c.search.reach * teff, np.nan, flux).astype(np.float32)
        again = search(e.main.mjd, flux[None], error[None], c.search).row(0, named=True)
        if again["template"] == 0 or again["dchi2_without_best_point"] < least:
            break
        t0, teff = again["t0"], again["teff"]
        count += 1
    return count


def _restless(e: _Evidence, c: ClassifyConfig) -> Classification | None:
    """A lens never dims: a star that dims outside the event as it brightened in it varies by itself, or its errors do."""
    residual = (e.main.flux - model_flux(e.lens, e.main.name, e.main.mjd)).astype(np.float32)
    outside = np.abs(e.main.mjd - e.lens.t0) > 2.0 * max(e.lens.teff, float(e.found["teff"]))
    error = e.main.flux_err.astype(np.float32)
    dips = search(e.main.mjd, np.where(outside, -residual, np.nan)[None], error[None], c.search)
    dip = float(dips["dchi2_without_best_point"][0])
    least = max(c.restless_share * float(e.found["dchi2_without_best_point"]), c.restless_dchi2)
    if dip < least:
        return None
    return _verdict(e, VARIABLE, 0.7, f"dims elsewhere (dchi2 {dip:.0f}) as lenses do not")


def _slow(e: _Evidence, c: ClassifyConfig) -> Classification | None:
    """A faint brightening as slow as the series is long cannot be told from a drift of the photometry."""
    span = float(e.main.mjd[-1] - e.main.mjd[0])
    teff = max(e.lens.teff, float(e.found["teff"]))
    if teff < c.slow_share * span or e.strength > c.slow_dchi2 or not _is_dense(e.main, c):
        return None
    return _verdict(e, UNCLEAR, 0.5, f"a slow rise (teff {teff:.0f} d in {span:.0f} d) of dchi2 {e.strength:.0f} only")


def _weak(e: _Evidence, c: ClassifyConfig) -> Classification | None:
    if e.strength < c.min_strength:
        if e.noise.red > 1.5:
            return _verdict(
                e, VARIABLE, 0.6,
                f"not above the object's own variability ({e.noise.red:.1f} times its errors)",
            )  # fmt: skip
        return _verdict(e, UNCLEAR, 0.5, f"weak: dchi2 {e.strength:.0f} without the best point")
    if e.explained < c.explained_lens:
        return _verdict(
            e, UNCLEAR, 0.5, f"a lens explains only {100 * e.explained:.0f} % of the curve's variation"
        )
    return None


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


def _lens_verdict(e: _Evidence, c: ClassifyConfig) -> Classification:
    probability, notes, lens = 0.98, [], e.lens
    excess = anomaly(e.curve, lens, e.noise.white, c)
    anomalous = excess > 0
    if anomalous:
        notes.append(f"residuals from a single lens of dchi2 {excess:.0f}")
        probability *= 0.5 + 0.5 * e.explained
    width = 3.0 * max(lens.teff, float(e.found["teff"]))
    sides = [bool(((e.main.mjd - lens.t0) * s > 0).any() and
                  (((e.main.mjd - lens.t0) * s > 0) & ((e.main.mjd - lens.t0) * s < width)).any())
             for s in (-1, 1)]  # fmt: skip
    if not all(sides):
        notes.append("only one side of the peak is covered")
        probability *= 0.7
    if lens.degenerate:
        notes.append("u0, tE and blend are degenerate")
        probability *= 0.9
    if lens.blend == "zero":
        notes.append("no blend in the model: the data do not constrain one")
        probability *= 0.95
    if not lens.converged:
        notes.append("the fit did not converge")
        probability *= 0.7
    start = "one dominant symmetric brightening" if anomalous else "a single point lens fits"
    text = f"{start} (dchi2 {lens.dchi2:.0f} over a constant, {100 * e.explained:.0f} % explained)"
    return _verdict(e, ANOMALOUS_LENS if anomalous else SINGLE_LENS, probability, "; ".join([text, *notes]))
