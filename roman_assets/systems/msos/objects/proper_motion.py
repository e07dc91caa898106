"""Proper motions of objects from the positions of the seasons' catalogues, relative to the field's mean motion.

A season has one catalogue; within its 62 days the typical 3 mas/yr of the bulge moves a star by 0.005 pixels, which
changes no forced flux. Between seasons stars move by tenths of a pixel, and the catalogues' frames differ by more:
the offsets between the frames are taken out first, with the median of the stars that the catalogues share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.survey.sky import MAS_DEG

F64 = NDArray[np.float64]
YEAR_DAYS = 365.25
#: Shared stars that an offset between frames must rest on; rounds of its estimate.
LEAST_SHARED, ROUNDS = 10, 5


@dataclass(frozen=True)
class Motions:
    """ra, dec (n,) [deg] at mjd (n,) [d], the mean epoch of the positions; pm_ra, pm_dec (n,) [mas/yr], pm_ra times
    cos dec; pm_err (n,) [mas/yr], the same for both. Motions are NaN where the epochs do not span `least_years`.
    """

    ra: F64
    dec: F64
    mjd: F64
    pm_ra: F64
    pm_dec: F64
    pm_err: F64


def frame_offsets(
    ra: F64, dec: F64, group: NDArray[np.int64], catalogue: NDArray[np.int64]
) -> dict[int, tuple[float, float]]:
    """Offsets (east, north) [mas] of the catalogues' frames from their mean.

    Parameters
    ----------
    ra, dec
        (n,) positions of entries, ICRS [deg].
    group, catalogue
        (n,) the object and the catalogue of each entry, from zero or one upwards.

    Returns
    -------
    dict
        By catalogue number. A frame with fewer than ten stars that another catalogue has too stays where it is.
    """
    _, member = np.unique(group, return_inverse=True)
    count = np.bincount(member)
    shared = np.flatnonzero(count[member] > 1)
    numbers = np.unique(catalogue)
    offsets = {int(c): np.zeros(2) for c in numbers}
    places = [shared[catalogue[shared] == c] for c in numbers]
    if not shared.size:
        return dict.fromkeys(offsets, (0.0, 0.0))
    # One cosine for all: with each entry's own, its error in dec would move it in ra.
    east, north = ra * np.cos(np.deg2rad(np.median(dec))) / MAS_DEG, dec / MAS_DEG
    for _ in range(ROUNDS):
        moved = []
        for axis, values in enumerate((east, north)):
            aligned = values - np.array([offsets[int(c)][axis] for c in numbers])[np.searchsorted(numbers, catalogue)]
            mean = np.bincount(member[shared], aligned[shared], len(count)) / np.maximum(count, 1)
            moved.append([np.median((aligned - mean[member])[p]) if len(p) >= LEAST_SHARED else 0.0 for p in places])
        step = np.array(moved).T
        for c, s in zip(numbers, step - step.mean(axis=0) * (len(numbers) > 1), strict=True):
            offsets[int(c)] = offsets[int(c)] + s
    return {c: (float(o[0]), float(o[1])) for c, o in offsets.items()}


def motions(ra: F64, dec: F64, error: F64, mjd: F64, floor_mas: float = 0.2, least_years: float = 0.2) -> Motions:
    """Straight lines through the positions of objects that the same catalogues have.

    Parameters
    ----------
    ra, dec
        (catalogues, n) ICRS [deg], frames aligned.
    error
        (catalogues, n) standard errors of either coordinate [mas]; NaN where unknown: that entry has no weight.
    mjd
        (catalogues,) epochs [d].
    floor_mas
        Added to the errors in quadrature: what distortion and ePSF leave in a catalogue's positions.
    least_years
        A shorter span of epochs tells no motion.
    """
    known = np.isfinite(error) & np.isfinite(mjd)[:, None]
    weight = np.where(known, 1.0 / (np.where(known, error, 0.0) ** 2 + floor_mas**2), 0.0)
    none = ~known.any(axis=0)
    weight[:, none] = 1.0
    years = np.where(np.isfinite(mjd), mjd, 0.0)[:, None] / YEAR_DAYS * np.ones_like(weight)
    total = weight.sum(axis=0)
    epoch = (weight * years).sum(axis=0) / total
    lever = years - epoch
    lengths = (weight * lever**2).sum(axis=0)
    span = np.where(weight > 0, years, -np.inf).max(axis=0) - np.where(weight > 0, years, np.inf).min(axis=0)
    tells = (span >= least_years) & ~none & (lengths > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        centre_ra, centre_dec = ((weight * v).sum(axis=0) / total for v in (ra, dec))
        slope_ra, slope_dec = (
            np.where(tells, (weight * lever * (v - c)).sum(axis=0) / lengths / MAS_DEG, np.nan)
            for v, c in ((ra, centre_ra), (dec, centre_dec))
        )
        error_of_motion = np.where(tells, 1.0 / np.sqrt(lengths), np.nan)
    return Motions(
        centre_ra,
        centre_dec,
        np.where(none, np.nan, epoch * YEAR_DAYS),
        slope_ra * np.cos(np.deg2rad(centre_dec)),
        slope_dec,
        error_of_motion,
    )
