"""Two lenses: what a planet or a companion does to an event, from the anomaly to the fitted model and its twins.

The anomaly is looked for in the residuals of a point lens. It gives the place of the planet's images, hence seeds in
(s, q, alpha); a grid over all three adds what happens near the peak (binary_seeds.py). The best of them are fitted on
condensed data and the survivors on nearly all of it (binary_minimum.py); a chain around the best says how well the
data determine it (binary_posterior.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roman_assets.systems.msos.models.anomaly import host_lens
from roman_assets.systems.msos.models.binary_bins import condensed, reduced
from roman_assets.systems.msos.models.binary_magnification import BinaryLensConfig
from roman_assets.systems.msos.models.binary_minimum import STATIC, Problem, linear_covariance, minimum, model_of
from roman_assets.systems.msos.models.binary_posterior import covariance_about, explore
from roman_assets.systems.msos.models.binary_seeds import best_seeds
from roman_assets.systems.msos.models.lens_models import LensModel, blend_widths, solve_fluxes
from roman_assets.systems.msos.models.parallax import Observer
from roman_assets.systems.msos.models.point_lens import LightCurve, PointLensFit, magnification

F64 = NDArray[np.float64]
#: What a chain may still find [chi2].
CHAIN_GAIN = 10.0
#: How far above the rival's BIC the first fits may end, as a factor: their bins and few evaluations cost that much.
HOPELESS = 10.0
#: Two lenses whose first fits leave more than this part of the host's excess of chi2, at more than `POOR` a point,
#: describe something else, a variable star above all.
MOST_LEFT = 0.5
POOR = 10.0


def fit_binary_lens(
    curve: LightCurve,
    lens: PointLensFit,
    config: BinaryLensConfig = BinaryLensConfig(),
    observer: Observer | None = None,
    rival_bic: float = np.inf,
) -> list[LensModel]:
    """Binary lenses that explain the anomaly of an event, best first; the others are its degenerate twins.

    Parameters
    ----------
    curve
        The light curve.
    lens
        Its point-lens fit; its t0 is the reference of the parallax's frame.
    observer
        Without one no parallax is fitted.
    rival_bic
        BIC of the best other model. Where two lenses come short of it, their errors are those of the slopes, not of a
        chain; where they come nowhere near it, or leave most of what the point lens leaves, only the first fits are
        made.

    Returns
    -------
    list of LensModel
        t0 [d], u0, te [d], rho, s, q, alpha [rad], and pi_en, pi_ee where parallax was fitted; empty where the residuals
        show nothing. Distinct minima of chi2; their number is at most `kept`. u0 is negative only with parallax.
    """
    host, anomaly = host_lens(curve, lens)
    if anomaly is None:
        return []
    blends = blend_widths(curve)
    coarse = Problem(condensed(curve, host, anomaly), config, config.coarse, blends)
    seeds = best_seeds(coarse.curve, host, anomaly, config)
    if abs(host.u0 - lens.u0) > 0.1 * lens.u0 or abs(host.te - lens.te) > 0.1 * lens.te:
        seeds += best_seeds(coarse.curve, lens, anomaly, replace(config, starts=config.starts // 2))
    first = _distinct([minimum(coarse, seed, evaluations=25) for seed in seeds], 2 * config.kept)
    whole = Problem(curve, config, config.fine, blends, reference=lens.t0, sides=True)
    if first and _elsewhere(coarse, host, first[0][0]):
        return [_by_slopes(whole, first[0][1])]
    near = [p for _, p in first[:2]]
    more = [_twin(p) for p in near] + [_with(p, 3, np.log(rho)) for p in near for rho in config.rhos]
    first = _distinct([*first, *(minimum(coarse, p, evaluations=25) for p in more)], config.kept)
    if first and first[0][0] > HOPELESS * rival_bic:
        return sorted((_by_slopes(whole, p) for _, p in first), key=lambda m: m.chi2)
    last = [_settled(whole, p) for _, p in first]
    if observer is not None and lens.te > config.min_te_parallax:
        offsets = tuple(observer.offsets(b.mjd, lens.t0) for b in curve.bands)
        whole = replace(whole, offsets=offsets)
        last = _with_orbit(whole, _with_parallax(whole, last))
    return _models(whole, _distinct(last, config.kept + 1), rival_bic)


def _elsewhere(coarse: Problem, host: PointLensFit, chi2: float) -> bool:
    """Whether two lenses that reach this chi2 leave what the host leaves: the deviation is nothing of theirs."""
    n = len(coarse.curve)
    alone = [magnification(b.mjd, host.t0, host.u0, host.te)[None] for b in coarse.curve.bands]
    excess = float((solve_fluxes(coarse.curve, alone, coarse.blends)[2] ** 2).sum()) - n
    return chi2 > POOR * n and chi2 - n > MOST_LEFT * excess


def _settled(whole: Problem, start: F64) -> tuple[float, F64]:
    """chi2 of the whole curve and parameters of the minimum near a start, found on bins that follow the model."""
    p = start
    for _ in range(3):
        before = p
        p = minimum(reduced(whole, p), p, evaluations=20)[1]
        if np.allclose(p, before, rtol=0, atol=1e-3):
            break
    return whole.chi2(p), p


def _with_parallax(whole: Problem, found: Sequence[tuple[float, F64]]) -> list[tuple[float, F64]]:
    """The minima with parallax, the best one with both signs of u0."""
    moving = []
    for number, (_, p) in enumerate(sorted(found, key=lambda pair: pair[0])):
        for side in (1.0, -1.0) if number == 0 else (1.0,):
            start = np.concatenate([p * np.array([1, side, 1, 1, 1, 1, side]), [0.0, 0.0]])
            moving.append(_settled(whole, start))
    return moving


def _with_orbit(whole: Problem, found: Sequence[tuple[float, F64]]) -> list[tuple[float, F64]]:
    """The minima, those with lenses that orbit in place of the two best where the data ask for it."""
    found = sorted(found, key=lambda pair: pair[0])
    orbiting = [_settled(whole, np.append(p, [0.0, 0.0])) for _, p in found[:2]]
    best = min(chi2 for chi2, _ in orbiting)
    if found[0][0] - best < whole.config.orbit_gain * max(1.0, best / len(whole.curve)):
        return found
    return [*orbiting, *found[2:]]


def _models(whole: Problem, minima: Sequence[tuple[float, F64]], rival_bic: float) -> list[LensModel]:
    """The solutions with their errors, best first: those of the best by a chain, of its twins by the slopes."""
    chi2, best = minima[0]
    plain = _by_slopes(whole, best)
    if plain.bic > rival_bic + CHAIN_GAIN:
        return [plain, *(_by_slopes(whole, p) for _, p in minima[1:])]
    scale = max(1.0, chi2 / len(whole.curve))
    samples, met = explore(reduced(whole, best), best, scale)
    deeper = _settled(whole, met)
    if deeper[0] < chi2 - 1.0:  # the chain has found a deeper place
        minima = _distinct([deeper, *minima], len(minima) + 1)
        best = minima[0][1]
        samples, _ = explore(reduced(whole, best), best, scale)
    models = [model_of(whole, best, covariance_about(best, samples))]
    models += [_by_slopes(whole, p) for _, p in minima[1:]]
    return sorted(models, key=lambda m: m.chi2)


def _by_slopes(whole: Problem, p: F64) -> LensModel:
    return model_of(whole, p, linear_covariance(reduced(whole, p), p))


def _distinct(found: Iterable[tuple[float, F64]], most: int) -> list[tuple[float, F64]]:
    """The best minima that are not the same: a source that shows no size is the same at any size."""
    chosen: list[tuple[float, F64]] = []
    for chi2, p in sorted(found, key=lambda pair: pair[0]):
        if not np.isfinite(chi2):
            continue
        if all(
            abs(p[4] - o[4]) > 0.02
            or abs(p[5] - o[5]) > 0.3
            or (abs(p[3] - o[3]) > 1.0 and chi2 > c + 1)
            or (len(p) > STATIC and p[1] * o[1] < 0)
            for c, o in chosen
        ):
            chosen.append((chi2, p))
        if len(chosen) == most:
            break
    return chosen


def _twin(p: F64) -> F64:
    """The close of a wide lens and the other way round."""
    other = p.copy()
    other[4] = -p[4]
    return other


def _with(p: F64, index: int, value: float) -> F64:
    """The same lens with one other value: below the planet's caustic a source's radius has no slope to follow."""
    other = p.copy()
    other[index] = value
    return other
