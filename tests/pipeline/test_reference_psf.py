"""With an ePSF reference file the catalogue uses it as it is, instead of building one from the exposures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from roman_assets.simulate.reference import write_epsf_reference
from roman_assets.simulate.survey import SimulatedSurvey
from roman_assets.systems.msos.psf.effective_psf import model_psf, reference_psf
from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig, establish
from tests.mini_survey import fresh_workspace, take_in


def test_catalogue_with_a_reference_file(survey: SimulatedSurvey, tmp_path: Path) -> None:
    folder = tmp_path / "epsf"
    folder.mkdir()
    path = folder / "roman_wfi_epsf_wfi01_f146.asdf"
    write_epsf_reference(path, "WFI01", "F146")
    psf, model = reference_psf(path), model_psf("WFI01", "F146")
    assert abs(psf.encircled_energy(3.0) - model.encircled_energy(3.0)) < 0.01
    workspace = replace(fresh_workspace(tmp_path / "home", survey), epsf_folder=str(folder))
    take_in(workspace, sorted(survey.exposures)[:6])
    result = establish(workspace, "s01", "WFI01", CatalogueConfig(exposures=6))
    assert result.figures["psf"] == "reference"
    table = workspace.products.read_table(result.records[0]).filter((pl.col("mag") < 20.5) & (pl.col("flag") == 0))
    truth = survey.truth("stars").filter(pl.col("mag_f146") < 20.7)
    distance = np.hypot(
        table["x"].to_numpy()[:, None] - truth["x"].to_numpy(), table["y"].to_numpy()[:, None] - truth["y"].to_numpy()
    )
    assert np.median(distance.min(axis=1)) < 0.03
    offset = table["mag"].to_numpy() - truth["mag_f146"].to_numpy()[distance.argmin(axis=1)]
    assert abs(np.median(offset)) < 0.02
