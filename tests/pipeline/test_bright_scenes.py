"""Independent scenes with bright stars and events, in either convention of saturation flags, against their truth."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.bright_validation import judge
from benchmarks.pipeline_validation import process

pytestmark = pytest.mark.slow


def test_bright_events_and_stars_have_light_curves(shared_data: Path, tmp_path: Path) -> None:
    """Once 19 of 24 exposures, 4 of 10 events, and no star of 16 to 18 had any."""
    scene = shared_data / "bulge_bright" / "wfi04"
    if not scene.is_dir():
        pytest.skip(f"{scene} is not there")
    result = judge(process(scene, tmp_path), scene)
    assert result.exposures == (24, 24)
    assert result.events == (10, 10)
    assert result.false <= 1
    assert result.usable > 0.95
    assert 0.75 < result.excess < 1.25
