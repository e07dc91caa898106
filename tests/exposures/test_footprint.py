"""Position angle of an exposure from its footprint."""

from __future__ import annotations

import pytest

from roman_assets.exposures.level2.footprint import position_angle
from roman_assets.simulate.geometry import DetectorFrame


@pytest.mark.parametrize("roll", [0.0, 60.0, 90.0, 240.0, 359.5])
@pytest.mark.parametrize(("ra", "dec"), [(268.0, -29.2), (0.01, 2.0), (150.0, 70.0)])
def test_angle_of_y_is_that_of_the_pointing(ra: float, dec: float, roll: float) -> None:
    frame = DetectorFrame(ra, dec, 2043.5, 2043.5, roll)
    angle = position_angle(frame.footprint((4088, 4088)))
    assert angle is not None
    assert 0 <= angle < 360
    assert (angle - roll + 180) % 360 - 180 == pytest.approx(0.0, abs=0.2)


@pytest.mark.parametrize(
    "region",
    [
        "",
        None,
        "POLYGON ICRS 1 2 3 4 5 6",
        "CIRCLE ICRS 1 2 3",
        "POLYGON ICRS 268 -29 268 -29 268 -29 268 -29",
        "POLYGON ICRS nan 2 3 4 5 6 7 8",
    ],
)
def test_what_is_no_footprint_has_no_angle(region: object) -> None:
    assert position_angle(region) is None
