"""How often a candidate like this one is a lens, an outburst, a variable, an artefact or noise.

A multinomial logistic model of the evidence (and its squares), fitted to simulated candidates of every kind by
`benchmarks/class_training.py`, which also measures on others how well its probabilities hold. They hold for the mix
of kinds that it was fitted with, all equally frequent: `prior` shifts them to another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from roman_assets.systems.msos.events.evidence import Evidence

F64 = NDArray[np.float64]


class Kind(StrEnum):
    """What a candidate can be."""

    LENS = "lens"
    CATACLYSMIC = "cataclysmic"
    VARIABLE = "variable"
    ARTEFACT = "artefact"
    NOISE = "noise"


KINDS = tuple(Kind)


def features(e: Evidence) -> dict[str, float]:
    """What the probabilities are made of, each of the order of one."""
    lens, found = e.lens, e.found
    dchi2 = max(float(found["dchi2"]), 1.0)
    spacing = max(float(np.median(np.diff(e.main.mjd))), 1e-6) if len(e.main) > 1 else 1.0
    teff = max(e.teff, 1e-4)
    return {
        "strength": float(np.log10(max(e.strength, 1.0))),
        "without_best_point": float(np.log10(np.clip(float(found["dchi2_without_best_point"]) / dchi2, 1e-3, 1.0))),
        "explained": e.explained,
        "left_over": float(np.log10(np.clip(lens.chi2 / e.noise.white**2 / max(lens.dof, 1), 0.1, 1e4))),
        "white": float(np.log10(np.clip(e.noise.white, 0.1, 100))),
        "red": float(np.log10(np.clip(e.noise.red, 0.1, 100))),
        "run": float(np.log10(1 + e.run)),
        "high": float(np.log10(1 + e.high.sum())),
        "binned_run": float(np.log10(1 + e.binned_run)),
        "clean": float(e.clean),
        "period": float(np.arcsinh(e.periodic_gain)),
        "outburst": float(np.arcsinh(e.outburst_gain)),
        "brightenings": float(e.brightenings),
        "dip": float(np.log10(1 + np.clip(e.dip / dchi2, 0, 10))),
        "teff_span": float(np.log10(np.clip(teff / max(e.span, 1e-3), 1e-5, 10))),
        "teff_spacing": float(np.log10(np.clip(teff / spacing, 1e-2, 1e5))),
        "sides": float(sum(e.sides)),
        "u0": float(np.log10(np.clip(lens.u0, 1e-3, 10))),
        "anomaly": float(np.log10(1 + e.anomaly / dchi2 * 100)),
        "skew": float(np.arcsinh(_skew(e.main.flux))),
        "lag": _lag(e.main.flux),
    }


def _skew(flux: F64) -> float:
    low, middle, high = np.percentile(flux, [5, 50, 95])
    return float((high - middle) / max(middle - low, 1e-12) - 1.0)


def _lag(flux: F64) -> float:
    """Correlation of successive points."""
    d = flux - flux.mean()
    return float((d[1:] * d[:-1]).mean() / max(float((d * d).mean()), 1e-300)) if len(flux) > 2 else 0.0


@cache
def _model() -> tuple[tuple[str, ...], F64, F64, F64]:
    """Names, means and scales of the features, weights (kinds, 1 + 2 features)."""
    stored = json.loads(files("roman_assets.systems.msos").joinpath("data/class_weights.json").read_text())
    weights = np.array([stored["weights"][kind] for kind in KINDS])
    return tuple(stored["features"]), np.array(stored["mean"]), np.array(stored["scale"]), weights


def design(values: F64, mean: F64, scale: F64) -> F64:
    """Columns (n, 1 + 2 features) of the logistic model from features (n, features)."""
    z = np.clip((values - mean) / scale, -5, 5)
    return np.concatenate([np.ones((len(z), 1)), z, z * z], axis=1)


def probabilities(e: Evidence, prior: Mapping[Kind, float] | None = None) -> dict[Kind, float]:
    """Probability of every kind; `prior` holds relative frequencies, all the same without it."""
    names, mean, scale, weights = _model()
    measured = features(e)
    row = design(np.array([[measured[n] for n in names]]), mean, scale)[0]
    logits = weights @ row
    if prior is not None:
        logits = logits + np.log([max(prior[k], 1e-300) for k in KINDS])
    chances = np.exp(logits - logits.max())
    return {kind: float(p) for kind, p in zip(KINDS, chances / chances.sum(), strict=True)}
