"""Where the observer is: the offsets of parallax (Gould 2004, ApJ 606, 319)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError

F64 = NDArray[np.float64]
#: Distance from the Sun to L2 over that to the Earth: Hill's radius, (m / 3 M)^(1/3), beyond the Earth.
L2_OVER_EARTH = 1.01
MJD_J2000 = 51544.5


@dataclass(frozen=True)
class Observer:
    """An observer of a field at ra, dec (ICRS) [deg], on the Earth or at L2."""

    ra: float
    dec: float
    place: str = "l2"

    def __post_init__(self) -> None:
        if self.place not in ("earth", "l2"):
            raise InputError(f"observer at {self.place!r}", field="place", remedy="use earth or l2")
        if not (np.isfinite(self.ra) and -90 <= self.dec <= 90):
            raise InputError(f"ra {self.ra}, dec {self.dec}", field="ra, dec", remedy="give degrees, ICRS")

    def projected(self, mjd: ArrayLike) -> tuple[F64, F64]:
        """Position of the Sun seen from the observer, on the sky's plane at the field: north, east (n,) [au]."""
        from astropy.coordinates import get_body_barycentric
        from astropy.time import Time

        time = Time(np.asarray(mjd, dtype=np.float64), format="mjd", scale="tdb")
        earth = get_body_barycentric("earth", time, ephemeris="builtin").xyz.to_value("au")
        sun = get_body_barycentric("sun", time, ephemeris="builtin").xyz.to_value("au")
        toward = (sun - earth) * (L2_OVER_EARTH if self.place == "l2" else 1.0)
        ra, dec = np.deg2rad([self.ra, self.dec])
        north = np.array([-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)])
        east = np.array([-np.sin(ra), np.cos(ra), 0.0])
        return north @ toward, east @ toward

    def offsets(self, mjd: ArrayLike, reference: float) -> tuple[F64, F64]:
        """Deviation of the Sun's projected path from its tangent at `reference` [d]: north, east (n,) [au].

        They vanish, with their slopes, at the reference.
        """
        times = np.asarray(mjd, dtype=np.float64)
        around = reference + np.array([-0.5, 0.0, 0.5])
        result = []
        for path, near in zip(self.projected(times), self.projected(around), strict=True):
            result.append(path - near[1] - (times - reference) * (near[2] - near[0]))
        return result[0], result[1]
