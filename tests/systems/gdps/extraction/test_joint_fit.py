"""Two galaxies on one trace: one roll cannot tell them apart, two rolls together can."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.extraction.contamination import ContaminationConfig, ExposureModel, fit_sources
from roman_assets.systems.gdps.extraction.joint_fit import JointConfig, _Part, fit_jointly
from roman_assets.systems.gdps.extraction.scene import build_scene
from roman_assets.systems.gdps.optics.dispersion import Window, add_cutout
from tests.systems.gdps.conftest import SKY, Field, catalogue, make_field

WINDOW = Window(1500.0, 1500.0, 120, 700)
ONLY_COLOURS = ContaminationConfig(iterations=0, recentre=False)


def _rolls() -> list[Field]:
    """Sources 22 px apart: along the dispersion in the first roll, across it in the second."""
    first = make_field(catalogue([60.2, 60.4], [340.0, 362.0], [19.0, 19.0], [0.0, 0.0], WINDOW), WINDOW, seed=3)
    second = make_field(catalogue([49.1, 71.3], [350.0, 350.5], [19.0, 19.0], [0.0, 0.0], WINDOW), WINDOW, seed=4)
    return [first, second]


def _models(fields: list[Field], factors: np.ndarray) -> list[ExposureModel]:
    """Models from colours that are wrong by `factors`."""
    models = []
    for f in fields:
        sources = replace(f.sources, photometry=f.sources.photometry * factors[:, None])
        scene = build_scene(sources, f.frame.to_pixels, f.window, f.trace, f.throughput, f.psf)
        models.append(replace_background(fit_sources(f.frame, scene, ONLY_COLOURS)))
    return models


def replace_background(model: ExposureModel) -> ExposureModel:
    """The true sky: what is tested are the sources."""
    return replace(model, background=np.full(model.sources.shape, SKY), profile_variance=0 * model.profile_variance)


def test_two_rolls_tell_sources_apart() -> None:
    fields = _rolls()
    errors = []
    for used in (fields[:1], fields):
        models = _models(used, np.array([1.4, 0.6]))
        result = fit_jointly([f.frame for f in used], models, [0, 1], JointConfig(damping=0.3))
        truth = fields[0].sources.spectrum(result.wavelength)
        middle = (result.wavelength > 1.25) & (result.wavelength < 1.6)
        errors.append(np.abs(np.median(result.spectra[:, middle] / truth[:, middle], axis=1) - 1).max())
    assert errors[1] < 0.03
    assert errors[1] < 0.3 * errors[0]


def test_models_follow() -> None:
    fields = _rolls()
    models = _models(fields, np.array([1.4, 0.6]))
    before = [np.abs(m.sources - f.clean).sum() for m, f in zip(models, fields, strict=True)]
    result = fit_jointly([f.frame for f in fields], models, [0, 1])
    after = [np.abs(m.sources - f.clean).sum() for m, f in zip(models, fields, strict=True)]
    assert (np.array(after) < 0.5 * np.array(before)).all()
    assert result.iterations > 1
    total = np.zeros(models[0].sources.shape)
    for source in models[0].scene.sources:
        for order, image in source.images.items():
            add_cutout(total, source.orders[order].box, image)
    assert np.allclose(total, models[0].sources)


def test_adjoint() -> None:
    field = _rolls()[0]
    part = _Part(field.frame, _models([field], np.ones(2))[0], [0, 1], np.linspace(1.0, 1.9, 300))
    rng = np.random.default_rng(0)
    spectra, pixels = rng.normal(size=(2, 300)) * 1e-20, rng.normal(size=part.root.shape)
    forward = float((part.forward(spectra) * pixels).sum())
    assert float((part.adjoint(pixels.ravel()) * spectra).sum()) == pytest.approx(forward, rel=1e-4)


def test_more_damping_changes_less() -> None:
    fields = _rolls()
    sizes = []
    for damping in (0.3, 30.0):
        models = _models(fields, np.array([1.4, 0.6]))
        sizes.append(fit_jointly([f.frame for f in fields], models, [0, 1], JointConfig(damping=damping)).size)
    assert sizes[1] < sizes[0]


def test_nothing_to_fit() -> None:
    with pytest.raises(InputError, match="0 frames"):
        fit_jointly([], [], [0])
