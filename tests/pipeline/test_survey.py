"""Two seasons with the field turned by 180 degrees: a star changes detector, an object stays one."""

from __future__ import annotations

import polars as pl
import pytest

from roman_assets.platform.processing import plan, run_steps
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey
from tests.pipeline.conftest import fresh_workspace, take_in

#: One worker, so that the survey is processed once.
pytestmark = pytest.mark.xdist_group("two_seasons")


@pytest.fixture(scope="module")
def two_seasons(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, object]:
    """A workspace with two seasons processed, and the survey."""
    config = MiniSurvey(
        seed=11, detectors=("WFI01", "WFI02"), days=1, seasons=2, visits_per_day=8, size_px=64, n_events=1, n_variables=1
    )
    survey = simulate_survey(config, tmp_path_factory.mktemp("seasons"), workers=2)
    workspace = fresh_workspace(tmp_path_factory.mktemp("home"), survey)
    take_in(workspace, list(survey.exposures))
    outcome = run_steps(workspace, plan(workspace))
    assert outcome.failed == {}
    return workspace, survey


def test_objects_are_matched_over_seasons(two_seasons) -> None:  # type: ignore[no-untyped-def]
    workspace, _ = two_seasons
    objects = pl.concat([workspace.products.read_table(r) for r in workspace.products.current("survey_objects")])
    shared = objects.filter(pl.col("n_seasons") == 2)
    bright = objects.filter(pl.col("mag") < 23)
    assert bright.filter(pl.col("n_seasons") == 2).height > 0.8 * bright.height
    assert float(shared.filter(pl.col("mag") < 22)["separation"].median()) < 5.0  # type: ignore[arg-type]
    # Twice the points of a season, on one zero point.
    assert shared.filter(pl.col("mag") < 22)["n"].max() == 16
    assert shared["chi2_dof"].median() < 2.0


def test_an_object_keeps_one_entry_and_says_where_it_was_seen(two_seasons) -> None:  # type: ignore[no-untyped-def]
    workspace, _ = two_seasons
    objects = pl.concat([workspace.products.read_table(r) for r in workspace.products.current("survey_objects")])
    shared = objects.filter(pl.col("n_seasons") == 2)
    for row in shared.head(20).iter_rows(named=True):
        assert row["seasons"] == ["s01", "s02"]
        assert len(row["detectors"]) == len(row["stars"]) == 2


def test_events_are_modelled_over_both_seasons(two_seasons) -> None:  # type: ignore[no-untyped-def]
    workspace, survey = two_seasons
    events = [workspace.products.read_table(r) for r in workspace.products.current("survey_events")]
    found = pl.concat(events) if events else pl.DataFrame()
    season = pl.concat([workspace.products.read_table(r) for r in workspace.products.current("season_events")])
    if season.is_empty():
        pytest.skip("the simulated seasons have no candidate")
    assert found.height >= 1
    assert found["n_points"].max() == 16
    del survey
