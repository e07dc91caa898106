"""The survey calendar as plain values: seasons, days, detectors, fields and sky regions.

Every partition key of the platform is in here, so that no key depends on the clock.  Days are UTC dates
``YYYY-MM-DD`` of ``meta.exposure.start_time``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from roman_assets.errors import InputError
from roman_assets.survey.sky import separation_deg

BULGE = "bulge"
SPECTROSCOPIC = "spectroscopic"


@dataclass(frozen=True)
class Season:
    """One observing season: a name (``s01``) and its days, ascending."""

    name: str
    days: tuple[str, ...]


@dataclass(frozen=True)
class Field:
    """One pointing of the survey: a name (``f01``), its ICRS centre and radius [deg]."""

    name: str
    ra: float
    dec: float
    radius_deg: float
    galactic_center: bool = False


@dataclass(frozen=True)
class Region:
    """One part of the sky: nested HEALPix cells of one order, for ``bulge`` or ``spectroscopic``."""

    name: str
    order: int
    cells: tuple[int, ...]
    survey: str = BULGE


@dataclass(frozen=True)
class Calendar:
    """All keys of a survey.  ``load_calendar`` makes one from a TOML file and checks it."""

    name: str
    seasons: tuple[Season, ...]
    detectors: tuple[str, ...]
    fields: tuple[Field, ...] = ()
    spectroscopic_days: tuple[str, ...] = ()
    regions: tuple[Region, ...] = ()
    source: str | None = field(default=None, compare=False)

    @cached_property
    def days(self) -> tuple[str, ...]:
        """All microlensing days, ascending."""
        return tuple(sorted(day for season in self.seasons for day in season.days))

    @cached_property
    def _season_by_day(self) -> dict[str, str]:
        return {day: season.name for season in self.seasons for day in season.days}

    @cached_property
    def _spectroscopic(self) -> frozenset[str]:
        return frozenset(self.spectroscopic_days)

    @cached_property
    def _regions_by_order(self) -> dict[int, dict[int, str]]:
        """Cell -> region name for each order, finest order first."""
        found: dict[int, dict[int, str]] = {}
        for region in sorted(self.regions, key=lambda region: -region.order):
            found.setdefault(region.order, {}).update(dict.fromkeys(region.cells, region.name))
        return found

    def season_of(self, day: str) -> str | None:
        """Name of the season that holds ``day``, or None."""
        return self._season_by_day.get(day)

    def season(self, name: str) -> Season:
        """The season called ``name``; InputError if there is none."""
        for season in self.seasons:
            if season.name == name:
                return season
        known = ", ".join(season.name for season in self.seasons) or "none"
        raise InputError(
            f"there is no season {name!r}", file=self.source, field="seasons", remedy=f"use one of: {known}."
        )

    def holds(self, day: str, detector: str) -> bool:
        """True if an exposure of this day and detector has a partition."""
        return detector in self.detectors and (day in self._season_by_day or day in self._spectroscopic)

    def survey_of(self, day: str, kind: str, ra: float, dec: float) -> str | None:
        """Survey an exposure belongs to: ``bulge``, ``spectroscopic``, or None if it is in neither.

        Imaging on a season's day is the bulge survey's only if it points at one of its fields (where the
        calendar has any): the spectroscopic surveys take direct images during bulge seasons too.
        """
        in_season = kind == "imaging" and day in self._season_by_day
        if in_season and (not self.fields or self.field_at(ra, dec) is not None):
            return BULGE
        return SPECTROSCOPIC if day in self._spectroscopic else None

    def field_at(self, ra: float, dec: float) -> str | None:
        """Name of the field whose centre is nearest to an ICRS position [deg], within its radius, or None."""
        nearest = min(
            ((separation_deg(ra, dec, f.ra, f.dec), f) for f in self.fields), key=lambda found: found[0], default=None
        )
        if nearest is None or nearest[0] > nearest[1].radius_deg:
            return None
        return nearest[1].name

    def region_of(self, ra: float, dec: float) -> str | None:
        """Name of the region that holds an ICRS position [deg], or None."""
        return self.regions_of([ra], [dec])[0]

    def regions_of(self, ra: ArrayLike, dec: ArrayLike) -> list[str | None]:
        """Names of the regions that hold ICRS positions [deg], None where no region does.  Length ``n``."""
        from roman_assets.survey.healpix import cells_of

        names: list[str | None] = [None] * np.atleast_1d(np.asarray(ra)).size
        for order, by_cell in self._regions_by_order.items():
            for i, cell in enumerate(cells_of(ra, dec, order).tolist()):
                if names[i] is None:
                    names[i] = by_cell.get(cell)
        return names

    def region_names(self, survey: str | None = None) -> tuple[str, ...]:
        """Names of the regions, of one survey if given, in the order of the file."""
        return tuple(r.name for r in self.regions if survey is None or r.survey == survey)


def region_names(prefix: str, order: int, cells: Sequence[int]) -> tuple[tuple[str, int], ...]:
    """(name, cell) of regions that hold one cell each, e.g. ``b06_012345``."""
    return tuple((f"{prefix}{order:02d}_{cell:06d}", cell) for cell in cells)
