"""The shared bulge scenes against the project's requirements: the code of `make validate`, as a test."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
#: Requirements that a scene does not meet yet, by (scene, beginning of the name), and how far it is off: these
#: must not get worse. WFI02 has four exposures in all, too few to fix an ePSF to the photon noise of its
#: brightest stars; `make validate` shows both as failed.
SHORTFALLS = {("wfi02", "epoch scatter"): 1.6, ("wfi02", "spurious"): 0.03}


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
    assert len(rows) == 6
    assert (scene.matched[scene.inside & (scene.mag < 21)] >= 0).sum() > 200, "too few stars to judge by"
    failed = []
    for row in rows:
        bound = next(
            (b for (d, n), b in SHORTFALLS.items() if d == detector and row["name"].startswith(n)), None
        )
        if not row["passed"] and (bound is None or row["value"] > bound):
            failed.append(row)
    assert not failed
