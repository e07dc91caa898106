"""What the pixels of bright stars are worth: which ramps saturated late, which cores are lost.

Makers of Level 2 files disagree. romancal flags SATURATED (with DO_NOT_USE) only where all resultants saturated,
DO_NOT_USE where one is left, and nothing where a ramp saturated later; romanisim's own Level 2 flags SATURATED where any
resultant did, and leaves clipped and empty slopes under the same flag. So the flag alone decides nothing here: a slope
tells by its Poisson variance how many resultants it was fitted to, and no slope can be steeper than its pixel can fill.
Sources: romancal issue 1773; romanisim's ramp fitting (Casertano 2022, RST technical note), measured on both kinds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
Bools = NDArray[np.bool_]
DO_NOT_USE, SATURATED, JUMP_DET = 1, 2, 4
#: Rates [DN/s] from which the variance of a slope tells the length of its ramp.
BRIGHT = 100.0
#: What the analogue-to-digital converter can count [DN]: no full well is above it.
MOST_DN = 65_535.0
#: Share of the full well that the last read of a ramp may reach: beyond, it is clipped.
FULL = 0.97
#: A pixel that is flagged although it should have filled less than this share of its well was filled by something else.
LEAST_FULL = 0.85
#: Slopes this much steeper than those that only just saturated must have lost a resultant.
STEEP = 1.3


@dataclass(frozen=True)
class Resultants:
    """Times of the resultants of an exposure since its reset, (n,) [s]: mean of their reads, and last read."""

    mean: F64
    last: F64

    @staticmethod
    def of(read_pattern: Any, frame_time: Any) -> Resultants | None:
        """Those of a read pattern (lists of read numbers) and the time of a read [s]; None if it is no pattern of reads."""
        try:
            reads = [np.asarray(group, dtype=np.float64).ravel() for group in read_pattern]
            times = np.array([[group.mean(), group.max()] for group in reads]) * float(frame_time)
        except (TypeError, ValueError):
            return None
        if times.ndim != 2 or len(times) < 2 or not np.isfinite(times).all():
            return None
        mean, last = times.T
        return Resultants(mean, last) if mean[0] > 0 and (np.diff(mean) > 0).all() else None


@dataclass(frozen=True)
class Ramps:
    """Verdict on the pixels of an exposure, all (ny, nx).

    unusable: carry no flux to be used; lost: of these, those of the cores of bright stars; partial: usable slopes of ramps
    that saturated, or were cut by a jump, late, whose noise is their own. unclear: whether saturated slopes were left out for
    want of anything that tells the good ones.
    """

    unusable: Bools
    lost: Bools
    partial: Bools
    unclear: bool


def judge_ramps(data: F32, var_poisson: F32, dq: NDArray[np.uint32], resultants: Resultants | None) -> Ramps:
    """Which pixels (ny, nx) can be used, and which of them have a noise of their own.

    Parameters
    ----------
    data, var_poisson
        Slopes [DN/s] and their Poisson variances [(DN/s)^2].
    dq
        Data quality flags.
    resultants
        The exposure's, None if the file does not tell.
    """
    flagged = (dq & SATURATED) != 0
    unusable = (dq & DO_NOT_USE) != 0
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where((data > 0) & (var_poisson > 0), var_poisson / data, np.nan)
    full_ramp = _full_ramp(data, ratio, unusable | flagged | ((dq & JUMP_DET) != 0))
    bright = np.isfinite(ratio) & (data > BRIGHT) & ~unusable
    used = None if resultants is None or full_ramp is None else _resultants_used(ratio / full_ramp, resultants)
    if (
        resultants is None
        or used is None
        or not _tells(data[bright & flagged], used[bright & flagged], len(resultants.mean))
    ):
        unclear = bool((flagged & ~unusable & (data > 0)).any())
        return Ramps(unusable | flagged, flagged, np.zeros_like(flagged), unclear)
    well = _full_well(data, used, bright, resultants)
    last = resultants.last[np.clip(used - 1, 0, None)]
    with np.errstate(invalid="ignore"):
        clipped = bright & (used <= 2) & (data * last > FULL * well)
        filled = bright & ~clipped & (data * resultants.last[-1] > LEAST_FULL * well)
        partial = bright & ~clipped & ((used < len(resultants.mean)) | (flagged & filled))
        wrong = flagged & ~filled
    lost = clipped | (flagged & (unusable | wrong))
    lost |= unusable & _beside(lost)  # one resultant left: flagged DO_NOT_USE alone, around a lost core
    return Ramps(unusable | clipped | wrong, lost, partial & ~wrong, False)


def _full_ramp(data: F32, ratio: F32, other: Bools) -> float | None:
    """Poisson variance per DN/s of a ramp of all resultants; None where no pixel shows it."""
    use = np.isfinite(ratio) & ~other & (data > 1.0)
    return float(np.median(ratio[use])) if use.sum() >= 50 else None


def _resultants_used(excess: NDArray[np.floating[Any]], resultants: Resultants) -> NDArray[np.int64]:
    """How many resultants slopes were fitted to, from their variance relative to a slope of all.

    The Poisson variance of a slope goes as one over the time between the first resultant and the last.
    """
    spans = resultants.mean[1:] - resultants.mean[0]
    levels = spans[-1] / spans  # of 2, 3 .. n resultants, falling
    bounds = np.sqrt(levels[1:] * levels[:-1])[::-1]  # rising
    with np.errstate(invalid="ignore"):
        fewer = np.searchsorted(bounds, np.nan_to_num(excess, nan=1.0))
    return np.asarray(len(resultants.mean) - fewer)


def _tells(data: F32, used: NDArray[np.int64], most: int) -> bool:
    """Whether saturated slopes (n,) [DN/s] that are steeper than those that only just saturated are those of shorter ramps;
    true if there is none.
    """
    if data.size == 0:
        return True
    steep = data > STEEP * np.percentile(data, 10)
    return not steep.any() or float(np.mean(used[steep] < most)) > 0.5


def _full_well(data: F32, used: NDArray[np.int64], bright: Bools, resultants: Resultants) -> float:
    """Counts [DN] that pixels were seen to hold: those in the last resultant that was fitted. Some may be wrong."""
    seen = (data * resultants.mean[np.clip(used - 1, 0, None)])[bright]
    if seen.size == 0:
        return MOST_DN
    return float(min(np.sort(seen)[-min(3, seen.size)], MOST_DN))


def _beside(pixels: Bools) -> Bools:
    """Pixels (ny, nx) that touch one of `pixels`, or are one."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(pixels, structure=np.ones((3, 3)), iterations=1))
