"""The wings table: how a star's total flux spreads with radius, for every detector, kept where GalSim is not.

An empirical ePSF is normalised within its stamp only; a tenth of the light lies outside 7 px. The table
gives the missing share: `python -m roman_assets.simulate.wings` writes it into the package's data.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from roman_assets.simulate.psf import pixel_integrated_psf

ELEMENTS = ("F146", "F087", "F213")
DETECTORS = tuple(f"WFI{n:02d}" for n in range(1, 19))
MAX_RADIUS_PX = 60
HALF_WIDTH_PX = 64
OVERSAMPLE = 4


def radial_profile(samples: np.ndarray, oversample: int, radii: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Azimuthal mean of an ePSF and its encircled energy at `radii` px.

    Parameters
    ----------
    samples
        f8 (n, n) of `pixel_integrated_psf`.

    Returns
    -------
    profile, encircled_energy
        f8 (len(radii),): mean fraction of the total flux per native pixel within half a pixel of the
        radius, and the fraction of the total flux in the pixels whose centres lie within the radius
        (averaged over phases).
    """
    centre = (samples.shape[0] - 1) // 2
    offset = (np.arange(samples.shape[0]) - centre) / oversample
    radius = np.hypot(offset[:, None], offset[None, :]).ravel()
    order = np.argsort(radius, kind="stable")
    radius, value = radius[order], samples.ravel()[order]
    cumulative = np.concatenate([[0.0], np.cumsum(value)]) / oversample**2
    inside = np.searchsorted(radius, radii, side="right")
    low = np.searchsorted(radius, radii - 0.5, side="left")
    high = np.searchsorted(radius, radii + 0.5, side="right")
    profile = (cumulative[high] - cumulative[low]) * oversample**2 / (high - low)
    return profile, cumulative[inside]


def psf_wings_table(
    detectors: Sequence[str] = DETECTORS, elements: Sequence[str] = ELEMENTS, *, wavelengths: int = 1
) -> pl.DataFrame:
    """The table: detector, optical_element, radius_px, profile, encircled_energy (f4), steps of half a pixel.

    The PSF is the one of the detector's centre, at the band's effective wavelength unless `wavelengths` > 1.
    """
    radii = np.arange(0.0, MAX_RADIUS_PX + 0.25, 0.5)
    parts = []
    for element in elements:
        for detector in detectors:
            samples = pixel_integrated_psf(
                detector, element, oversample=OVERSAMPLE, half_width_px=HALF_WIDTH_PX, wavelengths=wavelengths
            )
            profile, energy = radial_profile(samples, OVERSAMPLE, radii)
            columns = {"radius_px": radii, "profile": profile, "encircled_energy": energy}
            part = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.Float32))
            parts.append(part.select(pl.lit(detector).alias("detector"), pl.lit(element).alias("optical_element"), "*"))
    return pl.concat(parts)


def write_wings(path: str | Path, table: pl.DataFrame) -> Path:
    """Writes the table as a small parquet file, atomically."""
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    table.write_parquet(part, compression="zstd", compression_level=19)
    os.replace(part, target)
    return target


if __name__ == "__main__":
    from roman_assets.systems import msos

    print(write_wings(Path(next(iter(msos.__path__))) / "data" / "psf_wings.parquet", psf_wings_table()))
