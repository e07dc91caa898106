"""A small season drawn by the kernels: dithered exposures of constant stars, with light curves added where wanted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from roman_assets.exposures.level2.frames import Frame
from roman_assets.kernels.photometry import PaddedFrame, Stars, render
from roman_assets.systems.msos.difference.residual import ConstantSky, Registration
from roman_assets.systems.msos.psf.effective_psf import model_psf
from roman_assets.systems.msos.psf.grid import DetectorPsf

SIDE, SKY, TIME_S, READ_NOISE = 64, 2.5, 66.4, 10.0
PSF = model_psf("WFI01", "F146")
DEG = 0.11 / 3600


@dataclass(frozen=True)
class Plane:
    """A linear WCS, pixels to sky and back: enough of a gWCS and of a PixelMap for these tests."""

    dx: float
    dy: float
    turn: float = 0.0

    def __call__(self, x, y):
        """ra, dec [deg] of pixels."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        u, v = np.asarray(x, float) - self.dx - SIDE / 2, np.asarray(y, float) - self.dy - SIDE / 2
        return 268.0 + DEG * (c * u - s * v), -29.0 + DEG * (s * u + c * v)

    def inverse(self, ra, dec):
        """Pixels of ra, dec [deg]."""
        c, s = np.cos(self.turn), np.sin(self.turn)
        u, v = (np.asarray(ra, float) - 268.0) / DEG, (np.asarray(dec, float) + 29.0) / DEG
        return c * u + s * v + self.dx + SIDE / 2, -s * u + c * v + self.dy + SIDE / 2


@dataclass
class Season:
    """Frames in order of time, the constant sky, registrations; x, y of the stars on the undithered array."""

    frames: list[Frame]
    sky: ConstantSky
    registrations: list[Registration]
    x: np.ndarray
    y: np.ndarray
    mjd: np.ndarray = field(default_factory=lambda: np.empty(0))

    def load(self, number):
        """As `difference_grid.fill` wants it."""
        return self.frames[number], self.registrations[number]


def make_season(
    exposures: int = 48,
    *,
    stars: int = 250,
    extra: Sequence[tuple[float, float, np.ndarray]] = (),
    seed: int = 1,
    days: float = 2.0,
    noise: bool = True,
    faintest: float = 3.0,
) -> Season:
    """`extra`: sources (x, y, flux of each exposure (exposures,) [DN/s]) that the constant sky does not have."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(-5, SIDE + 4, (2, stars))
    flux = faintest * (1 - rng.random(stars)) ** -0.8
    flux = np.minimum(flux, 600.0)
    ra, dec = Plane(0, 0)(x, y)
    psf = DetectorPsf.of(PSF)
    sky = ConstantSky(ra, dec, x, y, flux, psf)
    mjd = 61465.0 + days * np.arange(exposures) / exposures
    frames, registrations = [], []
    for k in range(exposures):
        dx, dy = (0.0, 0.0) if k == 0 else rng.uniform(-0.6, 0.6, 2)
        plane, scale = Plane(dx, dy), 1.0 + 0.01 * rng.standard_normal()
        places = [(ex + dx, ey + dy, curve[k]) for ex, ey, curve in extra]
        frames.append(_exposure(rng, k, mjd[k], plane, x + dx, y + dy, flux * scale, places, scale, noise))
        registrations.append(Registration((0.0, 0.0), scale))
    return Season(frames, sky, registrations, x, y, mjd)


def _exposure(rng, number, mjd, plane, x, y, flux, places, scale, noise):
    geometry = PaddedFrame(SIDE, SIDE)
    image = render(PSF.spline, geometry, Stars.of(x, y, 15), flux)
    for px, py, value in places:
        render(PSF.spline, geometry, Stars.of([px], [py], 15), [value * scale], image)
    model = image[geometry.inner] + np.float32(SKY)
    variance = np.maximum(model, 0) / TIME_S + (READ_NOISE / TIME_S) ** 2
    data = model + (np.sqrt(variance) * rng.standard_normal(model.shape) if noise else 0)
    flat = np.ones((SIDE, SIDE), dtype=np.float32)
    return Frame(
        f"exposure{number}",
        float(mjd),
        "WFI01",
        "F146",
        data.astype(np.float32),
        np.ones((SIDE, SIDE), bool),
        flat * np.float32((READ_NOISE / TIME_S) ** 2),
        flat / np.float32(TIME_S),
        plane.inverse,
        plane,
        np.zeros((SIDE, SIDE), bool),
    )


def lens(mjd: np.ndarray, t0: float, u0: float, te: float, flux: float) -> np.ndarray:
    """Flux that a point lens adds to a source of `flux` [DN/s]."""
    u2 = u0**2 + ((mjd - t0) / te) ** 2
    return flux * ((u2 + 2) / np.sqrt(u2 * (u2 + 4)) - 1)


def clear_place(season: Season, distance: float, seed: int = 0) -> tuple[float, float]:
    """A place at least `distance` px from every star and 10 px from the edge."""
    rng = np.random.default_rng(seed)
    while True:
        x, y = rng.uniform(10, SIDE - 11, 2)
        if np.hypot(season.x - x, season.y - y).min() > distance:
            return float(x), float(y)
