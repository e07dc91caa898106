"""The shared bulge scenes against the project's requirements: the code of `make validate`, as a test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def validation():
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    try:
        import photometry_validation
    finally:
        sys.path.pop(0)
    return photometry_validation


@pytest.mark.parametrize("detector", ["wfi01", "wfi02"])
def test_requirements(shared_data, validation, detector):
    scene = validation.measure(shared_data / "bulge_scene" / detector)
    rows = validation.judge(scene, detector)
    assert len([row for row in rows if row["required"] != "counted"]) == 7
    assert (scene.matched[scene.inside & (scene.mag < 21)] >= 0).sum() > 200, "too few stars to judge by"
    failed = [row for row in rows if not row["passed"]]
    assert not failed
