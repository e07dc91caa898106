"""The survey calendar: where every partition key comes from.

``load_calendar`` reads the shipped Galactic Bulge survey, or the file the user names (argument or
environment variable ROMAN_CALENDAR).  ``calendar_for_files`` derives a calendar from exposures, for a
folder of one's own.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from roman_assets.errors import InputError
from roman_assets.survey.calendar_file import MAX_FILE_BYTES, parse
from roman_assets.survey.model import BULGE, SPECTROSCOPIC, Calendar, Field, Region, Season, region_names
from roman_assets.survey.sky import separation_deg

__all__ = [
    "BULGE",
    "ENVIRONMENT_VARIABLE",
    "SHIPPED",
    "SPECTROSCOPIC",
    "Calendar",
    "Field",
    "Region",
    "Season",
    "calendar_for_files",
    "load_calendar",
]

ENVIRONMENT_VARIABLE = "ROMAN_CALENDAR"
SHIPPED = Path(__file__).with_name("bulge.toml")
SEASON_GAP_DAYS = 20  # a longer gap without data starts a new season
FIELD_RADIUS_DEG = 0.45  # half the diagonal of the Wide Field Instrument's 0.8 x 0.4 deg field
DETECTOR_RADIUS_DEG = 0.09  # half the diagonal of one detector (4088 px of 0.11 arcsec)
REGION_ORDER = 6


class PointedExposure(Protocol):
    """What ``calendar_for_files`` needs of an exposure header."""

    @property
    def day(self) -> str: ...
    @property
    def detector(self) -> str: ...
    @property
    def exposure_type(self) -> str: ...
    @property
    def ra_center(self) -> float: ...
    @property
    def dec_center(self) -> float: ...


def load_calendar(path: str | Path | None = None) -> Calendar:
    """The calendar in ``path``, else in $ROMAN_CALENDAR, else the shipped one.

    Raises InputError, naming file and field, for a file that is missing, not TOML, or inconsistent.
    """
    chosen = Path(path or os.environ.get(ENVIRONMENT_VARIABLE) or SHIPPED)
    remedy = f"give the path of a calendar file, or unset {ENVIRONMENT_VARIABLE} to use the shipped one."
    try:
        if chosen.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"larger than {MAX_FILE_BYTES} bytes", file=chosen, remedy=remedy)
        text = chosen.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"the calendar cannot be read: {error}", file=chosen, remedy=remedy) from error
    return parse(text, str(chosen))


def calendar_for_files(headers: Iterable[PointedExposure], name: str) -> Calendar:
    """A calendar that covers the given exposures.

    Seasons are runs of imaging days with gaps of at most 20 days.  Imaging within a degree of a dispersed
    exposure is its direct image: it makes no season.  Fields are the pointings, one per circle of 0.45 deg.
    Raises InputError if there is no exposure.
    """
    exposures = sorted(headers, key=lambda h: (h.day, h.detector, h.ra_center, h.dec_center))
    if not exposures:
        raise InputError("no exposure to make a calendar from", remedy="name a folder with *_cal.asdf files.")
    spectral = [h for h in exposures if is_spectral(h.exposure_type)]
    spectral_pointings = _pointings(spectral, "p")
    imaging = [
        h
        for h in exposures
        if not is_spectral(h.exposure_type)
        and not any(separation_deg(h.ra_center, h.dec_center, p.ra, p.dec) < 1.0 for p in spectral_pointings)
    ]
    bulge = _cells_near(imaging)
    calendar = Calendar(
        name=name,
        seasons=_seasons_of({h.day for h in imaging}),
        detectors=tuple(sorted({h.detector for h in exposures})),
        fields=_pointings(imaging, "f"),
        spectroscopic_days=tuple(sorted({h.day for h in spectral})),
        regions=(
            *_regions("b", bulge, BULGE),
            *_regions("g", [cell for cell in _cells_near(spectral) if cell not in bulge], SPECTROSCOPIC),
        ),
    )
    return _checked(calendar)


def is_spectral(exposure_type: str) -> bool:
    """True for the type of a dispersed exposure: ``WFI_SPECTRAL``, once ``WFI_GRISM``, ``WFI_PRISM``."""
    return exposure_type in ("WFI_SPECTRAL", "WFI_GRISM", "WFI_PRISM")


def _checked(calendar: Calendar) -> Calendar:
    """The calendar as it will be read back, after every check of the file format."""
    from roman_assets.survey.calendar_file import to_toml

    return parse(to_toml(calendar), f"calendar {calendar.name}")


def _seasons_of(days: set[str]) -> tuple[Season, ...]:
    runs: list[list[str]] = []
    for day in sorted(days):
        if runs and _days_between(runs[-1][-1], day) <= SEASON_GAP_DAYS:
            runs[-1].append(day)
        else:
            runs.append([day])
    return tuple(Season(f"s{i:02d}", tuple(run)) for i, run in enumerate(runs, start=1))


def _days_between(first: str, second: str) -> int:
    return (dt.date.fromisoformat(second) - dt.date.fromisoformat(first)).days


def _pointings(exposures: list[PointedExposure], prefix: str) -> tuple[Field, ...]:
    found: list[Field] = []
    for h in exposures:
        if not any(separation_deg(h.ra_center, h.dec_center, f.ra, f.dec) <= f.radius_deg for f in found):
            number = len(found) + 1
            found.append(Field(f"{prefix}{number:02d}", h.ra_center, h.dec_center, FIELD_RADIUS_DEG))
    return tuple(found)


def _cells_near(exposures: list[PointedExposure]) -> list[int]:
    from roman_assets.survey.healpix import cells_in_circle, compact

    rounded = {(round(h.ra_center, 2), round(h.dec_center, 2)) for h in exposures}
    radius = DETECTOR_RADIUS_DEG + 0.02  # the rounding above moves a centre by up to 0.007 deg
    return compact([c for ra, dec in rounded for c in cells_in_circle(ra, dec, radius, REGION_ORDER)])


def _regions(prefix: str, cells: list[int], survey: str) -> tuple[Region, ...]:
    names = region_names(prefix, REGION_ORDER, cells)
    return tuple(Region(name, REGION_ORDER, (cell,), survey) for name, cell in names)
