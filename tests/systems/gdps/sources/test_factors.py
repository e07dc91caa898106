"""Profiles as sums of products: what they miss, the flux they keep, and profiles that are left as they are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from roman_assets.kernels.dispersion import FACTORS, Stamps
from roman_assets.systems.gdps.optics.dispersion import (
    WavelengthBins,
    Window,
    place_source,
    straight_slopes,
    wavelength_edges,
)
from roman_assets.systems.gdps.optics.nominal import nominal_optical_model, nominal_throughput
from roman_assets.systems.gdps.sources import morphology
from roman_assets.systems.gdps.sources.factors import LINE_ERROR, PEAK_ERROR, factored, spline_matrix
from roman_assets.systems.gdps.sources.morphology import Shape, SpectralPsf, source_stamps

F64 = NDArray[np.float64]
NODES = np.array([0.95, 1.2, 1.45, 1.7, 1.95])
SHAPES = {
    "point": Shape(),
    "compact": Shape(0.5, 0.5, 0.8, 0.3),
    "disc": Shape(2.5, 0.7, 0.4, 0.1),
    "edge on": Shape(6.0, 0.2, 0.785, 0.3),
    "across": Shape(4.0, 0.2, 0.02),
}


def gaussians(height: int = 60, width: int = 62) -> F64:
    """Two planes of a tilted Gaussian, the second wider."""
    y, x = np.meshgrid(np.arange(height) - 30.2, np.arange(width) - 30.8, indexing="ij")
    return np.stack([np.exp(-((x + 0.4 * y) ** 2 / 2 + y**2 / 9) / size) for size in (4.0, 5.0)])


def test_factors_miss_no_more_than_they_may() -> None:
    values = gaussians()
    found = factored(values, 2)
    assert found is not None
    along, across = found
    assert along.shape == (2, 60, len(across))
    assert len(across) % FACTORS == 0
    assert len(across) < 20
    columns, rows = (np.linalg.inv(spline_matrix(n)) for n in (60, 62))
    missed = np.abs(columns @ (along @ across) @ rows.T - values)
    assert missed.max() <= PEAK_ERROR * 1.001
    assert missed.sum(axis=1).max() <= LINE_ERROR * 1.001 * values.sum(axis=1).max()


@pytest.mark.parametrize("over", [1, 2])
def test_every_row_and_phase_keeps_its_flux(over: int) -> None:
    values = gaussians()
    found = factored(values, over)
    assert found is not None
    samples = spline_matrix(60) @ values @ spline_matrix(62).T
    sums, expected = ((v.reshape(2, 60, -1, over)).sum(axis=2) for v in (found[0] @ found[1], samples))
    assert np.allclose(sums, expected, atol=1e-12 * np.abs(expected).max())


def test_clumps_are_not_factored() -> None:
    rng = np.random.default_rng(1)
    assert factored(rng.uniform(size=(2, 60, 62)), 2) is None
    clumpy = np.zeros((2, 60, 62))
    clumpy[:, rng.integers(4, 56, 600), rng.integers(4, 58, 600)] = rng.uniform(0.2, 1, (2, 600))
    assert factored(clumpy, 2) is None
    for value in (0.0, np.nan, np.inf):
        assert factored(np.full((1, 60, 62), value), 2) is None


def drawn(stamps: Stamps, light: F64, edges: F64) -> F64:
    trace = nominal_optical_model("grism").on("WFI01")
    window = Window(1.0, 1.0, 4088, 4088)
    return place_source(trace, window, 2000.3, 2100.6, "1", WavelengthBins.of(edges, NODES), stamps).image(light)


@pytest.mark.parametrize("half", [15, 31])
@pytest.mark.parametrize("name", list(SHAPES))
def test_sources_are_drawn_as_by_their_stamps(monkeypatch: pytest.MonkeyPatch, name: str, half: int) -> None:
    """Lines anywhere, a continuum, and a spectrum of noise, to the accuracy stated; fluxes to 1e-6."""
    trace = nominal_optical_model("grism").on("WFI01")
    edges = wavelength_edges(trace, 2000.0, 2000.0, "1", band=(1.0, 1.93))
    slopes = straight_slopes(trace, 2000.0, 2000.0, "1", edges, NODES, half)
    given = SpectralPsf.of("WFI01"), SHAPES[name], NODES, trace.jacobian(2000.0, 2000.0, NODES, "1"), half, slopes
    stamps = source_stamps(*given)
    assert 0 < stamps.rank < 2 * half + 1
    monkeypatch.setattr(morphology, "factored", lambda values, over: None)
    plain = source_stamps(*given)
    assert plain.rank == 0
    bins = len(edges) - 1
    rng = np.random.default_rng(2)
    spectra = [np.eye(1, bins, at)[0] for at in rng.integers(0, bins, 8)]
    spectra += [nominal_throughput("grism", "WFI01").rates("1", edges) * 1e-20, rng.exponential(size=bins)]
    for light in spectra:
        image, expected = drawn(stamps, light, edges).astype(float), drawn(plain, light, edges).astype(float)
        assert np.abs(image - expected).max() < 3e-4 * expected.max()
        assert image.sum() == pytest.approx(expected.sum(), rel=1e-6)


def test_stamps_that_are_not_sheared_have_no_factors() -> None:
    matrices = [np.eye(2)] * 2
    assert source_stamps(SpectralPsf.of("WFI01"), Shape(1.0), [1.2, 1.7], matrices, 15).rank == 0
    assert source_stamps(SpectralPsf.of("WFI01"), Shape(1.0), [1.2, 1.7], matrices, 15, [0.0, 0.0]).rank > 0
