"""Templates against the physics they claim: breaks, ratios, classes, coverage."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.systems.gdps.redshift.templates import (
    BLUEST,
    CLASSES,
    REDDEST,
    STARS,
    attenuation,
    continuum,
    line_table,
    lsf_key,
    lsf_of_key,
    scan_templates,
    star_flux,
)

WAVE = np.exp(np.arange(np.log(BLUEST), np.log(REDDEST), 2e-4))


def mean(flux: np.ndarray, low: float, high: float) -> float:
    return float(flux[(low < WAVE) & (high > WAVE)].mean())


@pytest.mark.parametrize("kind", list(CLASSES))
def test_continua_are_positive_everywhere(kind):
    for name in CLASSES[kind].continua:
        flux = continuum(WAVE, kind, name)
        assert np.isfinite(flux).all()
        assert (flux >= 0).all()


def test_breaks_of_galaxies():
    """D4000 (Balogh et al. 1999 windows, F_nu): old populations about 1.6 to 2.1, young ones 0.9 to 1.3."""
    d4000 = {
        name: mean(WAVE**2 * continuum(WAVE, "galaxy", name), 400, 410)
        / mean(WAVE**2 * continuum(WAVE, "galaxy", name), 385, 395)
        for name in CLASSES["galaxy"].continua
    }
    assert 1.4 < d4000["old"] < 2.2
    assert 0.8 < d4000["young"] < 1.3
    assert d4000["young"] < d4000["A stars"] < d4000["old"]


def test_stars_by_temperature():
    """J - H of the spectral sequence grows from 0 at A0 to 0.6 at M (Pickles 1998, table 2)."""
    colours = []
    for temperature, water in STARS.values():
        flux = star_flux(WAVE, temperature, water)
        # Vega's F_lambda ratio between 1.25 and 1.65 um is 2.76.
        colours.append(-2.5 * np.log10(mean(flux, 1160, 1340) / mean(flux, 1500, 1780) / 2.76))
    assert colours[0] == pytest.approx(0, abs=0.12)
    assert 0.4 < colours[5] < 0.9
    assert np.all(np.diff(colours[:6]) > 0)


def test_m_stars_have_water_and_a_stars_have_balmer_lines():
    cool, hot = star_flux(WAVE, 2650), star_flux(WAVE, 9500)
    assert mean(cool, 1390, 1430) < 0.85 * np.interp(
        1410, [1270, 1650], [mean(cool, 1260, 1280), mean(cool, 1640, 1660)]
    )
    assert mean(hot, 486.0, 486.5) < 0.8 * mean(hot, 480, 482)


def test_attenuation_is_calzettis():
    """Values of eq. 4: k(0.55 um) = R_V = 4.05, k(0.15) about 10.3 (their fig. 5)."""
    k = attenuation(np.array([550.0, 150.0, 2200.0]))
    assert k[0] == pytest.approx(4.05, abs=0.05)
    assert k[1] == pytest.approx(10.3, abs=0.3)
    assert k[2] == pytest.approx(0.37, abs=0.05)


def test_tied_ratios():
    groups = {group.name: {line.name: line.flux for line in group.lines} for group in CLASSES["galaxy"].groups}
    assert groups["OIII"]["OIII5008"] / groups["OIII"]["OIII4960"] == pytest.approx(2.98)
    assert groups["NII"]["NII6585"] / groups["NII"]["NII6550"] == pytest.approx(2.95)
    assert 2.86 < groups["H"]["Ha"] / groups["H"]["Hb"] < 3.4 < groups["H dusty"]["Ha"] / groups["H dusty"]["Hb"]


def test_line_table_lists_every_line():
    for kind, found in CLASSES.items():
        table = line_table(kind)
        assert len(table.wavelength) == sum(len(group.lines) for group in found.groups)
        assert table.n_columns == len(found.groups)


def test_cached_widths():
    for sigma in (4e-4, 9e-4, 3e-3):
        assert lsf_of_key(lsf_key(sigma)) == pytest.approx(sigma, rel=0.07)
    sharp, blurred = scan_templates("galaxy", lsf_key(5e-4)), scan_templates("galaxy", lsf_key(4e-3))
    assert sharp.log_step < blurred.log_step
    assert sharp is scan_templates("galaxy", lsf_key(5e-4))
    # A wide line-spread function fills the absorption lines.
    at = [float(np.interp(np.log(486.269), t.log_wavelength, t.continua[2])) for t in (sharp, blurred)]
    assert at[0] < 0.97 * at[1]
