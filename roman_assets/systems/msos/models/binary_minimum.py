"""The minimum of chi2 of two lenses near a start, and how well the data determine it.

Levenberg-Marquardt in the shape alone, the fluxes being projected out. Magnifications are accurate to a small part of
themselves but not smooth at that level, and blend, u0 and te of a faint host all but cancel each other: derivatives
are taken over a step that the data can feel, from both sides, or their noise would pass for information.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.systems.msos.models.binary_magnification import BinaryLensConfig, binary_magnification, parallax_shift
from roman_assets.systems.msos.models.lens_models import LensModel, solve_fluxes
from roman_assets.systems.msos.models.point_lens import LightCurve

F64 = NDArray[np.float64]

BINARY_LENS = "BINARY_LENS"
#: Parameters: those of every lens, of parallax, and of the lenses' orbit (changes of s and alpha by the year).
NAMES = ("t0", "u0", "te", "rho", "s", "q", "alpha", "pi_en", "pi_ee", "ds_dt", "dalpha_dt")
STATIC, MOVING, ORBITING = 7, 9, 11
#: Fitted as logarithms.
LOGS = np.isin(NAMES, ("te", "rho", "s", "q"))
#: First and largest steps of the numerical derivatives; those of t0 are in te.
FIRST_STEPS = np.array([3e-5, 3e-5, 1e-4, 3e-3, 1e-4, 1e-3, 1e-4, 2e-2, 2e-2, 1e-2, 1e-2])
WIDEST_STEPS = np.array([3e-3, 3e-3, 1e-2, 3e-1, 1e-2, 1e-1, 1e-2, 1e-1, 1e-1, 0.5, 0.5])
#: A derivative's step in units of the change that raises chi2 by one, all else fixed.
STEP_SIGMAS = 0.3
#: A fit moves no further at once; that of t0 is in te.
LARGEST_MOVES = np.array([0.3, 0.3, 0.5, 1.0, 0.2, 1.0, 0.5, 0.3, 0.3, 1.0, 1.0])
YEAR_DAYS = 365.25
#: Offsets of parallax, north and east (n,) [au], of each band.
Offsets = tuple[tuple[F64, F64], ...]


@dataclass(frozen=True)
class Problem:
    """A light curve to be explained by two lenses.

    accuracy: relative, of the magnification; blends: `lens_models.blend_widths` of the whole curve, (bands,) [flux];
    offsets: without them nothing moves; reference: time [d] of s and alpha where the lenses orbit; sides: derivatives
    from both sides rather than from one.
    """

    curve: LightCurve
    config: BinaryLensConfig
    accuracy: float
    blends: F64
    offsets: Offsets | None = None
    reference: float = 0.0
    sides: bool = False

    def shapes(self, p: F64) -> list[F64]:
        """Magnification (1, n) of each band at parameters p."""
        places = self.offsets or (None,) * len(self.curve.bands)
        return [
            shape(p, b.mjd, self.accuracy, place, self.reference)[None]
            for b, place in zip(self.curve.bands, places, strict=True)
        ]

    @property
    def widths(self) -> F64:
        """Widths of the Gaussian priors on the parameters after the static ones, (4,)."""
        return np.array([self.config.parallax_prior] * 2 + [self.config.orbit_prior] * 2)

    def residual(self, p: F64) -> F64:
        """Residuals in errors; those of the priors on blend, parallax and orbit follow."""
        points = solve_fluxes(self.curve, self.shapes(p), self.blends)[2]
        return np.concatenate([points, p[STATIC:] / self.widths[: len(p) - STATIC]])

    def chi2(self, p: F64) -> float:
        """chi2 with the costs of the priors."""
        r = self.residual(p)
        return float(r @ r)

    def slopes(self, p: F64, r: F64, steps: F64) -> F64:
        """Derivatives (residuals, parameters) of the residuals r at p."""
        columns = []
        for i, h in enumerate(steps):
            move = np.zeros_like(p)
            move[i] = h
            after = self.residual(p + move)
            columns.append((after - self.residual(p - move)) / (2 * h) if self.sides else (after - r) / h)
        return np.stack(columns, axis=1)

    def steps(self, p: F64, slopes: F64 | None = None) -> F64:
        """Steps of the derivatives: those that the slopes of the last place suggest, or the first ones."""
        unit = np.where(np.arange(len(p)) == 0, np.exp(p[2]), 1.0)
        first = FIRST_STEPS[: len(p)] * unit
        if slopes is None or not self.sides:
            return first
        felt = STEP_SIGMAS / np.sqrt((slopes**2).sum(axis=0) + 1e-30)
        return np.clip(felt, 0.1 * first, WIDEST_STEPS[: len(p)] * unit)


def values(p: F64) -> F64:
    """The parameters themselves from those that are fitted."""
    logs = LOGS[: len(p)]
    return np.where(logs, np.exp(np.where(logs, p, 0.0)), p)


def shape(p: F64, mjd: F64, accuracy: float, offsets: tuple[F64, F64] | None = None, reference: float = 0.0) -> F64:
    """Magnification (n,) at fitted parameters p; `reference` [d] is the time of s and alpha where they change."""
    t0, u0, te, rho, s, q, alpha = values(p)[:STATIC]
    if len(p) == STATIC or offsets is None:
        return binary_magnification(mjd, t0, u0, te, rho, s, q, alpha, accuracy)
    shift = parallax_shift(p[7], p[8], offsets)
    if len(p) == MOVING:
        return binary_magnification(mjd, t0, u0, te, rho, s, q, alpha, accuracy, shift)
    apart, angle = orbit(s, alpha, p[9], p[10], mjd, reference)
    return binary_magnification(mjd, t0, u0, te, rho, apart, q, angle, accuracy, shift)


def orbit(s: float, alpha: float, ds_dt: float, dalpha_dt: float, mjd: F64, reference: float) -> tuple[F64, F64]:
    """Separation and angle [rad] (n,) of lenses that orbit, to first order around `reference` [d]; rates by the year.

    The separation stays above a third of that at the reference: no orbit is linear for long.
    """
    years = (mjd - reference) / YEAR_DAYS
    return np.clip(s + ds_dt * years, s / 3, 3 * s), alpha + dalpha_dt * years


def bounded(p: F64, config: BinaryLensConfig) -> F64:
    """Parameters within what the configuration allows."""
    p = p.copy()
    p[2] = np.clip(p[2], np.log(1e-3), np.log(1e4))
    p[3] = np.clip(p[3], *np.log(config.rho_range))
    p[4] = np.clip(p[4], -config.max_log_s * np.log(10), config.max_log_s * np.log(10))
    p[5] = np.clip(p[5], -7 * np.log(10), config.max_log_q * np.log(10))
    p[MOVING:] = np.clip(p[MOVING:], -5 * config.orbit_prior, 5 * config.orbit_prior)
    return p


def minimum(problem: Problem, start: F64, evaluations: int) -> tuple[float, F64]:
    """chi2 and parameters of the minimum near a start."""
    p = bounded(start, problem.config)
    r = problem.residual(p)
    chi2, damping, slopes = float(r @ r), 1e-2, None
    for _ in range(evaluations):
        slopes = problem.slopes(p, r, problem.steps(p, slopes))
        limit = LARGEST_MOVES[: len(p)] * np.where(np.arange(len(p)) == 0, np.exp(p[2]), 1.0)
        # What the data do not feel must not move: its column is nothing but the noise of the magnification.
        size = np.sqrt((slopes**2).sum(axis=0) + 0.1 / limit**2)
        matrix, right = (slopes / size).T @ (slopes / size), (slopes / size).T @ r
        gain = 0.0
        for _ in range(8):
            move = -np.linalg.solve(matrix + damping * np.eye(len(p)), right) / size
            trial = bounded(p + np.clip(move, -limit, limit), problem.config)
            again = problem.residual(trial)
            gain = chi2 - float(again @ again)
            if gain > 0:
                p, r, chi2 = trial, again, chi2 - gain
                damping = max(damping / 5, 1e-9)
                break
            damping *= 6
        if gain < 1e-3 * max(1.0, chi2 / len(r)):
            break
    return chi2, p


def model_of(whole: Problem, p: F64, covariance: F64) -> LensModel:
    """The model at parameters p: fluxes and chi2 on the whole curve, with the covariance of the parameters' values."""
    n, curve = len(p), whole.curve
    fs, fb, residual, columns = solve_fluxes(curve, whole.shapes(p), whole.blends)
    residual = residual[: len(curve)]  # a prior is no datum
    found, _ = unmirrored(p)
    flux_errors = np.array([np.sqrt(np.diag(np.linalg.pinv(c @ c.T))) for c in columns])
    # What the prior alone determines is no free parameter; without a covariance nothing is known to be.
    told = np.clip(1.0 - np.diag(covariance)[STATIC:] / whole.widths[: n - STATIC] ** 2, 0.0, 1.0)
    told = np.nan_to_num(told, nan=1.0)
    free = STATIC + round(float(told.sum())) + 2 * len(curve.bands)
    return LensModel(
        BINARY_LENS,
        NAMES[:n],
        found,
        np.sqrt(np.diag(covariance)),
        covariance,
        tuple(b.name for b in curve.bands),
        fs,
        flux_errors[:, :-1],
        fb,
        flux_errors[:, -1],
        float(residual @ residual),
        len(curve) - free,
        len(curve),
        True,
        bool(np.isfinite(covariance).all()),
    )


