"""Speeds of slitless spectroscopy beside peers, one core, CPU time, best of several.

Traces: the optical model's own coefficients are not shipped, so the nominal ones padded to the shape of the file's
(6 x 3 x 3) are timed; GRISMCONF's polynomials of about that size. Dispersion: order 1 of a thousand galaxies, each
placed, traced and added to a full detector; stamps of 31 x 31 px are given, as `source_stamps` makes them, which factors
them too, and so are the bins of wavelength, which a scene has in common. grizli's compiled loop over a thumbnail of as
many pixels, one wavelength per pixel and one profile, and its image. Extraction: optimal extraction of one cut-out of
64 x 1380 px; specreduce's HorneExtract.
Peers that are not installed are left out, and the rows say so.
Run: ``python -m benchmarks.spectra_bench``.
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from roman_assets.kernels.spectra import Geometry, Optics, trace_grid
from roman_assets.systems.gdps.extraction.contamination import row_wavelengths
from roman_assets.systems.gdps.extraction.exposure import _spectrum
from roman_assets.systems.gdps.extraction.scene import NODES, Band, PlacedSource, Scene
from roman_assets.systems.gdps.optics.dispersion import (
    WavelengthBins,
    Window,
    place_source,
    straight_slopes,
    wavelength_edges,
)
from roman_assets.systems.gdps.optics.nominal import nominal_optical_model, nominal_throughput
from roman_assets.systems.gdps.sources.morphology import Shape, SpectralPsf, source_stamps

Row = dict[str, Any]
SOURCES, SIDE, HALF = 1000, 4088, 15
CUT_ROWS, CUT_COLUMNS = 1380, 64


def rows() -> list[Row]:
    """All rows."""
    return [_traces(), _dispersion(), _extraction()]


def _traces(sources: int = 400, wavelengths: int = 1000) -> Row:
    """Places of many wavelengths from many sources."""
    rng = np.random.default_rng(1)
    shape = (6, 3, 3)
    optics = Optics(
        rng.normal(size=(3, 3)),
        rng.normal(size=(3, 3)),
        rng.normal(size=shape),
        rng.normal(size=shape) * 1e-3,
        reference=1.55,
        logarithmic=False,
        geometry=Geometry(2044.5, 2044.5, -22.1, 12.2, 100.0, 3.0556e-05),
    )
    x, y = rng.uniform(1, SIDE, (2, sources))
    wave = np.linspace(0.95, 1.95, wavelengths)
    seconds, _ = _best(lambda: trace_grid(optics, x, y, wave), 7)
    peer, said = _grismconf(sources, wavelengths)
    setup = f"{sources} sources x {wavelengths} wavelengths, polynomials as large as the SSC model's; {said}"
    return _row("trace.evaluations_per_s", sources * wavelengths / seconds, peer, "1/s", setup, faster_is_more=True)


def _grismconf(sources: int, wavelengths: int) -> tuple[float | None, str]:
    """Offsets in x and y by GRISMCONF's polynomials, six powers along the trace, of two degrees over the field.

    Their module is loaded by itself: the package wants jwst.
    """
    found = importlib.util.find_spec("grismconf")
    if found is None or not found.submodule_search_locations:
        return None, "GRISMCONF is not installed"
    path = Path(found.submodule_search_locations[0]) / "poly.py"
    spec = importlib.util.spec_from_file_location("grismconf_poly", path)
    assert spec is not None
    assert spec.loader is not None
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    rng = np.random.default_rng(1)
    x_terms, y_terms = rng.normal(size=(2, 6, 6))
    x, y = rng.uniform(1, SIDE, (2, sources, 1))
    t = np.linspace(0, 1, wavelengths)[None]
    function = theirs.POLY[(6, 6)]
    seconds, _ = _best(lambda: (function(x_terms, x, y, t), function(y_terms, x, y, t)), 5)
    return sources * wavelengths / seconds, "GRISMCONF: POLY(6, 6) in x and y, all sources in one call"


def _dispersion() -> Row:
    """A thousand galaxies on a detector."""
    trace = nominal_optical_model("grism").on("WFI01")
    window = Window(1.0, 1.0, SIDE, SIDE)
    rates = nominal_throughput("grism", "WFI01")
    edges = wavelength_edges(trace, 2000.0, 2000.0, "1", band=(1.0, 1.93))
    light = rates.rates("1", edges) * 1e-20
    nodes = np.array([n for n in NODES if n > 0.9])
    slopes = straight_slopes(trace, 2000.0, 2000.0, "1", edges, nodes, HALF)
    stamps = source_stamps(
        SpectralPsf.of("WFI01"),
        Shape(2.5, 0.7, 0.4, 0.1),
        nodes,
        trace.jacobian(2000.0, 2000.0, nodes, "1"),
        HALF,
        slopes,
    )
    bins = WavelengthBins.of(edges, nodes)
    rng = np.random.default_rng(2)
    x, y = rng.uniform(1, SIDE, SOURCES), rng.uniform(500, SIDE - 500, SOURCES)

    def ours() -> np.ndarray:
        image = np.zeros((SIDE, SIDE), dtype=np.float32)
        for s in range(SOURCES):
            place_source(trace, window, x[s], y[s], "1", bins, stamps).add_to(image, light)
        return image

    seconds, image = _best(ours, 3)
    expected = SOURCES * light.sum()
    given = f"given: stamps of 31 x 31 px with {stamps.rank} factors, {len(edges) - 1} bins, {len(nodes)} PSFs"
    setup = f"{given}; {100 * image.sum() / expected:.1f} % of the light on it"
    peer, said = _grizli()
    return _row("dispersion.thousand_sources_s", seconds, peer, "s", f"{setup}; {said}")


def _grizli() -> tuple[float | None, str]:
    """A thousand calls of grizli's compiled dispersion loop on a thumbnail of 31 x 31 px and 860 wavelengths."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                from grizli.utils_numba import disperse
            except ImportError:
                from grizli.utils_c import disperse
    except Exception as error:  # its imports fail in many ways
        return None, f"grizli is not installed ({type(error).__name__})"
    size, length = 2 * HALF + 1, 860
    thumb = np.ones((size, size), dtype=np.float32)
    segment = np.ones((size, size), dtype=np.float32)
    shape = np.array([size + 10, length + size + 2], dtype=np.int64)
    middle = np.array([size, size], dtype=np.int64) // 2
    columns = np.arange(length) + middle[1]
    track = 5 + 0.007 * np.arange(length)
    flat = (np.floor(track).astype(np.int64) + middle[0]) * shape[1] + columns
    fraction, sensitivity = track - np.floor(track), np.ones(length)
    direct = np.array(thumb.shape, dtype=np.int64)

    def theirs() -> np.ndarray:
        image = np.zeros((SIDE, SIDE), dtype=np.float32)
        for _ in range(SOURCES):
            model = np.zeros(int(shape.prod()), dtype=np.float64)
            disperse.disperse_grism_object(
                thumb, segment, np.float32(1), flat, fraction, sensitivity, model, middle, direct, middle, shape
            )
            image[: shape[0], : shape[1]] += model.reshape(shape)
        return image

    try:
        seconds, _ = _best(theirs, 3)
    except Exception as error:  # another version has another signature
        return None, f"grizli's loop could not be called ({type(error).__name__})"
    return seconds, f"grizli: {length} wavelengths, no change of the PSF"


