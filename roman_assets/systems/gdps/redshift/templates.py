"""Rest-frame templates of galaxies, quasars and stars: continua and emission lines, all parametric.

Stars are Planck curves with the discontinuities, lines and bands that their temperature brings, with
strengths read off published figures (Pickles 1998, PASP 110, 863; Rayner et al. 2009, ApJS 185, 289, for the
near infrared; Gray & Corbally 2009 for Balmer lines). Galaxies are sums of such stars by age, with the
attenuation law of Calzetti et al. (2000, ApJ 533, 682). Quasars follow the composite of Vanden Berk et al. (2001,
AJ 122, 549), hot dust that of Glikman et al. (2006, ApJ 640, 579). Line ratios are those of case B at 1e4 K
(Osterbrock & Ferland 2006, table 4.4) and of atomic physics for [O III] 2.98 (Storey & Zeippen 2000) and [N II] 2.95.
No spectral library is copied. Wavelengths are in vacuum, in nm.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter1d

from roman_assets.kernels.redshift import LineTable, ScanTemplates

F64 = NDArray[np.float64]
LIGHT_KM_S = 299792.458
#: h c / k [nm K].
_HC_K = 1.438776877e7
#: Rest wavelengths tabulated [nm].
BLUEST, REDDEST = 115.0, 2600.0
#: Balmer lines 3 to 13 [nm].
_BALMER = (656.461, 486.269, 434.168, 410.289, 397.120, 389.015, 383.648, 379.900, 377.173, 375.123, 373.544)
_PASCHEN = (1875.61, 1282.16, 1094.11, 1005.22, 954.86)
_BRACKETT = (2166.1, 1945.1, 1817.9, 1736.7, 1681.1, 1641.1, 1611.3, 1588.5)
#: Opacity of H- relative to its maximum, bound-free and free-free.
_H_MINUS = PchipInterpolator(
    (120, 400, 600, 850, 1000, 1200, 1400, 1550, 1640, 1800, 2200, 2600),
    (0.1, 0.45, 0.75, 1.0, 0.96, 0.80, 0.50, 0.26, 0.18, 0.20, 0.30, 0.40),
)
_TIO = (476.3, 495.6, 516.8, 545.0, 586.3, 616.0, 665.2, 705.5, 766.7, 843.4, 886.0)


@dataclass(frozen=True)
class Line:
    """An emission line: name, rest wavelength in vacuum [nm], flux relative to its group's amplitude."""

    name: str
    wavelength: float
    flux: float


@dataclass(frozen=True)
class LineGroup:
    """Lines whose flux ratios are fixed.

    typical: expected flux of the unit line relative to H-alpha's, the mean of an exponential prior. velocity: the
    lines' own sigma [km/s].
    """

    name: str
    lines: tuple[Line, ...]
    typical: float
    velocity: float


@dataclass(frozen=True)
class TemplateClass:
    """Continua and line groups of a class of sources; `width` is the narrowest width that its own lines have [km/s]."""

    name: str
    continua: tuple[str, ...]
    groups: tuple[LineGroup, ...]
    width: float

    def log_step(self, lsf_log_sigma: float) -> float:
        """Cells of ln(wavelength), and of ln(1+z): no wider than a line's sigma."""
        return float(np.clip(0.95 * np.hypot(lsf_log_sigma, self.width / LIGHT_KM_S), 5e-4, 3e-3))


def _hydrogen(reddening: float) -> tuple[Line, ...]:
    """Case B relative to H-alpha, seen through a screen of E(B-V) = `reddening`."""
    lines = {
        "Ha": (656.461, 2.863),
        "Hb": (486.269, 1.0),
        "Hg": (434.168, 0.468),
        "Hd": (410.289, 0.259),
        "Paa": (1875.61, 0.339),
        "Pab": (1282.16, 0.163),
        "Pag": (1094.11, 0.0904),
        "Pad": (1005.22, 0.0555),
    }
    seen = {
        name: flux * 10 ** (-0.4 * reddening * float(attenuation(np.array([wave]))[0]))
        for name, (wave, flux) in lines.items()
    }
    return tuple(Line(name, lines[name][0], seen[name] / seen["Ha"]) for name in lines)


