"""Injection into images: the signal as photons on pixels, measured with the star's neighbours as the survey does.

What an injection into a light curve cannot know (how the joint fit shares the light among neighbours, saturation of
the core, masks of cosmic rays on a bright peak) enters here. It costs the photometry of every exposure again, so it is
done for a sample of stars in a window of the detector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from roman_assets.exposures.level2.frames import Frame
from roman_assets.kernels.photometry import PaddedFrame, Stars
from roman_assets.systems.msos.efficiency.injection import CONTROL, Injection, InjectionConfig, seed_of
from roman_assets.systems.msos.efficiency.recovery import RECOVERED_COLUMNS, judge
from roman_assets.systems.msos.events.finder import find_events
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS
from roman_assets.systems.msos.photometry.exposure_fit import fit_exposure
from roman_assets.systems.msos.psf.grid import DetectorPsf
from roman_assets.systems.msos.psf.phase_map import NO_MAP, PhaseMap
from roman_assets.systems.msos.psf.stamps import placed, stamp_halves

F64 = NDArray[np.float64]
IMAGES = "images"
#: Stars this far [px] outside the window are fitted too: their light falls into it.
MARGIN = 40


@dataclass(frozen=True)
class Field:
    """What the injections of a pointing share: the catalogue's ra, dec [deg], flux, x, y (n,), ePSFs, inter-pixel map."""

    ra: F64
    dec: F64
    flux: F64
    x: F64
    y: F64
    psf: DetectorPsf
    phase_map: PhaseMap = NO_MAP


@dataclass(frozen=True)
class Exposure:
    """An exposure to inject into: name, mid-exposure [d], its frame when asked for, sensitivity (n,) of every star."""

    name: str
    mjd: float
    load: Callable[[], Frame]
    sensitivity: F64


@dataclass(frozen=True)
class Window:
    """Part of the detector: first pixel (x0, y0) and size (nx, ny) [px]."""

    x0: int
    y0: int
    nx: int
    ny: int

    def holds(self, x: F64, y: F64, margin: float = 0.0) -> NDArray[np.bool_]:
        """Whether positions (n,) lie inside, or less than `margin` outside."""
        return (
            (x > self.x0 - margin)
            & (x < self.x0 + self.nx - 1 + margin)
            & (y > self.y0 - margin)
            & (y < self.y0 + self.ny - 1 + margin)
        )


