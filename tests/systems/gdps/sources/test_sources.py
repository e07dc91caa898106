"""Source lists: magnitudes to flux densities, places and position angles on an exposure, bad catalogues."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.dispersion import Window
from roman_assets.systems.gdps.sources.source_list import USUAL_BULGE, SourceList, flux_density
from tests.systems.gdps.conftest import catalogue, flat_map

WINDOW = Window(1.0, 1.0, 200, 200)


def test_ab_zero_point() -> None:
    """AB 0 at 0.55 um is 3.6e-11 W m-2 nm-1 (3.6e-9 erg/s/cm2/A)."""
    assert float(flux_density(0.0, 0.55)) == pytest.approx(3.6e-11, rel=0.01)


def test_places_and_orientation() -> None:
    """Position angle 0 is the major axis along north, here +y; 90 along east, here -x."""
    table = catalogue([60.0, 120.0], [80.0, 90.0], [20.0, 20.0], [0.5, 0.5], WINDOW)
    sources = SourceList.of(table.with_columns(pa_deg=pl.Series([0.0, 90.0])))
    x, y, shapes = sources.on(flat_map(100, 100))
    assert np.allclose(x, [60, 120], atol=1e-6)
    assert np.allclose(y, [80, 90], atol=1e-6)
    assert abs(np.sin(shapes[0].angle)) == pytest.approx(1, abs=1e-6)
    assert abs(np.cos(shapes[1].angle)) == pytest.approx(1, abs=1e-3)
    assert shapes[0].half_light == pytest.approx(0.5 / 0.11, rel=1e-4)


def test_colours() -> None:
    table = catalogue([60.0], [80.0], [20.0], [0.0], WINDOW).with_columns(mag_f129=pl.lit(None, dtype=pl.Float64))
    spectrum = SourceList.of(table).spectrum([1.06, 1.3, 1.842, 2.0])
    assert spectrum[0, 0] == pytest.approx(float(flux_density(20.0, 1.06)))
    # A source of constant AB magnitude goes by lambda^-2, whatever band is missing.
    assert spectrum[0, 1] == pytest.approx(float(flux_density(20.0, 1.3)), rel=1e-6)
    assert spectrum[0, 3] == spectrum[0, 2]


def test_bulge_defaults_and_select() -> None:
    sources = SourceList.of(catalogue([60.0, 70.0], [80.0, 80.0], [20.0, 21.0], [0.0, 0.3], WINDOW))
    assert sources.bulge.tolist() == [0.0, USUAL_BULGE]
    changed = sources.with_bulge(np.array([0.7, 0.7]))
    assert changed.bulge.tolist() == [0.0, 0.7]
    assert changed.select([1]).id.tolist() == [2]


def test_a_star_flag_does_not_hide_a_size() -> None:
    """Of a few hundredths of an arcsecond, as stars are measured, it says nothing; of a quarter, it is a galaxy's."""
    table = catalogue([60.0, 70.0, 80.0], [80.0] * 3, [20.0] * 3, [0.02, 0.25, 0.25], WINDOW)
    sources = SourceList.of(table.with_columns(star_flag=pl.Series([True, True, False])))
    assert sources.half_light.tolist() == [0.0, 0.25, 0.25]
    assert sources.doubtful.tolist() == [False, True, False]
    points = sources.as_points(sources.doubtful)
    assert points.half_light.tolist() == [0.0, 0.0, 0.25]
    assert points.bulge.tolist() == [0.0, 0.0, USUAL_BULGE]


def test_bad_catalogues() -> None:
    table = catalogue([60.0], [80.0], [20.0], [0.0], WINDOW)
    with pytest.raises(InputError, match="columns are missing"):
        SourceList.of(table.drop("ra"))
    with pytest.raises(InputError, match="no photometry"):
        SourceList.of(table.drop("mag_f106", "mag_f129", "mag_f158", "mag_f184"))
    with pytest.raises(InputError, match="not finite"):
        SourceList.of(table.with_columns(ra=pl.lit(None, dtype=pl.Float64)))


def test_a_source_without_photometry_is_dark() -> None:
    table = catalogue([60.0], [80.0], [20.0], [0.0], WINDOW)
    dark = table.with_columns(pl.lit(float("nan")).alias(c) for c in table.columns if c.startswith("mag"))
    assert not SourceList.of(dark).spectrum([1.2, 1.5]).any()
