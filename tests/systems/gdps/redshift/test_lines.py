"""Line fluxes against lines of known flux, by fit and by integration."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.redshift.lines import measure_lines
from tests.systems.gdps.galaxy_spectra import NOISE, galaxy

FLUXES = {"Ha": 1e-18, "OIII5008": 6e-19, "OIII4960": 2.0134e-19, "Hb": 3e-19}


def fit(spectrum, z=1.4, kind="galaxy", use=slice(None)):
    continuum = 4e-20 * (spectrum.wavelength / 1500) ** -1.2
    arrays = (spectrum.wavelength, spectrum.flux, spectrum.variance, spectrum.lsf_sigma, continuum)
    return measure_lines(*(a[use] for a in arrays), z, kind)


def test_fluxes_and_errors():
    """Pulls over realisations of noise have unit width, for both methods; tied lines come as one."""
    pulls, direct = [], []
    for seed in range(60):
        lines = {line.name: line for line in fit(galaxy(1.4, FLUXES, seed=seed)).lines}
        for name, truth in (("Ha", 1e-18), ("OIII5008", 8.0134e-19), ("Hb", 3e-19)):
            line = lines[name]
            pulls.append((line.flux - truth) / line.flux_err)
            direct.append((line.direct_flux - truth) / line.direct_flux_err)
            assert line.sn == pytest.approx(line.flux / line.flux_err)
    for values in (np.array(pulls), np.array(direct)):
        assert abs(values.mean()) < 0.3
        assert 0.8 < values.std() < 1.25


def test_equivalent_width():
    """Rest frame: flux over continuum over 1 + z."""
    line = next(x for x in fit(galaxy(1.4, FLUXES, noise=NOISE / 100)).lines if x.name == "Ha")
    level = 4e-20 * (656.461 * 2.4 / 1500) ** -1.2
    assert line.ew == pytest.approx(1e-18 / level / 2.4, rel=0.01)
    assert 0 < line.ew_err < 0.05 * line.ew


def test_no_equivalent_width_without_continuum():
    spectrum = galaxy(1.4, FLUXES, level=0.0)
    lines = measure_lines(
        spectrum.wavelength, spectrum.flux, spectrum.variance, spectrum.lsf_sigma, np.zeros(len(spectrum)), 1.4
    ).lines
    assert np.isnan([line.ew for line in lines]).mean() > 0.6


def test_absent_lines_are_not_significant():
    sn = [line.sn for seed in range(20) for line in fit(galaxy(1.4, {}, seed=seed)).lines]
    assert np.abs(sn).max() < 4.5
    assert 0.75 < np.std(sn) < 1.25


def test_lines_off_the_data_are_left_out():
    spectrum = galaxy(1.4, FLUXES)
    keep = np.abs(spectrum.wavelength - 656.461 * 2.4) > 8
    names = {line.name for line in fit(spectrum, use=keep).lines}
    assert "Ha" not in names
    assert "OIII5008" in names
    assert not {"Paa", "OII3730"} & names


def test_blended_nii_is_taken_apart():
    spectrum = galaxy(1.4, {"Ha": 1e-18}, noise=NOISE / 10)
    lines = {line.name: line for line in fit(spectrum).lines}
    assert abs(lines["NII6585"].sn) < 4
    assert lines["Ha"].flux == pytest.approx(1e-18, rel=0.03)


def test_refuses():
    spectrum = galaxy(1.4, FLUXES)
    with pytest.raises(InputError, match="unknown class"):
        fit(spectrum, kind="planet")
    with pytest.raises(InputError, match="19 pixels"):
        fit(spectrum, use=slice(0, 19))
