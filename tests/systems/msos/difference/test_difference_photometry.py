"""Fluxes on cut-outs of residuals: unbiased beside neighbours, true errors, positions, bad exposures."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.systems.msos.difference.photometry import (
    MOST_FACTOR,
    Cutouts,
    Stamps,
    baseline_of,
    clipped_mean,
    error_factor,
)
from roman_assets.systems.msos.difference.residual import residual_image
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS
from roman_assets.systems.msos.photometry.calibration import PositionTerms
from roman_assets.systems.msos.photometry.exposure_fit import BAD_FIT, COSMIC_RAY, EDGE, MASKED, NO_DATA, SATURATED
from tests.systems.msos.difference_scene import PSF, SIDE, Plane, lens, make_season

quick = settings(max_examples=50, deadline=None, derandomize=True)
N = 40
PLACE, BESIDE = (30.3, 31.8), (31.5, 32.4)


def stamps_of(season, places, folder=None, change=lambda number, frame: frame):
    """Cut-outs of a season around places on the undithered array."""
    x, y = np.array(places, dtype=float).T
    ra, dec = Plane(0, 0)(x, y)
    stamps = Stamps.empty(len(x), len(season.frames), folder)
    for number in range(len(season.frames)):
        frame, registration = season.load(number)
        frame = change(number, frame)
        stamps.cut(number, frame, residual_image(frame, season.sky, registration), registration, season.sky, ra, dec)
    return stamps


def cut_at(season, place, **options):
    return Cutouts(stamps_of(season, [place], **options), 0, PSF.spline)


@pytest.fixture(scope="module")
def truth():
    return lens(61465 + 2 * np.arange(N) / N, 61466.0, 0.1, 0.3, 10.0)


@pytest.fixture(scope="module")
def season(truth):
    return make_season(N, extra=[(*PLACE, truth)])


def test_flux_is_unbiased_and_errors_are_true(season, truth):
    series, *_ = cut_at(season, PLACE).measure((0.0, 0.0), [])
    assert series.good.sum() >= N - 2
    pull = ((series.flux - truth) / series.error)[series.good]
    # A constant may be left: what stars beside it leave of their own errors, which are none here.
    assert abs(pull.mean()) < 4 / np.sqrt(N)
    assert 0.75 < pull.std() < 1.25
    amplitude = (series.flux * truth / series.error**2)[series.good].sum() / (truth**2 / series.error**2)[
        series.good
    ].sum()
    assert amplitude == pytest.approx(1.0, abs=0.03)
    assert np.median(series.chi2) == pytest.approx(1.0, abs=0.15)


def test_errors_grow_with_the_source_s_own_light(truth):
    """The constant sky's weights know nothing of the photons of an event."""
    bright = make_season(N, extra=[(*PLACE, 50 * truth)])
    series, *_ = cut_at(bright, PLACE).measure((0.0, 0.0), [])
    peak = int(np.argmax(truth))
    assert series.error[peak] > 3 * np.median(series.error)
    pull = ((series.flux - 50 * truth) / series.error)[series.good]
    assert 0.7 < pull.std() < 1.3


def test_varying_neighbour_is_fitted_with_it(truth):
    """A source 1.3 px away that varies, too: alone the fit takes its light for the source's."""
    other = 60.0 * (1 + np.sin(np.arange(N)))
    both = make_season(N, extra=[(*PLACE, truth), (*BESIDE, other)])
    cut = cut_at(both, PLACE)
    offset = BESIDE[0] - PLACE[0], BESIDE[1] - PLACE[1]
    together, rest, _ = cut.measure((0.0, 0.0), [offset])
    alone, *_ = cut.measure((0.0, 0.0), [])
    assert abs(np.median((together.flux - truth) / together.error)) < 0.7
    assert np.abs(alone.flux - truth).mean() > 5 * np.abs(together.flux - truth).mean()
    assert 0.7 < np.std((together.flux - truth) / together.error) < 1.4
    assert rest.shape == cut.residual.shape


@pytest.mark.parametrize("step", [(0.0, 0.0), (0.15, -0.1), (-0.3, 0.2)])
def test_position_steps_lead_to_the_source(season, truth, step):
    cut = cut_at(season, (PLACE[0] + step[0], PLACE[1] + step[1]))
    place = (0.0, 0.0)
    for _ in range(6):
        series, rest, weight = cut.measure(place, [])
        pull, information = cut.gradient(place, rest, weight, series.flux)
        flux = np.nan_to_num(series.flux)
        matrix = np.einsum("e,ekl->kl", flux**2, information)
        move = np.linalg.solve(matrix, np.einsum("e,ek->k", flux, pull))
        place = place[0] + move[0], place[1] + move[1]
    error = np.sqrt(np.diag(np.linalg.inv(matrix)))
    assert np.abs(np.array(place) + step) == pytest.approx([0, 0], abs=4 * error.max())
    assert error.max() < 0.03