def _extraction() -> Row:
    """One cut-out, weights and profile given."""
    rng = np.random.default_rng(3)
    trace = nominal_optical_model("grism").on("WFI01")
    window = Window(1001.0, 1001.0, CUT_COLUMNS, CUT_ROWS)
    throughput = nominal_throughput("grism", "WFI01")
    edges = wavelength_edges(trace, 1032.0, 1700.0, "1")
    nodes = np.array([n for n in NODES if n > 0.9])
    stamps = source_stamps(SpectralPsf.of("WFI01"), Shape(2.0), nodes, trace.jacobian(1032.0, 1700.0, nodes, "1"), HALF)
    placed = place_source(trace, window, 1032.0, 1700.0, "1", WavelengthBins.of(edges, nodes), stamps)
    band = Band("1", 1, edges, throughput.rates("1", edges))
    flat = np.full(len(edges) - 1, 1e-20)
    response = placed.image(band.rates).astype(np.float64)
    source = PlacedSource(0, {"1": placed}, flat, flat, {"1": placed.image(band.light(flat))}, placed.image(band.rates))
    scene = Scene(edges, [band], [source], (CUT_ROWS, CUT_COLUMNS))
    science = response * 1e-20 + rng.normal(0, 0.05, response.shape)
    weight, others = np.full(response.shape, 400.0), np.zeros(response.shape)
    waves = row_wavelengths(scene, source) * 1e3
    seconds, _ = _best(lambda: _spectrum(scene, source, waves, response, weight, science, others, throughput), 7)
    setup = f"{placed.box.nx} x {placed.box.ny} px, flux, variance, contamination, flags and LSF"
    peer, said = _specreduce(science, waves)
    return _row("extraction.optimal_us", seconds * 1e6, None if peer is None else peer * 1e6, "us", f"{setup}; {said}")


def _specreduce(science: np.ndarray, waves: np.ndarray) -> tuple[float | None, str]:
    """HorneExtract along a flat trace, with a fitted Gaussian profile."""
    try:
        from astropy import units
        from astropy.nddata import NDData, StdDevUncertainty
        from specreduce.extract import HorneExtract
        from specreduce.tracing import FlatTrace
    except Exception as error:  # its imports fail in several ways
        return None, f"specreduce is not installed ({type(error).__name__})"
    turned = np.ascontiguousarray(science[np.isfinite(waves)].T)
    image = NDData(turned, uncertainty=StdDevUncertainty(np.full(turned.shape, 0.05)), unit=units.DN)
    trace = FlatTrace(image, float(np.argmax(turned.sum(axis=1))))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, _ = _best(lambda: HorneExtract(image, trace)(), 3)
    return seconds, f"specreduce HorneExtract, {turned.shape[0]} x {turned.shape[1]} px"


def _best(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least CPU time of this thread of several calls, after one that compiles and warms up."""
    call()
    times, result = [], None
    for _ in range(repeats):
        start = time.thread_time()
        result = call()
        times.append(time.thread_time() - start)
    return min(times), result


def _row(name: str, ours: float, peer: float | None, unit: str, setup: str, *, faster_is_more: bool = False) -> Row:
    ratio = None if peer is None else (ours / peer if faster_is_more else peer / ours)
    return {"name": name, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio, "setup": setup}


if __name__ == "__main__":
    for row in rows():
        print(row)
