"""Weights of the class probabilities, from simulated candidates of every kind; and how well they hold on others.

    python -m benchmarks.class_training roman_assets/systems/msos/data/class_weights.json

simulates 1,200 candidates of each kind (half an hour on two cores), fits the weights on half of them and judges the
probabilities on the other half. `rows` judges the stored weights on candidates of its own: part of `make validate`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search_validation import variability
from roman_assets.systems.msos.events.class_probability import KINDS, Kind, design, features
from roman_assets.systems.msos.events.classify_config import ClassifyConfig
from roman_assets.systems.msos.events.evidence import Evidence
from roman_assets.systems.msos.events.finder import EventConfig, candidates
from roman_assets.systems.msos.models.binary_magnification import binary_magnification
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, fit_point_lenses, magnification
from roman_assets.systems.msos.search.templates import search

F64 = NDArray[np.float64]
Row = dict[str, Any]
Generator = np.random.Generator
#: Curves of a kind in one batch, at the cadence of the survey and sparse.
BATCH, WANTED = 200, 1200
#: Weight of the ridge that keeps weights small.
RIDGE = 3.0


# --- candidates ---------------------------------------------------------------------------------


def _epochs(rng: Generator) -> F64:
    """The survey's cadence for 20 to 66 days, or a few dozen visits in some days."""
    if rng.random() < 0.6:
        n = int(rng.integers(1900, 6400))
        return 61465.0 + np.arange(n) / 96 + rng.normal(0, 5e-4, n)
    n = int(rng.integers(24, 200))
    return 61465.0 + np.sort(np.arange(n) / rng.choice([6, 12, 24]) + rng.normal(0, 1.5e-3, n))


def _lens(rng: Generator, mjd: F64) -> F64:
    t0, te = rng.uniform(mjd[0], mjd[-1]), 10 ** rng.uniform(-0.6, 1.6)
    u0, share = rng.uniform(0.003, 1.0), rng.uniform(0.1, 1.0)
    if rng.random() < 0.25:
        s, q = 10 ** rng.uniform(-0.3, 0.3), 10 ** rng.uniform(-4, 0)
        a = binary_magnification(mjd, t0, u0, te, 10 ** rng.uniform(-3.3, -2), s, q, rng.uniform(0, 2 * np.pi), 1e-2)
    else:
        a = magnification(mjd, t0, u0, te)
    return 1 + share * (a - 1)


def _cataclysmic(rng: Generator, mjd: F64) -> F64:
    """Outbursts of a dwarf nova: a fast rise, a plateau now and then, an exponential decline; one or several."""
    result, start = np.ones(len(mjd)), rng.uniform(mjd[0] - 3, mjd[-1])
    while start < mjd[-1]:
        rise, decay, height = 10 ** rng.uniform(-1.3, 0), 10 ** rng.uniform(0, 0.9), 10 ** rng.uniform(-1, 1)
        plateau = rng.choice([0.0, 0.0, 3.0])
        x = mjd - start
        result += height * np.clip(x / rise, 0, 1) * np.exp(-np.maximum(x - rise - plateau, 0) / decay)
        start += rise + plateau + rng.exponential(30) + 5 * decay
    return result


def _variable(rng: Generator, mjd: F64) -> F64:
    """Periodic stars, slow ones, irregular ones, flares."""
    kind = rng.integers(0, 4)
    if kind == 0:
        return variability(rng, mjd, 1)[0]
    if kind == 1:
        period = 10 ** rng.uniform(1, 2.5)
        return 10 ** (0.4 * rng.uniform(0.02, 0.6) * np.sin(2 * np.pi * mjd / period + rng.uniform(0, 7)))
    if kind == 2:
        return 10 ** (0.4 * rng.uniform(0.01, 0.2) * _walk(rng, mjd, 10 ** rng.uniform(0, 1.5)))
    result = np.ones(len(mjd))
    for start in rng.uniform(mjd[0], mjd[-1], rng.integers(1, 6)):
        x = mjd - start
        result += 10 ** rng.uniform(-1.5, 0) * np.exp(-np.maximum(x, 0) / 10 ** rng.uniform(-1.7, -0.7)) * (x > 0)
    return result


