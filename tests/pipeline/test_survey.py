"""Two seasons with the field turned by 180 degrees: a star changes detector, an object stays one."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.spatial import cKDTree

from roman_assets.orchestration.processing import plan, run_steps
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey
from tests.mini_survey import fresh_workspace, take_in

#: One worker, so that the survey is processed once.
pytestmark = pytest.mark.xdist_group("two_seasons")


@pytest.fixture(scope="module")
def two_seasons(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, object]:
    """A workspace with two seasons processed, and the survey."""
    config = MiniSurvey(
        seed=11,
        detectors=("WFI01", "WFI02"),
        days=1,
        seasons=2,
        visits_per_day=8,
        size_px=64,
        n_events=1,
        n_variables=1,
        proper_motion_mas_yr=3.0,
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
    assert float(shared.filter(pl.col("mag") < 22)["separation"].median()) < 7.0  # type: ignore[arg-type]
    # Twice the points of a season, on one zero point.
    assert shared.filter(pl.col("mag") < 22)["n"].max() == 16
    assert shared["chi2_dof"].median() < 2.0


def test_proper_motions_are_those_of_the_simulation(two_seasons) -> None:  # type: ignore[no-untyped-def]
    workspace, survey = two_seasons
    objects = pl.concat([workspace.products.read_table(r) for r in workspace.products.current("survey_objects")])
    assert (
        objects.filter(pl.col("n_seasons") == 1)["pm_ra"].null_count()
        == objects.filter(pl.col("n_seasons") == 1).height
    )
    moving = objects.filter((pl.col("n_seasons") == 2) & (pl.col("pm_err") < 1.5))
    assert moving.height >= 10
    first, second = (survey.truth("stars").filter(pl.col("season") == season) for season in ("s01", "s02"))
    both = first.join(second, on="source_id")
    start = survey.truth("epochs").group_by("season").agg(pl.col("mjd_mid").min())
    years = float(np.ptp(start["mjd_mid"].to_numpy())) / 365.25
    cos = np.cos(np.deg2rad(both["dec"].to_numpy()))
    tree = cKDTree(np.stack([both["ra"].to_numpy() * cos, both["dec"].to_numpy()], axis=1))
    ra, dec = moving["ra"].to_numpy(), moving["dec"].to_numpy()
    place = np.stack([ra * np.cos(np.deg2rad(dec)), dec], axis=1)
    _, near = tree.query(place)
    pulls = []
    for name, scale in (("ra", cos[near]), ("dec", 1.0)):
        true = (both[f"{name}_right"] - both[name]).to_numpy()[near] * 3.6e6 * scale / years
        pulls.append((moving[f"pm_{name}"].to_numpy() - true) / moving["pm_err"].to_numpy())
    # A few stars of so small a field set its frame: all share its error.
    assert np.abs(np.median(pulls, axis=1)).max() < 2.0
    assert 1.4826 * np.median(np.abs(pulls - np.median(pulls, axis=1, keepdims=True))) < 2.0


def test_an_object_keeps_one_entry_and_says_where_it_was_seen(two_seasons) -> None:  # type: ignore[no-untyped-def]
    workspace, _ = two_seasons
    objects = pl.concat([workspace.products.read_table(r) for r in workspace.products.current("survey_objects")])
    shared = objects.filter(pl.col("n_seasons") == 2)
    assert shared.height > 0
    for row in shared.head(20).iter_rows(named=True):
        assert row["seasons"] == ["s01", "s02"]
        assert len(row["detectors"]) == len(row["stars"]) == 2


def test_events_are_modelled_over_both_seasons(two_seasons) -> None:  # type: ignore[no-untyped-def]
    workspace, survey = two_seasons
    events = [workspace.products.read_table(r) for r in workspace.products.current("survey_events")]
    found = pl.concat(events) if events else pl.DataFrame()
    season = pl.concat([workspace.products.read_table(r) for r in workspace.products.current("season_events")])
    assert season.height > 0
    assert found.height >= 1
    assert found["n_points"].max() == 16
    del survey
