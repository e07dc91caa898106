"""Sky cells (HEALPix, nested) of the survey regions.

One library, cdshealpix, answers every question about cells: implementations differ for about one point in
three million, and a star must not change region with the code path.  It is imported on first use, because
the code location loads the calendar and must not pay for astropy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def cells_of(ra_deg: ArrayLike, dec_deg: ArrayLike, order: int) -> NDArray[np.int64]:
    """Nested cells that hold the given ICRS positions [deg].  Shape ``(n,)``, int64."""
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import lonlat_to_healpix

    ra = np.atleast_1d(np.asarray(ra_deg, dtype=np.float64))
    dec = np.atleast_1d(np.asarray(dec_deg, dtype=np.float64))
    cells = lonlat_to_healpix(Longitude(ra, u.deg), Latitude(dec, u.deg), depth=order)
    return np.asarray(cells, dtype=np.int64)


def cells_in_circle(ra_deg: float, dec_deg: float, radius_deg: float, order: int) -> tuple[int, ...]:
    """Every nested cell of ``order`` that touches a circle on the sky, ascending."""
    import astropy.units as u
    from astropy.coordinates import Latitude, Longitude
    from cdshealpix.nested import cone_search

    cells, _, _ = cone_search(
        Longitude(ra_deg, u.deg), Latitude(dec_deg, u.deg), radius_deg * u.deg, depth=order, flat=True
    )
    return tuple(sorted(int(cell) for cell in cells))


def compact(cells: Sequence[int]) -> list[int]:
    """Sorted, unique plain integers (what a TOML file can hold)."""
    return sorted({int(cell) for cell in cells})
