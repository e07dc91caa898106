"""Two lenses: what a planet or a companion does to an event, from the anomaly to the fitted model and its twins.

The anomaly is looked for in the residuals of a point lens. It gives the place of the planet's images, hence seeds in
(s, q, alpha); a grid over all three adds what happens near the peak. The best of them are fitted on condensed data
and the survivors on nearly all of it. Magnifications are VBMicrolensing's (Bozza 2010, MNRAS 408, 2188; Bozza et al.
2018, MNRAS 479, 5157).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.msos.alternatives import binned
from roman_assets.msos.anomaly import Anomaly, host_lens
from roman_assets.msos.lens_models import LensModel, solve_fluxes
from roman_assets.msos.parallax import Observer
from roman_assets.msos.point_lens import Band, LightCurve, PointLensFit, magnification

F64 = NDArray[np.float64]

BINARY_LENS = "BINARY_LENS"
#: Parameters; those of parallax only where it is fitted.
NAMES = ("t0", "u0", "te", "rho", "s", "q", "alpha", "pi_en", "pi_ee")
STATIC = 7
#: Fitted as logarithms.
LOGS = np.array([False, False, True, True, True, True, False, False, False])
#: Steps of the numerical derivatives; that of t0 is in te.
STEPS = np.array([3e-5, 3e-5, 1e-4, 3e-3, 1e-4, 1e-3, 1e-4, 2e-2, 2e-2])
#: A fit moves no further at once; that of t0 is in te.
LARGEST_STEPS = np.array([0.3, 0.3, 0.5, 1.0, 0.2, 1.0, 0.5, 0.3, 0.3])
#: Offsets of parallax, north and east (n,) [au], of each band.
Offsets = tuple[tuple[F64, F64], ...]


@dataclass(frozen=True)
class BinaryLensConfig:
    """Grid and effort of the fit.

    log_s, log_q, alphas: the grid around the whole circle; rhos:
    radii of the source it is tried with. starts: seeds that are fitted, kept: minima that are fitted to nearly all
    points. coarse, fine: relative accuracy of the magnification in the two. max_log_q bounds q, min_rho and max_rho
    the source, max_log_s the separation. Where te exceeds min_te_parallax [d], parallax is fitted with a Gaussian prior
    of width parallax_prior on either component: what the data do not say of it must widen the error of te rather than
    bias it. The wide prior covers lenses of the disc and the bulge (Penny et al. 2019 simulate 0.02 to 0.3).
    """

    log_s: tuple[float, ...] = tuple(np.round(np.linspace(-0.5, 0.5, 21), 3))
    log_q: tuple[float, ...] = (-5.0, -4.3, -3.6, -2.9, -2.2, -1.5)
    alphas: int = 48
    rhos: tuple[float, ...] = (4e-4, 1.5e-3, 6e-3)
    starts: int = 12
    kept: int = 4
    coarse: float = 3e-3
    fine: float = 3e-4
    max_log_q: float = 0.0
    max_log_s: float = 1.2
    rho_range: tuple[float, float] = (1e-5, 0.3)
    min_te_parallax: float = 5.0
    parallax_prior: float = 0.3


def binary_magnification(
    mjd: ArrayLike, t0: float, u0: float, te: float, rho: float, s: float, q: float, alpha: float,
    accuracy: float = 1e-3, shift: tuple[F64 | float, F64 | float] = (0.0, 0.0),
) -> F64:  # fmt: skip
    """Magnification (n,) of a uniform disc by two lenses at times (n,) [d].

    `shift`, scalars or (n,), is added to the position along and across the trajectory (parallax).

    Lengths are in Einstein radii of the total mass; the companion of mass ratio q lies at +x, alpha [rad] turns +x
    into the source's velocity. t0 and u0 refer to the centre of magnification, which is the centre of mass for
    s < 1 and the point by q / (1 + q) / s from the host towards the companion for s > 1: the main peak is there
    for any separation.

    Raises
    ------
    InputError
        te, rho, s or q is not positive, or a parameter not finite.
    """
    if not (np.isfinite([t0, u0, te, rho, s, q, alpha]).all() and min(te, rho, s, q) > 0):
        raise InputError(
            f"no binary lens has t0={t0}, u0={u0}, tE={te}, rho={rho}, s={s}, q={q}, alpha={alpha}",
            field="te, rho, s, q", remedy="give positive finite values",
        )  # fmt: skip
    from VBMicrolensing import VBMicrolensing

    lens = VBMicrolensing()  # one for each call: nothing is left over from another
    lens.RelTol = accuracy
    lens.Tol = accuracy
    tau = (np.asarray(mjd, dtype=np.float64) - t0) / te + shift[0]
    beta = u0 + shift[1] + np.zeros_like(tau)
    x = tau * np.cos(alpha) - beta * np.sin(alpha) + centre_of_magnification(s, q)
    y = tau * np.sin(alpha) + beta * np.cos(alpha)
    return np.array([lens.BinaryMag2(s, q, a, b, rho) for a, b in zip(x.tolist(), y.tolist(), strict=True)])


def centre_of_magnification(s: float, q: float) -> float:
    """Its place on the axis from host to companion, from the centre of mass [Einstein radii]."""
    return (1.0 / s - s) * q / (1.0 + q) if s > 1 else 0.0


def parallax_shift(pi_en: float, pi_ee: float, offsets: tuple[F64, F64]) -> tuple[F64, F64]:
    """Shift of the source (n,) along and across its trajectory, as `lens_models.fit_parallax` has it."""
    north, east = offsets
    return pi_en * north + pi_ee * east, pi_en * east - pi_ee * north


def fit_binary_lens(
    curve: LightCurve, lens: PointLensFit, config: BinaryLensConfig = BinaryLensConfig(),
    observer: Observer | None = None,
) -> list[LensModel]:  # fmt: skip
    """Binary lenses that explain the anomaly of an event, best first; the others are its degenerate twins.

    Parameters
    ----------
    curve
        The light curve.
    lens
        Its point-lens fit; its t0 is the reference of the parallax's frame.
    observer
        Without one no parallax is fitted.

    Returns
    -------
    list of LensModel
        t0 [d], u0, te [d], rho, s, q, alpha [rad], and pi_en, pi_ee where parallax was fitted; empty where the residuals
        show nothing. Distinct minima of chi2; their number is at most `kept`. u0 is negative only with parallax.
    """
    host, anomaly = host_lens(curve, lens)
    if anomaly is None:
        return []
    coarse = condensed(curve, host, anomaly)
    seeds = list(_best_seeds(coarse, host, anomaly, config))
    if abs(host.u0 - lens.u0) > 0.1 * lens.u0 or abs(host.te - lens.te) > 0.1 * lens.te:
        seeds += list(_best_seeds(coarse, lens, anomaly, replace(config, starts=config.starts // 2)))
    first = _distinct(
        [_minimum(coarse, seed, config, config.coarse, evaluations=25) for seed in seeds], 2 * config.kept
    )
    near = [p for _, p in first[:2]]
    more = [_twin(p) for p in near] + [_with(p, 3, np.log(rho)) for p in near for rho in config.rhos]
    first = _distinct(
        [*first, *(_minimum(coarse, p, config, config.coarse, evaluations=25) for p in more)], config.kept
    )
    fine = condensed(curve, host, anomaly, finer=8.0)
    last = _distinct([_minimum(fine, p, config, config.fine, evaluations=20) for _, p in first], config.kept)
    places = None
    if observer is not None and lens.te > config.min_te_parallax:
        places = (_offsets(fine, observer, lens.t0), _offsets(curve, observer, lens.t0))
        last = _moving(fine, last, places[0], config)
    return sorted((_model(curve, fine, p, config, places) for _, p in last), key=lambda m: m.chi2)


def _offsets(curve: LightCurve, observer: Observer, reference: float) -> Offsets:
    return tuple(observer.offsets(b.mjd, reference) for b in curve.bands)


def _moving(
    curve: LightCurve, found: Sequence[tuple[float, F64]], offsets: Offsets, config: BinaryLensConfig
) -> list[tuple[float, F64]]:
    """The minima with parallax, the best one with both signs of u0."""
    moving = []
    for number, (_, p) in enumerate(found):
        for side in (1.0, -1.0) if number == 0 else (1.0,):
            start = np.concatenate([p * np.array([1, side, 1, 1, 1, 1, side]), [0.0, 0.0]])
            moving.append(_minimum(curve, start, config, config.fine, evaluations=12, offsets=offsets))
    return moving


def condensed(curve: LightCurve, lens: PointLensFit, anomaly: Anomaly, finer: float = 1.0) -> LightCurve:
    """The curve in bins short beside whatever happens in them; `finer` divides their widths [d]."""
    bands = []
    for band in curve.bands:
        t = band.mjd
        width = np.full(len(t), lens.te / 2.0)
        for reach, size in ((3 * lens.te, lens.te / 20.0), (lens.te, lens.te / 60.0), (3 * lens.teff, lens.teff / 15.0)):
            width = np.where(np.abs(t - lens.t0) < reach, np.minimum(width, size), width)
        width = np.where(np.abs(t - anomaly.time) < 12 * anomaly.width, np.minimum(width, anomaly.width / 3.0), width)
        width = np.where(np.abs(t - anomaly.time) < 5 * anomaly.width, np.minimum(width, anomaly.width / 12.0), width)
        parts = [band.select(width == size) for size in np.unique(width)]
        columns = [
            binned(p.mjd, p.flux, p.flux_err, size / finer)
            for p, size in zip(parts, np.unique(width), strict=True)
        ]
        if columns:
            band = Band(band.name, *(np.concatenate(c) for c in zip(*columns, strict=True)))
        bands.append(band)
    return LightCurve(tuple(bands))


def _seeds(lens: PointLensFit, anomaly: Anomaly, config: BinaryLensConfig) -> Iterator[tuple[float, float, float, float]]:
    """(log s, log q, alpha, rho) worth a look."""
    for log_s in config.log_s:
        for k in range(config.alphas):
            for log_q in config.log_q:
                yield log_s, log_q, 2 * np.pi * k / config.alphas, config.rhos[len(config.rhos) // 2]
    tau = (anomaly.time - lens.t0) / lens.te
    u = float(np.hypot(tau, lens.u0))
    angle = float(np.arctan2(lens.u0, tau))
    root = np.sqrt(u * u + 4)
    turn = anomaly.width / lens.te / max(u, 0.02)
    for s, side in (((root + u) / 2, 0.0), ((root - u) / 2, np.pi)):
        for shift in (-0.04, -0.02, -0.01, 0.0, 0.01, 0.02, 0.04):
            for step in (-3.0, -1.5, -0.7, 0.0, 0.7, 1.5, 3.0):
                for log_q in config.log_q:
                    for rho in config.rhos:
                        yield float(np.log10(s)) + shift, log_q, side - angle + step * turn, rho


def _best_seeds(
    curve: LightCurve, lens: PointLensFit, anomaly: Anomaly, config: BinaryLensConfig
) -> Iterator[F64]:
    """The best seeds, no two of them near each other. Only the points around the anomaly see the second lens."""
    reach = 6.0 * anomaly.width
    near = [np.abs(b.mjd - anomaly.time) < reach for b in curve.bands]
    single = [magnification(b.mjd, lens.t0, lens.u0, lens.te) for b in curve.bands]
    tried: list[tuple[float, F64]] = []
    for log_s, log_q, alpha, rho in _seeds(lens, anomaly, config):
        p = np.array([lens.t0, lens.u0, np.log(lens.te), np.log(rho), log_s * np.log(10), log_q * np.log(10), alpha])
        shapes = []
        for band, inside, a in zip(curve.bands, near, single, strict=True):
            a = a.copy()
            if inside.any():
                a[inside] = _shape(p, band.mjd[inside], config.coarse * 3)
            shapes.append(a[None])
        tried.append((float((solve_fluxes(curve, shapes)[2] ** 2).sum()), p))
    tried.sort(key=lambda pair: pair[0])
    chosen: list[F64] = []
    for _, p in tried:
        apart = all(
            abs(p[4] - o[4]) > 0.05 or abs(p[5] - o[5]) > 1.0 or abs(np.angle(np.exp(1j * (p[6] - o[6])))) > 0.1
            for o in chosen
        )
        if apart:
            chosen.append(p)
        if len(chosen) == config.starts:
            break
    yield from chosen


def _values(p: F64) -> F64:
    logs = LOGS[: len(p)]
    return np.where(logs, np.exp(np.where(logs, p, 0.0)), p)


def _shape(p: F64, mjd: F64, accuracy: float, offsets: tuple[F64, F64] | None = None) -> F64:
    t0, u0, te, rho, s, q, alpha = _values(p)[:STATIC]
    if len(p) == STATIC or offsets is None:
        return binary_magnification(mjd, t0, u0, te, rho, s, q, alpha, accuracy)
    shift = parallax_shift(p[7], p[8], offsets)
    return binary_magnification(mjd, t0, u0, te, rho, s, q, alpha, accuracy, shift)


def _shapes(curve: LightCurve, p: F64, accuracy: float, offsets: Offsets | None) -> list[F64]:
    places = offsets or (None,) * len(curve.bands)
    return [_shape(p, b.mjd, accuracy, place)[None] for b, place in zip(curve.bands, places, strict=True)]


def _bounded(p: F64, config: BinaryLensConfig) -> F64:
    p = p.copy()
    p[2] = np.clip(p[2], np.log(1e-3), np.log(1e4))
    p[3] = np.clip(p[3], *np.log(config.rho_range))
    p[4] = np.clip(p[4], -config.max_log_s * np.log(10), config.max_log_s * np.log(10))
    p[5] = np.clip(p[5], -7 * np.log(10), config.max_log_q * np.log(10))
    return p


def _residual(
    curve: LightCurve, p: F64, config: BinaryLensConfig, accuracy: float, offsets: Offsets | None = None
) -> F64:
    """Residuals in errors; those of the parallax's prior follow."""
    return np.concatenate([solve_fluxes(curve, _shapes(curve, p, accuracy, offsets))[2], p[STATIC:] / config.parallax_prior])