def attenuation(wavelength: F64) -> F64:
    """k(lambda) = A / E(B-V) of Calzetti et al. (2000), eq. 4, extrapolated flat below 120 nm and to 0 in the infrared."""
    um = np.clip(wavelength, 120, 2200) / 1000
    red = 2.659 * (-1.857 + 1.040 / um) + 4.05
    blue = 2.659 * (-2.156 + 1.509 / um - 0.198 / um**2 + 0.011 / um**3) + 4.05
    return np.asarray(np.maximum(np.where(um > 0.63, red, blue), 0))


_NARROW, _BROAD = 110.0, 1900.0
GALAXY_GROUPS = (
    LineGroup("H", _hydrogen(0.1), 1.0, _NARROW),
    LineGroup("H dusty", _hydrogen(0.9), 0.5, _NARROW),
    LineGroup("NII", (Line("NII6585", 658.527, 1.0), Line("NII6550", 654.986, 1 / 2.95)), 0.3, _NARROW),
    LineGroup("OIII", (Line("OIII5008", 500.824, 1.0), Line("OIII4960", 496.030, 1 / 2.98)), 0.8, _NARROW),
    LineGroup("OII", (Line("OII3730", 372.988, 0.57), Line("OII3727", 372.709, 0.43)), 0.6, _NARROW),
    LineGroup("SII", (Line("SII6718", 671.829, 0.57), Line("SII6733", 673.267, 0.43)), 0.25, _NARROW),
    LineGroup("SIII", (Line("SIII9533", 953.321, 1.0), Line("SIII9071", 907.110, 1 / 2.47)), 0.3, _NARROW),
    LineGroup("HeI", (Line("HeI10833", 1083.331, 1.0),), 0.15, _NARROW),
    LineGroup("NeIII", (Line("NeIII3870", 386.986, 1.0), Line("NeIII3969", 396.859, 0.30)), 0.1, _NARROW),
    LineGroup("OI", (Line("OI6302", 630.205, 1.0), Line("OI6366", 636.554, 1 / 3.0)), 0.05, _NARROW),
)
QUASAR_GROUPS = (
    LineGroup("CIV", (Line("CIV1549", 154.906, 1.0), Line("SiIV1400", 139.800, 0.35)), 0.8, _BROAD),
    LineGroup("CIII", (Line("CIII1909", 190.873, 1.0),), 0.5, _BROAD),
    LineGroup("MgII", (Line("MgII2799", 279.912, 1.0),), 0.5, _BROAD),
    LineGroup("H broad", _hydrogen(0.1), 1.0, _BROAD),
    LineGroup("HeI broad", (Line("HeI10833", 1083.331, 1.0),), 0.3, _BROAD),
    LineGroup("OIII", (Line("OIII5008", 500.824, 1.0), Line("OIII4960", 496.030, 1 / 2.98)), 0.3, 600.0),
)
#: Effective temperature [K] and strength of the water bands: dwarfs have them, giants hardly.
STARS = {
    "A": (9500.0, 1.0),
    "F": (6800.0, 1.0),
    "G": (5800.0, 1.0),
    "K2": (4900.0, 1.0),
    "K7": (4100.0, 1.0),
    "M3": (3400.0, 0.0),
    "M6": (2900.0, 0.0),
    "M7": (2650.0, 1.0),
}
CLASSES = {
    "galaxy": TemplateClass(
        "galaxy", ("young", "young dusty", "A stars", "A stars dusty", "old", "old dusty"), GALAXY_GROUPS, 0.0
    ),
    "qso": TemplateClass("qso", ("blue", "red", "iron", "hot dust"), QUASAR_GROUPS, 600.0),
    "star": TemplateClass("star", tuple(STARS), (), 0.0),
}


def planck(wavelength: F64, temperature: float) -> F64:
    """B_lambda, unnormalised."""
    return np.asarray((wavelength / 1000) ** -5 / np.expm1(np.minimum(_HC_K / (wavelength * temperature), 600)))


def _bump(log_t: float, peak: float, below: float, above: float) -> float:
    """Bell in ln(temperature) with its own width on either side."""
    away = log_t - np.log(peak)
    return float(np.exp(-0.5 * (away / (above if away > 0 else below)) ** 2))