def window_of(shape: tuple[int, int], side: int) -> Window:
    """The middle of an array (ny, nx), at most `side` px wide and high."""
    ny, nx = shape
    w, h = min(side, nx), min(side, ny)
    return Window((nx - w) // 2, (ny - h) // 2, w, h)


def choose(injections: Sequence[Injection], field: Field, window: Window, count: int, apart: float) -> list[Injection]:
    """At most `count` signals inside the window, no two on stars closer than `apart` px, kinds in turn.

    The choice follows from the injections' own seeds.
    """
    inner = window.holds(field.x, field.y, margin=-6.0)
    order = sorted((one for one in injections if one.kind != CONTROL and inner[one.row]), key=lambda one: one.seed)
    chosen: list[Injection] = []
    for kind in sorted({one.kind for one in order}):
        of_kind = 0
        for one in (o for o in order if o.kind == kind):
            if of_kind >= count // 2:
                break
            near = [np.hypot(field.x[one.row] - field.x[o.row], field.y[one.row] - field.y[o.row]) for o in chosen]
            if not near or min(near) > apart:
                chosen.append(one)
                of_kind += 1
    return sorted(chosen, key=lambda one: one.serial)


def with_light(frame: Frame, psf: DetectorPsf, phase_map: PhaseMap, x: F64, y: F64, added: F64, seed: int) -> Frame:
    """The frame with stars of fluxes `added` (n,) [DN/s] at x, y (n,) [px], and the photon noise of their light.

    Pixels that become brighter than any unsaturated pixel of a frame with saturated ones saturate.
    """
    geometry = PaddedFrame(*frame.shape)
    noise_px = float(np.sqrt(np.median(frame.read_variance)))
    stars = placed(geometry, x, y, stamp_halves(added, noise_px, psf.first))
    empty = np.zeros(geometry.shape, dtype=np.float32)
    light = psf.render(geometry, stars, added * (1.0 + phase_map(x, y)), empty)[geometry.inner].astype(np.float64)
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal(light.shape) * np.sqrt(np.maximum(frame.poisson_slope * light, 0.0))
    data = np.where(frame.good, frame.data + light + np.where(light > 0, noise, 0.0), frame.data)
    full = frame.saturated.any()
    brightest = float(frame.data[frame.good & ~frame.saturated].max()) if full else np.inf
    lost = (data > brightest) & (light > 0)
    return replace(
        frame,
        data=np.where(lost, 0, data).astype(np.float32),
        good=frame.good & ~lost,
        saturated=frame.saturated | lost,
    )


def recover_images(
    exposures: Iterable[Exposure],
    field: Field,
    window: Window,
    injections: Sequence[Injection],
    season: str,
    detector: str,
    config: InjectionConfig = InjectionConfig(),
    progress: Callable[[int], None] | None = None,
    refuse: Callable[[str, Exception], None] | None = None,
) -> tuple[pl.DataFrame, list[str]]:
    """What becomes of injections into images, as `efficiency.recover`; and names of the exposures left out.

    `refuse` is told of an exposure's error, and raises it where it is no reason to leave the exposure out.

    Every exposure gets all signals at once and is measured with the catalogue of the window; what is found is
    searched, fitted and judged as curves of the season are.
    """
    rows = np.array([one.row for one in injections], dtype=np.int64)
    near = np.flatnonzero(window.holds(field.x, field.y, margin=MARGIN))
    place = np.searchsorted(near, rows)
    psf = _psf_of(field.psf, window)
    mjd, fluxes, errors, left_out = [], [], [], []
    for number, exposure in enumerate(exposures, 1):
        try:
            frame = exposure.load().cut(window.x0, window.y0, window.nx, window.ny)
            x, y = frame.to_pixels(field.ra[rows], field.dec[rows])
            added = np.array([_added(one, [exposure.mjd], field.flux[one.row])[0] for one in injections])
            added *= exposure.sensitivity[rows]
            seed = seed_of(season, detector, exposure.name, IMAGES)
            lit = with_light(frame, psf, field.phase_map, x, y, added, seed)
            fit = fit_exposure(lit, field.ra[near], field.dec[near], field.flux[near], psf, field.phase_map)
        except Exception as trouble:
            if refuse is None:
                raise
            refuse(exposure.name, trouble)
            left_out.append(exposure.name)
            continue
        usable = (fit.flag[place] & UNUSED_FLAGS) == 0
        mjd.append(exposure.mjd)
        fluxes.append(np.where(usable, fit.flux[place] / exposure.sensitivity[rows], np.nan))
        errors.append(np.where(usable, fit.flux_err[place] / exposure.sensitivity[rows], np.nan))
        if progress is not None:
            progress(number)
    if not mjd or not len(injections):
        return pl.DataFrame(schema=RECOVERED_COLUMNS), left_out
    times, flux, error = np.array(mjd), np.stack(fluxes, axis=1), np.stack(errors, axis=1)
    order = np.argsort(times, kind="stable")
    times, flux, error = times[order], flux[:, order], error[:, order]
    events = find_events({IMAGES: times}, {IMAGES: flux}, {IMAGES: error}, config.events)
    best = {row["row"]: row for row in events.iter_rows(named=True)}
    judged: list[dict[str, Any]] = []
    for k, one in enumerate(injections):
        true = field.flux[one.row] + _added(one, times, field.flux[one.row])
        z = (flux[k] - true) / error[k]
        judged.append(judge(one, best.get(k), float(np.nansum(z * z)), config))
    return pl.DataFrame(judged, schema=RECOVERED_COLUMNS), left_out


def _added(one: Injection, mjd: ArrayLike, baseline: float) -> F64:
    """Flux (n,) [DN/s] that the signal adds to a star at times (n,) [d]."""
    return one.source_fraction * baseline * (one.magnification(np.asarray(mjd, dtype=np.float64)) - 1.0)


def _psf_of(psf: DetectorPsf, window: Window) -> DetectorPsf:
    """The ePSF of the middle of the window: its own frame does not know where on the detector it lies."""
    middle = Stars.of(np.array([window.x0 + window.nx / 2]), np.array([window.y0 + window.ny / 2]), 3)
    return DetectorPsf.of(psf.cells[int(psf.field.cell(middle.x, middle.y)[0])])
