"""Bins of time, the reference grid, and the season's cube."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.systems.msos.difference.grid import ReferenceGrid, SeasonCube, fill, saturating, time_bins
from tests.systems.msos.difference_scene import SIDE, Plane, make_season

quick = settings(max_examples=50, deadline=None, derandomize=True)
PLACE = (30.5, 41.0)


@quick
@given(gaps=st.lists(st.floats(0.001, 2.0), max_size=60), days=st.floats(0.01, 3.0), least=st.integers(1, 6))
def test_bins_share_out_all_exposures(gaps, days, least):
    mjd = np.cumsum(gaps)
    bins = time_bins(mjd, days, least)
    assert [k for first, last in bins for k in range(first, last)] == list(range(len(mjd)))
    assert all(last - first >= least for first, last in bins) or len(bins) == 1
    for first, last in bins[:-1]:
        assert mjd[last] - mjd[first] >= days
        # No longer than it must be.
        assert last - first == least or mjd[last - 1] - mjd[first] < days


def test_bins_at_the_survey_s_cadence():
    assert time_bins(np.arange(96) / 96, 0.25, 4) == [(0, 24), (24, 48), (48, 72), (72, 96)]
    assert time_bins(np.empty(0), 0.25, 4) == []
    assert time_bins(np.array([1.0]), 0.25, 4) == [(0, 1)]


def grid_of(season):
    return ReferenceGrid.of(*season.load(0))


def cube_of(season, folder=None, load=None, report=lambda number, error: None):
    bins = time_bins(season.mjd, 0.25, 4)
    cube = SeasonCube.empty(grid_of(season), bins, len(season.x), folder)
    fill(cube, season.sky, load or season.load, report)
    return cube


@pytest.fixture(scope="module")
def season():
    flux = np.where(np.arange(16) // 4 == 2, 30.0, 0.0)
    return make_season(16, extra=[(*PLACE, flux)], noise=False)


def at(cube, x, y):
    """Flux of each bin at a grid point [DN/s]."""
    point = round(2 * y), round(2 * x)
    return cube.signal[:, *point] / cube.norm[:, *point]


def test_offsets_are_the_dithers(season):
    grid = grid_of(season)
    for number in range(4):
        offset = grid.offsets(*season.load(number))
        np.testing.assert_allclose(offset[0], season.frames[number].wcs.dx, atol=1e-6)
        np.testing.assert_allclose(offset[1], season.frames[number].wcs.dy, atol=1e-6)


def test_grid_leads_back_to_the_sky(season):
    ra, dec = grid_of(season).sky(season.x, season.y)
    np.testing.assert_allclose(ra, season.sky.ra, atol=1e-10)
    np.testing.assert_allclose(dec, season.sky.dec, atol=1e-10)


def test_turned_exposure_is_refused(season):
    frame, registration = season.load(1)
    turned = Plane(0.0, 0.0, turn=0.02)
    with pytest.raises(InputError, match="turned"):
        grid_of(season).offsets(replace(frame, to_pixels=turned.inverse, wcs=turned), registration)


def test_bins_show_the_flux_of_their_time(season):
    """At a point of the grid, dithered, against a constant sky."""
    cube = cube_of(season)
    assert len(cube.bins) == 4
    np.testing.assert_allclose(at(cube, *PLACE), [0, 0, 30, 0], atol=0.6)
    assert cube.used.all()
    assert len(cube.backgrounds) == 16


def test_starlight_is_known_at_every_point(season):
    cube = cube_of(season)
    bright = int(np.argmax(np.where((np.abs(season.x - 32) < 25) & (np.abs(season.y - 32) < 25), season.sky.flux, 0)))
    near = cube.brightness[round(2 * season.y[bright]), round(2 * season.x[bright])]
    assert near == pytest.approx(season.sky.flux[bright], rel=0.3)


def test_one_exposure_far_off_the_others_is_clipped():
    """A track that no mask caught, in one exposure: the bin goes without it there, and only there."""
    season = make_season(8)
    frame = season.frames[1]
    data = frame.data.copy()
    x, y = round(PLACE[0] + frame.wcs.dx), round(PLACE[1] + frame.wcs.dy)
    data[y - 1 : y + 2, x - 1 : x + 2] += 40.0
    season.frames[1] = replace(frame, data=data)
    cube = cube_of(season)
    flux, error = at(cube, *PLACE), cube.norm[:, round(2 * PLACE[1]), round(2 * PLACE[0])] ** -0.5
    assert abs(flux[0]) < 5 * error[0]
    quiet = cube_of(make_season(8))
    assert cube.norm[0, round(2 * PLACE[1]), round(2 * PLACE[0])] == pytest.approx(
        0.75 * quiet.norm[0, round(2 * PLACE[1]), round(2 * PLACE[0])], rel=0.1
    )
    np.testing.assert_array_equal(cube.signal[1], quiet.signal[1])


def test_exposures_that_fail_are_left_out_and_named(season):
    failed = {}

    def load(number):
        if number in (2, 9):
            raise InputError("gone", file=f"exposure{number}")
        return season.load(number)

    cube = cube_of(season, load=load, report=lambda n, e: failed.update({n: e}) if e else None)
    assert sorted(failed) == [2, 9]
    assert np.flatnonzero(~cube.used).tolist() == [2, 9]
    np.testing.assert_allclose(at(cube, *PLACE), [0, 0, 30, 0], atol=0.8)


def test_no_exposure_at_all_leaves_zeros(season):
    def load(number):
        raise InputError("gone", file=str(number))

    cube = cube_of(season, load=load)
    assert not cube.used.any()
    assert not np.any(cube.norm)
    assert np.isfinite(cube.brightness).all()


def test_on_disk_as_in_memory(season, tmp_path):
    memory, disk = cube_of(season), cube_of(season, folder=tmp_path)
    assert isinstance(disk.signal, np.memmap)
    np.testing.assert_array_equal(memory.signal, disk.signal)
    np.testing.assert_array_equal(memory.norm, disk.norm)


def test_stars_that_saturate_again_and_again():
    season = make_season(12)
    star = int(np.argmin(np.hypot(season.x - 32, season.y - 32)))
    other = int(
        np.argmax(
            np.where(
                (np.abs(season.x - 32) < 20) & (np.abs(season.y - 32) < 20),
                np.hypot(season.x - season.x[star], season.y - season.y[star]),
                0,
            )
        )
    )
    for number, frame in enumerate(season.frames):
        where = np.zeros((SIDE, SIDE), bool)
        for k, often in ((star, 4), (other, 1)):
            if number < often:
                where[round(season.y[k] + frame.wcs.dy), round(season.x[k] + frame.wcs.dx)] = True
        season.frames[number] = replace(frame, saturated=where)
    found = saturating(cube_of(season))
    assert found[star]
    assert not found[other]