def _minimum(
    curve: LightCurve, start: F64, config: BinaryLensConfig, accuracy: float, evaluations: int,
    offsets: Offsets | None = None,
) -> tuple[float, F64]:  # fmt: skip
    """chi2 and parameters of the minimum near a start, by Levenberg and Marquardt with the fluxes projected out."""
    p = _bounded(start, config)
    residual = partial(_residual, curve, config=config, accuracy=accuracy, offsets=offsets)
    r = residual(p)
    chi2, damping = float(r @ r), 1e-2
    for _ in range(evaluations):
        slopes = _slopes(residual, p, r)
        limit = LARGEST_STEPS[: len(p)] * np.where(np.arange(len(p)) == 0, np.exp(p[2]), 1.0)
        # What the data do not feel must not move: its column is nothing but the noise of the magnification.
        size = np.sqrt((slopes**2).sum(axis=0) + 0.1 / limit**2)
        matrix, right = (slopes / size).T @ (slopes / size), (slopes / size).T @ r
        gain = 0.0
        for _ in range(8):
            step = -np.linalg.solve(matrix + damping * np.eye(len(p)), right) / size
            trial = _bounded(p + np.clip(step, -limit, limit), config)
            again = residual(trial)
            gain = chi2 - float(again @ again)
            if gain > 0:
                p, r, chi2 = trial, again, chi2 - gain
                damping = max(damping / 5, 1e-7)
                break
            damping *= 6
        if gain < 1e-3 * max(1.0, chi2 / len(r)):
            break
    return chi2, p