def _walk(rng: Generator, mjd: F64, days: float) -> F64:
    """Damped random walk of unit variance."""
    memory = np.exp(-np.diff(mjd) / days)
    kicks, result = rng.standard_normal(len(mjd)), np.empty(len(mjd))
    result[0] = kicks[0]
    for i, m in enumerate(memory):
        result[i + 1] = m * result[i] + np.sqrt(1 - m * m) * kicks[i + 1]
    return result


def _artefact(rng: Generator, mjd: F64) -> F64:
    """Runs of a few bad exposures, steps, a bad night."""
    result = np.ones(len(mjd))
    for _ in range(rng.integers(1, 4)):
        at = int(rng.integers(0, len(mjd)))
        length = int(rng.choice([1, 2, 3, 5, 20, max(len(mjd) // 10, 2)]))
        run = slice(at, min(at + length, len(mjd)))
        shape = np.ones(len(mjd[run])) if rng.random() < 0.5 else rng.exponential(1.0, len(mjd[run]))
        result[run] += rng.choice([-1, 1], p=[0.2, 0.8]) * 10 ** rng.uniform(-2, 0.7) * shape
    return np.maximum(result, 0.01)


def _noise(rng: Generator, mjd: F64) -> F64:
    """Nothing: what passes the search is noise correlated over days, or errors that are too small."""
    return 1 + 10 ** rng.uniform(-3, -1.3) * _walk(rng, mjd, 10 ** rng.uniform(-1, 1.3))


MAKERS: dict[Kind, Callable[[Generator, F64], F64]] = {
    Kind.LENS: _lens,
    Kind.CATACLYSMIC: _cataclysmic,
    Kind.VARIABLE: _variable,
    Kind.ARTEFACT: _artefact,
    Kind.NOISE: _noise,
}


def _curve(kind: Kind, rng: Generator) -> Band:
    mjd = _epochs(rng)
    baseline = 10 ** rng.uniform(1.5, 4.5)
    true = baseline * MAKERS[kind](rng, mjd)
    error = np.maximum(np.sqrt(6 * np.maximum(true, 0) + 400), 0.003 * true)
    scatter = error * (rng.uniform(1.0, 1.6) if rng.random() < 0.3 else 1.0)  # errors are not always right
    return Band("F146", mjd, true + scatter * rng.standard_normal(len(mjd)), error)


def _batch(job: tuple[str, int]) -> list[dict[str, float]]:
    """Features of the candidates among the curves of one batch."""
    kind, number = Kind(job[0]), job[1]
    rng, config, result = np.random.default_rng([KINDS.index(kind), number]), EventConfig(), []
    for _ in range(BATCH):
        band = _curve(kind, rng)
        found = candidates(search(band.mjd, band.flux[None], band.flux_err[None], config.search), config)
        if not found.height:
            continue
        row, curve = found.row(0, named=True), LightCurve((band,))
        lens = fit_point_lenses([curve], [[(row["t0"], row["teff"])]], config.fit)[0]
        if lens.fitted and lens.dchi2 >= config.min_dchi2:
            result.append(features(Evidence(curve, row, lens, ClassifyConfig())))
    return result


def simulated(wanted: int, first: int) -> tuple[list[str], F64, NDArray[np.int64]]:
    """Names of the features, their values (n, features), and kinds (n,) of at least `wanted` candidates of each kind."""
    values: list[list[dict[str, float]]] = []
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        for kind in KINDS:
            found: list[dict[str, float]] = []
            for numbers in _chunks(first):
                for batch in pool.map(_batch, [(kind.value, n) for n in numbers]):
                    found.extend(batch)
                if len(found) >= wanted:
                    break
            print(f"{kind}: {len(found)} candidates", flush=True)
            values.append(found[:wanted])
    names = sorted(values[0][0])
    table = np.array([[row[n] for n in names] for rows in values for row in rows])
    return names, table, np.repeat(np.arange(len(KINDS)), [len(rows) for rows in values])


def _chunks(first: int, most: int = 60) -> Iterator[range]:
    for start in range(first, first + most, 2):
        yield range(start, start + 2)


# --- weights ------------------------------------------------------------------------------------


def fit(columns: F64, kinds: NDArray[np.int64]) -> F64:
    """Weights (kinds, columns) of the multinomial logistic model, with a ridge."""
    from scipy.optimize import minimize

    truth = np.eye(len(KINDS))[kinds]

    def cost(flat: F64) -> tuple[float, F64]:
        weights = flat.reshape(len(KINDS), -1)
        chances = softmax(columns, weights)
        slope = (chances - truth).T @ columns + RIDGE * weights
        return float(-(truth * np.log(chances + 1e-300)).sum() + 0.5 * RIDGE * (flat**2).sum()), slope.ravel()

    start = np.zeros(len(KINDS) * columns.shape[1])
    return np.asarray(minimize(cost, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x).reshape(
        len(KINDS), -1
    )


def softmax(columns: F64, weights: F64) -> F64:
    """Probabilities (n, kinds)."""
    logits = columns @ weights.T
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(chances / chances.sum(axis=1, keepdims=True))


def judged(chances: F64, kinds: NDArray[np.int64], data_set: str) -> list[Row]:
    """Requirements: candidates called right, and stated chances that come true."""
    lens = KINDS.index(Kind.LENS)
    p, true = chances[:, lens], kinds == lens
    rows: list[Row] = []

    def row(name: str, value: Any, required: str, passed: bool) -> None:
        rows.append({"name": name, "value": value, "required": required, "data_set": data_set, "passed": bool(passed)})

    right = float((chances.argmax(axis=1) == kinds).mean())
    row("candidates whose most probable kind is the true one, of five", right, "counted", True)
    off, worst = 0.0, 0.0
    for low in np.arange(0, 1, 0.1):
        inside = (p >= low) & (p < low + 0.1 + (low > 0.85))
        if inside.sum() >= 20:
            gap = abs(float(true[inside].mean()) - float(p[inside].mean()))
            spread = float(np.sqrt(max(p[inside].mean() * (1 - p[inside].mean()), 1 / inside.sum()) / inside.sum()))
            off += float(gap * inside.mean())
            worst = max(worst, gap / spread)
    row("probability of a lens: mean gap between stated and observed share", off, "<= 0.03", off <= 0.03)
    row("probability of a lens: largest gap in a tenth of the range [standard errors]", worst, "<= 4", worst <= 4)
    called, kept = true[p > 0.5], p[true] > 0.5
    row("lenses among candidates with p > 0.5, a fifth of all being lenses", float(called.mean()), "counted", True)
    row("lenses with p > 0.5", float(kept.mean()), "counted", True)
    return rows


def stored() -> tuple[list[str], F64, F64, F64]:
    """What the package carries."""
    from roman_assets.systems.msos.events.class_probability import _model

    names, mean, scale, weights = _model()
    return list(names), mean, scale, weights


def rows() -> list[Row]:
    """The stored weights judged on candidates that they were not fitted to."""
    wanted = 250
    names, values, kinds = simulated(wanted, first=5000)
    order, mean, scale, weights = stored()
    chosen = values[:, [names.index(n) for n in order]]
    return judged(softmax(design(chosen, mean, scale), weights), kinds, f"simulated, {wanted} candidates of a kind")


def main(out: Path) -> None:
    """Simulate, fit on half, judge on the other half, write."""
    names, values, kinds = simulated(WANTED, first=0)
    fitted = np.arange(len(kinds)) % 2 == 0
    mean, scale = values[fitted].mean(axis=0), np.maximum(values[fitted].std(axis=0), 1e-3)
    mean, scale = np.round(mean, 4), np.round(scale, 4)
    columns = design(values, mean, scale)
    weights = np.round(fit(columns[fitted], kinds[fitted]), 4)
    for row in judged(softmax(columns[~fitted], weights), kinds[~fitted], "the other half"):
        print(row)
    confusion = np.zeros((len(KINDS), len(KINDS)), dtype=int)
    np.add.at(confusion, (kinds[~fitted], softmax(columns[~fitted], weights).argmax(axis=1)), 1)
    print("true kind by row, most probable by column:", list(KINDS), confusion, sep="\n")
    document = {
        "made_by": "benchmarks/class_training.py",
        "features": names,
        "mean": mean.tolist(),
        "scale": scale.tolist(),
        "weights": {kind: weights[i].tolist() for i, kind in enumerate(KINDS)},
    }
    out.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
