"""Redshifts of drawn galaxies, honest warnings, bad input, and the scene with truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.systems.gdps.redshift.measure import SCHEMA, RedshiftConfig, measure, measure_redshift
from roman_assets.systems.gdps.redshift.zwarn import ZWarn, names
from roman_assets.systems.gdps.spectra.spectrum import Spectrum
from tests.systems.gdps.galaxy_spectra import LINES, NOISE, WAVELENGTH, galaxy, star_forming


@pytest.mark.parametrize("z", [1.1, 1.55, 1.85, 2.3])
def test_two_lines_give_the_redshift(z):
    result = measure_redshift(star_forming(z, seed=int(100 * z)))
    assert result.zwarn == 0
    assert result.kind == "galaxy"
    assert abs(result.z - z) < 5 * result.z_err
    assert result.z_err < 2e-4 * (1 + z)
    assert result.solutions[0].probability > 0.99
    assert result.risk < 0.05
    assert result.dchi2 > 50
    assert result.chi2 == pytest.approx(result.n_pixels, rel=0.2)


def test_errors_are_those_of_the_scatter():
    pulls = []
    for seed in range(40):
        result = measure_redshift(star_forming(1.5, 0.5, seed=seed))
        pulls.append((result.z - 1.5) / result.z_err)
    assert abs(np.mean(pulls)) < 0.6
    assert 0.7 < np.std(pulls) < 1.4


def test_one_line_is_among_the_solutions_and_warned():
    """H-alpha alone could be [O III] or [O II]."""
    result = measure_redshift(galaxy(0.75, {"Ha": 8e-19}, seed=3))
    assert any(abs(s.z - 0.75) < 0.003 for s in result.solutions)
    assert result.zwarn & (ZWarn.SINGLE_LINE | ZWarn.SMALL_DELTA_CHI2)
    assert sum(s.probability for s in result.solutions) <= 1 + 1e-9


@pytest.mark.parametrize("level", [0.0, 1e-21, 4e-20])
def test_no_lines_no_confidence(level):
    for seed in range(6):
        result = measure_redshift(galaxy(1.0, {}, level=level, seed=seed))
        assert result.zwarn & (ZWarn.FEATURELESS | ZWarn.SMALL_DELTA_CHI2)
        if level < 1e-20:
            assert result.zwarn & ZWarn.POORDATA


def test_negative_spectrum_is_warned():
    spectrum = galaxy(1.0, {})
    result = measure_redshift(replace(spectrum, flux=-spectrum.flux - 5e-20))
    assert result.zwarn & ZWarn.NEGATIVE_MODEL
    assert result.zwarn & ZWarn.POORDATA


def test_bad_pixels_do_not_matter():
    """NaN, infinite and flagged pixels, a gap of the detector: the same redshift."""
    spectrum = star_forming(1.55)
    flux, variance, flags = spectrum.flux.copy(), spectrum.variance.copy(), spectrum.flags.copy()
    flux[100:130], variance[300:310], flags[500:520] = np.nan, np.inf, 1
    flux[505] = 1e-10
    result = measure_redshift(replace(spectrum, flux=flux, variance=variance, flags=flags))
    assert result.zwarn == 0
    assert result.z == pytest.approx(1.55, abs=5e-4)
    assert result.n_pixels == len(spectrum) - 60
    assert 0.9 < result.coverage < 0.95


def test_no_good_pixel():
    result = measure_redshift(replace(star_forming(1.5), flags=np.ones(len(WAVELENGTH), np.uint32)))
    assert ZWarn(result.zwarn) == ZWarn.NODATA | ZWarn.LITTLE_COVERAGE
    assert np.isnan(result.z)
    assert result.pdf is None
    assert result.risk == 1


def test_little_coverage_and_contamination():
    spectrum = star_forming(1.55)
    arrays = ("wavelength", "flux", "variance", "contamination", "flags", "lsf_sigma")
    short = Spectrum(*(getattr(spectrum, f)[500:] for f in arrays))
    assert measure_redshift(short).zwarn & ZWarn.LITTLE_COVERAGE
    foul = measure_redshift(replace(spectrum, contamination=2 * np.abs(spectrum.flux)))
    assert foul.zwarn & ZWarn.CONTAMINATION
    assert foul.contamination == pytest.approx(2 / 3, abs=0.05)


def test_outliers_are_warned():
    spectrum = star_forming(1.55)
    wrong = np.random.default_rng(0).random(len(spectrum)) < 0.08
    result = measure_redshift(replace(spectrum, flux=np.where(wrong, 8e-19, spectrum.flux)))
    assert result.zwarn & ZWarn.MANY_OUTLIERS


def test_spectrum_beyond_the_templates():
    """Ultraviolet pixels of a spectrum that no template reaches at any z of the range: said, not guessed."""
    spectrum = star_forming(1.55)
    result = measure_redshift(replace(spectrum, wavelength=spectrum.wavelength * 3))
    assert ZWarn(result.zwarn) & ZWarn.LITTLE_COVERAGE
    assert not np.isfinite(result.z) or result.zwarn


def test_scale_does_not_matter():
    """Units of any size: the same redshift and the same evidence."""
    spectrum = star_forming(2.2)
    scaled = replace(spectrum, flux=spectrum.flux * 1e25, variance=spectrum.variance * 1e50)
    first, second = measure_redshift(spectrum), measure_redshift(scaled)
    assert first.z == pytest.approx(second.z, abs=1e-9)
    assert first.dchi2 == pytest.approx(second.dchi2, rel=1e-6)


def test_wide_source_is_no_problem():
    result = measure_redshift(star_forming(1.55, 3.0, lsf=6.0))
    assert result.z == pytest.approx(1.55, abs=2e-3)
    assert result.zwarn == 0


def test_frame():
    spectra = [
        star_forming(1.55),
        galaxy(1.0, {}),
        replace(star_forming(1.5), flags=np.ones(len(WAVELENGTH), np.uint32)),
    ]
    frame = measure(spectra)
    assert frame.schema == pl.Schema(SCHEMA)
    first, _, last = frame.iter_rows(named=True)
    assert first["class"] == "galaxy"
    assert first["solutions"][0]["z"] == pytest.approx(first["z"])
    assert np.trapezoid(first["pdf"], first["pdf_z"]) == pytest.approx(1, abs=0.01)
    assert {line["name"] for line in first["lines"]} >= {"Ha", "OIII5008", "Hb"}
    assert sum(first["class_probability"].values()) == pytest.approx(1)
    assert last["solutions"] == []
    assert last["velocity"] is None
    assert names(last["zwarn"]) == ["LITTLE_COVERAGE", "NODATA"]
    assert measure([]).height == 0
    with pytest.raises(InputError, match="item 0 is int"):
        measure([3])


def test_priors_decide_between_classes():
    """The same spectrum without galaxies among the classes is no galaxy."""
    config = RedshiftConfig(class_prior={"star": 1.0})
    result = measure_redshift(star_forming(1.55), config)
    assert result.kind == "star"
    assert abs(result.z) < 0.002


def test_broad_lines_make_a_quasar():
    rng = np.random.default_rng(5)
    z, flux = 1.5, 2e-19 * (WAVELENGTH / 1500) ** -1.6
    for name, strength in (("Ha", 3.0), ("Hb", 1.0)):
        centre = LINES[name] * (1 + z)
        flux = flux * (1 + strength * np.exp(-0.5 * ((WAVELENGTH - centre) / (0.0063 * centre)) ** 2))
    n = len(WAVELENGTH)
    spectrum = Spectrum(
        WAVELENGTH,
        flux + rng.normal(0, NOISE, n),
        np.full(n, NOISE**2),
        np.zeros(n),
        np.zeros(n, np.uint32),
        np.full(n, 0.95),
    )
    result = measure_redshift(spectrum)
    assert result.kind == "qso"
    assert result.z == pytest.approx(z, abs=0.01)


def test_prism():
    """Pixels of 2 to 12 nm, a resolution of 100, other ends of the band: H-alpha and [O III] at z = 1.2."""
    rng = np.random.default_rng(2)
    wavelength = np.exp(np.linspace(np.log(750), np.log(1800), 200))
    lsf, z = wavelength / 100 / 2.3548, 1.2
    flux = 5e-20 * (wavelength / 1500) ** -1
    for name, strength in (("Ha", 2e-18), ("OIII5008", 2e-18), ("OIII4960", 6.7e-19), ("Hb", 6e-19), ("OII", 1e-18)):
        away = (wavelength - LINES[name] * (1 + z)) / lsf
        flux = flux + strength / np.sqrt(2 * np.pi) / lsf * np.exp(-0.5 * away**2)
    noise = np.full(200, 5e-21)
    spectrum = Spectrum(wavelength, flux + rng.normal(0, noise), noise**2, np.zeros(200), np.zeros(200, np.uint32), lsf)
    result = measure_redshift(spectrum, RedshiftConfig(band=(750.0, 1800.0)))
    assert result.z == pytest.approx(z, abs=0.002)
    assert result.zwarn == 0


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 2**32 - 1), what=st.sampled_from(["spikes", "huge", "tiny", "constant", "few", "steps", "zero"])
)
def test_rubbish_is_measured_without_a_crash_or_trust(seed, what):
    """Whatever is in the pixels: a row comes back, and a redshift of rubbish has a warning."""
    rng = np.random.default_rng(seed)
    n = len(WAVELENGTH)
    flux, variance, flags = rng.normal(0, NOISE, n), np.full(n, NOISE**2), np.zeros(n, np.uint32)
    if what == "spikes":
        flux[rng.integers(0, n, 30)] *= 10 ** rng.uniform(2, 12, 30)
    elif what == "huge":
        flux[rng.integers(0, n)] = 1e200
    elif what == "tiny":
        variance[rng.integers(0, n, 5)] = 1e-300
    elif what == "constant":
        flux[:] = NOISE
    elif what == "few":
        flags[rng.permutation(n)[: n - rng.integers(0, 80)]] = 1
    elif what == "steps":
        flux += 20 * NOISE * (rng.random(n // 40 + 1).repeat(40)[:n] > 0.5)
    else:
        flux[:] = 0
    frame = measure([Spectrum(WAVELENGTH, flux, variance, np.zeros(n), flags, np.full(n, 0.95))])
    assert frame["zwarn"][0] != 0
