"""False positives among a hundred thousand stars without events, at the survey's cadence and with correlated noise.

Six stars in ten are constant with white noise; three have correlated noise besides, of 0.03 to 0.3 of their errors
and 0.1 to 5 days; one is variable: sinusoid, sawtooth (RR Lyrae), eclipses. Takes ten minutes on two cores;
ROMAN_FALSE_POSITIVE_CURVES sets another number.
"""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.systems.msos.events.finder import find_events, microlensing

Row = dict[str, Any]
F64 = NDArray[np.float64]
EPOCHS, PER_DAY, BATCH = 6400, 96, 500
LIMIT = 1e-4


def rows() -> list[Row]:
    """name, value, required, data_set, passed."""
    from scipy.stats import beta

    wanted = int(os.environ.get("ROMAN_FALSE_POSITIVE_CURVES", "100000"))
    batches = -(-wanted // BATCH)
    # Threads of polars and forks do not go together.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        counts = np.sum(list(pool.map(_batch, range(batches))), axis=0)
    result = []
    total = batches * BATCH
    for kind, called, curves in (
        *zip(("constant, white noise", "constant, correlated noise", "variable"), counts[:3], counts[3:], strict=True),
        ("all", counts[:3].sum(), total),
    ):
        upper = float(beta.ppf(0.95, called + 1, curves - called))
        value = f"{called} of {curves} ({called / curves:.1e}, below {upper:.1e} at 95 %)"
        result.append(
            {
                "name": f"stars without events called microlensing: {kind}",
                "value": value,
                "required": "< 1e-4",
                "data_set": f"simulated, {EPOCHS} epochs",
                "passed": bool(called / curves < LIMIT),
            }
        )
    return result


def _batch(number: int) -> NDArray[np.int64]:
    """False positives and curves of the three kinds in one batch."""
    rng = np.random.default_rng(20270400 + number)
    mjd = 61465.0 + np.arange(EPOCHS) / PER_DAY + rng.normal(0, 0.0005, EPOCHS)
    kind = rng.choice(3, BATCH, p=[0.6, 0.3, 0.1])
    baseline = 10 ** rng.uniform(1.5, 4.5, (BATCH, 1))
    error = np.repeat(np.maximum(np.sqrt(6 * baseline + 400), 0.005 * baseline), EPOCHS, axis=1)
    flux = baseline + error * rng.standard_normal((BATCH, EPOCHS))
    red = np.flatnonzero(kind == 1)
    flux[red] += error[red] * correlated(rng, len(red))
    other = np.flatnonzero(kind == 2)
    flux[other] += baseline[other] * (variability(rng, mjd, len(other)) - 1)
    found = microlensing(find_events({"F146": mjd}, {"F146": flux}, {"F146": error}))["row"].to_numpy()
    return np.concatenate([np.bincount(kind[found], minlength=3), np.bincount(kind, minlength=3)])


def correlated(rng: np.random.Generator, stars: int) -> F64:
    """First-order autoregressive noise, (stars, EPOCHS), in units of the white noise."""
    from scipy.signal import lfilter

    amplitude, days = 10 ** rng.uniform(-1.5, -0.5, stars), 10 ** rng.uniform(-1, 0.7, stars)
    result = np.empty((stars, EPOCHS))
    for s in range(stars):
        memory = np.exp(-1 / PER_DAY / days[s])
        kick = amplitude[s] * np.sqrt(1 - memory**2) * rng.standard_normal(EPOCHS)
        result[s] = lfilter([1.0], [1.0, -memory], kick, zi=[memory * amplitude[s] * rng.standard_normal()])[0]
    return result


def variability(rng: np.random.Generator, mjd: F64, stars: int) -> F64:
    """Relative fluxes (stars, epochs) of periodic variables."""
    phase = (mjd / 10 ** rng.uniform(-0.7, 1, (stars, 1)) + rng.random((stars, 1))) % 1
    depth = rng.uniform(0.02, 0.5, (stars, 1))
    sinusoid = depth * np.sin(2 * np.pi * phase)
    sawtooth = depth * (np.abs(phase - 0.15) / 0.85 - 0.5)
    eclipses = depth * (
        np.exp(-0.5 * ((phase - 0.5) / 0.03) ** 2) + 0.4 * np.exp(-0.5 * (np.minimum(phase, 1 - phase) / 0.03) ** 2)
    )
    shape = rng.integers(0, 3, (stars, 1))
    return np.asarray(10 ** (-0.4 * np.choose(shape, [sinusoid, sawtooth, eclipses])))


if __name__ == "__main__":
    for row in rows():
        print(row)
