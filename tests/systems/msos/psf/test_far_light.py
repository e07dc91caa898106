"""Stamps at the edge of the image, and the light of very bright stars beyond them."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.kernels.photometry import MAX_HALF, PaddedFrame, Stars
from roman_assets.systems.msos.psf.effective_psf import model_psf
from roman_assets.systems.msos.psf.far_light import far_light
from roman_assets.systems.msos.psf.stamps import NARROW, placed

FRAME = PaddedFrame(300, 300)
PSF = model_psf("WFI05", "F146")


def image(flux: float, half: int = MAX_HALF, at: float = 150.0) -> np.ndarray:
    return far_light(PSF, FRAME, Stars.of([at], [at], half), np.array([flux]), 0.3)[FRAME.inner]


def test_usual_stars_have_none():
    assert not image(1e4).any()
    assert not image(1e7, half=3).any()  # a stamp that is small because the catalogue's star is faint
    assert not image(np.nan).any()


def test_it_begins_where_the_stamp_ends_and_falls_as_diffraction_does():
    light = image(1e7)
    inside = slice(150 - MAX_HALF, 151 + MAX_HALF)
    assert not light[inside, inside].any()
    assert light[150, 150 + 80] > light[150, 150 + 96] > 0
    assert light[150, 150 + 80] / light[150, 150 + 96] == pytest.approx((96 / 80) ** 3, rel=1e-3)
    assert light[150, 150 + 101] == 0  # the sky's
    # Continuous with the ePSF at the edge of its grid.
    edge = PSF.values[PSF.coefficients.shape[0] // 2, -8] * 1e7
    assert light[150, 150 + MAX_HALF + 1] == pytest.approx(edge, rel=0.4)


def test_the_margin_stays_empty():
    whole = far_light(PSF, FRAME, Stars.of([2.0], [150.0], MAX_HALF), np.array([1e8]), 0.3)
    inner = whole[FRAME.inner].sum()
    assert inner > 0
    assert whole.sum() == pytest.approx(inner)


def test_stamps_fit_into_the_margin():
    x = np.array([-500.0, -20.0, -5.0, 150.0, 305.0, 320.0, 900.0])
    stars = placed(FRAME, x, np.full(7, 150.0), np.full(7, MAX_HALF))
    assert stars.half.tolist() == [NARROW, NARROW, MAX_HALF, MAX_HALF, MAX_HALF, NARROW, NARROW]
    assert (stars.x - stars.half > -FRAME.pad).all()
    assert (stars.x + stars.half < FRAME.nx + FRAME.pad).all()
    assert stars.x[2:5].tolist() == x[2:5].tolist()
