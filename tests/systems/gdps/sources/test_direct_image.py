"""Bulge shares from a direct image that holds known ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from roman_assets.exposures.level2.frames import Frame
from roman_assets.systems.gdps.optics.dispersion import Window, add_cutout
from roman_assets.systems.gdps.sources.direct_image import _undispersed, profiles_by_image
from roman_assets.systems.gdps.sources.source_list import PIVOTS, USUAL_BULGE, SourceList
from tests.systems.gdps.conftest import Field, catalogue, make_field

WINDOW = Window(1500.0, 1500.0, 200, 160)
SHARES = np.array([0.0, 0.0, 0.5, 1.0, 0.15, 0.15])


def _image(field: Field, table: pl.DataFrame, drawn: SourceList, sources: int) -> Frame:
    """A direct image of the first sources of a list, 140 s, with noise."""
    x, y, shapes = drawn.on(field.frame.to_pixels)
    image = np.full((160, 200), 0.4)
    for s in range(sources):
        placed = _undispersed(x[s], y[s], shapes[s], field.psf, PIVOTS["f158"], 160)
        add_cutout(image, placed.box, placed.image([10 ** (-0.4 * (table["mag_f158"][s] - 26.4))]))
    rng = np.random.default_rng(4)
    noisy = rng.poisson(image * 140) / 140 + rng.normal(0, 0.04, image.shape)
    return replace(
        field.frame,
        data=noisy.astype(np.float32),
        read_variance=np.full(image.shape, 0.0016, dtype=np.float32),
        poisson_slope=np.full(image.shape, 1 / 140, dtype=np.float32),
    )


def test_the_image_settles_what_flag_and_size_dispute() -> None:
    """Two sources flagged as stars with the size of a galaxy: one is a star, the other is not."""
    table = catalogue([60.0, 140.0], [80.0, 80.0], [22.0, 22.0], [0.25, 0.25], WINDOW)
    table = table.with_columns(star_flag=pl.Series([True, True]))
    field = make_field(table, WINDOW)
    sources = SourceList.of(table)
    frame = _image(field, table, sources.as_points(np.array([True, False])), 2)
    found = profiles_by_image(frame, sources, field.psf)
    assert found.half_light.tolist() == [0.0, 0.25]


def test_shares_are_found() -> None:
    """A star, a disc, a mixture, a bulge; one too faint to tell and one off the image keep the usual share."""
    table = catalogue(
        [30.4, 60.7, 110.2, 160.5, 40.0, 900.0],
        [40.3, 100.8, 50.5, 110.1, 130.0, 80.0],
        [20.0, 20.0, 20.0, 20.0, 27.5, 20.0],
        [0.0, 0.4, 0.4, 0.35, 0.3, 0.3],
        WINDOW,
    )
    field = make_field(table, WINDOW)
    sources = SourceList.of(table)
    frame = _image(field, table, sources.with_bulge(SHARES), 5)
    found = profiles_by_image(frame, sources, field.psf).bulge
    assert found[0] == 0
    assert np.abs(found[1:4] - SHARES[1:4]).max() < 0.12
    assert abs(found[4] - USUAL_BULGE) < 0.25
    assert found[5] == USUAL_BULGE