def unmirrored(p: F64) -> tuple[F64, float]:
    """Values with u0 positive where its sign means nothing, alpha within +-pi; and the sign that was taken out."""
    found = values(p)
    # Without parallax a trajectory and its mirror image are the same light curve.
    side = -1.0 if found[1] < 0 and len(p) == STATIC else 1.0
    found[1], found[6] = side * found[1], np.angle(np.exp(1j * side * p[6]))
    return found, side


def linear_covariance(problem: Problem, p: F64) -> F64:
    """Covariance (p, p) of the parameters' values from the slopes at the minimum; NaN where they have none."""
    matrix = information(problem, p)
    size = np.sqrt(np.diag(matrix))
    size[size == 0] = 1e-12
    scaled = matrix / np.outer(size, size)
    if not np.isfinite(matrix).all() or np.linalg.cond(scaled) > 1e13:
        return np.full_like(matrix, np.nan)
    side = unmirrored(p)[1]
    scale = np.where(LOGS[: len(p)], values(p), 1.0) * np.where(np.isin(NAMES[: len(p)], ("u0", "alpha")), side, 1.0)
    return np.asarray(np.linalg.pinv(scaled) / np.outer(size, size) * np.outer(scale, scale))


def information(problem: Problem, p: F64) -> F64:
    """Inverse covariance (p, p) of the fitted parameters."""
    r = problem.residual(p)
    slopes = problem.slopes(p, r, problem.steps(p))
    for _ in range(2):
        slopes = problem.slopes(p, r, problem.steps(p, slopes))
    return np.asarray(slopes.T @ slopes)
