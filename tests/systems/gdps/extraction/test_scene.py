"""Placing sources: what reaches the window, bands of the orders, and the prism from end to end."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.extraction.exposure import extract_exposure
from roman_assets.systems.gdps.extraction.scene import Scene, build_scene
from roman_assets.systems.gdps.optics.dispersion import Window
from roman_assets.systems.gdps.optics.nominal import nominal_throughput
from roman_assets.systems.gdps.optics.trace_configs import ConfigTrace, FieldPolynomial, GrismconfBeam
from roman_assets.systems.gdps.optics.traces import MAIN, Origin
from roman_assets.systems.gdps.sources.morphology import SpectralPsf
from roman_assets.systems.gdps.sources.source_list import SourceList
from tests.systems.gdps.conftest import LINE_NM, Field, catalogue, flat_map, make_field


def test_bands_and_their_adjoints(field: Field) -> None:
    """Light is kept whatever the order's bins; order 0 needs few of them."""
    scene = field.truth
    spectrum = np.random.default_rng(1).uniform(1, 2, len(scene.centres)) * 1e-20
    main, zero = scene.bands
    assert (main.order, zero.order) == ("1", "0")
    assert zero.stride > 8
    for band in scene.bands:
        light = band.light(spectrum)
        assert len(light) == len(band.edges) - 1
        assert light.sum() == pytest.approx((spectrum * band.rates).sum(), rel=1e-12)
        other = np.random.default_rng(2).normal(size=len(light))
        assert band.spread(other) @ spectrum == pytest.approx(light @ other, rel=1e-12)


def _scene_of(x: float, y: float, window: Window) -> Scene:
    sources = SourceList.of(catalogue([x], [y], [20.0], [0.0], window))
    trace = make_field(catalogue([30.0], [30.0], [20.0], [0.0], window), window).trace
    to_pixels = flat_map(window.nx / 2, window.ny / 2)
    return build_scene(sources, to_pixels, window, trace, nominal_throughput("grism", "WFI01"), SpectralPsf.of("WFI01"))


@pytest.mark.parametrize(
    ("y", "orders"), [(150.0, {"1"}), (1560.0, {"0"}), (560.0, {"1"}), (-600.0, set()), (9000.0, set())]
)
def test_orders_of_sources_on_and_off_the_window(y: float, orders: set[str]) -> None:
    """Order 0 falls some 1,400 px below: a source more than a trace above the window still shows it."""
    scene = _scene_of(30.0, y, Window(1500.0, 1500.0, 60, 300))
    found = set().union(*(s.orders for s in scene.sources)) if scene.sources else set()
    assert found == orders


def test_prism() -> None:
    """A bright star through the prism: its continuum, and its line in it, red at smaller y."""
    window = Window(1500.0, 1500.0, 80, 400)
    field = make_field(catalogue([40.3], [200.4], [18.5], [0.0], window), window, element="prism")
    result = extract_exposure(field.frame, window, field.sources, field.trace, field.throughput, field.psf)
    (source,) = result.sources
    spectrum = source.spectrum
    use = (spectrum.flags == 0) & (np.abs(spectrum.wavelength - LINE_NM) > 60)
    truth = field.sources.spectrum(spectrum.wavelength / 1e3)[0]
    assert use.sum() > 80
    assert np.median(spectrum.flux[use] / truth[use]) == pytest.approx(1.0, abs=0.02)
    along = source.cutout.wavelength[:, 0]
    assert (np.diff(along[np.isfinite(along)]) < 0).all()
    step = np.gradient(spectrum.wavelength)
    assert 60 < np.median(spectrum.wavelength[use] / (2 * step[use])) < 250


def test_dispersion_along_rows_is_refused(field: Field) -> None:
    line = GrismconfBeam(*(FieldPolynomial(np.array([[0.0], [v]])) for v in (900.0, 1.0, 1.0)))
    line.wave.coefficients[0, 0] = 1.0
    trace = ConfigTrace("grism", {MAIN: line}, (500.0, 500.0), Origin("a", "b", "c"))
    with pytest.raises(InputError, match="rows"):
        build_scene(field.sources, field.frame.to_pixels, field.window, trace, field.throughput, field.psf)
