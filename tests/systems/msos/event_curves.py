"""Simulated light curves of events, variables and constants, with seeds."""

from __future__ import annotations

import numpy as np


def paczynski(mjd, t0, u0, te):
    """Magnification written as in the textbook, independent of the package."""
    u2 = u0**2 + ((np.asarray(mjd) - t0) / te) ** 2
    return (u2 + 2) / np.sqrt(u2 * (u2 + 4))


def sparse_epochs(rng):
    """24 epochs in 4 days, 4 hours apart."""
    return 61465.0833 + np.arange(24) / 6 + rng.normal(0, 0.0015, 24)


def dense_epochs(rng, n=3000):
    """15-minute cadence."""
    return 61465.0 + np.arange(n) / 96 + rng.normal(0, 0.0005, n)


def noisy(rng, true, baseline, floor=0.0):
    """Fluxes and errors: photon noise on a sky of 400, at least a share `floor` of the flux."""
    base = np.maximum(np.sqrt(baseline * 6 + 400), floor * baseline)[:, None]
    error = base * np.sqrt(np.maximum(true / baseline[:, None], 1.0))
    return true + rng.normal(size=true.shape) * error, error


def events(rng, mjd, n, te=(0.3, 3.6), u0=(0.01, 0.8), flux=(1.5, 4.0)):
    """Blended events: (flux, flux_err, truth) with truth of (n,) arrays t0, u0, te, blend, true flux."""
    baseline = 10 ** rng.uniform(*flux, n)
    truth = {
        "t0": rng.uniform(mjd[0] + 0.2, mjd[-1] - 0.2, n),
        "u0": rng.uniform(*u0, n),
        "te": np.exp(rng.uniform(*np.log(te), n)),
        "share": rng.uniform(0.3, 1.0, n),
    }
    a = np.stack([paczynski(mjd, *p) for p in zip(truth["t0"], truth["u0"], truth["te"], strict=True)])
    true = baseline[:, None] * (truth["share"][:, None] * (a - 1) + 1)
    f, e = noisy(rng, true, baseline)
    return f, e, {**truth, "flux": true, "baseline": baseline}


def variables(rng, mjd, n, amplitude=(0.1, 0.36), period=(0.3, 1.7), flux=(1.5, 5.0)):
    """Sinusoids in magnitude."""
    baseline = 10 ** rng.uniform(*flux, n)
    p, a, phase = rng.uniform(*period, n), rng.uniform(*amplitude, n), rng.uniform(0, 2 * np.pi, n)
    wave = a[:, None] * np.sin(2 * np.pi * mjd / p[:, None] + phase[:, None])
    return noisy(rng, baseline[:, None] * 10 ** (-0.4 * wave), baseline, floor=0.005)


def constants(rng, mjd, n, flux=(1.5, 4.0)):
    baseline = 10 ** rng.uniform(*flux, n)
    return noisy(rng, np.repeat(baseline[:, None], len(mjd), axis=1), baseline)


def delta_chi2(flux, error, true):
    """chi2 of a constant minus chi2 of the truth, (n,)."""
    w = 1 / error**2
    mean = (w * flux).sum(1) / w.sum(1)
    return (w * (flux - mean[:, None]) ** 2).sum(1) - (w * (flux - true) ** 2).sum(1)