def _dip(wavelength: F64, centre: float, equivalent_width: float, width: float) -> F64:
    """Transmission of an absorption line: exponential of a Lorentzian of half width `width` [nm]."""
    depth = equivalent_width / (np.pi * width)
    return np.asarray(np.exp(-depth / (1 + ((wavelength - centre) / width) ** 2)))


def _band(wavelength: F64, centre: float, half: float, depth: float) -> F64:
    """Transmission of a molecular band with soft edges."""
    return np.asarray(1 - depth / (1 + ((wavelength - centre) / half) ** 4))


def _step(wavelength: F64, edge: float, softness: float) -> F64:
    """0 on the blue side, 1 on the red."""
    return np.asarray(0.5 * (1 + np.tanh((wavelength - edge) / softness)))


def star_flux(wavelength: F64, temperature: float, water: float = 1.0) -> F64:
    """F_lambda of a star of an effective temperature [K], 1 at 1 um, by the features named in the module's text."""
    log_t = float(np.log(temperature))
    hydrogen = _bump(log_t, 9300, 0.27, 0.55)
    # The Paschen continuum of A stars is as steep as that of a body of 16,000 K (Vega: Bohlin 2014, AJ 147, 127).
    # H- hides the hot layers least at 1.64 um: the Sun's brightness temperature is 12 % higher there than at
    # 0.85 um (Vernazza et al. 1976, ApJS 30, 1; opacity of Wishart 1979, MNRAS 187, 59P).
    ion = float(np.clip((7500 - temperature) / 2000, 0, 1))
    depth = 0.14 * ion * (0.6 - _H_MINUS(np.clip(wavelength, 120, 2600)))
    flux = planck(wavelength, temperature * (1 + 0.75 * hydrogen) * (1 + depth))
    for edge, dex in ((364.6, 0.48), (820.4, 0.09), (1458.4, 0.03)):
        flux = flux * 10 ** (-dex * hydrogen * (1 - _step(wavelength, 1.01 * edge, 0.004 * edge)))
    for number, line in enumerate(_BALMER):
        flux = flux * _dip(wavelength, line, hydrogen * (1.1 - 0.07 * number), 1.0)
    for series, width in ((_PASCHEN, 0.9), (_BRACKETT, 0.8)):
        for line in series:
            flux = flux * _dip(wavelength, line, hydrogen * width, 2.2)
    # Metals: little above 8000 K, saturated below 4500 K.
    metal = float(np.clip((8000 - temperature) / 3500, 0, 1.2))
    for edge, magnitudes, softness in ((399.0, 0.75, 2.5), (290.0, 0.9, 6.0), (264.0, 0.6, 4.0)):
        flux = flux * 10 ** (-0.4 * magnitudes * metal * (1 - _step(wavelength, edge, softness)))
    for line, width, half in (
        (393.48, 0.9, 0.8),
        (396.96, 0.7, 0.8),
        (430.5, 0.6, 1.3),
        (517.5, 0.8, 2.0),
        (589.4, 0.3, 0.5),
        (527.0, 0.25, 1.0),
        (854.4, 0.35, 0.4),
        (866.4, 0.3, 0.4),
        (849.8, 0.15, 0.4),
    ):
        flux = flux * _dip(wavelength, line, width * metal, half)
    cool = float(np.clip((4000 - temperature) / 1000, 0, 1.5))
    for head in _TIO:
        tail = np.where(wavelength > head, np.exp(-np.abs(wavelength - head) / 18), 0)
        flux = flux * (1 - min(0.45 * cool, 0.8) * tail)
    # TiO, VO and FeH take the flux below 1.1 um.
    flux = flux * (1 - 0.3 * cool * (1 - _step(wavelength, 1070, 90)))
    for centre, half, deep in ((1130, 35, 0.06), (1410, 75, 0.22), (1890, 95, 0.28)):
        flux = flux * _band(wavelength, centre, half, deep * cool * water)
    flux = flux * _band(wavelength, 992, 9, 0.1 * cool)
    return np.asarray(flux / np.interp(1000.0, wavelength, flux))


