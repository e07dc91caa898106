"""Where to look for two lenses: starting values in (s, q, alpha)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from roman_assets.systems.msos.models.anomaly import Anomaly
from roman_assets.systems.msos.models.binary_magnification import BinaryLensConfig
from roman_assets.systems.msos.models.binary_minimum import shape
from roman_assets.systems.msos.models.lens_models import solve_fluxes
from roman_assets.systems.msos.models.point_lens import LightCurve, PointLensFit, magnification

F64 = NDArray[np.float64]


def _seeds(
    lens: PointLensFit, anomaly: Anomaly, config: BinaryLensConfig
) -> Iterator[tuple[float, float, float, float]]:
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


def best_seeds(curve: LightCurve, lens: PointLensFit, anomaly: Anomaly, config: BinaryLensConfig) -> list[F64]:
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
                a[inside] = shape(p, band.mjd[inside], config.coarse * 3)
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
    return chosen
