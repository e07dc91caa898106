"""Grism spectra of galaxies drawn here, not by the templates that are tested: power laws with Gaussian lines."""

from __future__ import annotations

import numpy as np

from roman_assets.systems.gdps.spectra.spectrum import Spectrum

LINES = {"Ha": 656.461, "OIII5008": 500.824, "OIII4960": 496.030, "Hb": 486.269, "OII": 372.86, "SII": 672.5}
WAVELENGTH = np.arange(1000.0, 1930.0, 1.1)
NOISE = 2e-20


def galaxy(
    z: float, fluxes: dict[str, float], *, level: float = 4e-20, noise: float = NOISE, lsf: float = 1.2, seed: int = 0
) -> Spectrum:
    """A blue power law of `level` [W m-2 nm-1] at 1.5 um with lines [W m-2] of 110 km/s."""
    rng = np.random.default_rng(seed)
    flux = level * (WAVELENGTH / 1500) ** -1.2
    for name, strength in fluxes.items():
        centre = LINES[name] * (1 + z)
        sigma = np.hypot(lsf, centre * 110 / 299792.458)
        flux = flux + strength / np.sqrt(2 * np.pi) / sigma * np.exp(-0.5 * ((WAVELENGTH - centre) / sigma) ** 2)
    n = len(WAVELENGTH)
    return Spectrum(
        WAVELENGTH,
        flux + rng.normal(0, noise, n),
        np.full(n, noise**2),
        np.zeros(n),
        np.zeros(n, np.uint32),
        np.full(n, lsf),
    )


def star_forming(z: float, strength: float = 1.0, **options: object) -> Spectrum:
    """H-alpha of `strength` 1e-18 W m-2 (S/N about 25 without options) and what goes with it."""
    ratios = {"Ha": 1.0, "OIII5008": 0.9, "OIII4960": 0.302, "Hb": 0.33, "OII": 0.6, "SII": 0.25}
    return galaxy(z, {name: 1e-18 * strength * ratio for name, ratio in ratios.items()}, **options)
