"""The calendar: shipped values, file format, lookups, and calendars made from exposures."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from roman_assets.errors import InputError
from roman_assets.survey.calendar import BULGE, SPECTROSCOPIC, calendar_for_files, load_calendar
from roman_assets.survey.calendar_file import MAX_KEYS, write_calendar

MINIMAL = """
name = "small"
detectors = ["WFI01"]
[[seasons]]
name = "s01"
days = [2027-03-01, "2027-03-03", {first = 2027-03-05, count = 2, step = 2}]
"""


def load(tmp_path: Path, text: str):
    path = tmp_path / "calendar.toml"
    path.write_text(text)
    return load_calendar(path)


@pytest.fixture
def shipped(monkeypatch):
    monkeypatch.delenv("ROMAN_CALENDAR", raising=False)
    return load_calendar()


def test_shipped_seasons_are_six_times_62_days(shipped):
    assert [season.name for season in shipped.seasons] == ["s01", "s02", "s03", "s04", "s05", "s06"]
    assert {len(season.days) for season in shipped.seasons} == {62}
    assert (shipped.seasons[0].days[0], shipped.seasons[0].days[-1]) == ("2027-02-12", "2027-04-14")
    assert len(shipped.days) == 372
    assert shipped.season_of("2027-03-01") == "s01"
    assert shipped.season_of("2027-07-01") is None
    assert shipped.detectors == tuple(f"WFI{i:02d}" for i in range(1, 19))
    assert len(shipped.spectroscopic_days) * 18 <= MAX_KEYS


def test_shipped_regions_cover_every_field(shipped):
    """A star anywhere in a field belongs to a region: no position on its rim may fall outside."""
    for field in shipped.fields:
        ra = [field.ra + field.radius_deg * 1.1 * f for f in (0, -1, 1, 0, 0)]
        dec = [field.dec + field.radius_deg * f for f in (0, 0, 0, -0.99, 0.99)]
        assert None not in shipped.regions_of(ra, dec), field.name
        assert shipped.field_at(field.ra, field.dec) == field.name
    assert shipped.region_of(268.0, -29.2).startswith("b06_")
    assert shipped.region_of(10.0, 80.0) is None
    assert shipped.region_of(150.1, 2.2) in shipped.region_names(SPECTROSCOPIC)
    assert shipped.field_at(10.0, 80.0) is None
    assert [f.name for f in shipped.fields if f.galactic_center] == ["f06"]


def test_holds_bulge_and_spectroscopic_days(shipped):
    assert shipped.holds("2027-03-01", "WFI01")
    assert shipped.holds("2027-10-01", "WFI18")
    assert not shipped.holds("2027-03-01", "WFI19")
    assert not shipped.holds("2026-03-01", "WFI01")


def test_survey_of_an_exposure(shipped):
    """On a day of both surveys, where the telescope points decides."""
    assert shipped.survey_of("2027-10-01", "imaging", 267.8, -29.2) == BULGE
    assert shipped.survey_of("2027-10-01", "imaging", 150.1, 2.2) == SPECTROSCOPIC
    assert shipped.survey_of("2027-10-01", "spectral", 267.8, -29.2) == SPECTROSCOPIC
    assert shipped.survey_of("2027-03-01", "imaging", 150.1, 2.2) is None
    assert shipped.survey_of("2026-03-01", "imaging", 267.8, -29.2) is None


def test_unknown_season_is_an_input_error(shipped):
    assert shipped.season("s02").days[0] == "2027-08-19"
    with pytest.raises(InputError, match="use one of: s01"):
        shipped.season("s99")


def test_environment_variable_replaces_the_calendar(tmp_path, monkeypatch):
    load(tmp_path, MINIMAL)
    monkeypatch.setenv("ROMAN_CALENDAR", str(tmp_path / "calendar.toml"))
    assert load_calendar().name == "small"


def test_compact_days(tmp_path):
    calendar = load(tmp_path, MINIMAL)
    assert calendar.days == ("2027-03-01", "2027-03-03", "2027-03-05", "2027-03-07")


def test_dump_reads_back_equal(tmp_path, shipped):
    path = write_calendar(shipped, tmp_path / "deep" / "copy.toml")
    assert load_calendar(path) == shipped
    assert [p.name for p in path.parent.iterdir()] == ["copy.toml"]


SEASON_2 = '\n[[seasons]]\nname = "{name}"\ndays = {days}\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (MINIMAL + SEASON_2.format(name="s02", days='["2027-03-03"]'), "is in season s01 and again in s02"),
        (MINIMAL + SEASON_2.format(name="s02", days='["2027-03-04"]'), "overlap in time"),
        (MINIMAL + SEASON_2.format(name="s01", days='["2028-03-03"]'), "'s01' is given twice"),
        (MINIMAL + SEASON_2.format(name="s02", days='["2027-02-30"]'), "is not a date"),
        (MINIMAL + SEASON_2.format(name="s02", days="[]"), "has no day"),
        (MINIMAL + SEASON_2.format(name="s|2", days='["2028-03-03"]'), "is not a name"),
        (MINIMAL + SEASON_2.format(name="s02", days="{first = 2028-01-01, count = 0}"), "whole number"),
        (MINIMAL + SEASON_2.format(name="s02", days="{first = 9999-12-01, count = 99}"), "leaves the calendar"),
        (MINIMAL + "colour = 1\n", "unknown key"),
        ("colour = 1\n" + MINIMAL, "unknown key"),
        (MINIMAL.replace('["WFI01"]', '["WFI01", "WFI01"]'), "'WFI01' is given twice"),
        (MINIMAL.replace('["WFI01"]', "[]"), "no detector"),
        (
            MINIMAL.replace('["WFI01"]', '{prefix = "WFI", count = 18}')
            + SEASON_2.format(name="s02", days="{first = 2028-01-01, count = 600}"),
            "are more than 10000",
        ),
        ('name = "x"\ndetectors = ["WFI01"]\n', "holds no day"),
        ("name = [", "cannot be read as a calendar in TOML"),
        (MINIMAL + '[[fields]]\nname = "f01"\nra = 400\ndec = 0\nradius_deg = 1\n', "not a number in"),
        (MINIMAL + '[[regions]]\nname = "r"\norder = 1\ncells = [48]\n', "not a whole number in"),
        (MINIMAL + '[[regions]]\nname = "r"\norder = 1\ncells = [4, 4]\n', "'4' is given twice"),
        (MINIMAL + '[[regions]]\nname = "r"\norder = 1\n', "has no cell"),
        (MINIMAL + "[[regions]]\norder = 1\ncells = [1]\n", "either name or prefix"),
        (MINIMAL + '[[regions]]\nname = "r"\nsurvey = "x"\norder = 1\ncells = [1]\n', "is unknown"),
    ],
)
def test_bad_calendar_names_file_and_field(tmp_path, text, complaint):
    with pytest.raises(InputError, match="Remedy") as caught:
        load(tmp_path, text)
    assert complaint in str(caught.value)
    assert "calendar.toml" in str(caught.value)


def test_missing_calendar_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_calendar(tmp_path / "absent.toml")


def test_regions_from_circles_hold_the_circle(tmp_path):
    circle = '[[regions]]\nprefix = "c"\norder = 6\ncircles = [{ra = 35.0, dec = -5.0, radius_deg = 0.5}]\n'
    calendar = load(tmp_path, MINIMAL + circle)
    assert calendar.region_of(35.0, -5.0).startswith("c06_")
    assert calendar.region_of(35.49, -5.0) is not None


@dataclass(frozen=True)
class Pointed:
    day: str
    detector: str = "WFI01"
    exposure_type: str = "WFI_IMAGE"
    ra_center: float = 268.0
    dec_center: float = -29.2


def test_calendar_for_files(tmp_path):
    start = dt.date(2027, 3, 1)
    days = [(start + dt.timedelta(days=n)).isoformat() for n in (0, 1, 21, 43)]
    headers = [Pointed(day) for day in days] + [
        Pointed(days[0], detector="WFI02", ra_center=269.5),
        Pointed("2027-10-01", exposure_type="WFI_SPECTRAL", ra_center=150.1, dec_center=2.2),
        Pointed("2027-10-01", ra_center=150.1, dec_center=2.2),
    ]
    calendar = calendar_for_files(headers, "mine")
    # 20 days without data stay in the season, 21 open a new one.
    assert [(s.name, s.days) for s in calendar.seasons] == [("s01", tuple(days[:3])), ("s02", tuple(days[3:]))]
    assert calendar.detectors == ("WFI01", "WFI02")
    assert calendar.spectroscopic_days == ("2027-10-01",)
    assert [f.name for f in calendar.fields] == ["f01", "f02"]
    assert calendar.region_of(268.0, -29.2) in calendar.region_names(BULGE)
    assert calendar.region_of(150.1, 2.2) in calendar.region_names(SPECTROSCOPIC)
    assert load_calendar(write_calendar(calendar, tmp_path / "mine.toml")) == calendar
    assert calendar_for_files(reversed(headers), "mine") == calendar


def test_calendar_for_no_files_is_an_input_error():
    with pytest.raises(InputError, match="no exposure"):
        calendar_for_files([], "none")


def test_calendar_is_a_value(shipped):
    assert replace(shipped, name="other") != shipped
    assert shipped.days is shipped.days


def test_calendar_for_the_shared_files(shared_data, tmp_path):
    from roman_assets.exposures.level2.reader import read_header

    headers = [read_header(path) for path in sorted(shared_data.glob("*_scene/**/*.asdf"))]
    calendar = calendar_for_files(headers, "shared")
    assert [(season.name, len(season.days)) for season in calendar.seasons] == [("s01", 4)]
    assert calendar.detectors == ("WFI01", "WFI02")
    assert calendar.spectroscopic_days == ("2027-10-01",)
    for header in headers:
        assert calendar.holds(header.day, header.detector)
        assert calendar.region_of(header.ra_center, header.dec_center) is not None
        survey = calendar.survey_of(header.day, header.kind, header.ra_center, header.dec_center)
        assert survey == (BULGE if header.program == 2 else SPECTROSCOPIC)
