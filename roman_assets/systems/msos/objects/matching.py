"""Matching objects over seasons by their place on the sky."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roman_assets.survey.sky import MAS_DEG, unit_vectors

F64 = NDArray[np.float64]


def match(
    ra: F64, dec: F64, mag: F64, catalogue: NDArray[np.int64], radius_mas: float = 50.0, mag_tolerance: float = 1.0
) -> NDArray[np.int64]:
    """Group entries of several catalogues into objects.

    Entries of two catalogues belong together when each is the other's nearest neighbour within `radius_mas`
    and their magnitudes agree to `mag_tolerance`; catalogues are joined in order, each to what is known so far, where
    it was last seen: a star may move by `radius_mas` from one catalogue to the next.

    Parameters
    ----------
    ra, dec
        (n,) ICRS [deg].
    mag
        (n,) AB magnitudes; NaN matches any.
    catalogue
        (n,) number of the catalogue of each entry (a season and detector and pointing).

    Returns
    -------
    (n,) group of each entry, numbered in order of appearance. An object has at most one entry per catalogue.
    """
    from scipy.spatial import cKDTree

    group = np.full(len(ra), -1, dtype=np.int64)
    place = unit_vectors(ra, dec)
    reach = 2 * np.sin(np.deg2rad(radius_mas * MAS_DEG) / 2)
    known_place, known_mag = np.empty((0, 3)), np.empty(0)
    for number in np.unique(catalogue):
        rows = np.flatnonzero(catalogue == number)
        partner = np.full(rows.size, -1, dtype=np.int64)
        if len(known_place):
            distance, nearest = cKDTree(known_place).query(place[rows], distance_upper_bound=reach)
            near = np.isfinite(distance)
            _, back = cKDTree(place[rows]).query(known_place, distance_upper_bound=reach)
            index = np.arange(rows.size)
            mutual = np.zeros(rows.size, dtype=bool)
            mutual[near] = back[nearest[near]] == index[near]
            agree = np.ones(rows.size, dtype=bool)
            difference = np.abs(mag[rows[near]] - known_mag[nearest[near]])
            agree[near] = ~(difference > mag_tolerance)
            keep = near & mutual & agree
            partner[keep] = nearest[keep]
        fresh = partner < 0
        partner[fresh] = len(known_place) + np.arange(int(fresh.sum()))
        group[rows] = partner
        known_place[partner[~fresh]] = place[rows[~fresh]]
        known_place = np.concatenate([known_place, place[rows[fresh]]])
        known_mag = np.concatenate([known_mag, mag[rows[fresh]]])
    return group