def _population(wavelength: F64, parts: dict[float, float], at: float) -> F64:
    """Sum of stars by temperature and share of the light at `at` [nm]."""
    total = np.zeros_like(wavelength)
    for temperature, share in parts.items():
        flux = star_flux(wavelength, temperature)
        total += share * flux / np.interp(at, wavelength, flux)
    return total


_POPULATIONS = {
    "young": {30000.0: 0.50, 14000.0: 0.32, 9500.0: 0.15, 4000.0: 0.03},
    "A stars": {13000.0: 0.10, 9300.0: 0.52, 7400.0: 0.20, 4700.0: 0.15, 3800.0: 0.03},
    "old": {6000.0: 0.32, 5200.0: 0.25, 4500.0: 0.33, 3600.0: 0.10},
}
#: E(B-V) of the dusty continua: with those without dust it spans what galaxies of each age show.
_DUST = 0.6


def _quasar(wavelength: F64, name: str) -> F64:
    um = wavelength / 1000
    if name == "blue":
        return np.asarray(um**-1.6)
    if name == "red":
        return np.asarray(um**-0.2)
    if name == "hot dust":
        return np.asarray(um**-1.0 * 1e-3 + planck(wavelength, 1250.0) / planck(np.array([2000.0]), 1250.0))
    # Fe II blends and the Balmer continuum, as humps.
    total = np.full_like(wavelength, 1e-3)
    for centre, width, height in ((250, 18, 1.0), (210, 18, 0.4), (320, 25, 0.6), (456, 9, 0.5), (530, 14, 0.45)):
        total += height * np.exp(-0.5 * ((wavelength - centre) / width) ** 2)
    return total


def continuum(wavelength: F64, kind: str, name: str) -> F64:
    """F_lambda of one continuum of a class at rest wavelengths [nm].

    Of unit mean over 0.9 to 1.1 um; iron, which has nothing there, over 0.2 to 1.1 um.
    """
    if kind == "star":
        flux = star_flux(wavelength, *STARS[name])
    elif kind == "qso":
        flux = _quasar(wavelength, name)
    else:
        flux = _population(wavelength, _POPULATIONS[name.removesuffix(" dusty")], 450.0)
        flux = flux * 10 ** (-0.4 * (_DUST if name.endswith("dusty") else 0.0) * attenuation(wavelength))
    low = 200 if name == "iron" else 900
    return np.asarray(flux / flux[(wavelength > low) & (wavelength < 1100)].mean())


def line_table(kind: str) -> LineTable:
    """The class's lines for the kernel; column = group."""
    groups = CLASSES[kind].groups
    flat = [(k, group, line) for k, group in enumerate(groups) for line in group.lines]
    return LineTable.of(
        [line.wavelength for _, _, line in flat],
        [line.flux for _, _, line in flat],
        [group.velocity / LIGHT_KM_S for _, group, _ in flat],
        [k for k, _, _ in flat],
        len(groups),
    )


@lru_cache(maxsize=256)
def scan_templates(kind: str, log_sigma_key: int) -> ScanTemplates:
    """The class's templates for spectra with an LSF of about `lsf_of_key(log_sigma_key)` in ln(wavelength).

    Continua are smoothed by that one width and by 200 km/s; the kernel draws lines with the LSF of each pixel.
    """
    found, lsf = CLASSES[kind], lsf_of_key(log_sigma_key)
    # Built three times finer than kept: narrow absorption lines are averaged, not sampled.
    step = found.log_step(lsf) / 3
    fine = np.arange(np.log(BLUEST), np.log(REDDEST), step)
    width = float(np.hypot(lsf, 200 / LIGHT_KM_S)) / step
    rows = [
        gaussian_filter1d(continuum(np.exp(fine), kind, name), width, mode="nearest")[::3] for name in found.continua
    ]
    return ScanTemplates(fine[::3], np.array(rows), line_table(kind))


def lsf_key(lsf_log_sigma: float) -> int:
    """Which of the cached widths (12 % apart) serves an LSF of this sigma in ln(wavelength)."""
    return round(float(np.log(lsf_log_sigma)) / 0.12)


def lsf_of_key(key: int) -> float:
    """Sigma of ln(wavelength) of a cached width."""
    return float(np.exp(0.12 * key))
