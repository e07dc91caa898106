"""Scenes, contamination and extraction on a field whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.extraction.contamination import ContaminationConfig, background, fit_sources, recentre
from roman_assets.systems.gdps.extraction.exposure import (
    FLAGS,
    MASKED,
    NO_DATA,
    ExposureSpectra,
    ExtractionConfig,
    extract_exposure,
)
from roman_assets.systems.gdps.extraction.scene import build_scene
from roman_assets.systems.gdps.optics.dispersion import Window
from roman_assets.systems.gdps.optics.throughput import Throughput
from roman_assets.systems.gdps.optics.traces import MAIN
from tests.systems.gdps.conftest import LINE_FLUX, LINE_NM, SKY, Field, catalogue, make_field

CONFIG = ExtractionConfig()


@pytest.fixture(scope="module")
def extracted(field: Field) -> ExposureSpectra:
    return extract_exposure(field.frame, field.window, field.sources, field.trace, field.throughput, field.psf, CONFIG)


def test_all_sources_on_the_exposure(extracted: ExposureSpectra) -> None:
    assert {s.source_id for s in extracted.sources} == {1, 2, 3, 4, 5}
    assert extracted.references["optical_model"] == "nominal grism"
    assert extracted.references["throughput_sha256"]


def test_model_explains_the_exposure(field: Field, extracted: ExposureSpectra) -> None:
    variance = field.frame.read_variance + field.frame.poisson_slope * (field.clean + SKY)
    assert float((extracted.residual**2 / variance).mean()) == pytest.approx(1.0, abs=0.02)
    assert np.abs(extracted.model.background - SKY).max() < 0.01


def test_continuum_flux(field: Field, extracted: ExposureSpectra) -> None:
    """Of the isolated star within 1 %; of the two that overlap within 4 %."""
    for source_id, tolerance in ((1, 0.01), (2, 0.04), (3, 0.04)):
        spectrum = next(s.spectrum for s in extracted.sources if s.source_id == source_id)
        use = (spectrum.flags == 0) & (np.abs(spectrum.wavelength - LINE_NM) > 20) & (spectrum.wavelength < 1800)
        truth = field.sources.spectrum(spectrum.wavelength / 1e3)[source_id - 1]
        assert float(np.median(spectrum.flux[use] / truth[use])) == pytest.approx(1.0, abs=tolerance)
        pull = (spectrum.flux[use] - truth[use]) / np.sqrt(spectrum.variance[use])
        assert 0.85 < 1.4826 * np.median(np.abs(pull - np.median(pull))) < 1.15


@pytest.mark.parametrize("source_id", [1, 2, 3])
def test_line_flux_by_the_lsf(field: Field, extracted: ExposureSpectra, source_id: int) -> None:
    """A Gaussian of the LSF's width at the line's place has the line's flux."""
    spectrum = next(s.spectrum for s in extracted.sources if s.source_id == source_id)
    near = np.abs(spectrum.wavelength - LINE_NM) < 40
    wave, sigma = spectrum.wavelength[near], float(np.interp(LINE_NM, spectrum.wavelength, spectrum.lsf_sigma))
    gauss = np.exp(-0.5 * ((wave - LINE_NM) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
    terms = np.stack([gauss, np.ones_like(wave), wave - LINE_NM]) / np.sqrt(spectrum.variance[near])
    inverse = np.linalg.inv(terms @ terms.T)
    flux = float((inverse @ terms @ (spectrum.flux[near] / np.sqrt(spectrum.variance[near])))[0])
    error = float(np.sqrt(inverse[0, 0]))
    assert flux > 4 * error
    assert abs(flux - LINE_FLUX) < 3 * error + 0.05 * LINE_FLUX


def test_contamination_is_that_of_the_others(field: Field, extracted: ExposureSpectra) -> None:
    for source_id in (2, 3):
        cutout = next(s.cutout for s in extracted.sources if s.source_id == source_id)
        placed = next(s for s in field.truth.sources if s.index == source_id - 1)
        box = cutout.box
        rows = slice(box.row, box.row + box.ny)
        inside = slice(max(box.column, 0), min(box.column + box.nx, field.window.nx))
        here = slice(inside.start - box.column, inside.stop - box.column)
        true = field.clean[rows, inside] - placed.images[MAIN][:, here]
        assert np.abs(cutout.contamination[:, here] - true).sum() < 0.1 * np.abs(true).sum()
        assert cutout.science.shape == cutout.weights.shape == cutout.wavelength.shape == (box.ny, box.nx)


def test_source_beyond_the_edge_contaminates(field: Field, extracted: ExposureSpectra) -> None:
    """The star left of the window has light on it, and its few pixels are flagged for what they are."""
    placed = next(s for s in extracted.model.scene.sources if s.index == 4)
    box = placed.orders[MAIN].box
    assert placed.images[MAIN][:, -box.column :].sum() > 1
    spectrum = next(s.spectrum for s in extracted.sources if s.source_id == 5)
    assert ((spectrum.flags & (MASKED | NO_DATA)) > 0).mean() > 0.9


def test_masked_pixels_and_cosmic_rays(field: Field) -> None:
    """Neither a masked block nor a hit that the mask does not know changes the rest."""
    placed = field.truth.sources[0].orders[MAIN]
    row = 600
    column = round(float(np.interp(row, placed.trace.y, placed.trace.x)))
    data, good = field.frame.data.copy(), field.frame.good.copy()
    good[650:660] = False
    data[650:660] = np.nan_to_num(np.float32(0))
    data[row, column + 1] += 500
    config = ExtractionConfig(ContaminationConfig(iterations=0, recentre=False))
    spectra = []
    for frame in (field.frame, replace(field.frame, data=data, good=good)):
        result = extract_exposure(frame, field.window, field.sources, field.trace, field.throughput, field.psf, config)
        spectra.append(result.sources[0].spectrum)
    rows = np.interp(spectra[0].wavelength / 1e3, field.truth.grid, placed.trace.y)
    blocked = (rows > 649.5) & (rows < 659.5)
    assert (spectra[1].flags[blocked] & NO_DATA).all()
    hit = np.argmin(np.abs(rows - row))
    assert abs(spectra[1].flux[hit] - spectra[0].flux[hit]) < 5 * np.sqrt(spectra[1].variance[hit])
    assert spectra[1].variance[hit] > spectra[0].variance[hit]
    rest = ~blocked & (np.arange(len(rows)) != hit) & (spectra[0].flags == 0)
    assert np.abs(spectra[1].flux - spectra[0].flux)[rest].max() < np.sqrt(spectra[0].variance[rest]).max()


def test_traces_find_their_place(field: Field) -> None:
    """A pointing that is 0.2 px off across the dispersion is found from the exposure."""
    coefficients = field.frame.to_pixels.coefficients + np.array([[0.2, 0], [0, 0], [0, 0]])
    off = replace(field.frame.to_pixels, coefficients=coefficients)
    scene = build_scene(field.sources, off, field.window, field.trace, field.throughput, field.psf)
    before = [s.orders[MAIN].trace.x[0] for s in scene.sources[:4]]
    model = scene.model()
    recentre(field.frame, scene, field.frame.data - SKY - model, model + SKY)
    after = [s.orders[MAIN].trace.x[0] for s in scene.sources[:4]]
    moved = np.array(after) - before
    assert np.abs(moved + 0.2).max() < 0.06
    assert abs(moved[0] + 0.2) < 0.01


def test_moves_are_bounded(field: Field) -> None:
    """Again and again in one direction: half a pixel in all, and the cut-outs hold it."""
    scene = build_scene(field.sources, field.frame.to_pixels, field.window, field.trace, field.throughput, field.psf)
    source = scene.sources[0]
    start = source.orders[MAIN].trace.x[0]
    for _ in range(5):
        scene.move(source, 0.4)
    assert source.orders[MAIN].trace.x[0] - start == pytest.approx(0.5)
    assert source.images[MAIN].sum() == pytest.approx(field.truth.bands[0].light(source.spectrum).sum(), rel=0.1)


def test_nothing_but_sky() -> None:
    window = Window(1500.0, 1500.0, 60, 300)
    field = make_field(catalogue([30.0], [-5000.0], [20.0], [0.0], window), window)
    result = extract_exposure(field.frame, window, field.sources, field.trace, field.throughput, field.psf, CONFIG)
    assert result.sources == []
    assert not result.model.sources.any()


def test_empty_catalogue(field: Field) -> None:
    none = field.sources.select(np.zeros(len(field.sources), dtype=bool))
    result = extract_exposure(field.frame, field.window, none, field.trace, field.throughput, config=CONFIG)
    assert result.sources == []


def test_gain(field: Field, extracted: ExposureSpectra) -> None:
    """Half the counts at two electrons to a DN are the same spectra."""
    halved = replace(
        field.frame,
        data=field.frame.data / 2,
        read_variance=field.frame.read_variance / 4,
        poisson_slope=field.frame.poisson_slope / 2,
    )
    config = ExtractionConfig(gain=2.0)
    result = extract_exposure(halved, field.window, field.sources, field.trace, field.throughput, field.psf, config)
    ours, theirs = result.sources[0].spectrum, extracted.sources[0].spectrum
    good = ours.flags == 0
    assert np.median(ours.flux[good] / theirs.flux[good]) == pytest.approx(1, abs=0.01)
    assert (np.abs(ours.flux - theirs.flux)[good] < 0.5 * np.sqrt(theirs.variance[good])).mean() > 0.98


def test_all_pixels_bad(field: Field) -> None:
    frame = replace(field.frame, good=np.zeros_like(field.frame.good))
    result = extract_exposure(frame, field.window, field.sources, field.trace, field.throughput, field.psf, CONFIG)
    assert result.sources == []


def test_background_ignores_sources() -> None:
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:200, :100]
    truth = 1 + 0.002 * x - 0.001 * y
    data = truth + 0.05 * rng.normal(size=truth.shape)
    data[50:55] += 100
    assert np.abs(background(data, np.full(truth.shape, 400.0), 1) - truth).max() < 0.01


def test_iterations_find_lines_and_wrong_colours(field: Field) -> None:
    """Photometry off by a tenth and without the lines: the error of the models falls to a third."""
    off = np.array([1.1, 0.9, 0.9, 1.1, 1.0])
    sources = replace(field.sources, photometry=field.sources.photometry * off[:, None])
    residuals = []
    for iterations in (0, 3):
        scene = build_scene(sources, field.frame.to_pixels, field.window, field.trace, field.throughput, field.psf)
        model = fit_sources(field.frame, scene, ContaminationConfig(iterations=iterations))
        residuals.append(np.abs(model.sources - field.clean).sum())
    assert residuals[1] < 0.34 * residuals[0]


def test_no_order_one(field: Field) -> None:
    wave, area = field.throughput.curves["1"]
    bare = Throughput({"0": (wave, area)}, field.throughput.origin)
    with pytest.raises(InputError, match="order 1"):
        extract_exposure(field.frame, field.window, field.sources, field.trace, bare, field.psf)


def test_every_flag_has_a_meaning(extracted: ExposureSpectra) -> None:
    seen = np.bitwise_or.reduce(np.concatenate([s.spectrum.flags for s in extracted.sources]))
    assert seen & ~np.uint32(sum(FLAGS)) == 0
