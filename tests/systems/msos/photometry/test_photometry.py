"""Photometry of single exposures against the truth, its flags, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.kernels.photometry import PaddedFrame, Stars, render
from roman_assets.systems.msos.light_curves.series import usable
from roman_assets.systems.msos.photometry.exposure_fit import (
    BAD_FIT,
    COSMIC_RAY,
    EDGE,
    FLAG_MEANINGS,
    MASKED,
    NO_DATA,
    SATURATED,
    UNSOLVED,
    fit_exposure,
)


def places(survey):
    return survey.stars["ra"].to_numpy(), survey.stars["dec"].to_numpy()


def test_fluxes_are_unbiased_and_errors_true(survey, photometry):
    """At true positions with the optical model's ePSF: bias under 0.4 %, pulls near one.

    The exposures were made with the PSF of another place on the detector, which costs the width its excess.
    """
    bright = survey.bright(21.5)
    flux = np.array([p.flux for p in photometry])[:, bright]
    error = np.array([p.flux_err for p in photometry])[:, bright]
    clean = np.array([p.flag for p in photometry])[:, bright] == 0
    assert clean.mean() > 0.8
    ratio = np.where(clean, flux, np.nan) / survey.flux[bright]
    assert abs(np.nanmedian(ratio) - 1) < 0.004
    pull = np.where(clean, (flux - survey.flux[bright]) / error, np.nan)
    assert 0.5 < 1.4826 * np.nanmedian(np.abs(pull)) < 1.5


def test_scatter_is_near_the_photon_limit(survey, photometry):
    """Epoch to epoch, against 1 / sqrt(sum psi^2 / variance) of an isolated star."""
    from roman_assets.kernels.photometry import PaddedFrame, Stars, matched_sums, render

    mag = survey.stars["mag_f146"].to_numpy()
    use = survey.bright(22) & (mag > 19)
    flux = np.where(
        np.array([p.flag for p in photometry])[:, use] == 0, np.array([p.flux for p in photometry])[:, use], np.nan
    )
    frame = survey.frames[0]
    geometry = PaddedFrame(*frame.shape)
    stars = Stars.of(*frame.to_pixels(*places(survey)), 15)
    sky = np.full(geometry.shape, 2.5, np.float32)
    model = render(survey.psf.spline, geometry, stars, survey.flux, sky)
    weight = geometry.padded(frame.weight(model[geometry.inner], 0.0))
    limit = 1 / np.sqrt(matched_sums(survey.psf.spline, geometry, stars, model, weight)[use, 1])
    scatter = 1.4826 * np.nanmedian(np.abs(flux - np.nanmedian(flux, axis=0)), axis=0) * np.sqrt(8 / 7)
    assert 0.8 < np.nanmedian(scatter / limit) < 1.35


def test_residual_sky_and_convergence(survey, photometry):
    assert len(survey.frames) == 8
    for frame, fit in zip(survey.frames, photometry, strict=True):
        assert fit.converged
        assert fit.residual.shape == frame.shape
        assert abs(np.median(fit.residual[frame.good])) < 0.2
        assert fit.sky[0] == pytest.approx(2.5, abs=0.3)


def test_chi2_is_one_with_the_exposures_own_psf(survey, catalogue):
    frame = survey.frames[3]
    fit = fit_exposure(frame, catalogue.ra, catalogue.dec, catalogue.stars.flux, catalogue.psf)
    used = fit.flag == 0
    # Stars share the pixels of a crowded field, so a core has fewer degrees of freedom than pixels.
    assert np.median(fit.chi2[used]) == pytest.approx(0.85, abs=0.25)
    brightest = used & (catalogue.stars.flux > 300)
    assert np.median(fit.chi2[brightest]) == pytest.approx(1.0, abs=0.5)


def test_order_of_the_catalogue_does_not_matter(survey, photometry):
    ra, dec = places(survey)
    order = np.random.default_rng(0).permutation(len(ra))
    start = survey.flux
    plain = fit_exposure(survey.frames[0], ra, dec, start, survey.psf)
    mixed = fit_exposure(survey.frames[0], ra[order], dec[order], start[order], survey.psf)
    pull = (mixed.flux - plain.flux[order]) / plain.flux_err[order]
    assert np.nanmax(np.abs(pull)) < 0.1
    np.testing.assert_array_equal(mixed.flag, plain.flag[order])


@pytest.mark.parametrize("shift", [(0.12, -0.08), (0.3, 0.25)])
def test_pointing_error_is_found(survey, shift):
    """A WCS that is off by a fraction of a pixel must not cost flux."""
    frame = survey.frames[2]

    class Shifted:
        accuracy = 0.0

        def __call__(self, ra, dec):
            x, y = frame.to_pixels(ra, dec)
            return x - shift[0], y - shift[1]

    fit = fit_exposure(replace(frame, to_pixels=Shifted()), *places(survey), survey.flux, survey.psf)
    assert fit.shift == pytest.approx(shift, abs=0.05)
    bright = survey.bright(20.5) & (fit.flag == 0)
    assert abs(np.median(fit.flux[bright] / survey.flux[bright]) - 1) < 0.02


def test_cosmic_ray_is_masked_and_flagged(survey):
    frame = survey.frames[1]
    ra, dec = places(survey)
    x, y = frame.to_pixels(ra, dec)
    quiet = fit_exposure(frame, ra, dec, survey.flux, survey.psf)
    target = int(np.flatnonzero(survey.bright(20) & (quiet.flag == 0))[0])
    data = frame.data.copy()
    row, col = int(np.floor(y[target] + 0.5)), int(np.floor(x[target] + 0.5))
    side = 1 if x[target] > col else -1
    data[row, col + side] += 5000
    fit = fit_exposure(replace(frame, data=data), ra, dec, survey.flux, survey.psf)
    assert fit.cosmic_rays >= 1
    assert fit.flag[target] & COSMIC_RAY
    assert fit.flux[target] == pytest.approx(survey.flux[target], rel=0.05)
    assert quiet.cosmic_rays <= 3


def test_stars_are_not_taken_for_cosmic_rays(survey, photometry):
    """An undersampled star is sharp, too. (The simulation has cosmic rays, most of them already in the mask.)"""
    flags = np.array([p.flag for p in photometry])[:, survey.bright(22)]
    assert (flags & COSMIC_RAY != 0).mean() < 0.02


def test_flags_of_masked_saturated_and_lost_stars(survey):
    frame = survey.frames[0]
    ra, dec = places(survey)
    x, y = frame.to_pixels(ra, dec)
    chosen = np.flatnonzero(survey.bright(22))
    lost, partly, full = (int(i) for i in chosen[:3])
    good, saturated = frame.good.copy(), frame.saturated.copy()

    def around(star, size):
        row, col = int(np.floor(y[star] + 0.5)), int(np.floor(x[star] + 0.5))
        return slice(max(row - size, 0), row + size + 1), slice(max(col - size, 0), col + size + 1)

    good[around(lost, 4)] = False
    row, col = int(np.floor(y[partly] + 0.5)), int(np.floor(x[partly] + 0.5))
    good[row, col] = False
    saturated[around(full, 0)] = True
    good[around(full, 0)] = False
    fit = fit_exposure(replace(frame, good=good, saturated=saturated), ra, dec, survey.flux, survey.psf)
    assert fit.flag[lost] & NO_DATA
    assert np.isnan(fit.flux[lost])
    assert np.isnan(fit.flux_err[lost])
    assert fit.flag[partly] & (MASKED | NO_DATA)
    assert fit.flag[full] & SATURATED
    assert not fit.flag[full] & (MASKED | NO_DATA), "it is measured from what is left"
    assert abs(fit.flux[full] - survey.flux[full]) < 3 * fit.flux_err[full]
    assert fit.flux_err[full] > 0.002 * survey.flux[full], "and its error says what was lost"


def test_edge_and_outside(survey, photometry):
    first = photometry[0]
    x, y = survey.frames[0].to_pixels(*places(survey))
    last = survey.frames[0].shape[1] - 1
    outside = (x < -2) | (x > last + 2) | (y < -2) | (y > last + 2)
    assert outside.any()
    assert (first.flag[outside] & NO_DATA).all()
    assert np.isnan(first.flux[outside]).all()
    near = (x >= 0) & (x < 2) & (y > 5) & (y < last - 5)
    assert (first.flag[near] & EDGE).all()
    assert not (first.flag[survey.inside(10)] & EDGE).any()


def test_wrong_catalogue_flux_is_corrected_and_marked_only_when_bad(survey):
    """A star that is three times brighter than its entry, an event, is measured as such and not as a bad fit."""
    frame = survey.frames[0]
    ra, dec = places(survey)
    target = int(np.flatnonzero(survey.bright(20.5))[0])
    start = survey.flux.copy()
    start[target] /= 3
    fit = fit_exposure(frame, ra, dec, start, survey.psf)
    assert fit.flux[target] == pytest.approx(survey.flux[target], rel=0.03)
    assert not fit.flag[target] & (BAD_FIT | NO_DATA)


def test_start_that_is_not_finite_is_no_obstacle(survey, photometry):
    ra, dec = places(survey)
    start = survey.flux.copy()
    start[::7] = np.nan
    fit = fit_exposure(survey.frames[0], ra, dec, start, survey.psf)
    assert np.isfinite(fit.flux[survey.bright(21)]).mean() > 0.95


def test_flag_bits_are_distinct_and_explained():
    bits = [NO_DATA, SATURATED, MASKED, BAD_FIT, EDGE, COSMIC_RAY, UNSOLVED]
    assert sorted(FLAG_MEANINGS) == sorted(bits)
    assert len({*bits}) == 7
    assert all(bit & (bit - 1) == 0 and bit < 256 for bit in bits)


def test_empty_catalogue_is_refused(survey):
    none = np.empty(0)
    with pytest.raises(InputError, match="empty"):
        fit_exposure(survey.frames[0], none, none, none, survey.psf)


def test_catalogue_elsewhere_is_refused(survey):
    with pytest.raises(InputError, match="no catalogued star"):
        fit_exposure(survey.frames[0], np.array([268.5]), np.array([-29.2]), np.array([100.0]), survey.psf)


def test_an_event_that_stands_a_little_elsewhere_is_no_cosmic_ray_and_keeps_its_point(survey):
    """Its catalogue position is that of a faint star: brightened a hundred times, it fits badly, and is an event still."""
    frame = survey.frames[0]
    ra, dec = places(survey)
    inside = survey.inside(12) & (survey.flux < 30) & (survey.flux > 5)
    target = int(np.flatnonzero(inside)[0])
    x, y = frame.to_pixels(ra[target : target + 1], dec[target : target + 1])
    geometry = PaddedFrame(*frame.shape)
    data = geometry.padded(frame.data)
    added = 3000.0
    render(survey.psf.spline, geometry, Stars.of(x + 0.12, y - 0.1, 15), np.array([added]), data)
    bright = replace(frame, data=np.where(frame.good, data[geometry.inner], 0).astype(np.float32))
    fit = fit_exposure(bright, ra, dec, survey.flux, survey.psf)
    assert usable(fit.flux, fit.flux_err, fit.flag)[target]
    assert fit.flux[target] == pytest.approx(added + survey.flux[target], rel=0.1)
    assert abs(fit.flux[target] - added - survey.flux[target]) < 4 * fit.flux_err[target]
    assert fit.unsolved <= 0.01 * fit.on_image
