"""The spine on independently simulated exposures: events, photometry and catalogue against their truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.pipeline_validation import judge_events, process
from roman_assets.platform.workspace import Workspace

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scene(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Path]:
    """bulge_scene of both detectors, through all assets, with the shipped calendar."""
    folder = shared_data / "bulge_scene"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return process(folder, tmp_path_factory.mktemp("bulge_scene")), folder


def test_every_detectable_event_is_found_and_no_variable_is_one(scene: tuple[Workspace, Path]) -> None:
    workspace, folder = scene
    missed = [row for row in judge_events(workspace, folder / "wfi01") if not row["passed"]]
    assert missed == []


def test_both_detectors_have_their_products(scene: tuple[Workspace, Path]) -> None:
    workspace, _ = scene
    objects = {r.attributes["detector"]: r.rows for r in workspace.products.current("season_objects")}
    assert set(objects) == {"WFI01", "WFI02"}
    assert all(rows is not None and 4500 < rows < 7500 for rows in objects.values())
    assert sum(len(workspace.products.current("psf_photometry_part", None, detector=d)) for d in objects) == 28


def test_zero_points_are_stable_to_two_parts_in_a_thousand(scene: tuple[Workspace, Path]) -> None:
    workspace, _ = scene
    parts = workspace.products.current("daily_light_curves_part", None, detector="WFI01")
    assert max(abs(part.attributes["scale"] - 1) for part in parts) < 0.003


def test_a_short_stack_is_a_caveat(scene: tuple[Workspace, Path]) -> None:
    """WFI02 has four exposures where twelve are wanted: the catalogue is made, and says so."""
    workspace, _ = scene
    (record,) = workspace.products.current("reference_catalog", None, detector="WFI02")
    assert any("stacked 4 of 12" in caveat for caveat in record.caveats)
