"""Bulge shares from a direct image that holds known ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from roman_assets.gdps.direct_image import _undispersed, bulge_shares
from roman_assets.gdps.dispersion import Window, add_cutout
from roman_assets.gdps.sources import PIVOTS, USUAL_BULGE, SourceList
from tests.gdps.conftest import catalogue, make_field

WINDOW = Window(1500.0, 1500.0, 200, 160)
SHARES = np.array([0.0, 0.0, 0.5, 1.0, 0.15, 0.15])


def test_shares_are_found() -> None:
    """A star, a disc, a mixture, a bulge; one too faint to tell and one off the image keep the usual share."""
    table = catalogue(
        [30.4, 60.7, 110.2, 160.5, 40.0, 900.0], [40.3, 100.8, 50.5, 110.1, 130.0, 80.0],
        [20.0, 20.0, 20.0, 20.0, 27.5, 20.0], [0.0, 0.4, 0.4, 0.35, 0.3, 0.3], WINDOW,
    )  # fmt: skip
    field = make_field(table, WINDOW)
    sources = SourceList.of(table)
    x, y, shapes = sources.with_bulge(SHARES).on(field.frame.to_pixels)
    image = np.full((160, 200), 0.4)
    for s in range(5):
        placed = _undispersed(x[s], y[s], shapes[s], field.psf, PIVOTS["f158"], 160)
        add_cutout(image, placed.box, placed.image([10 ** (-0.4 * (table["mag_f158"][s] - 26.4))]))
    rng = np.random.default_rng(4)
    noisy = rng.poisson(image * 140) / 140 + rng.normal(0, 0.04, image.shape)
    frame = replace(
        field.frame, data=noisy.astype(np.float32), read_variance=np.full(image.shape, 0.0016, dtype=np.float32),
        poisson_slope=np.full(image.shape, 1 / 140, dtype=np.float32),
    )  # fmt: skip
    found = bulge_shares(frame, sources, field.psf)
    assert found[0] == 0
    assert np.abs(found[1:4] - SHARES[1:4]).max() < 0.12
    assert abs(found[4] - USUAL_BULGE) < 0.25
    assert found[5] == USUAL_BULGE
