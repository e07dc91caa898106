"""Angles on the sky."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
MAS_DEG = 1.0 / 3.6e6


def separation_deg(ra1: float, dec1: float, ra2: float, dec2: float) -> float:
    """Angle between two directions [deg], haversine form (exact for small angles)."""
    a1, d1, a2, d2 = (math.radians(value) for value in (ra1, dec1, ra2, dec2))
    h = math.sin((d2 - d1) / 2) ** 2 + math.cos(d1) * math.cos(d2) * math.sin((a2 - a1) / 2) ** 2
    return math.degrees(2 * math.asin(min(1.0, math.sqrt(h))))


def unit_vectors(ra: F64, dec: F64) -> F64:
    """(n, 3) unit vectors of positions [deg]."""
    a, d = np.deg2rad(ra), np.deg2rad(dec)
    return np.stack([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)], axis=1)


def distances_deg(ra: F64, dec: F64, position: tuple[float, float]) -> F64:
    """Angles between (n,) places and one position (ra, dec), all ICRS [deg]."""
    (point,) = unit_vectors(np.array([position[0]]), np.array([position[1]]))
    chord = np.linalg.norm(unit_vectors(ra, dec) - point, axis=1)
    return np.asarray(np.rad2deg(2 * np.arcsin(chord / 2)))
