"""Frames and products that several tests use."""

from __future__ import annotations

import numpy as np
import polars as pl

from roman_assets.products import Identity
from roman_assets.systems.msos.tables import PSF_PHOTOMETRY_PART


def part_frame(n: int = 50, seed: int = 0) -> pl.DataFrame:
    """A psf_photometry_part."""
    rng = np.random.default_rng(seed)
    columns = {
        "star": np.arange(n),
        "flux": rng.normal(100, 10, n),
        "flux_err": rng.uniform(1, 2, n),
        "chi2": rng.uniform(0.5, 2, n),
        "flag": rng.integers(0, 4, n),
    }
    return pl.DataFrame(columns, schema=PSF_PHOTOMETRY_PART.polars_schema)


def identity(**change: object) -> Identity:
    """An identity with some of its parts changed."""
    values: dict = {"inputs": ("a" * 64, "b" * 64), "code_version": "3", "config": {"tolerance": 1e-6}}
    return Identity(**{**values, **change})
