"""A simulated survey from end to end: valid files, true fluxes and places, the same bytes for any workers."""

import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import roman_assets.systems.msos
from roman_assets.errors import InputError
from roman_assets.simulate import MiniSurvey, simulate_survey
from roman_assets.simulate.config import detector_frame, timetable
from roman_assets.simulate.detector import DO_NOT_USE, JUMP_DET, SATURATED, bad_pixels, expose
from roman_assets.simulate.sky import luminosity_function, magnification, make_patch, truth_tables
from roman_assets.simulate.survey import noiseless_scene

pytestmark = pytest.mark.usefixtures("galsim")

TINY = MiniSurvey(seed=5, days=1, visits_per_day=2, size_px=64, n_events=1, n_variables=1, detectors=("WFI01", "WFI02"))


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    return simulate_survey(TINY, tmp_path_factory.mktemp("survey"), workers=1)


def test_files_are_valid_level_2(survey):
    import roman_datamodels

    assert len(survey.exposures) == 4
    for path in survey.exposures:
        with roman_datamodels.open(path) as model:
            assert type(model).__name__ == "ImageModel"
            model.validate()
            assert model.meta.filename == path.name
            assert model.data.shape == (64, 64)
            flux_zero = 1e6 * model.meta.photometry.conversion_megajanskys * model.meta.photometry.pixel_area
            assert -2.5 * np.log10(flux_zero / 3631) == pytest.approx(26.79, abs=1e-9)
            assert model.meta.exposure.start_time.isot.startswith("2027-03-01T")
            assert set(np.unique(np.array(model.dq))) <= {0, 1, 2, 3, 4, 5, 6, 7}


