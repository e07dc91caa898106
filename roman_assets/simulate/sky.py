"""The true sky of a mini survey: stars, point-lens events and variables, and their fluxes at any time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.simulate.config import MiniSurvey, detector_frame, patch_of
from roman_assets.systems.msos.models.binary_magnification import binary_magnification

Array = NDArray[np.float64]

#: log10 counts per magnitude of bulge stars in F146, and the share of the red clump on top of it.
SLOPE = 0.30
CLUMP_SHARE, CLUMP_MAG, CLUMP_SIGMA = 0.012, 17.4, 0.2
#: Events and variables are bright enough to show and stay clear of saturation at most of their peaks.
EVENT_MAGS = (20.0, 22.0)
VARIABLE_MAGS = (18.5, 22.5)
EDGE_PX = 12.0
#: Lenses of faint sources come close; the bright stars beside every second one, and their distance [px].
FAINT_U0, BESIDE_MAG, BESIDE_PX = (0.005, 0.15), 21.5, (0.7, 2.5)
#: Radius of the sources of planetary events, in Einstein radii.
SOURCE_RADIUS = 1e-3
MJD_UNIX = 40587.0
EPOCH_MJD = 61465.0  # 2027-03-01, where the catalogued positions hold


@dataclass(frozen=True)
class Patch:
    """Truth of one patch; arrays share the star axis. `stars` rows are numbered by `source_id`."""

    source_id: NDArray[np.int64]
    ra: Array
    dec: Array
    mag: Array
    pm_ra: Array
    pm_dec: Array
    event_star: NDArray[np.int64]
    t0_mjd: Array
    u0: Array
    te_days: Array
    variable_star: NDArray[np.int64]
    period_days: Array
    amplitude_mag: Array
    phase: Array
    planets: tuple[tuple[float, float, float], ...] = ()

    def flux(self, mjd: float, zero_point: float) -> Array:
        """Total flux [DN/s] of every star at a time."""
        mag = self.mag.copy()
        phase = 2 * np.pi * (mjd - EPOCH_MJD) / self.period_days + self.phase
        mag[self.variable_star] += self.amplitude_mag * np.sin(phase)
        flux = 10.0 ** (-0.4 * (mag - zero_point))
        lensed = magnification(np.hypot(self.u0, (mjd - self.t0_mjd) / self.te_days))
        for k, (s, q, alpha) in enumerate(self.planets):
            angle = float(np.radians(alpha))
            lensed[k] = binary_magnification(
                [mjd], self.t0_mjd[k], self.u0[k], self.te_days[k], SOURCE_RADIUS, s, q, angle
            )[0]
        flux[self.event_star] *= lensed
        return flux

    def positions(self, mjd: float) -> tuple[Array, Array]:
        """ICRS degrees at a time."""
        years = (mjd - EPOCH_MJD) / 365.25
        dec = self.dec + self.pm_dec * years / 3.6e6
        return self.ra + self.pm_ra * years / 3.6e6 / np.cos(np.radians(self.dec)), dec


def magnification(u: Array) -> Array:
    """Point source, point lens (Paczynski 1986): (u^2 + 2) / (u sqrt(u^2 + 4))."""
    return (u * u + 2) / (u * np.sqrt(u * u + 4))


def luminosity_function(rng: np.random.Generator, count: int, bright: float, faint: float) -> Array:
    """Magnitudes of `count` bulge stars: an exponential rise and the red clump."""
    low, high = 10 ** (SLOPE * bright), 10 ** (SLOPE * faint)
    mag = np.log10(low + rng.random(count) * (high - low)) / SLOPE
    clump = rng.random(count) < CLUMP_SHARE
    mag[clump] = rng.normal(CLUMP_MAG, CLUMP_SIGMA, int(clump.sum()))
    return np.clip(mag, bright, faint)


def make_patch(config: MiniSurvey, index: int) -> Patch:
    """Truth of patch `index`, the one that `config.detectors[index]` sees in the first season."""
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=(1, index)))
    frame = detector_frame(config, config.detectors[index], 0)
    side = config.size_px + 2 * config.margin_px
    count = round(config.density * side**2)
    x = rng.uniform(-config.margin_px - 0.5, config.size_px + config.margin_px - 0.5, count)
    y = rng.uniform(-config.margin_px - 0.5, config.size_px + config.margin_px - 0.5, count)
    ra, dec = frame.to_sky(x, y)
    mag = luminosity_function(rng, count, config.mag_bright, config.mag_faint)
    motion = rng.normal(0, 1, (2, count)) * config.proper_motion_mas_yr
    inside = (np.minimum(x, y) > EDGE_PX) & (np.maximum(x, y) < config.size_px - 1 - EDGE_PX)

    free = inside.copy()
    events = _pick(rng, free, mag, EVENT_MAGS, config.n_events, "n_events")
    free[events] = False
    variables = _pick(rng, free, mag, VARIABLE_MAGS, config.n_variables, "n_variables")
    season = np.arange(config.n_events) % config.seasons
    start = np.array([config.season_start(int(s)).timestamp() / 86400 + MJD_UNIX for s in season])
    longest = max(0.25 * config.days, 0.4)
    shortest = min(max(3.0 / config.visits_per_day, 0.2), longest)
    patch = Patch(
        source_id=np.arange(count, dtype=np.int64) + 1_000_000 * index,
        ra=ra,
        dec=dec,
        mag=mag,
        pm_ra=motion[0],
        pm_dec=motion[1],
        event_star=events,
        t0_mjd=start + rng.uniform(0.25, 0.75, config.n_events) * config.days,
        u0=rng.uniform(0.05, 0.5, config.n_events),
        te_days=np.exp(rng.uniform(np.log(shortest), np.log(longest), config.n_events)),
        variable_star=variables,
        period_days=rng.uniform(0.3, 2.0, config.n_variables),
        amplitude_mag=rng.uniform(0.05, 0.4, config.n_variables),
        phase=rng.uniform(0, 2 * np.pi, config.n_variables),
        planets=config.planets,
    )
    if not config.faint_events:
        return patch
    return _with_faint_events(patch, config, index, rng, x, y, (shortest, longest))


def _with_faint_events(
    patch: Patch,
    config: MiniSurvey,
    index: int,
    rng: np.random.Generator,
    x: Array,
    y: Array,
    te_range: tuple[float, float],
) -> Patch:
    """The patch with `faint_events` more sources, each lensed once; every second one beside a bright star."""
    count, last = config.faint_events, config.size_px - 1 - EDGE_PX
    new_x, new_y = rng.uniform(EDGE_PX, last, (2, count))
    inside = (np.minimum(x, y) > EDGE_PX) & (np.maximum(x, y) < last) & (patch.mag < BESIDE_MAG)
    beside = rng.choice(np.flatnonzero(inside), (count + 1) // 2) if inside.any() else np.empty(0, dtype=np.int64)
    distance, angle = rng.uniform(*BESIDE_PX, len(beside)), rng.uniform(0, 2 * np.pi, len(beside))
    new_x[: 2 * len(beside) : 2] = x[beside] + distance * np.cos(angle)
    new_y[: 2 * len(beside) : 2] = y[beside] + distance * np.sin(angle)
    ra, dec = detector_frame(config, config.detectors[index], 0).to_sky(new_x, new_y)
    season = np.arange(count) % config.seasons
    start = np.array([config.season_start(int(s)).timestamp() / 86400 + MJD_UNIX for s in season])
    still, old = np.zeros(count), len(patch.mag)
    mag, t0 = rng.uniform(*config.faint_mags, count), start + rng.uniform(0.2, 0.8, count) * config.days
    u0, te = (np.exp(rng.uniform(np.log(low), np.log(high), count)) for low, high in (FAINT_U0, te_range))

    def joined(name: str, values: Array | NDArray[np.int64]) -> NDArray[Any]:
        return np.concatenate([getattr(patch, name), values])

    number = old + np.arange(count)
    return replace(
        patch,
        source_id=joined("source_id", 1_000_000 * index + number),
        ra=joined("ra", ra),
        dec=joined("dec", dec),
        mag=joined("mag", mag),
        pm_ra=joined("pm_ra", still),
        pm_dec=joined("pm_dec", still),
        event_star=joined("event_star", number),
        t0_mjd=joined("t0_mjd", t0),
        u0=joined("u0", u0),
        te_days=joined("te_days", te),
    )


def _pick(
    rng: np.random.Generator, allowed: NDArray[np.bool_], mag: Array, limits: tuple[float, float], count: int, name: str
) -> NDArray[np.int64]:
    able = np.flatnonzero(allowed & (mag > limits[0]) & (mag < limits[1]))
    if len(able) < count:
        raise InputError(
            f"only {len(able)} stars of {limits[0]} < mag < {limits[1]} for {count} of {name}",
            field=name,
            remedy="ask for fewer, or for a larger size_px or density",
        )
    return np.sort(rng.choice(able, count, replace=False))


def truth_tables(config: MiniSurvey, patches: list[Patch]) -> dict[str, pl.DataFrame]:
    """`stars`, `events`, `variables`: one row per object and season, x, y on the undithered first visit."""
    tables: dict[str, list[pl.DataFrame]] = {"stars": [], "events": [], "variables": []}
    for season in range(config.seasons):
        mjd = config.season_start(season).timestamp() / 86400 + MJD_UNIX
        for detector in config.detectors:
            patch = patches[patch_of(config, detector, season)]
            ra, dec = patch.positions(mjd)
            x, y = detector_frame(config, detector, season).to_pixel(ra, dec)
            stars = pl.DataFrame(
                {
                    "source_id": patch.source_id,
                    "ra": ra,
                    "dec": dec,
                    "x": x,
                    "y": y,
                    f"mag_{config.optical_element.lower()}": patch.mag,
                }
            ).with_columns(detector=pl.lit(detector), season=pl.lit(f"s{season + 1:02d}"))
            tables["stars"].append(stars)
            tables["events"].append(
                stars[patch.event_star].with_columns(t0_mjd=patch.t0_mjd, u0=patch.u0, te_days=patch.te_days)
            )
            tables["variables"].append(
                stars[patch.variable_star].with_columns(
                    period_days=patch.period_days, amplitude_mag=patch.amplitude_mag, phase=patch.phase
                )
            )
    return {name: pl.concat(frames) for name, frames in tables.items()}
