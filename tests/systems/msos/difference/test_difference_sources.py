"""From a season's exposures to sources: what is found, how well, and what is not a source."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roman_assets.systems.msos.difference.grid import ReferenceGrid, SeasonCube, fill, saturating, time_bins
from roman_assets.systems.msos.difference.photometry import Stamps
from roman_assets.systems.msos.difference.residual import residual_image
from roman_assets.systems.msos.difference.search import DifferenceConfig
from roman_assets.systems.msos.difference.sources import (
    BESIDE_VARIABLE,
    EDGE,
    FLAG_MEANINGS,
    ONE_SIDED,
    SHORT_BASELINE,
    find_candidates,
    judge,
)
from tests.systems.msos.difference_scene import clear_place, lens, make_season

CONFIG = DifferenceConfig()
N = 64
MJD = 61465 + 2 * np.arange(N) / N
EVENT = lens(MJD, 61466.1, 0.05, 0.4, 2.0)


def search(season, config=CONFIG):
    """Candidates and verdicts of a season."""
    bins = time_bins(season.mjd, config.bin_days, config.least_in_bin)
    cube = SeasonCube.empty(ReferenceGrid.of(*season.load(0)), bins, len(season.x), None)
    fill(cube, season.sky, season.load, lambda number, error: None)
    found = find_candidates(cube, season.x, season.y, saturating(cube), season.sky.psf, config)
    ra, dec = cube.grid.sky(found.peaks.x, found.peaks.y)
    stamps = Stamps.empty(len(ra), len(season.frames), None)
    for number in range(len(season.frames)):
        frame, registration = season.load(number)
        residual = residual_image(frame, season.sky, registration, background=cube.backgrounds[number])
        stamps.cut(number, frame, residual, registration, season.sky, ra, dec)
    runs = [(bins[s][0], bins[s + n - 1][1]) for s, n in zip(found.peaks.start, found.peaks.length, strict=True)]
    return found, judge(found, stamps, runs, season.x, season.y, season.sky.psf, 0.0)


def only(verdicts):
    assert len(verdicts.sources) == 1, verdicts.rejected
    return verdicts.sources[0], verdicts.curves[0]


def amplitude(curve, truth):
    """Flux over truth and its error, the baseline being free."""
    good = curve.good
    design = np.column_stack([truth, np.ones(len(truth))])[good] / curve.error[good, None]
    covariance = np.linalg.inv(design.T @ design)
    return (covariance @ design.T @ (curve.flux / curve.error)[good])[0], np.sqrt(covariance[0, 0])


@pytest.fixture(scope="module")
def quiet():
    return make_season(N)


@pytest.fixture(scope="module")
def place(quiet):
    return clear_place(quiet, 1.2)


@pytest.fixture(scope="module")
def lensed(place):
    return search(make_season(N, extra=[(*place, EVENT)]))


def test_a_constant_field_has_no_source(quiet):
    found, verdicts = search(quiet)
    assert verdicts.sources == []
    assert found.sigma >= CONFIG.least_threshold
    assert found.false == 0


def test_place_flux_and_errors_of_a_lens(lensed, place):
    source, curve = only(lensed[1])
    assert np.hypot(source.x - place[0], source.y - place[1]) < 4 * np.hypot(source.x_err, source.y_err)
    assert np.hypot(source.x_err, source.y_err) < 0.1
    value, error = amplitude(curve, EVENT)
    assert value == pytest.approx(1.0, abs=max(4 * error, 0.02))
    assert source.significance > source.without_best > 5
    assert MJD[source.first] < 61466.1 < MJD[source.last - 1]
    assert abs(MJD[source.peak_at] - 61466.1) < 0.1
    pull = (curve.flux - EVENT)[curve.good] / curve.error[curve.good]
    assert 0.75 < pull.std() < 1.25
    assert source.chi2 == pytest.approx(1.0, abs=0.25)


def test_light_that_the_catalogue_lacks_is_the_reference_flux(place):
    season = make_season(N, extra=[(*place, EVENT + 6.0)])
    source, curve = only(search(season)[1])
    assert source.reference == pytest.approx(6.0, abs=5 * source.reference_err + 0.5)
    value, error = amplitude(curve, EVENT)
    assert value == pytest.approx(1.0, abs=4 * error)


@pytest.mark.parametrize("distance", [0.8, 1.5])
def test_beside_a_bright_star_the_flux_is_unbiased(quiet, distance):
    """The star is constant, and does not take the light as it would in a fit of every exposure."""
    inside = (np.abs(quiet.x - 32) < 20) & (np.abs(quiet.y - 32) < 20)
    star = int(np.argmax(np.where(inside, quiet.sky.flux, 0)))
    at = float(quiet.x[star] + distance), float(quiet.y[star])
    season = make_season(N, extra=[(*at, 8 * EVENT)])
    source, curve = only(search(season)[1])
    assert np.hypot(source.x - at[0], source.y - at[1]) < 0.1
    value, error = amplitude(curve, 8 * EVENT)
    assert value == pytest.approx(1.0, abs=max(4 * error, 0.03))


def test_a_varying_star_of_the_catalogue_is_no_source(quiet):
    inside = (np.abs(quiet.x - 32) < 20) & (np.abs(quiet.y - 32) < 20)
    star = int(np.argmax(np.where(inside, quiet.sky.flux, 0)))
    pulse = 0.2 * quiet.sky.flux[star] * np.sin(np.arange(N) / 9)
    found, verdicts = search(make_season(N, extra=[(float(quiet.x[star]), float(quiet.y[star]), pulse)]))
    assert verdicts.sources == []
    assert star in found.star


def test_a_source_beside_a_varying_star_is_fitted_with_it(quiet):
    inside = (np.abs(quiet.x - 32) < 18) & (np.abs(quiet.y - 32) < 18)
    star = int(np.argmax(np.where(inside, quiet.sky.flux, 0)))
    pulse = 0.1 * quiet.sky.flux[star] * np.sin(np.arange(N) / 5)
    at = float(quiet.x[star] + 3.0), float(quiet.y[star])
    extra = [(float(quiet.x[star]), float(quiet.y[star]), pulse), (*at, 4 * EVENT)]
    _, verdicts = search(make_season(N, extra=extra))
    source, curve = only(verdicts)
    assert source.flag & BESIDE_VARIABLE
    assert source.neighbours == 1
    value, error = amplitude(curve, 4 * EVENT)
    assert value == pytest.approx(1.0, abs=max(4 * error, 0.03))


def test_two_sources_apart_are_two(quiet):
    one, other = clear_place(quiet, 1.0, seed=1), clear_place(quiet, 1.0, seed=5)
    assert np.hypot(one[0] - other[0], one[1] - other[1]) > 3
    later = lens(MJD, 61465.6, 0.05, 0.3, 2.0)
    _, verdicts = search(make_season(N, extra=[(*one, EVENT), (*other, later)]))
    assert len(verdicts.sources) == 2
    assert len(verdicts.curves) == 2


def test_a_flash_in_one_exposure_is_no_source(place):
    flash = np.where(np.arange(N) == 30, 60.0, 0.0)
    _, verdicts = search(make_season(N, extra=[(*place, flash)]))
    assert verdicts.sources == []


def test_a_ghost_that_is_wider_than_the_epsf_is_no_source(place, quiet):
    """A smooth patch of ten pixels that comes and goes."""
    season = make_season(N)
    for number in range(28, 40):
        frame = season.frames[number]
        y, x = np.mgrid[: frame.shape[0], : frame.shape[1]]
        r2 = (x - place[0] - frame.wcs.dx) ** 2 + (y - place[1] - frame.wcs.dy) ** 2
        season.frames[number] = replace(frame, data=frame.data + 5 * np.exp(-r2 / (2 * 5.0**2)).astype(np.float32))
    _, verdicts = search(season)
    assert verdicts.sources == []
    assert sum(verdicts.rejected.values()) > 0


def test_beside_a_saturating_star_nothing_is_searched(quiet, place):
    season = make_season(N, extra=[(*place, EVENT)])
    star = int(np.argmin(np.hypot(quiet.x - place[0], quiet.y - place[1])))
    for number, frame in enumerate(season.frames):
        saturated = frame.saturated.copy()
        saturated[round(quiet.y[star] + frame.wcs.dy), round(quiet.x[star] + frame.wcs.dx)] = True
        season.frames[number] = replace(frame, saturated=saturated)
    distance = float(np.hypot(quiet.x[star] - place[0], quiet.y[star] - place[1]))
    found, verdicts = search(season, replace(CONFIG, saturated_px=distance + 1))
    assert verdicts.sources == []
    assert not (np.hypot(found.peaks.x - place[0], found.peaks.y - place[1]) < 1).any()


def test_flags(place):
    """Rising at the end of the season, and few exposures."""
    assert sorted(FLAG_MEANINGS) == [EDGE, ONE_SIDED, BESIDE_VARIABLE, SHORT_BASELINE]
    short = make_season(20, extra=[(*place, np.where(np.arange(20) >= 12, 40.0, 0.0))])
    source, _ = only(search(short)[1])
    assert source.flag & SHORT_BASELINE


def test_at_most_so_many_candidates(place):
    season = make_season(N, extra=[(*place, EVENT)])
    found, verdicts = search(season, replace(CONFIG, most=0))
    assert len(found.peaks) == 0
    assert verdicts.sources == []


def test_an_empty_catalogue_is_no_error(place):
    season = make_season(N, extra=[(*place, EVENT)], stars=0)
    source, _ = only(search(season)[1])
    assert np.hypot(source.x - place[0], source.y - place[1]) < 0.2
