"""How far the truth may lie from the best two lenses.

Blend, u0, te and s of a faint host follow a long curved valley of chi2, often with a wall where the blend would turn
negative: slopes at the minimum know nothing of either. A chain of an affine-invariant ensemble (Goodman & Weare 2010,
CAMCoS 5, 65; emcee, Foreman-Mackey et al. 2013, PASP 125, 306) walks it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roman_assets.systems.msos.models.binary_minimum import LOGS, Problem, bounded, information, unmirrored

F64 = NDArray[np.float64]


def explore(problem: Problem, p: F64, scale: float = 1.0, seed: int = 1) -> tuple[F64, F64]:
    """Samples (n, parameters) of the posterior around a minimum p, and the best parameters that the chain met.

    `scale` is the variance of the data in units of what their errors say. The priors are those of the fit:
    flat in t0, u0, alpha and in the logarithms of te, rho, s and q within its bounds. The same seed, the same chain.
    """
    import emcee

    config, k = problem.config, len(p)
    points = len(problem.curve)

    def log_probability(q: F64) -> float:
        if (bounded(q, config) != q).any() or abs(q[6] - p[6]) > np.pi:
            return -np.inf
        r = problem.residual(q)
        chi2 = float(r[:points] @ r[:points]) / scale + float(r[points:] @ r[points:])
        return -0.5 * chi2 if np.isfinite(chi2) else -np.inf

    rng = np.random.default_rng(seed)
    walkers = _around(problem, p, max(config.walkers, 2 * k + 2), rng)
    sampler = emcee.EnsembleSampler(len(walkers), k, log_probability)
    sampler.random_state = np.random.RandomState(seed).get_state()
    sampler.run_mcmc(walkers, config.steps, skip_initial_state_check=True)
    best = sampler.get_chain(flat=True)[np.argmax(sampler.get_log_prob(flat=True))]
    return np.asarray(sampler.get_chain(discard=config.steps // 2, flat=True)), np.asarray(best)


def _around(problem: Problem, p: F64, count: int, rng: np.random.Generator) -> F64:
    """Starts of the walkers (count, parameters): the ellipsoid of the slopes, no direction of it wider than is sane."""
    variances, directions = np.linalg.eigh(information(problem, p) + np.diag(_widest(p) ** -2))
    spread = directions / np.sqrt(np.maximum(variances, 1e-12))
    return np.array([bounded(p + spread @ rng.normal(size=len(p)), problem.config) for _ in range(count)])


def _widest(p: F64) -> F64:
    """The widest start of each parameter: that of t0 is in te."""
    widest = np.where(LOGS[: len(p)], 0.5, 0.3)
    widest[0] *= np.exp(p[2])
    return np.asarray(widest)


def covariance_about(p: F64, samples: F64) -> F64:
    """Second moments (p, p) of the samples' values about those of p: what the error of a solution is.

    The mean of a skewed posterior is no solution; the best one is, and its distance from the truth is asked for.
    """
    apart = np.array([unmirrored(q)[0] for q in samples]) - unmirrored(p)[0]
    apart[:, 6] = np.angle(np.exp(1j * apart[:, 6]))
    return np.asarray(apart.T @ apart / len(apart))