def test_manifest_describes_the_files(survey):
    entries = json.loads(survey.manifest.read_text())["files"]
    assert [entry["name"] for entry in entries] == sorted(path.name for path in survey.exposures)
    for entry in entries:
        content = (survey.manifest.parent / entry["name"]).read_bytes()
        assert (entry["size"], entry["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_same_bytes_for_any_number_of_workers(survey, tmp_path):
    calls = []
    other = simulate_survey(TINY, tmp_path, workers=2, progress=lambda done, all_: calls.append((done, all_)))
    assert other.manifest.read_bytes() == survey.manifest.read_bytes()
    assert calls == [(k, 4) for k in range(1, 5)]
    for table in ("stars", "events", "variables", "epochs"):
        assert other.truth(table).equals(survey.truth(table))


def test_another_seed_gives_other_stars(survey):
    from dataclasses import replace

    assert not np.allclose(make_patch(replace(TINY, seed=6), 0).ra, make_patch(TINY, 0).ra)


def test_file_wcs_finds_the_true_pixels(survey):
    import roman_datamodels

    stars = survey.truth("stars").filter(pl.col("detector") == "WFI02")
    first = survey.truth("epochs").filter(pl.col("detector") == "WFI02").sort("mjd_mid")[0]
    assert first["dx_pix"][0] == 0.0
    with roman_datamodels.open(survey.folder / "exposures" / first["filename"][0]) as model:
        ra, dec = model.meta.wcs(stars["x"].to_numpy(), stars["y"].to_numpy())
    scale = 3600 / 0.11
    cosine = np.cos(np.radians(stars["dec"].to_numpy()))
    assert np.abs((ra - stars["ra"].to_numpy()) * cosine * scale).max() < 1e-3
    assert np.abs((dec - stars["dec"].to_numpy()) * scale).max() < 1e-3


def test_bright_isolated_star_has_its_true_flux():
    config = MiniSurvey(size_px=160, density=1 / 160**2, margin_px=0, n_events=0, n_variables=0, days=1, seed=3)
    visit = timetable(config)[0]
    image = noiseless_scene(config, visit, "WFI01") - config.sky
    patch = make_patch(config, 0)
    x, y = detector_frame(config, "WFI01", 0).to_pixel(patch.ra, patch.dec)
    rows, columns = np.mgrid[:160, :160]
    inside = np.hypot(columns - x[0], rows - y[0]) < 30
    wings = pl.read_parquet(Path(next(iter(roman_assets.systems.msos.__path__))) / "data" / "psf_wings.parquet").filter(
        (pl.col("detector") == "WFI01") & (pl.col("optical_element") == "F146") & (pl.col("radius_px") == 30)
    )
    assert inside.sum() > 2700, "the star must lie well inside for this test"
    true = patch.flux(0.0, config.zero_point)[0]
    assert image[inside].sum() / wings["encircled_energy"][0] == pytest.approx(true, rel=3e-3)


def test_events_are_magnified_and_variables_vary():
    patch = make_patch(TINY, 0)
    peak = patch.flux(patch.t0_mjd[0], 26.79)
    far = patch.flux(patch.t0_mjd[0] + 1000 * patch.te_days[0], 26.79)
    star = patch.event_star[0]
    assert peak[star] / far[star] == pytest.approx(magnification(patch.u0)[0], rel=1e-3)
    assert TINY.season_start(0).timestamp() / 86400 + 40587 < patch.t0_mjd[0]
    variable = patch.variable_star[0]
    times = np.linspace(61465, 61468, 200)
    mags = np.array([-2.5 * np.log10(patch.flux(t, 0.0)[variable]) for t in times])
    assert np.ptp(mags) == pytest.approx(2 * patch.amplitude_mag[0], rel=0.02)
    constant = np.setdiff1d(np.arange(len(peak)), [star, variable])
    np.testing.assert_array_equal(peak[constant], far[constant])


def test_magnification_value():
    # reference/microlensing.md: 10.0374610057 at u = 0.1.
    assert magnification(np.array(0.1)) == pytest.approx(10.0374610057, abs=1e-9)


def test_magnified_image_differs_only_at_the_event():
    visits = timetable(TINY)
    patch = make_patch(TINY, 0)
    from dataclasses import replace
    from datetime import timedelta

    at_peak = replace(visits[0], start=TINY.season_start(0) + timedelta(days=patch.t0_mjd[0] - 61465))
    base = replace(visits[0], start=at_peak.start + timedelta(days=400))
    difference = noiseless_scene(TINY, at_peak, "WFI01") - noiseless_scene(TINY, base, "WFI01")
    x, y = detector_frame(TINY, "WFI01", 0).to_pixel(patch.ra, patch.dec)
    j, i = np.unravel_index(difference.argmax(), difference.shape)
    star = patch.event_star[0]
    assert np.hypot(i - x[star], j - y[star]) < 1


def test_luminosity_function_rises_within_its_limits():
    mag = luminosity_function(np.random.default_rng(0), 20_000, 17.0, 25.5)
    assert 17.0 <= mag.min() < mag.max() <= 25.5
    counts = np.histogram(mag, np.arange(19.5, 26, 1.0))[0]
    assert np.all(counts[1:] > 1.6 * counts[:-1])


def test_two_seasons_show_a_star_on_two_detectors():
    config = MiniSurvey(seasons=2, size_px=64, n_events=2, n_variables=1, days=1, proper_motion_mas_yr=4.0)
    patches = [make_patch(config, index) for index in range(2)]
    stars = truth_tables(config, patches)["stars"]
    both = stars.filter(pl.col("source_id") == 3).sort("season")
    assert both["detector"].to_list() == ["WFI01", "WFI02"]
    assert both["season"].to_list() == ["s01", "s02"]
    assert 0 < abs(both["dec"][0] - both["dec"][1]) * 3.6e6 < 20
    visits = timetable(config)
    assert {visit.season for visit in visits} == {0, 1}
    assert (visits[-1].start - visits[0].start).days in (184, 185)


def test_exposure_noise_saturation_and_flags():
    config = MiniSurvey(size_px=400)
    scene = np.full((400, 400), 20.0)
    scene[:4] = 4000.0
    scene[4:8] = 4.0e4
    defects = bad_pixels(config, 0)
    frame = expose(scene, config, np.random.default_rng(7), defects)
    assert np.all(frame.dq[:4] & SATURATED)
    good = frame.dq[:4] & DO_NOT_USE == 0
    assert np.median(frame.data[:4][good]) == pytest.approx(4000, rel=0.01)
    assert np.all(frame.dq[4:8] & DO_NOT_USE)
    plain = (frame.dq == 0) & (scene == 20.0)
    pull = (frame.data[plain] - 20.0) / np.sqrt(20.0 / 66.4 + (10.0 / 66.4) ** 2)
    middle = pull[np.abs(pull) < 5]
    assert abs(middle.mean()) < 0.02
    assert middle.std() == pytest.approx(1.0, abs=0.02)
    assert 0 < (np.abs(pull) > 8).sum() < 60, "a few cosmic rays stay unflagged"
    assert (frame.dq & JUMP_DET).any()
    assert np.all(frame.dq[defects > 0] & DO_NOT_USE)
    assert np.all(np.isfinite(frame.data[frame.dq & DO_NOT_USE == 0]))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"detectors": ("WFI19",)}, "detector"),
        ({"detectors": ()}, "detectors"),
        ({"days": 0}, "days"),
        ({"first_day": "tomorrow"}, "first_day"),
        ({"size_px": 8}, "size_px"),
        ({"optical_element": "PRISM"}, "optical_element"),
    ],
)
def test_bad_configuration_names_its_field(change, field):
    with pytest.raises(InputError) as caught:
        MiniSurvey(**change)
    assert caught.value.field == field


def test_too_many_events_for_the_stars():
    with pytest.raises(InputError, match="ask for fewer"):
        make_patch(MiniSurvey(size_px=40, n_events=500), 0)
