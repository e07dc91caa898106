"""The search of a season's cube: runs, peaks, tiles, wings, the threshold from the dips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.systems.msos.difference.grid import ReferenceGrid, SeasonCube, fill, time_bins
from roman_assets.systems.msos.difference.search import (
    COUNTED_SIGMA,
    DifferenceConfig,
    NoiseScale,
    Peaks,
    apart,
    find_peaks,
    noise_scale,
    run_lengths,
    sort_peaks,
    threshold,
    wing_profile,
    without_wings,
)
from tests.systems.msos.difference_scene import PSF, clear_place, lens, make_season

quick = settings(max_examples=30, deadline=None, derandomize=True)
FLAT = NoiseScale(np.zeros(1), np.ones(1), 1e-4)
CONFIG = DifferenceConfig()


def cube_of(season):
    bins = time_bins(season.mjd, 0.25, 4)
    cube = SeasonCube.empty(ReferenceGrid.of(*season.load(0)), bins, len(season.x), None)
    fill(cube, season.sky, season.load, lambda number, error: None)
    return cube


@pytest.fixture(scope="module")
def quiet():
    return make_season(48)


@pytest.fixture(scope="module")
def lensed(quiet):
    """A faint event away from the stars: 40 DN/s at its peak, a day wide."""
    place = clear_place(quiet, 1.0)
    return place, make_season(48, extra=[(*place, lens(quiet.mjd, 61466.1, 0.05, 0.4, 2.0))])


def white(bins=12, shape=(40, 60), seed=0, weight=4.0):
    """A cube of white noise: no star, no ePSF."""
    rng = np.random.default_rng(seed)
    norm = np.full((bins, *shape), weight, dtype=np.float32)
    signal = (rng.standard_normal(norm.shape) * np.sqrt(weight)).astype(np.float32)
    grid = ReferenceGrid((shape[0] // 2, shape[1] // 2), *(np.zeros((1, 1)) for _ in range(4)), None, (0.0, 0.0))
    return SeasonCube(
        grid,
        [(4 * b, 4 * b + 4) for b in range(bins)],
        signal,
        norm,
        np.zeros(shape, np.float32),
        np.zeros(0, np.int64),
        np.ones(4 * bins, bool),
        {},
    )


def test_a_lens_is_found_in_time_and_space(lensed):
    (x, y), season = lensed
    rises, _ = find_peaks(cube_of(season), FLAT, CONFIG)
    best = rises.take(np.array([0]))
    assert np.hypot(best.x[0] - x, best.y[0] - y) < 0.5
    assert best.significance[0] > 15
    cube = cube_of(season)
    first, last = cube.bins[best.start[0]][0], cube.bins[best.start[0] + best.length[0] - 1][1]
    assert season.mjd[first] < 61466.1 < season.mjd[last - 1] + 0.05
    flux, _ = best.flux(np.array([0]), int(best.start[0]), int(best.length[0]))
    assert 5 < flux[0] < 40


def test_constant_sources_that_no_catalogue_has_are_no_peaks(quiet):
    """The reference is the season's own mean: of a star ten times as bright as the noise of an exposure nothing stays.

    (Of one of 300 DN/s the sub-pixel phase would leave something; no catalogue misses that.)
    """
    x, y = clear_place(quiet, 1.0, seed=3)
    season = make_season(48, extra=[(x, y, np.full(48, 10.0))])
    rises, dips = find_peaks(cube_of(season), noise_scale(cube_of(season)), CONFIG)
    for peaks in (rises, dips):
        near = np.hypot(peaks.x - x, peaks.y - y) < 2
        assert not (peaks.significance[near] > 5.5).any()


@quick
@given(tile=st.sampled_from([3, 7, 10, 64]), seed=st.integers(0, 50))
def test_tiles_do_not_matter(tile, seed):
    cube = white(seed=seed)
    whole = find_peaks(cube, FLAT, CONFIG)
    tiled = find_peaks(cube, FLAT, replace(CONFIG, tile_px=tile))
    for one, other in zip(whole, tiled, strict=True):
        for name in Peaks.__dataclass_fields__:
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@quick
@given(start=st.integers(0, 10), length=st.integers(1, 5), sign=st.sampled_from([1, -1]))
def test_the_run_is_that_of_the_signal(start, length, sign):
    """Lengths that are tried are found exactly, for rises as for dips."""
    length = max(n for n in run_lengths(12) if n <= length)
    start = min(start, 12 - length)
    cube = white(seed=1, weight=100.0)
    cube.signal[start : start + length, 20, 30] += sign * 40 * np.sqrt(100.0)
    peaks = find_peaks(cube, FLAT, CONFIG)[0 if sign == 1 else 1]
    assert (peaks.start[0], peaks.length[0]) == (start, length)
    assert np.hypot(peaks.x[0] - 15, peaks.y[0] - 10) < 0.5


def test_noise_is_as_significant_as_chance_allows():
    rises, dips = find_peaks(white(bins=24, shape=(200, 200)), FLAT, CONFIG)
    assert abs(len(rises) - len(dips)) < 6 * np.sqrt(len(rises) + len(dips))
    limit = threshold(dips, 0.01, CONFIG)
    assert (rises.significance > limit).sum() <= 1
    assert limit < 7


def test_edges_are_not_searched():
    cube = white()
    cube.signal[3, :6, :] += 1000
    rises, _ = find_peaks(cube, FLAT, CONFIG)
    assert (rises.y >= 4).all()


def test_bins_that_see_too_little_do_not_count():
    cube = white()
    cube.signal[4, 15:25, 20:40] += 50.0
    cube.norm[4, 15:25, 20:40] = 0.5
    rises, _ = find_peaks(cube, FLAT, CONFIG)
    assert not ((rises.start <= 4) & (rises.start + rises.length > 4) & (rises.significance > 6)).any()


@pytest.mark.parametrize("bins", [1, 2, 3])
def test_few_bins_are_no_error(bins):
    rises, dips = find_peaks(white(bins=bins), FLAT, CONFIG)
    assert len(rises) + len(dips) >= 0
    assert noise_scale(white(bins=bins)).value.min() >= 1


def test_nothing_seen_is_no_peak():
    cube = white()
    cube.signal[:], cube.norm[:] = 0, 0
    cube.used[:] = False
    assert [len(p) for p in find_peaks(cube, noise_scale(cube), CONFIG)] == [0, 0]


def test_runs_need_exposures():
    cube = white()
    cube.signal[3, 20, 30] += 1000
    cube.used[12:14] = False  # two of the four exposures of bin 3 are left
    rises, _ = find_peaks(cube, FLAT, CONFIG)
    assert rises.length[0] > 1


def test_run_lengths():
    assert run_lengths(1) == [1]
    assert run_lengths(6) == [1, 2, 3]
    assert run_lengths(250)[-1] == 96
    assert all(n <= 31 for n in run_lengths(62))


# --- noise ---------------------------------------------------------------------------------------------


def test_noise_scale_is_one_for_noise_as_stated_and_measures_more():
    cube = white(bins=24, shape=(150, 150))
    assert noise_scale(cube).value == pytest.approx(1.0, abs=0.05)
    cube.signal *= 1.5
    assert noise_scale(cube).value == pytest.approx(1.5, abs=0.1)


def test_noise_scale_follows_the_starlight():
    cube = white(bins=24, shape=(150, 150))
    cube.brightness[:75] = 2000.0
    cube.signal[:, :75] *= 2.0
    scale = noise_scale(cube)
    assert scale(np.array([1.0, 2000.0], np.float32)) == pytest.approx([1.0, 2.0], abs=0.15)


def test_error_that_stays_in_means_is_found():
    """Starlight that drifts by a thousandth over the season, below bright stars only."""
    cube = white(bins=24, shape=(150, 150), weight=1.0)
    cube.brightness[:75] = 3000.0
    drift = 3000.0 * 0.002 * np.sin(np.linspace(0, np.pi * 2, 24))[:, None, None]
    cube.signal[:, :75] += (drift * cube.norm[:, :75]).astype(np.float32)
    assert noise_scale(cube).systematic > 5e-4
    assert noise_scale(white(bins=24, shape=(150, 150))).systematic < 3e-4


# --- what a peak is ------------------------------------------------------------------------------------


def peaks_at(places, significance, bins=6, flux=100.0):
    n = len(places)
    x, y = np.array(places, dtype=float).reshape(-1, 2).T
    norm = np.full((n, bins), 4.0, np.float32)
    signal = np.zeros((n, bins), np.float32)
    signal[:, 2] = np.broadcast_to(flux, n) * norm[:, 2]
    return Peaks(
        x,
        y,
        np.array(significance, dtype=float),
        np.full(n, 2),
        np.ones(n, dtype=np.int64),
        signal,
        norm,
        np.ones(n),
        np.zeros(n),
    )


def test_wings_of_a_brighter_source_are_no_peaks():
    """At five pixels the ePSF has a hundredth of its peak: a source of 3000 shows there, and it is not one."""
    places, flux = [(30.0, 30.0), (35.0, 30.0), (30.0, 52.0)], np.array([3000.0, 20.0, 20.0])
    kept = without_wings(peaks_at(places, [500, 20, 15], flux=flux), PSF)
    assert kept.significance.tolist() == [500, 15]
    faint = without_wings(peaks_at(places, [500, 20, 15], flux=np.array([300.0, 200.0, 20.0])), PSF)
    assert len(faint) == 3
    assert len(without_wings(peaks_at([], []), PSF)) == 0


def test_wing_profile_falls_from_one():
    profile = wing_profile(PSF)
    half = profile.shape[0] // 2
    assert profile[half, half] == 1
    assert profile[half, half + 4 * 4] < 0.1
    assert (profile >= 0).all()


def test_peaks_of_stars_and_others():
    peaks = peaks_at([(10.0, 10.0), (20.2, 20.0), (30.0, 30.9), (41.0, 40.0)], [9, 8, 7, 6])
    x, y = np.array([20.0, 30.0, 40.0, np.nan]), np.array([20.0, 30.0, 40.0, 5.0])
    found = sort_peaks(peaks, x, y, np.array([False, False, True, True]), CONFIG)
    assert found.new.significance.tolist() == [9, 7]
    assert found.known.significance.tolist() == [8]
    assert found.star.tolist() == [0]
    alone = sort_peaks(peaks, np.empty(0), np.empty(0), np.empty(0, bool), CONFIG)
    assert len(alone.new) == 4


def test_the_dip_beside_a_rise_is_its_other_half():
    rises = peaks_at([(10.0, 10.0)], [30])
    dips = peaks_at([(10.5, 11.0), (20.0, 20.0), (11.0, 10.0)], [12, 6, 40])
    assert apart(dips, rises).significance.tolist() == [6, 40]
    assert len(apart(dips, peaks_at([], []))) == 3


# --- the threshold -------------------------------------------------------------------------------------


def gaussian_dips(count, width=1.0, seed=0):
    """Dips whose number falls as the tail of a Gaussian of this width."""
    rng = np.random.default_rng(seed)
    s = np.sqrt(COUNTED_SIGMA**2 + 2 * width**2 * rng.exponential(size=count))
    return peaks_at(rng.uniform(0, 100, (count, 2)), s)


def test_threshold_lets_the_wanted_number_through():
    """Extrapolated from a thousand dips, counted on a million."""
    limit = threshold(gaussian_dips(1000), 1.0, replace(CONFIG, false_per_megapixel=10.0, least_threshold=0.0))
    beyond = (gaussian_dips(1_000_000, seed=1).significance > limit).sum() / 1000
    assert 3 < beyond < 30


def test_threshold_grows_with_the_noise_and_has_a_floor():
    limits = [threshold(gaussian_dips(500, width), 1.0) for width in (1.0, 1.5, 2.0)]
    assert limits[0] < limits[1] < limits[2]
    assert threshold(peaks_at([], []), 1.0) == CONFIG.least_threshold
    assert threshold(gaussian_dips(3), 100.0) == CONFIG.least_threshold


def test_a_few_wild_dips_do_not_set_it():
    dips = gaussian_dips(200)
    wild = Peaks.joined([dips, peaks_at([(1.0, 1.0)], [300.0])], 6)
    assert threshold(wild, 1.0) == pytest.approx(threshold(dips, 1.0), rel=0.02)


def test_joined_lists_are_in_order():
    joined = Peaks.joined([peaks_at([(1, 1), (2, 2)], [5, 9]), peaks_at([], []), peaks_at([(3, 3)], [7])], 6)
    assert joined.significance.tolist() == [9, 7, 5]
    assert len(Peaks.joined([], 4)) == 0
