"""The shared bulge scenes against the project's requirements: the code of `make validate`, as a test."""

from __future__ import annotations

import pytest

from benchmarks import photometry_validation as validation

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("detector", ["wfi01", "wfi02"])
def test_requirements(shared_data, detector):
    scene = validation.measure(shared_data / "bulge_scene" / detector)
    rows = validation.judge(scene, detector)
    assert len([row for row in rows if row["required"] != "counted"]) == 7
    assert (scene.matched[scene.inside & (scene.mag < 21)] >= 0).sum() > 200, "too few stars to judge by"
    failed = [row for row in rows if not row["passed"]]
    assert not failed
