"""ePSF reference files of rad's `epsf` schema, from the same GalSim PSF as the simulated exposures."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roman_assets.errors import InputError
from roman_assets.simulate.psf import pixel_integrated_psf

DESCRIPTION = (
    "Pixel-integrated PSF from galsim.roman. psf[defocus, spectral_type, position, y, x] is the fraction of "
    "the total flux of a star that falls on a native pixel at the sample's offset, so that the samples of a "
    "whole stamp add up to oversample**2 times its encircled energy. extended_psf is the same on native "
    "pixels, at the first position."
)


def write_epsf_reference(
    path: str | Path,
    detector: str,
    optical_element: str,
    *,
    positions: Sequence[tuple[float, float]] = ((2043.5, 2043.5),),
    oversample: int = 4,
    half_width_px: int = 16,
    extended_half_width_px: int = 64,
    wavelengths: int = 1,
) -> Path:
    """Writes a schema-valid ePSF reference file and returns its path.

    Parameters
    ----------
    positions
        0-based detector pixels (x, y) of the grid of ePSFs, in the order of the file's `pixel_x`, `pixel_y`.
    oversample
        Samples per native pixel.
    half_width_px, extended_half_width_px
        Half sides of the ePSF stamps and of the native-pixel stamp with the far wings.
    """
    if not positions or oversample < 1 or half_width_px < 2:
        raise InputError(
            "an ePSF needs a position, an oversampling of at least 1 and a half width of at least 2 px",
            field="positions",
        )
    stamps = [
        pixel_integrated_psf(
            detector,
            optical_element,
            oversample=oversample,
            half_width_px=half_width_px,
            position=position,
            wavelengths=wavelengths,
        )
        for position in positions
    ]
    wide = pixel_integrated_psf(
        detector,
        optical_element,
        oversample=1,
        half_width_px=extended_half_width_px,
        position=positions[0],
        wavelengths=wavelengths,
    )
    model = epsf_model(detector, optical_element, list(positions), oversample, np.stack(stamps), wide)
    return _write(Path(path), model)


def epsf_model(
    detector: str,
    optical_element: str,
    positions: list[tuple[float, float]],
    oversample: int,
    stamps: np.ndarray,
    extended: np.ndarray,
) -> Any:
    """roman_datamodels EpsfRefModel of stamps f8 (position, y, x); ValidationError if the schema refuses
    it.
    """
    from astropy.time import Time
    from roman_datamodels import datamodels

    model = datamodels.EpsfRefModel.create_fake_data()
    meta = model.meta
    values: dict[str, Any] = {
        "reftype": "EPSF",
        "pedigree": "MODEL",
        "description": DESCRIPTION,
        "author": "roman_assets.simulate",
        "useafter": Time("2020-01-01T00:00:00", format="isot", scale="utc"),
        "origin": "IPAC/SSC",
        "oversample": oversample,
        "spectral_type": ["flat"],
        "defocus": [0],
        "pixel_x": [float(x) for x, _ in positions],
        "pixel_y": [float(y) for _, y in positions],
        "jitter_major": 0.0,
        "jitter_minor": 0.0,
        "jitter_position_angle": 0.0,
    }
    for key, value in values.items():
        meta[key] = value
    meta.instrument.detector = detector
    meta.instrument.optical_element = optical_element
    model.psf = np.ascontiguousarray(stamps[None, None].astype(np.float32))
    model.extended_psf = np.ascontiguousarray(extended.astype(np.float32))
    model.validate()
    return model


def _write(path: Path, model: Any) -> Path:
    from roman_assets.products.asdf_bytes import write_asdf

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as stream:
            write_asdf(stream, {"roman": model._instance})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path
