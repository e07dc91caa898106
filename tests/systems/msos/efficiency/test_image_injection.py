"""Signals in images: what is added comes back from the photometry, and what cannot be used says so."""

from dataclasses import replace

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.msos.efficiency.image_injection import (
    Exposure,
    Field,
    Window,
    choose,
    recover_images,
    window_of,
    with_light,
)
from roman_assets.systems.msos.efficiency.injection import POINT_LENS, Injection, InjectionConfig
from roman_assets.systems.msos.photometry.exposure_fit import fit_exposure
from roman_assets.systems.msos.psf.grid import DetectorPsf
from roman_assets.systems.msos.psf.phase_map import NO_MAP


@pytest.fixture(scope="module")
def field(survey):
    psf = DetectorPsf.of(survey.psf)
    columns = (survey.stars[c].to_numpy().astype(float) for c in ("ra", "dec"))
    return Field(*columns, survey.flux, survey.stars["x"].to_numpy(), survey.stars["y"].to_numpy(), psf)


def injection(row, serial=0, **parameters):
    given = {"t0": 1.0, "u0": 0.1, "te": 1.0} | parameters
    return Injection(serial, POINT_LENS, row, 1.0, 20.0, seed=serial + 7, **given)


@pytest.fixture(scope="module")
def bright(survey):
    """Rows of well measured stars, 25 px apart from each other."""
    rows, found = np.flatnonzero(survey.bright(21.0)), []
    x, y = (survey.stars[c].to_numpy() for c in ("x", "y"))
    for row in rows:
        if all(np.hypot(x[row] - x[o], y[row] - y[o]) > 25 for o in found):
            found.append(row)
    return np.array(found)


def test_the_photometry_returns_the_added_light(survey, field, bright):
    """The same frame with and without the light: the difference is what was added, within its noise."""
    frame = survey.frames[0]
    x, y = frame.to_pixels(field.ra[bright], field.dec[bright])
    added = 0.8 * field.flux[bright]
    lit = with_light(frame, field.psf, NO_MAP, x, y, added, seed=3)
    before, after = (fit_exposure(f, field.ra, field.dec, field.flux, field.psf) for f in (frame, lit))
    pull = (after.flux[bright] - before.flux[bright] - added) / after.flux_err[bright]
    assert len(bright) >= 8
    assert np.abs(np.median(pull)) < 1.0
    assert np.abs(pull).max() < 5.0
    assert lit.data.sum() > frame.data.sum()


def test_light_brings_its_photon_noise(survey, field, bright):
    frame = survey.frames[0]
    x, y = frame.to_pixels(field.ra[bright], field.dec[bright])
    one, two, none = (
        with_light(frame, field.psf, NO_MAP, x, y, a * field.flux[bright], seed=s).data
        for a, s in ((1.0, 1), (1.0, 2), (0.0, 1))
    )
    np.testing.assert_array_equal(none, frame.data)
    difference = one - two
    touched = np.abs(difference) > 0
    assert touched.any()
    assert not touched.all()
    assert np.std(difference[touched]) > 0


def test_a_frame_with_saturated_pixels_saturates_more(survey, field, bright):
    frame = survey.frames[0]
    saturated = np.zeros(frame.shape, dtype=bool)
    saturated[5, 5] = True
    limited = replace(frame, saturated=saturated)
    x, y = frame.to_pixels(field.ra[bright[:1]], field.dec[bright[:1]])
    lit = with_light(limited, field.psf, NO_MAP, x, y, np.array([1e7]), seed=1)
    assert lit.saturated.sum() > 1
    assert not lit.good[lit.saturated & ~saturated].any()


def test_bright_events_are_recovered_and_invisible_ones_are_not(survey, field, bright):
    mjd = np.array([frame.mjd for frame in survey.frames])
    middle, step = float(np.median(mjd)), float(np.median(np.diff(np.sort(mjd))))
    signals = [injection(bright[0], 0, t0=middle, te=2 * step), injection(bright[1], 1, t0=middle + 1e4, te=step)]
    ones = np.ones(len(field.flux))
    exposures = [Exposure(f.name, f.mjd, lambda f=f: f, ones) for f in survey.frames]
    window = window_of(survey.frames[0].shape, 512)
    table, caveats = recover_images(exposures, field, window, signals, "s01", "WFI01")
    assert caveats == []
    assert table["detected"].to_list()[1] is False
    assert table["event_class"][1] is None
    assert table["event_class"][0] is not None
    again, _ = recover_images(exposures, field, window, signals, "s01", "WFI01")
    assert again.equals(table)


def test_an_exposure_that_cannot_be_used_is_left_out(survey, field, bright):
    def broken():
        raise InputError("no such file", file="x.asdf", remedy="look for it")

    ones = np.ones(len(field.flux))
    lost, window, signals = [Exposure("lost", 1.0, broken, ones)], Window(0, 0, 112, 112), [injection(bright[0])]
    refused = []
    table, left_out = recover_images(
        lost, field, window, signals, "s01", "WFI01", refuse=lambda name, error: refused.append((name, error.problem))
    )
    assert table.height == 0
    assert left_out == ["lost"]
    assert refused == [("lost", "no such file")]
    with pytest.raises(InputError, match="no such file"):
        recover_images(lost, field, window, signals, "s01", "WFI01")


def test_chosen_stars_lie_inside_and_apart(survey, field):
    rows = np.flatnonzero(survey.inside())
    signals = [injection(row, i) for i, row in enumerate(rows)]
    window = Window(20, 20, 70, 70)
    chosen = choose(signals, field, window, 20, apart=8.0)
    assert 2 <= len(chosen) <= 10  # of one kind
    places = np.array([[field.x[o.row], field.y[o.row]] for o in chosen])
    assert ((places > 20) & (places < 89)).all()
    distance = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1))
    assert distance[np.triu_indices(len(places), 1)].min() > 8.0
    assert choose(signals, field, window, 20, apart=8.0) == chosen
    assert choose(signals, field, window, 0, apart=8.0) == []


def test_a_negative_number_is_refused():
    with pytest.raises(InputError, match="image_injections"):
        InjectionConfig(image_injections=-1)
