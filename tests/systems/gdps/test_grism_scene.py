"""The shared grism scene: one exposure in the fast tier, all requirements in the slow one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import grism_validation
from roman_assets.exposures.level2.frames import prepare
from roman_assets.exposures.level2.reader import read_image
from roman_assets.systems.gdps.extraction.contamination import ContaminationConfig
from roman_assets.systems.gdps.extraction.exposure import ExtractionConfig, extract_exposure
from roman_assets.systems.gdps.optics.dispersion import Window
from roman_assets.systems.gdps.optics.optical_model import read_optical_model
from roman_assets.systems.gdps.optics.throughput import read_throughput
from roman_assets.systems.gdps.sources.source_list import SourceList


def test_one_exposure(shared_data: Path) -> None:
    """From colours alone: the model explains the image, and bright stars have their fluxes within 3 %."""
    folder = shared_data / "grism_scene"
    row = pl.read_parquet(folder / "exposures.parquet").filter(pl.col("kind") == "grism").row(1, named=True)
    name = row["file"]
    frame = prepare(read_image(folder / (name if name.endswith(".asdf") else f"{name}.asdf")))
    trace = read_optical_model(folder / "optical_model.yaml").on("WFI01")
    sources = SourceList.of(pl.read_parquet(folder / "catalog.parquet"))
    config = ExtractionConfig(ContaminationConfig(iterations=1))
    result = extract_exposure(
        frame,
        Window(row["xstart"], row["ystart"], row["nx"], row["ny"]),
        sources,
        trace,
        read_throughput(folder / "sensitivity.parquet"),
        config=config,
    )
    truth = pl.read_parquet(folder / "truth.parquet")
    variance = frame.read_variance + frame.poisson_slope * np.maximum(result.model.sources + result.model.background, 0)
    assert float((result.residual**2 / variance)[frame.good].mean()) < 1.06
    ratios = []
    for source in result.sources:
        row = truth.filter(pl.col("id") == source.source_id).row(0, named=True)
        spectrum = source.spectrum
        use = (spectrum.flags == 0) & (spectrum.wavelength > 1050) & (spectrum.wavelength < 1850)
        if row["class"] == "star" and row["f158_mag"] < 20.5 and use.sum() > 400:
            expected = np.interp(spectrum.wavelength / 1e3, row["wave"], row["flux"]) * 1e-2
            ratios.append(float(np.median(spectrum.flux[use] / expected[use])))
    assert len(ratios) >= 3
    assert np.abs(np.array(ratios) - 1).max() < 0.03


@pytest.mark.slow
def test_requirements(shared_data: Path) -> None:
    missed = [row for row in grism_validation.rows(shared_data) if not row["passed"]]
    assert missed == []


def test_a_missing_scene_is_a_row(tmp_path: Path) -> None:
    rows = grism_validation.rows(tmp_path)
    assert [row["passed"] for row in rows] == [False]
