"""One-dimensional grism spectra with truth: of the scene's own spectra, and of our templates.

R = 461 lambda [um], 1.1 nm per pixel, 1.00 to 1.93 um, three exposures of 400 s. The line-spread function is the
instrument's and the source's size together; photon noise of source and zodiacal light and read noise over the
rows that an optimal extraction uses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from benchmarks.grism_validation import measure
from roman_assets.systems.gdps.extraction.combination import combine
from roman_assets.systems.gdps.redshift.posterior import RedshiftConfig, log_z_prior
from roman_assets.systems.gdps.redshift.templates import CLASSES, continuum, line_table
from roman_assets.systems.gdps.sources.source_list import POINT_ARCSEC
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

F64 = NDArray[np.float64]
H_C = 6.62607015e-34 * 299792458.0  # [J m]
PIXEL_NM, PIXEL_ARCSEC, TIME_S = 1.1, 0.11, 1200.0
#: FWHM lambda / R = 1000 / 461 nm at every wavelength.
LSF_NM = 1000 / 461 / 2.3548
ZODIACAL, READ_NOISE, READS = 0.65, 8.0, 3  # e/s/px, e, exposures
WAVELENGTH = np.arange(1000.0, 1930.0, PIXEL_NM)
#: Which lines count as one when lines are counted.
GROUPS = {
    "Ha": ("Ha",),
    "Hb": ("Hb",),
    "OIII": ("OIII5007",),
    "OII": ("OII3726", "OII3729"),
    "NII": ("NII6584",),
    "SII": ("SII6717", "SII6731"),
    "SIII": ("SIII9531",),
    "HeI": ("HeI10830",),
    "PaB": ("PaB",),
}


@dataclass(frozen=True)
class Simulated:
    """A spectrum with its truth: redshift, class, and S/N of its lines (groups) in this noise."""

    spectrum: Spectrum
    z: float
    kind: str
    line_sn: dict[str, float]


class Instrument:
    """Noise and line-spread function of three grism exposures."""

    def __init__(self, data_folder: Path) -> None:
        table = pl.read_parquet(data_folder / "grism_scene" / "sensitivity.parquet")
        first = table.filter(pl.col("order") == "1").sort("wavelength_um")
        area = np.interp(WAVELENGTH / 1000, first["wavelength_um"].to_numpy(), first["effective_area_m2"].to_numpy())
        #: Electrons for 1 W m-2 nm-1 in a pixel.
        self.electrons = area * WAVELENGTH * 1e-9 / H_C * PIXEL_NM * TIME_S

    @staticmethod
    def source_nm(hlr_arcsec: float) -> float:
        """Sigma [nm] along the dispersion of a Gaussian source of this half-light radius."""
        return hlr_arcsec / PIXEL_ARCSEC / 1.1774 * PIXEL_NM

    def variance(self, flux: F64, hlr_arcsec: float) -> F64:
        """Of the flux [(W m-2 nm-1)2]: an optimal extraction sees 2 sqrt(pi) sigma rows of background."""
        rows = 2 * np.sqrt(np.pi) * np.hypot(0.8, hlr_arcsec / PIXEL_ARCSEC / 1.1774)
        background = rows * (ZODIACAL * TIME_S + READS * READ_NOISE**2)
        return np.asarray((np.maximum(flux, 0) * self.electrons + background) / self.electrons**2)

    def observe(self, flux: F64, hlr_arcsec: float, lsf: float, rng: np.random.Generator) -> Spectrum:
        """A noisy spectrum of noiseless flux [W m-2 nm-1] at WAVELENGTH that has its LSF already."""
        variance = self.variance(flux, hlr_arcsec)
        n = len(WAVELENGTH)
        noisy = flux + rng.normal(0, np.sqrt(variance))
        return Spectrum(WAVELENGTH, noisy, variance, np.zeros(n), np.zeros(n, np.uint32), np.full(n, lsf))

    def line_sn(self, flux: float, centre: float, sigma: float, variance: F64) -> float:
        """Matched-filter S/N of a line [W m-2, nm]; 0 outside the band."""
        if not WAVELENGTH[0] + 2 * sigma < centre < WAVELENGTH[-1] - 2 * sigma:
            return 0.0
        profile = np.exp(-0.5 * ((WAVELENGTH - centre) / sigma) ** 2) / np.sqrt(2 * np.pi) / sigma
        return float(flux * np.sqrt((profile**2 / variance).sum()))


def scene_spectra(data_folder: Path, realisations: int, seed: int) -> Iterator[Simulated]:
    """The sources of grism_scene, each with several realisations of the noise."""
    instrument, rng = Instrument(data_folder), np.random.default_rng(seed)
    truth = pl.read_parquet(data_folder / "grism_scene" / "truth.parquet")
    for row in truth.iter_rows(named=True):
        wave = np.array(row["wave"], dtype=float) * 1000
        source = instrument.source_nm(row["hlr_arcsec"])
        lsf = float(np.hypot(LSF_NM, source))
        # erg/s/cm2/A is 1e-2 W m-2 nm-1.
        smooth = gaussian_filter1d(np.array(row["flux"], dtype=float) * 1e-2, lsf / (wave[1] - wave[0]))
        flux = np.interp(WAVELENGTH, wave, smooth)
        found = _scene_line_sn(instrument, row, lsf, instrument.variance(flux, row["hlr_arcsec"]))
        for _ in range(realisations):
            spectrum = instrument.observe(flux, row["hlr_arcsec"], lsf, rng)
            # As the catalogue says it, which has half-light radii.
            spectrum = replace(spectrum, point_source=row["hlr_arcsec"] < POINT_ARCSEC)
            yield Simulated(spectrum, row["z_true"], row["class"], found)


def extracted_spectra(data_folder: Path) -> Iterator[Simulated]:
    """The sources of grism_scene as extracted from its exposures and combined, with the S/N that their lines have there."""
    scene = measure(data_folder / "grism_scene")
    members: dict[int, list[Spectrum]] = {}
    for exposure in scene.exposures:
        for source in exposure.spectra.sources:
            members.setdefault(source.source_id, []).append(source.spectrum)
    for row in scene.truth.filter(pl.col("id").is_in(list(members))).iter_rows(named=True):
        spectrum = combine(members[row["id"]])
        yield Simulated(spectrum, row["z_true"], row["class"], _line_groups(row, partial(_seen_sn, spectrum)))


def _seen_sn(spectrum: Spectrum, flux: float, centre: float, sigma_kms: float) -> float:
    """Matched-filter S/N that a line [W m-2, nm] has in the good pixels of a spectrum."""
    lsf = float(np.interp(centre, spectrum.wavelength, spectrum.lsf_sigma))
    width = np.hypot(lsf, centre * sigma_kms / 299792.458)
    profile = np.exp(-0.5 * ((spectrum.wavelength - centre) / width) ** 2) / np.sqrt(2 * np.pi) / width
    good = spectrum.good
    return float(flux * np.sqrt((profile[good] ** 2 / spectrum.variance[good]).sum()))


def _scene_line_sn(instrument: Instrument, row: dict[str, Any], lsf: float, variance: F64) -> dict[str, float]:
    def clean(flux: float, centre: float, sigma_kms: float) -> float:
        return instrument.line_sn(flux, centre, float(np.hypot(lsf, centre * sigma_kms / 299792.458)), variance)

    return _line_groups(row, clean)


def _line_groups(row: dict[str, Any], line_sn: Callable[[float, float, float], float]) -> dict[str, float]:
    """S/N of the groups of lines of a source of the scene; line_sn: of flux [W m-2], centre [nm], sigma [km/s]."""
    single = {
        name: line_sn(flux * 1e-3, rest_um * 1000 * (1 + row["z_true"]), row["sigma_v_kms"])
        for name, rest_um, flux in zip(row["line_name"], row["line_rest_um"], row["line_flux"], strict=True)
    }
    return {k: float(np.hypot.reduce([single.get(m, 0.0) for m in members])) for k, members in GROUPS.items()}


def template_spectra(data_folder: Path, number: int, seed: int) -> Iterator[Simulated]:
    """Galaxies drawn from the priors: z from its density, continua mixed at random, line fluxes exponential.

    Strength of the lines: log-uniform, S/N about 2 to 60 for the strongest; continua of 20.5 to 24.5 mag AB.
    """
    instrument, rng, config = Instrument(data_folder), np.random.default_rng(seed), RedshiftConfig()
    grid = np.linspace(*config.z_range["galaxy"], 8000)
    density = np.exp(log_z_prior(grid, "galaxy", config))
    cumulative = np.cumsum(density) / density.sum()
    lines, names = line_table("galaxy"), CLASSES["galaxy"].continua
    typical = np.array([group.typical for group in CLASSES["galaxy"].groups])
    rest = np.exp(np.arange(np.log(150), np.log(2500), 1e-4))
    table = np.array([gaussian_filter1d(continuum(rest, "galaxy", name), 6.7) for name in names])
    for _ in range(number):
        z = float(np.interp(rng.random(), cumulative, grid))
        hlr = float(rng.uniform(0.0, 0.4))
        lsf = float(np.hypot(LSF_NM, instrument.source_nm(hlr)))
        mixed = rng.dirichlet(np.full(len(names), 0.7)) @ table
        fine = gaussian_filter1d(mixed, lsf / 1450 / 1e-4)
        flux = np.interp(WAVELENGTH / (1 + z), rest, fine)
        # AB magnitude at 1.5 um: f_lambda = f_nu c / lambda2.
        level = 3631e-26 * 10 ** (-0.4 * rng.uniform(20.5, 24.5)) * 299792458.0 / (1.5e-6) ** 2 * 1e-9
        flux = flux / flux.mean() * level
        noise = instrument.variance(flux, hlr)
        unit = 1 / max(instrument.line_sn(1.0, 1450.0, lsf, noise), 1e-300)
        strength = unit * np.exp(rng.uniform(np.log(2), np.log(60)))
        amplitude = strength * typical * rng.exponential(size=len(typical))
        flux = flux + _drawn(lines, amplitude, z, lsf)
        yield Simulated(instrument.observe(flux, hlr, lsf, rng), z, "galaxy", {})


def _drawn(lines: Any, amplitude: F64, z: float, lsf: float) -> F64:
    total = np.zeros_like(WAVELENGTH)
    for wave, ratio, width, column in zip(lines.wavelength, lines.flux, lines.width, lines.column, strict=True):
        centre = wave * (1 + z)
        sigma = np.hypot(lsf, centre * width)
        total += (
            amplitude[column] * ratio / np.sqrt(2 * np.pi) / sigma * np.exp(-0.5 * ((WAVELENGTH - centre) / sigma) ** 2)
        )
    return total
