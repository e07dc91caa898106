"""A small dispersed field that every test of the models shares: nominal optics, known spectra, photon noise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from roman_assets.exposures.level2.frames import Frame, PixelMap
from roman_assets.systems.gdps.extraction.scene import Scene, build_scene
from roman_assets.systems.gdps.optics.dispersion import Window
from roman_assets.systems.gdps.optics.nominal import nominal_optical_model, nominal_throughput
from roman_assets.systems.gdps.optics.optical_model import OpticalTrace
from roman_assets.systems.gdps.optics.throughput import Throughput
from roman_assets.systems.gdps.sources.morphology import SpectralPsf
from roman_assets.systems.gdps.sources.source_list import SourceList

F64 = NDArray[np.float64]
TIME_S, READ_NOISE, SKY = 300.0, 6.0, 0.65
LINE_NM, LINE_FLUX = 1400.0, 3e-19  # W m-2
RA, DEC, ARCSEC_PER_PX = 10.0, -30.0, 0.11


def flat_map(middle_x: float, middle_y: float) -> PixelMap:
    """North up, east left, square pixels: tangent plane to pixels."""
    per_radian = 180 / np.pi * 3600 / ARCSEC_PER_PX
    exponents = np.array([(0, 0), (1, 0), (0, 1)])
    coefficients = np.array([[middle_x, middle_y], [-per_radian, 0], [0, per_radian]])
    return PixelMap(RA, DEC, 1.0, exponents, coefficients, 0.0)


def sky(x: F64, y: F64, middle_x: float, middle_y: float) -> tuple[F64, F64]:
    """Inverse of `flat_map` [deg]."""
    scale = ARCSEC_PER_PX / 3600
    dec = DEC + (np.asarray(y) - middle_y) * scale
    # Gnomonic, inverted to first order and improved on the exact map.
    ra = RA - (np.asarray(x) - middle_x) * scale / np.cos(np.deg2rad(dec))
    to_pixels = flat_map(middle_x, middle_y)
    for _ in range(5):
        px, py = to_pixels(ra, dec)
        ra, dec = ra + (px - x) * scale / np.cos(np.deg2rad(dec)), dec - (py - y) * scale
    return ra, dec


@dataclass
class Field:
    """The field with its truth."""

    frame: Frame
    window: Window
    sources: SourceList
    trace: OpticalTrace
    throughput: Throughput
    psf: SpectralPsf
    truth: Scene
    clean: F64  # noiseless sources [e/s]


def catalogue(x: list[float], y: list[float], mag: list[float], hlr: list[float], window: Window) -> pl.DataFrame:
    """A catalogue of sources at array pixels, of flat AB colours."""
    ra, dec = sky(np.array(x), np.array(y), window.nx / 2, window.ny / 2)
    n = len(x)
    return pl.DataFrame(
        {
            "id": np.arange(1, n + 1),
            "ra": ra,
            "dec": dec,
            "hlr_arcsec": hlr,
            "ellipticity": [0.3] * n,
            "pa_deg": [30.0] * n,
            "mag_f106": mag,
            "mag_f129": mag,
            "mag_f158": mag,
            "mag_f184": mag,
            "star_flag": np.array(hlr) == 0,
        }
    )


def make_field(
    table: pl.DataFrame, window: Window, seed: int = 1, *, blur: float = 0.0, element: str = "grism", **change: Any
) -> Field:
    """The exposure of a catalogue; every source has an emission line, and the PSF is `blur` px wider than it says."""
    trace = nominal_optical_model(element).on("WFI01")
    throughput, psf = nominal_throughput(element, "WFI01"), SpectralPsf.of("WFI01")
    sources = SourceList.of(table)
    to_pixels = flat_map(window.nx / 2, window.ny / 2)
    truth = build_scene(sources, to_pixels, window, trace, throughput, replace(psf, blur=blur, _cache={}))
    for source in truth.sources:
        wave = truth.centres * 1e3
        line = LINE_FLUX * np.exp(-0.5 * ((wave - LINE_NM) / 0.3) ** 2) / (0.3 * np.sqrt(2 * np.pi))
        truth.set_spectrum(source, source.spectrum + line)
    clean = truth.model()
    rng = np.random.default_rng(seed)
    mean = clean + SKY
    data = rng.poisson(np.maximum(mean, 0) * TIME_S) / TIME_S + rng.normal(0, READ_NOISE / TIME_S, mean.shape)
    shape = mean.shape
    planes: dict[str, Any] = {
        "data": data.astype(np.float32),
        "good": np.ones(shape, dtype=bool),
        "read_variance": np.full(shape, (READ_NOISE / TIME_S) ** 2, dtype=np.float32),
        "poisson_slope": np.full(shape, 1 / TIME_S, dtype=np.float32),
        "saturated": np.zeros(shape, dtype=bool),
    }
    frame = Frame("field", 61679.0, "WFI01", element.upper(), to_pixels=to_pixels, wcs=None, **(planes | change))
    return Field(frame, window, sources, trace, throughput, psf, truth, clean)


@pytest.fixture(scope="session")
def field() -> Field:
    """Five sources, two of which overlap, one beyond the left edge, one whose order 1 begins below the window."""
    window = Window(1500.0, 1500.0, 160, 1100)
    table = catalogue(
        [40.0, 80.3, 84.9, 130.6, -3.0],
        [560.0, 540.2, 600.7, 200.0, 560.0],
        [19.5, 20.5, 21.0, 20.0, 19.0],
        [0.0, 0.25, 0.2, 0.3, 0.0],
        window,
    )
    return make_field(table, window)
