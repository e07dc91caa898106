"""Monochromatic PSFs of every detector, kept where GalSim is not, for spectra.

`python -m roman_assets.simulate.spectral_psf` writes them into the package's data: pixel-integrated cores in two
dimensions, and azimuthal means of the wings around them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.simulate.psf import FINE, detector_number
from roman_assets.simulate.wings import DETECTORS, radial_profile, write_wings
from roman_assets.survey.instrument import PIXEL_ARCSEC

#: Nodes [um] between which PSFs are interpolated; prism and grism share them.
WAVELENGTHS = (0.75, 0.95, 1.2, 1.45, 1.7, 1.95)
OVERSAMPLE, CORE_HALF_PX, HALF_PX = 4, 6, 40
#: What a core's values are counted in [flux fraction per px]: whole numbers compress well.
UNIT = 2e-6


def monochromatic_psf(detector: str, wavelength_um: float, *, half_px: int = HALF_PX) -> NDArray[np.float64]:
    """Flux fraction per px, f8 (n, n), n = 2 half_px OVERSAMPLE + 1, integrated over the pixel, source at the centre."""
    import galsim
    import galsim.roman as roman

    # GalSim's drawing errs by 1 % of the peak on native pixels and by 3e-5 on eighths of them.
    size = 2 * half_px * FINE + 1
    optics = roman.getPSF(detector_number(detector), None, wavelength=1000 * wavelength_um, pupil_bin=8)
    drawn = galsim.Convolve(optics, galsim.Pixel(PIXEL_ARCSEC)).drawImage(
        nx=size, ny=size, scale=PIXEL_ARCSEC / FINE, method="no_pixel", dtype=float
    )
    step = FINE // OVERSAMPLE
    return np.ascontiguousarray(drawn.array[::step, ::step]) * FINE**2


def spectral_psf_table(
    detectors: Sequence[str] = DETECTORS, wavelengths: Sequence[float] = WAVELENGTHS
) -> pl.DataFrame:
    """detector, wavelength_um, core: list of (2 * 6 * 4 + 1)^2 i4 in UNIT, and wings: list of f4 at every half pixel."""
    radii = np.arange(0.0, HALF_PX - 1 + 0.25, 0.5)
    inner = slice((HALF_PX - CORE_HALF_PX) * OVERSAMPLE, (HALF_PX + CORE_HALF_PX) * OVERSAMPLE + 1)
    rows = []
    for detector in detectors:
        for wavelength in wavelengths:
            samples = monochromatic_psf(detector, wavelength)
            core = np.round(samples[inner, inner] / UNIT).astype(np.int32)
            wings, _ = radial_profile(samples, OVERSAMPLE, radii)
            rows.append((detector, wavelength, core.ravel().tolist(), wings.astype(np.float32).tolist()))
    schema: dict[str, Any] = {
        "detector": pl.String,
        "wavelength_um": pl.Float64,
        "core": pl.List(pl.Int32),
        "wings": pl.List(pl.Float32),
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


if __name__ == "__main__":
    from roman_assets.systems import gdps

    print(write_wings(Path(next(iter(gdps.__path__))) / "data" / "psf.parquet", spectral_psf_table()))