def _slopes(residual: partial[F64], p: F64, r: F64) -> F64:
    columns = []
    for i, step in enumerate(STEPS[: len(p)]):
        h = step * (np.exp(p[2]) if i == 0 else 1.0)
        moved = p.copy()
        moved[i] += h
        columns.append((residual(moved) - r) / h)
    return np.stack(columns, axis=1)


def _distinct(found: Iterable[tuple[float, F64]], most: int) -> list[tuple[float, F64]]:
    """The best minima that are not the same."""
    chosen: list[tuple[float, F64]] = []
    for chi2, p in sorted(found, key=lambda pair: pair[0]):
        if not np.isfinite(chi2):
            continue
        if all(abs(p[4] - o[4]) > 0.02 or abs(p[5] - o[5]) > 0.3 or abs(p[3] - o[3]) > 1.0 for _, o in chosen):
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


def _model(
    curve: LightCurve, fine: LightCurve, p: F64, config: BinaryLensConfig, places: tuple[Offsets, Offsets] | None
) -> LensModel:
    n, of_fine, of_curve = len(p), places and places[0], places and places[1]
    fs, fb, residual, columns = solve_fluxes(curve, _shapes(curve, p, config.fine, of_curve))
    near = partial(_residual, fine, config=config, accuracy=config.fine, offsets=of_fine)
    slopes = _slopes(near, p, near(p))
    matrix = slopes.T @ slopes
    size = np.sqrt(np.diag(matrix))
    size[size == 0] = 1e-12
    usable = bool(np.isfinite(matrix).all() and np.linalg.cond(matrix / np.outer(size, size)) < 1e13)
    covariance = np.linalg.pinv(matrix / np.outer(size, size)) / np.outer(size, size)
    values, side = _values(p), 1.0
    if values[1] < 0 and n == STATIC:
        side = -1.0  # without parallax a trajectory and its mirror image are the same light curve
    values[1], values[6] = side * values[1], np.angle(np.exp(1j * side * p[6]))
    scale = np.where(LOGS[:n], values, 1.0) * np.where(np.isin(NAMES[:n], ("u0", "alpha")), side, 1.0)
    covariance = covariance * np.outer(scale, scale)
    flux_errors = np.array([np.sqrt(np.diag(np.linalg.pinv(c @ c.T))) for c in columns])
    # What the prior alone determines is no free parameter.
    told = np.clip(1.0 - np.diag(covariance)[STATIC:] / config.parallax_prior**2, 0.0, 1.0)
    free = STATIC + round(float(told.sum())) + 2 * len(curve.bands)
    return LensModel(
        BINARY_LENS, NAMES[:n], values, np.sqrt(np.diag(covariance)), covariance, tuple(b.name for b in curve.bands),
        fs, flux_errors[:, :-1], fb, flux_errors[:, -1], float(residual @ residual), len(curve) - free, len(curve),
        True, usable,
    )  # fmt: skip
