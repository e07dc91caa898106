"""A second filter beside the search filter: its own ePSF, the same catalogue, magnitudes on the AB system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from roman_assets.orchestration.processing import plan, run_steps
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey
from tests.mini_survey import fresh_workspace, take_in


@pytest.mark.slow
def test_two_filters(tmp_path: Path) -> None:
    common = {"seed": 21, "detectors": ("WFI01",), "days": 1, "size_px": 64, "n_events": 1, "n_variables": 1}
    wide = simulate_survey(MiniSurvey(visits_per_day=8, **common), tmp_path / "f146", workers=2)  # type: ignore[arg-type]
    blue = simulate_survey(
        MiniSurvey(visits_per_day=4, optical_element="F087", zero_point=26.3, **common),
        tmp_path / "f087",
        workers=2,  # type: ignore[arg-type]
    )
    workspace = fresh_workspace(tmp_path / "home", wide)
    take_in(workspace, [*wide.exposures, *blue.exposures])
    outcome = run_steps(workspace, plan(workspace))
    assert outcome.failed == {}
    (catalogue,) = workspace.products.current("reference_catalog")
    assert catalogue.attributes["optical_element"] == "F146"
    objects = pl.concat([workspace.products.read_table(r) for r in workspace.products.current("season_objects")])
    assert set(objects["optical_element"]) == {"F146", "F087"}
    truth = wide.truth("stars").filter(pl.col("mag_f146") < 21)
    for element in ("F146", "F087"):
        mine = objects.filter(
            (pl.col("optical_element") == element) & (pl.col("flag") == 0) & pl.col("mag").is_not_nan()
        )
        dx = (mine["ra"].to_numpy()[:, None] - truth["ra"].to_numpy()) * np.cos(np.deg2rad(29.2)) * 3.6e6
        dy = (mine["dec"].to_numpy()[:, None] - truth["dec"].to_numpy()) * 3.6e6
        separation = np.hypot(dx, dy)
        near = separation.min(axis=1) < 30
        # The simulator gives a star one magnitude in every filter.
        offset = mine["mag"].to_numpy()[near] - truth["mag_f146"].to_numpy()[separation.argmin(axis=1)[near]]
        assert near.sum() > 10
        assert abs(np.median(offset)) < 0.05, element
    epochs = workspace.products.read_table(workspace.products.current("season_epochs")[0])
    zero = epochs.group_by("optical_element").agg(pl.col("zero_point").median())
    assert dict(zero.iter_rows()) == pytest.approx({"F146": 26.79, "F087": 26.3}, abs=0.01)
