"""The blind catalogue against the truth of the simulated survey, and its building blocks."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.msos.catalogue.detection import (
    MERGE_PX,
    Round,
    Stack,
    StarList,
    _position_system,
    _prune,
    _saturated_stars,
    build_catalogue,
    vertex,
)
from tests.systems.msos.conftest import CONFIG, nearest


def test_bright_stars_are_found_and_in_place(survey, catalogue):
    bright = survey.bright(21.5)
    entry, distance = nearest(survey, catalogue)
    ratio = catalogue.stars.flux[entry] / survey.flux
    found = (distance < 0.5) & (np.abs(np.log10(ratio)) < 0.2)
    assert bright.sum() > 40
    assert found[bright].mean() >= 0.95
    use = bright & found
    assert np.median(distance[use]) < 0.05
    assert abs(np.median(ratio[use]) - 1) < 0.015
    dx = catalogue.stars.x[entry] - survey.stars["x"].to_numpy()
    dy = catalogue.stars.y[entry] - survey.stars["y"].to_numpy()
    assert np.hypot(np.median(dx[use]), np.median(dy[use])) < 0.02


def test_few_bright_entries_are_spurious(survey, catalogue):
    from scipy.spatial import cKDTree

    truth = cKDTree(survey.stars.select("x", "y").to_numpy())
    mag = CONFIG.zero_point - 2.5 * np.log10(catalogue.stars.flux)
    x, y = catalogue.stars.x, catalogue.stars.y
    last = CONFIG.size_px - 1
    bright = (mag < 22) & (x > 0) & (y > 0) & (x < last) & (y < last)
    real = 0
    true_mag = survey.stars["mag_f146"].to_numpy()
    for i in np.flatnonzero(bright):
        near = truth.query_ball_point((x[i], y[i]), 0.7)
        real += any(abs(true_mag[k] - mag[i]) < 1.0 for k in near)
    assert real >= 0.95 * bright.sum()


def test_sky_positions_follow_the_wcs(survey, catalogue):
    entry, distance = nearest(survey, catalogue)
    use = survey.bright(20.5) & (distance < 0.3)
    ra, dec = survey.stars["ra"].to_numpy()[use], survey.stars["dec"].to_numpy()[use]
    off = np.hypot((catalogue.ra[entry[use]] - ra) * np.cos(np.deg2rad(dec)), catalogue.dec[entry[use]] - dec)
    np.testing.assert_allclose(off * 3600 / 0.11, distance[use], rtol=0.1, atol=5e-3)


def test_errors_describe_the_errors(survey, catalogue):
    """Pulls of isolated bright stars are of order one: crowding adds to the formal errors, nothing shrinks them."""
    entry, distance = nearest(survey, catalogue)
    use = survey.bright(22) & (distance < 0.4) & (catalogue.crowding[entry] < 0.2)
    assert use.sum() > 20
    pull = (catalogue.stars.flux[entry] - survey.flux)[use] / catalogue.flux_err[entry][use]
    assert np.median(np.abs(pull)) < 2.5
    for name in ("x", "y"):
        off = (getattr(catalogue.stars, name)[entry] - survey.stars[name].to_numpy())[use]
        # A common shift is that of the ePSF's centre, which no star's error knows of.
        off -= np.median(off)
        assert np.median(np.abs(off) / getattr(catalogue, f"{name}_err")[entry][use]) < 3
    assert (catalogue.flux_err > 0).all()


def test_shapes_and_ranges(survey, catalogue):
    n = len(catalogue.stars)
    for name in ("ra", "dec", "x_err", "y_err", "flux_err", "chi2", "crowding", "saturated"):
        assert getattr(catalogue, name).shape == (n,)
    assert ((catalogue.crowding >= 0) & (catalogue.crowding <= 1)).all()
    assert (catalogue.stars.flux > 0).all()
    assert catalogue.residual.shape == (len(survey.frames), *survey.frames[0].shape)
    good = survey.frames[0].good
    sigma = np.sqrt(survey.frames[0].read_variance + survey.frames[0].poisson_slope * 3)
    assert abs(np.median((catalogue.residual[0] / sigma)[good])) < 0.5
    assert catalogue.psf.origin == "empirical"


def test_sky_is_that_of_the_simulation(catalogue):
    """The sky that is left holds the stars too faint to be entries, so it is above the true one, not below."""
    assert CONFIG.sky - 0.1 < np.median(catalogue.sky[:, 0]) < CONFIG.sky + 0.6


def test_crowding_is_larger_with_a_bright_neighbour(catalogue):
    from scipy.spatial import cKDTree

    stars = catalogue.stars
    pairs = cKDTree(np.column_stack([stars.x, stars.y])).query_pairs(1.5, output_type="ndarray")
    faint = np.where(stars.flux[pairs[:, 0]] < stars.flux[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    other = pairs.sum(axis=1) - faint
    beside = faint[stars.flux[other] > 10 * stars.flux[faint]]
    assert beside.size > 5
    assert np.median(catalogue.crowding[beside]) > np.median(catalogue.crowding)


def test_same_frames_give_the_same_catalogue(survey):
    quick = (Round(100, 0.2), Round(20, 0.1))
    a, b = (build_catalogue(survey.frames[:3], survey.psf, rounds=quick) for _ in range(2))
    assert a.stars.flux.tobytes() == b.stars.flux.tobytes()
    assert a.ra.tobytes() == b.ra.tobytes()


def test_trusted_psf_stays(survey):
    lines = []
    result = build_catalogue(
        survey.frames[:2], survey.psf, rounds=(Round(50, 0.1),), fixed_psf=True, progress=lines.append
    )
    assert result.psf is survey.psf
    assert lines
    assert "round 1/1" in lines[0]


def test_nothing_to_stack_is_refused(survey):
    with pytest.raises(InputError, match="no exposure"):
        build_catalogue([], survey.psf)


def test_different_shapes_are_refused(survey):
    from dataclasses import replace

    other = replace(survey.frames[1], data=survey.frames[1].data[:-2])
    with pytest.raises(InputError, match="shapes"):
        Stack([survey.frames[0], other])


def test_empty_sky_is_refused(survey):
    from dataclasses import replace

    rng = np.random.default_rng(0)
    frame = survey.frames[0]
    noise = rng.normal(0, 1e-3, frame.shape).astype(np.float32)
    empty = replace(frame, data=noise, good=np.ones(frame.shape, bool), saturated=np.zeros(frame.shape, bool))
    with pytest.raises(InputError, match="no star"):
        build_catalogue([empty], survey.psf, rounds=(Round(100, 0.2),))


def test_saturated_star_gets_a_start(survey):
    """Its core is masked: the wings must give a flux, and the mask a position."""
    from dataclasses import replace

    frame = survey.frames[0]
    saturated = np.zeros(frame.shape, bool)
    saturated[50:52, 60:62] = True
    good = frame.good & ~saturated
    marked = replace(frame, saturated=saturated, good=good)
    found = _saturated_stars(Stack([marked]), survey.psf)
    assert len(found) == 1
    assert (found.x[0], found.y[0]) == pytest.approx((60.5, 50.5))
    assert found.flux[0] > 0


def test_vertex_of_a_parabola():
    y, x = np.mgrid[0:9, 0:9]
    image = 10 - (x - 4.2) ** 2 - 2 * (y - 3.7) ** 2
    rows, cols = np.array([4]), np.array([4])
    assert vertex(image, rows, cols, 1)[0] == pytest.approx(0.2)
    assert vertex(image, rows, cols, 0)[0] == pytest.approx(-0.3)
    assert vertex(np.zeros((9, 9)), rows, cols, 0)[0] == 0


def test_prune_drops_the_insignificant_and_the_fainter_of_two(survey):
    class Fit:
        flux = np.array([100.0, 50.0, 1.0, 80.0])
        flux_err = np.array([1.0, 1.0, 1.0, np.inf])

    stars = StarList(np.array([5.0, 5.0 + MERGE_PX / 2, 20.0, 30.0]), np.full(4, 5.0), Fit.flux)
    kept = _prune(stars, Fit, 3.5)
    assert kept.x.tolist() == [5.0]


def test_position_system_eliminates_the_flux():
    """Pure flux error: no step, whatever the coupling of flux and position."""
    sums = np.array([[2.0, 0.6, -0.4, 4.0, 1.2, -0.8, 9.0, 0.3, 8.0]])
    matrix, gradient = _position_system(sums, np.array([10.0]))
    np.testing.assert_allclose(gradient, 0, atol=1e-12)
    assert (np.linalg.eigvalsh(matrix[0]) > 0).all()
