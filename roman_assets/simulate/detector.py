"""From a noiseless scene to what a calibrated exposure holds: noise, saturation, defects, cosmic rays,
flags.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.simulate.config import MiniSurvey

DO_NOT_USE, SATURATED, JUMP_DET = 1, 2, 4

#: Cosmic-ray hits per pixel and second: 5 /cm^2/s on 10 um pixels.
COSMIC_RAY_RATE = 5.0e-6
#: Shares of the hits that the ramp fit repairs, that it flags and loses; the rest goes unseen.
REPAIRED, FLAGGED = 0.75, 0.15
BAD_PIXEL_SHARE = 1.0e-3
#: First useful part of the ramp: a pixel that saturates before it cannot be recovered.
FIRST_RESULTANTS = 1 / 7


@dataclass(frozen=True)
class Frame:
    """Planes of one exposure: data, err f4 [DN/s], var_poisson, var_rnoise f4 [DN2/s2], dq u4, all (ny,
    nx).
    """

    data: NDArray[np.float32]
    err: NDArray[np.float32]
    var_poisson: NDArray[np.float32]
    var_rnoise: NDArray[np.float32]
    dq: NDArray[np.uint32]


def bad_pixels(config: MiniSurvey, detector_index: int) -> NDArray[np.uint8]:
    """Permanent defects of a detector, u1 (ny, nx): 0 good, 1 dead, 2 hot, 3 without any value (NaN)."""
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(2, detector_index)))
    bad = rng.random((config.size_px, config.size_px)) < BAD_PIXEL_SHARE
    return np.where(bad, rng.integers(1, 4, bad.shape), 0).astype(np.uint8)


def expose(
    scene: NDArray[np.float64], config: MiniSurvey, rng: np.random.Generator, defects: NDArray[np.uint8]
) -> Frame:
    """One exposure of a scene [DN/s per px, sky included].

    Saturated pixels keep a rate from the part of the ramp before saturation, noisier by its shortness, as the
    mission's ramp fit does; those that saturate at once are lost and marked DO_NOT_USE.
    """
    time = config.exposure_time_s
    electrons = np.maximum(scene, 0.0) * config.gain * time
    usable = np.minimum(1.0, config.full_well_e / np.maximum(electrons, 1.0))
    counts = rng.poisson(electrons * usable) + rng.normal(0, config.read_noise, scene.shape)
    data = counts / (config.gain * time * usable)
    dq = np.where(usable < 1.0, SATURATED, 0).astype(np.uint32)
    lost = usable < FIRST_RESULTANTS
    data[lost] = config.full_well_e / (config.gain * time * FIRST_RESULTANTS)
    dq[lost] |= DO_NOT_USE

    repaired = _cosmic_rays(data, dq, config, rng)
    effective = config.gain * time * usable * np.where(repaired, 0.6, 1.0)
    var_poisson = np.maximum(data, 0.0) / effective
    var_rnoise = (config.read_noise / effective) ** 2
    data[defects == 1] = 0.0
    data[defects == 2] += 50.0
    data[defects == 3] = np.nan
    dq[defects > 0] |= DO_NOT_USE
    return Frame(
        data.astype(np.float32),
        np.sqrt(var_poisson + var_rnoise).astype(np.float32),
        var_poisson.astype(np.float32),
        var_rnoise.astype(np.float32),
        dq,
    )


def _cosmic_rays(
    data: NDArray[np.float64], dq: NDArray[np.uint32], config: MiniSurvey, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Adds tracks to `data` and flags to `dq`; returns where a repair cost a part of the ramp."""
    ny, nx = data.shape
    repaired = np.zeros(data.shape, dtype=bool)
    for _ in range(rng.poisson(COSMIC_RAY_RATE * ny * nx * config.exposure_time_s)):
        y, x, angle = rng.uniform(0, ny), rng.uniform(0, nx), rng.uniform(0, 2 * np.pi)
        along = np.arange(0.0, 1.0 + rng.exponential(1.5), 0.5)
        rows = np.clip((y + along * np.sin(angle)).astype(int), 0, ny - 1)
        columns = np.clip((x + along * np.cos(angle)).astype(int), 0, nx - 1)
        deposit = rng.lognormal(np.log(3000.0), 0.8) / (config.gain * config.exposure_time_s)
        fate = rng.random()
        if fate < REPAIRED:
            dq[rows, columns] |= JUMP_DET
            # The lost resultants leave noise behind, not charge.
            new = ~repaired[rows, columns]
            noise = rng.normal(0, 1, len(rows)) * np.sqrt(
                np.maximum(data[rows, columns], 0) * 0.67 / (config.gain * config.exposure_time_s)
            )
            data[rows[new], columns[new]] += noise[new]
            repaired[rows, columns] = True
            continue
        data[rows, columns] += deposit
        if fate < REPAIRED + FLAGGED:
            dq[rows, columns] |= JUMP_DET | DO_NOT_USE
    return repaired
