"""What to simulate: the configuration of a mini survey and the timetable that follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from roman_assets.bounds import ANY, COUNT, NOT_NEGATIVE, POSITIVE, Bound, check_bounds, check_range, whole
from roman_assets.errors import InputError
from roman_assets.simulate.geometry import DetectorFrame, plane_to_sky
from roman_assets.simulate.psf import detector_number, galsim_bandpass

#: Distance between the sub-arrays of neighbouring detectors, degrees: the pitch of the real focal plane.
DETECTOR_PITCH_DEG = 0.14
#: The Galactic bulge is visible twice a year, the field turned by 180 degrees from one season to the next.
SEASON_STEP_DAYS = 184
FIRST_VISIT_HOUR = 1.5


_BOUNDS = {
    "seed": whole(0, 2**63),
    "days": whole(1, 10_000),
    "seasons": whole(1, 100),
    "visits_per_day": whole(1, 10_000),
    "size_px": whole(32, 4088),  # a whole detector
    "margin_px": whole(0, 4088),
    "density": Bound(ge=0, le=10),
    "n_events": COUNT,
    "n_variables": COUNT,
    "faint_events": COUNT,
    "faint_mags": Bound(ge=0, le=50),
    "mag_bright": Bound(ge=0, le=50),
    "mag_faint": Bound(ge=0, le=50),
    "zero_point": Bound(ge=0, le=50),
    "pixel_area_sr": POSITIVE,
    "gain": POSITIVE,
    "read_noise": NOT_NEGATIVE,
    "sky": NOT_NEGATIVE,
    "exposure_time_s": POSITIVE,
    "full_well_e": POSITIVE,
    "proper_motion_mas_yr": NOT_NEGATIVE,
    "ra": Bound(ge=0, le=360),
    "dec": Bound(ge=-90, le=90),
    "roll": ANY,
    "program": whole(0, 99_999),
}


@dataclass(frozen=True)
class MiniSurvey:
    """A small Galactic bulge time-domain survey.

    Attributes
    ----------
    seed
        Every random number follows from it, whatever the number of workers.
    detectors
        `WFI01`..`WFI18`; each sees its own patch of the sky.
    days, seasons, visits_per_day, first_day
        Consecutive days per season, UTC; season k starts 184 k days after `first_day` with the field turned
        by 180 degrees, so that a star is then on the detector opposite.
    size_px, margin_px, density
        Sub-array side; width of the border outside it that has stars too; stars per pixel.
    n_events, n_variables
        Point-lens events and sinusoidal variables per patch.
    faint_events, faint_mags
        Further point-lens events per patch, of sources in this range of magnitudes: most are too faint for a
        catalogue. Every second one lies beside a bright star.
    planets
        (s, q, alpha [deg]) of the companions that the lenses of a patch's first events have.
    mag_bright, mag_faint
        Range of F146 AB magnitudes.
    zero_point, pixel_area_sr
        AB magnitude of a total flux of 1 DN/s; solid angle of a pixel.
    gain, read_noise, sky, exposure_time_s
        e-/DN; e- per read-out of the whole ramp; DN/s per px; seconds.
    proper_motion_mas_yr
        Dispersion per axis; 0 keeps the stars in place.
    """

    seed: int = 1
    detectors: tuple[str, ...] = ("WFI01", "WFI02")
    days: int = 3
    seasons: int = 1
    visits_per_day: int = 8
    first_day: str = "2027-03-01"
    optical_element: str = "F146"
    size_px: int = 200
    margin_px: int = 8
    density: float = 0.09
    n_events: int = 6
    n_variables: int = 6
    faint_events: int = 0
    faint_mags: tuple[float, float] = (25.5, 28.0)
    planets: tuple[tuple[float, float, float], ...] = ()
    mag_bright: float = 17.0
    mag_faint: float = 25.5
    zero_point: float = 26.79
    pixel_area_sr: float = 2.7866e-13
    gain: float = 1.0
    read_noise: float = 10.0
    sky: float = 2.5
    exposure_time_s: float = 66.4
    full_well_e: float = 1.0e5
    proper_motion_mas_yr: float = 0.0
    ra: float = 268.0
    dec: float = -29.2
    roll: float = 60.0
    program: int = 2

    def __post_init__(self) -> None:
        check_bounds(self, **_BOUNDS)
        check_range(self, "faint_mags", strictly=False)
        if not self.mag_bright <= self.mag_faint:
            raise InputError("the faintest star is brighter than the brightest", field="mag_faint")
        if len(self.planets) > self.n_events or any(s <= 0 or q <= 0 for s, q, _ in self.planets):
            raise InputError("a planet needs an event, and positive s and q", field="planets")
        if len(set(self.detectors)) != len(self.detectors) or not self.detectors:
            raise InputError("name each detector once, and at least one", field="detectors")
        for detector in self.detectors:
            detector_number(detector)
        galsim_bandpass(self.optical_element)
        self.season_start(0)

    @property
    def conversion_megajanskys(self) -> float:
        """MJy/sr per DN/s/px, consistent with the zero point and the pixel area."""
        return float(3631e-6 * 10 ** (-0.4 * self.zero_point) / self.pixel_area_sr)

    def season_start(self, season: int) -> datetime:
        """Midnight UTC of a season's first day; InputError if `first_day` is no date."""
        try:
            start = datetime.strptime(self.first_day, "%Y-%m-%d").replace(tzinfo=UTC)
        except ValueError:
            raise InputError(f"{self.first_day!r} is no YYYY-MM-DD date", field="first_day") from None
        return start + timedelta(days=SEASON_STEP_DAYS * season)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for the record kept beside the files."""
        return asdict(self)


@dataclass(frozen=True)
class Visit:
    """One pointing: every detector takes one exposure. `dx`, `dy` is the dither, px, of all detectors."""

    season: int
    number: int
    start: datetime
    dx: float
    dy: float

    @property
    def id_parts(self) -> tuple[int, int, int, int, int]:
        """Execution plan, pass, segment, observation, visit, as in the 19-digit visit id."""
        return 1, self.season + 1, 1 + (self.number - 1) // 999, 1, 1 + (self.number - 1) % 999


def timetable(config: MiniSurvey) -> list[Visit]:
    """All visits in time order; the first of each season is undithered, a sixth of the others move by
    pixels.
    """
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(0,)))
    step = 24.0 / config.visits_per_day
    slack = min(0.05 * step, 24.0 - FIRST_VISIT_HOUR) * 3600
    visits = []
    for season in range(config.seasons):
        number = 0
        for day in range(config.days):
            for k in range(config.visits_per_day):
                number += 1
                hour = (FIRST_VISIT_HOUR + k * step) % 24.0
                seconds = hour * 3600 + rng.uniform(0, slack)
                shift = rng.uniform(-0.5, 0.5, 2)
                if rng.random() < 1 / 6:
                    shift = shift + rng.uniform(-3, 3, 2)
                if number == 1:
                    shift = np.zeros(2)
                start = config.season_start(season) + timedelta(days=day, seconds=round(seconds, 3))
                visits.append(Visit(season, number, start, float(shift[0]), float(shift[1])))
    return sorted(visits, key=lambda visit: visit.start)


def patch_of(config: MiniSurvey, detector: str, season: int) -> int:
    """Index of the sky patch that a detector sees: its own in even seasons, the opposite one in odd
    seasons.
    """
    index = config.detectors.index(detector)
    return index if season % 2 == 0 else len(config.detectors) - 1 - index


def detector_frame(config: MiniSurvey, detector: str, season: int, dx: float = 0.0, dy: float = 0.0) -> DetectorFrame:
    """Pointing of one detector; a dither (dx, dy) moves every star by about that many pixels."""
    patch = patch_of(config, detector, season)
    along = (patch - (len(config.detectors) - 1) / 2) * DETECTOR_PITCH_DEG
    angle = np.radians(config.roll)
    ra, dec = plane_to_sky(np.array(-along * np.cos(angle)), np.array(along * np.sin(angle)), config.ra, config.dec)
    centre = (config.size_px - 1) / 2
    roll = (config.roll + 180.0 * season) % 360.0
    return DetectorFrame(float(ra), float(dec), centre + dx, centre + dy, roll)
