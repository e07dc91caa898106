"""Magnification by two lenses (VBMicrolensing: Bozza 2010, MNRAS 408, 2188; Bozza et al. 2018, MNRAS 479, 5157)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.bounds import ANY, POSITIVE, THRESHOLD, Bound, check_bounds, check_range, whole
from roman_assets.errors import InputError

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class BinaryLensConfig:
    """Grid and effort of the fit.

    log_s, log_q, alphas: the grid around the whole circle; rhos:
    radii of the source it is tried with. starts: seeds that are fitted, kept: minima that are fitted to nearly all
    points. coarse, fine: relative accuracy of the magnification in the two. max_log_q bounds q, min_rho and max_rho
    the source, max_log_s the separation. Where te exceeds min_te_parallax [d], parallax is fitted with a Gaussian prior
    of width parallax_prior on either component: what the data do not say of it must widen the error of te rather than
    bias it. The wide prior covers lenses of the disc and the bulge (Penny et al. 2019 simulate 0.02 to 0.3). The orbit
    of the lenses, to first order, comes in where it lowers chi2 by orbit_gain (times chi2/dof), with a prior of
    orbit_prior [1/yr] on either component. walkers, steps: of the chain that says how far the best solution may lie
    from the truth, of which the first half is dropped.
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
    orbit_gain: float = 30.0
    orbit_prior: float = 5.0
    walkers: int = 32
    steps: int = 100

    def __post_init__(self) -> None:
        check_bounds(
            self,
            log_s=Bound(ge=-3, le=3),
            log_q=Bound(ge=-10, le=3),
            alphas=whole(1, 10_000),
            rhos=POSITIVE,
            starts=whole(1, 10_000),
            kept=whole(1, 10_000),
            coarse=Bound(gt=0, le=1),
            fine=Bound(gt=0, le=1),
            max_log_q=ANY,
            max_log_s=ANY,
            rho_range=POSITIVE,
            min_te_parallax=THRESHOLD,
            parallax_prior=POSITIVE,
            orbit_gain=THRESHOLD,
            orbit_prior=POSITIVE,
            walkers=whole(2, 10_000),
            steps=whole(1, 1_000_000),
        )
        check_range(self, "rho_range")


def binary_magnification(
    mjd: ArrayLike,
    t0: float,
    u0: float,
    te: float,
    rho: float,
    s: F64 | float,
    q: float,
    alpha: F64 | float,
    accuracy: float = 1e-3,
    shift: tuple[F64 | float, F64 | float] = (0.0, 0.0),
) -> F64:
    """Magnification (n,) of a uniform disc by two lenses at times (n,) [d].

    `shift`, scalars or (n,), is added to the position along and across the trajectory (parallax). s and alpha may be
    arrays (n,) too (lenses that orbit each other).

    Lengths are in Einstein radii of the total mass; the companion of mass ratio q lies at +x, alpha [rad] turns +x
    into the source's velocity. t0 and u0 refer to the centre of magnification, which is the centre of mass for
    s < 1 and the point by q / (1 + q) / s from the host towards the companion for s > 1: the main peak is there
    for any separation.

    Raises
    ------
    InputError
        te, rho, s or q is not positive, or a parameter not finite.
    """
    smallest = float(np.min(s, initial=np.inf))
    if not (
        np.isfinite([t0, u0, te, rho, smallest, q]).all() and np.isfinite(alpha).all() and min(te, rho, smallest, q) > 0
    ):
        raise InputError(
            f"no binary lens has t0={t0}, u0={u0}, tE={te}, rho={rho}, s={s}, q={q}, alpha={alpha}",
            field="te, rho, s, q",
            remedy="give positive finite values",
        )
    from VBMicrolensing import VBMicrolensing

    lens = VBMicrolensing()  # one for each call: nothing is left over from another
    lens.RelTol = accuracy
    lens.Tol = accuracy
    tau = (np.asarray(mjd, dtype=np.float64) - t0) / te + shift[0]
    beta = u0 + shift[1] + np.zeros_like(tau)
    x = tau * np.cos(alpha) - beta * np.sin(alpha) + centre_of_magnification(s, q)
    y = tau * np.sin(alpha) + beta * np.cos(alpha)
    apart = np.broadcast_to(s, x.shape).tolist()
    places = zip(apart, x.tolist(), y.tolist(), strict=True)
    return np.array([lens.BinaryMag2(d, q, a, b, rho) for d, a, b in places])


def centre_of_magnification(s: F64 | float, q: float) -> F64 | float:
    """Its place on the axis from host to companion, from the centre of mass [Einstein radii]; shaped as s."""
    return np.minimum(1.0 / np.asarray(s) - s, 0.0) * q / (1.0 + q)


def parallax_shift(pi_en: float, pi_ee: float, offsets: tuple[F64, F64]) -> tuple[F64, F64]:
    """Shift of the source (n,) along and across its trajectory, as `lens_models.fit_parallax` has it."""
    north, east = offsets
    return pi_en * north + pi_ee * east, pi_en * east - pi_ee * north
