"""Motions that were put in come back, from frames that do not agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.systems.msos.objects.proper_motion import frame_offsets, motions

MAS = 1 / 3.6e6
MJD = np.array([61465.0, 61649.0, 62900.0])


def sky(seed: int, count: int = 400, error: float = 0.3):
    """Positions (epochs, count) with their truth: motions [mas/yr] of no mean."""
    rng = np.random.default_rng(seed)
    dec = -29.0 + 0.02 * rng.random(count)
    ra = 268.0 + 0.02 * rng.random(count)
    motion = rng.normal(0, 3.0, (2, count))
    years = ((MJD - MJD.mean()) / 365.25)[:, None]
    noise = rng.normal(0, error, (2, len(MJD), count))
    cos = np.cos(np.deg2rad(dec))
    return ra + (motion[0] * years + noise[0]) * MAS / cos, dec + (motion[1] * years + noise[1]) * MAS, motion


def test_motions_come_back_with_their_errors() -> None:
    ra, dec, truth = sky(1)
    found = motions(ra, dec, np.full(ra.shape, 0.3), MJD, floor_mas=0.0)
    for axis, measured in enumerate((found.pm_ra, found.pm_dec)):
        pulls = (measured - truth[axis]) / found.pm_err
        assert abs(pulls.mean()) < 0.2
        assert pulls.std() == pytest.approx(1.0, abs=0.12)
    np.testing.assert_allclose(found.mjd, MJD.mean())


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(-80, 80), st.floats(-80, 80)), min_size=3, max_size=3))
def test_offsets_of_frames_are_found_whatever_the_motions(offsets: list[tuple[float, float]]) -> None:
    ra, dec, _ = sky(2)
    moved = np.array(offsets)
    ra = ra + moved[:, :1] * MAS / np.cos(np.deg2rad(dec))
    dec = dec + moved[:, 1:] * MAS
    group, catalogue = (a.ravel() for a in np.meshgrid(np.arange(ra.shape[1]), np.arange(3)))
    found = frame_offsets(ra.ravel(), dec.ravel(), group, catalogue)
    expected = moved - moved.mean(axis=0)
    # The median of 400 motions of 3 mas/yr is zero to a fifth of a mas/yr; two years from the mean epoch.
    np.testing.assert_allclose([found[k] for k in range(3)], expected, atol=1.2)


def test_frames_with_nothing_in_common_stay() -> None:
    ra, dec, _ = sky(3)
    count = ra.shape[1]
    none = frame_offsets(ra[0], dec[0], np.arange(count), np.repeat([0, 1], count // 2))
    assert none == {0: (0.0, 0.0), 1: (0.0, 0.0)}
    few = np.concatenate([np.arange(count), np.arange(5)])
    some = frame_offsets(
        np.concatenate([ra[0], ra[1, :5]]), np.concatenate([dec[0], dec[1, :5]]), few, np.repeat([0, 1], [count, 5])
    )
    assert some[1] == (0.0, 0.0)


def test_one_epoch_or_a_short_span_tells_no_motion() -> None:
    ra, dec, _ = sky(4)
    for epochs in (MJD[:1], np.array([61465.0, 61490.0])):
        found = motions(ra[: len(epochs)], dec[: len(epochs)], np.full((len(epochs), ra.shape[1]), 0.3), epochs)
        assert np.isnan(found.pm_ra).all()
        assert np.isnan(found.pm_err).all()
        assert np.isfinite(found.ra).all()


def test_unknown_errors_have_no_weight() -> None:
    ra, dec, _ = sky(5)
    error = np.full(ra.shape, 0.3)
    error[2] = np.nan
    wrong = ra.copy()
    wrong[2] += 1.0
    np.testing.assert_array_equal(motions(wrong, dec, error, MJD).pm_ra, motions(ra, dec, error, MJD).pm_ra)
    none = motions(ra, dec, np.full(ra.shape, np.nan), MJD)
    assert np.isnan(none.pm_ra).all()
    assert np.isnan(none.mjd).all()
    np.testing.assert_allclose(none.ra, ra.mean(axis=0))
