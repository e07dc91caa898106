"""The cores of the optical model's ePSFs, kept where GalSim is not.

The pipeline starts from, and regularises towards, the optical model: `python -m
roman_assets.simulate.psf_cores` writes its cores (two-dimensional, radius 8 px) into the package's data
beside the azimuthal wings of `simulate/wings.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from roman_assets.simulate.psf import pixel_integrated_psf
from roman_assets.simulate.wings import DETECTORS, ELEMENTS, write_wings

OVERSAMPLE = 4
HALF_WIDTH_PX = 8


def psf_core_table(detectors: Sequence[str] = DETECTORS, elements: Sequence[str] = ELEMENTS) -> pl.DataFrame:
    """detector, optical_element, oversample, and values: list of (2 * 8 * 4 + 1)^2 f4, fraction of flux per px."""
    rows = []
    for element in elements:
        for detector in detectors:
            samples = pixel_integrated_psf(detector, element, oversample=OVERSAMPLE, half_width_px=HALF_WIDTH_PX)
            rows.append((detector, element, OVERSAMPLE, samples.astype(np.float32).ravel().tolist()))
    return pl.DataFrame(
        rows,
        schema={
            "detector": pl.String,
            "optical_element": pl.String,
            "oversample": pl.Int32,
            "values": pl.List(pl.Float32),
        },
        orient="row",
    )


if __name__ == "__main__":
    from roman_assets.systems import msos

    print(write_wings(Path(next(iter(msos.__path__))) / "data" / "psf_cores.parquet", psf_core_table()))
