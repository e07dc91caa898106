"""What an archive record says of the exposures of a product: computed from them, or said to be unknown."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.level2.header import FOOTPRINT_FROM_TARGET, WCS_UNLIKE_FOOTPRINT
from roman_assets.exposures.level2.reader import read_header
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.workspace import Workspace
from roman_assets.products.archive import NO_NUMBER, complete_record, validate_record
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.geometry import DetectorFrame
from roman_assets.simulate.survey import simulate_survey
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.stages.common import archive_facts

SHAPE = (4088, 4088)


def exposure(visit: int, roll: float | None, **changes: Any) -> RegisteredExposure:
    start = datetime(2027, 3, 1, 2, tzinfo=UTC) + dt.timedelta(minutes=visit)
    frame = DetectorFrame(267.81729, -29.21266, 2043.5, 2043.5, roll or 0.0)
    values: dict[str, Any] = {
        "exposure_id": f"r0000201001001001{visit:03d}_0001_wfi05_f146",
        "filename": f"r0000201001001001{visit:03d}_0001_wfi05_f146_cal.asdf",
        "visit_id": f"0000201001001001{visit:03d}",
        "exposure": 1,
        "detector": "WFI05",
        "optical_element": "F146",
        "exposure_type": "WFI_IMAGE",
        "start_time": start,
        "mid_mjd": 61465.1 + visit / 1440,
        "exptime_s": 66.0,
        "day": "2027-03-01",
        "shape": SHAPE,
        "ra_center": 267.81729,
        "dec_center": -29.21266,
        "s_region": "" if roll is None else frame.footprint(SHAPE),
        "conversion_megajanskys": 0.25,
        "pixel_area_sr": 2.8e-13,
        "program": 2,
        "caveats": (),
        "field": "f03",
    }
    return RegisteredExposure(**(values | changes))


def record(folder: Path, exposures: Sequence[RegisteredExposure], **place: Any) -> dict[str, Any]:
    facts = archive_facts(Workspace(folder, **place), "s01", exposures)
    made = archive_metadata("light_curve", facts)
    validate_record(complete_record(made, filename="x.parquet", file_date=datetime(2027, 6, 1, tzinfo=UTC)))
    return dict(made)


@pytest.mark.parametrize(
    ("rolls", "flip"), [((90.2, 89.9), 90), ((270.1, 269.8), 270), ((359.8, 0.4), 0), ((60.0,), 60)]
)
def test_flip_is_the_position_angle_of_the_footprint(tmp_path: Path, rolls: tuple[float, ...], flip: int) -> None:
    assert record(tmp_path, [exposure(n, roll) for n, roll in enumerate(rolls, 1)])["flip"] == flip


def test_spring_and_autumn_differ_by_half_a_turn(tmp_path: Path) -> None:
    spring, autumn = (record(tmp_path, [exposure(1, roll)])["flip"] for roll in (90.0, 270.0))
    assert autumn - spring == 180


def test_without_a_footprint_flip_is_the_value_that_means_none(tmp_path: Path) -> None:
    assert record(tmp_path, [exposure(1, None), exposure(2, None)])["flip"] == NO_NUMBER


@pytest.mark.parametrize("doubt", [FOOTPRINT_FROM_TARGET, WCS_UNLIKE_FOOTPRINT])
def test_a_footprint_in_doubt_says_nothing(tmp_path: Path, doubt: str) -> None:
    """Its corners may be counted in another order, or be those of a mirror image."""
    doubtful = exposure(1, 0.0, caveats=(doubt,))
    assert record(tmp_path, [doubtful])["flip"] == NO_NUMBER
    assert record(tmp_path, [doubtful, exposure(2, 90.0)])["flip"] == 90


def test_exposures_of_both_orientations_have_no_one_flip(tmp_path: Path) -> None:
    assert record(tmp_path, [exposure(1, 90.0), exposure(2, 90.0), exposure(3, 270.0)])["flip"] == NO_NUMBER


def test_processing_id_is_that_of_the_installation(tmp_path: Path) -> None:
    assert record(tmp_path, [exposure(1, 90.0)])["msos_processing_id"] == "r01"
    assert record(tmp_path, [exposure(1, 90.0)], processing_id="r07")["msos_processing_id"] == "r07"


def test_simulated_seasons_have_the_orientation_of_their_telescope(tmp_path: Path) -> None:
    """From files through the registry: the footprint is that of the WCS, whatever order the header counts corners in."""
    config = MiniSurvey(
        detectors=("WFI01",), days=1, seasons=2, visits_per_day=1, size_px=96, n_events=0, n_variables=0
    )
    paths = simulate_survey(config, tmp_path / "survey", workers=1).exposures
    place = Workspace(tmp_path / "home")
    calendar = calendar_for_files([read_header(path) for path in paths], "test")
    ingest(list(paths), place.registry, place.quarantine, calendar)
    for season, roll in (("s01", config.roll), ("s02", config.roll + 180)):
        assert archive_facts(place, season, place.registry.exposures(season=season)).flip == round(roll)