def test_exposure_that_does_not_look_like_the_epsf_is_flagged(season):
    def change(number, frame):
        if number != 5:
            return frame
        data = frame.data.copy()
        x, y = round(PLACE[0] + frame.wcs.dx), round(PLACE[1] + frame.wcs.dy)
        data[y, x - 2 : x + 3] += 15.0
        return replace(frame, data=data)

    series, *_ = cut_at(season, PLACE, change=change).measure((0.0, 0.0), [])
    assert series.flag[5] & (BAD_FIT | COSMIC_RAY)
    assert ((series.flag & UNUSED_FLAGS) != 0).sum() <= 3


def test_flags_of_masked_saturated_and_lost_exposures(season):
    def change(number, frame):
        x, y = round(PLACE[0] + frame.wcs.dx), round(PLACE[1] + frame.wcs.dy)
        core = slice(y - 4, y + 5), slice(x - 4, x + 5)
        good, saturated = frame.good.copy(), frame.saturated.copy()
        if number == 1:
            good[core] = False
        if number == 2:
            good[y, x] = False
        if number == 3:
            saturated[y, x], good[y, x] = True, False
        return replace(frame, good=good, saturated=saturated)

    series, *_ = cut_at(season, PLACE, change=change).measure((0.0, 0.0), [])
    assert series.flag[1] & NO_DATA
    assert np.isnan(series.flux[1])
    assert np.isnan(series.error[1])
    assert series.flag[2] & MASKED
    assert series.flag[3] & SATURATED
    assert not series.good[1:4].any()
    assert np.isfinite(series.flux[series.good]).all()


def test_all_exposures_masked_is_no_error(season):
    def change(number, frame):
        good = frame.good.copy()
        good[20:44, 20:44] = False
        return replace(frame, good=good)

    series, rest, weight = cut_at(season, PLACE, change=change).measure((0.0, 0.0), [(2.0, 0.0)])
    assert (series.flag & NO_DATA != 0).all()
    assert np.isnan(series.flux).all()
    assert not series.good.any()
    assert np.isfinite(rest).all()
    assert not weight.any()


def test_sources_off_the_exposure_have_no_data(season):
    stamps = stamps_of(season, [(-20.0, 30.0), (0.5, 30.0), (200.0, 500.0)])
    assert (stamps.flag[0] & NO_DATA != 0).all()
    assert (stamps.flag[2] & NO_DATA != 0).all()
    assert (stamps.flag[1] & EDGE != 0).all()


def test_sensitivity_at_the_place_is_kept(season):
    frame, registration = season.load(0)
    terms = PositionTerms(np.array([0.1, 0, 0, 0, 0]), (SIDE, SIDE))
    stamps = Stamps.empty(2, 1, None)
    ra, dec = Plane(0, 0)(np.array([0.0, SIDE - 1.0]), np.array([30.0, 30.0]))
    registration = replace(registration, terms=terms)
    stamps.cut(0, frame, residual_image(frame, season.sky, registration), registration, season.sky, ra, dec)
    assert stamps.gain[:, 0] == pytest.approx([0.9, 1.1], abs=0.01)


def test_cut_outs_on_disk_are_the_same(season, tmp_path):
    memory, disk = stamps_of(season, [PLACE]), stamps_of(season, [PLACE], folder=tmp_path)
    assert isinstance(disk.residual, np.memmap)
    np.testing.assert_array_equal(memory.residual, disk.residual)
    np.testing.assert_array_equal(memory.flag, disk.flag)


# --- baselines -----------------------------------------------------------------------------------------


@quick
@given(n=st.integers(4, 80), data=st.data())
def test_baseline_lies_outside_the_brightening(n, data):
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first + 1, n))
    good = np.array(data.draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    base = baseline_of(good, first, last)
    assert not base[first:last].any()
    assert not (base & ~good).any()
    outside = good.copy()
    outside[first:last] = False
    assert base.any() == outside.any()


def test_baseline_keeps_its_distance_where_it_can():
    base = baseline_of(np.ones(100, bool), 40, 50)
    assert np.flatnonzero(~base).tolist() == list(range(30, 60))
    near = baseline_of(np.ones(100, bool), 20, 80)
    assert near.sum() == 40


def test_clipped_mean():
    flux, error = np.array([1.0, 2.0, 1.5, 90.0]), np.ones(4)
    assert clipped_mean(flux, error) == pytest.approx((1.5, 3**-0.5))
    assert clipped_mean(np.array([3.0]), np.array([2.0])) == pytest.approx((3.0, 2.0))
    assert np.isnan(clipped_mean(np.empty(0), np.empty(0))).all()


def test_error_factor_sees_noise_and_no_wings():
    rng = np.random.default_rng(0)
    noise, error = rng.standard_normal(400), np.ones(400)
    assert error_factor(noise, error) == pytest.approx(1.0, abs=0.1)
    assert error_factor(2 * noise, error) == pytest.approx(2.0, abs=0.25)
    wings = 300 / (1 + ((np.arange(400) - 200) / 40.0) ** 2)
    assert error_factor(noise + wings, error) < 2.2
    assert error_factor(100 * noise, error) == MOST_FACTOR
    assert error_factor(100 * noise[:10], error[:10]) == 1.0
