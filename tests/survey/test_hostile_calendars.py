"""Calendars that cannot be used, or would take all memory: refused at once, naming file and field."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roman_assets.survey.calendar import load_calendar
from roman_assets.survey.calendar_file import MAX_CELLS
from tests.hostile import NOTHING, refused

START = 'name = "small"\ndetectors = ["WFI01"]\n'
SEASON = '[[seasons]]\nname = "s01"\ndays = [2027-03-01]\n'
REGION = START + SEASON + '[[regions]]\nname = "r"\n'
CIRCLE = "circles = [{{ra = {ra}, dec = {dec}, radius_deg = {radius}}}]\n"

HOSTILE = {
    "a circle of 13 million cells": REGION + "order = 12\n" + CIRCLE.format(ra=10, dec=0, radius=30),
    "many circles": REGION
    + "order = 10\ncircles = ["
    + ",".join(f"{{ra = {k}, dec = 0, radius_deg = 3}}" for k in range(300))
    + "]\n",
    "too many listed cells": REGION + f"order = 12\ncells = [{','.join(map(str, range(MAX_CELLS + 1)))}]\n",
    "circles of numbers": REGION + "order = 5\ncircles = 5\n",
    "circles of text": REGION + 'order = 5\ncircles = ["here"]\n',
    "a circle of nothing": REGION + "order = 5\ncircles = [{}]\n",
    "a circle that is nan": REGION + "order = 5\n" + CIRCLE.format(ra="nan", dec=0, radius=1),
    "a radius that is inf": REGION + "order = 5\n" + CIRCLE.format(ra=1, dec=0, radius="inf"),
    "a negative radius": REGION + "order = 5\n" + CIRCLE.format(ra=1, dec=0, radius=-1),
    "order 29": REGION + "order = 29\ncells = [1]\n",
    "order true": REGION + "order = true\ncells = [1]\n",
    "huge cells": REGION + f"order = 1\ncells = [{2**70}]\n",
    "cells of text": REGION + 'order = 1\ncells = "all"\n',
    "billions of days": START
    + f'[[seasons]]\nname = "s"\ndays = [{",".join(["{first = 2027-01-01, count = 10000}"] * 3000)}]\n',
    "billions of spectroscopic days": START
    + f"spectroscopic_days = [{','.join(['{first = 2027-01-01, count = 10000}'] * 3000)}]\n",
    "days in brackets": START + '[[seasons]]\nname = "s"\ndays = ' + "[" * 400 + "]" * 400 + "\n",
    "nested beyond the parser": START + "x = " + "[" * 50_000 + "]" * 50_000 + "\n",
    "days of nan": START + '[[seasons]]\nname = "s"\ndays = [nan]\n',
    "a date with a time": START + '[[seasons]]\nname = "s"\ndays = [2027-01-01T00:00:00]\n',
    "year 0": START + '[[seasons]]\nname = "s"\ndays = ["0000-01-01"]\n',
    "a season that is no table": START + "seasons = [1, 2]\n",
    "seasons of text": START + 'seasons = "all"\n',
    "a name of lines": 'name = "a\\nb"\ndetectors = ["WFI01"]\n' + SEASON,
    "a name of 65": f'name = "{"a" * 65}"\ndetectors = ["WFI01"]\n' + SEASON,
    "no name": 'detectors = ["WFI01"]\n' + SEASON,
    "a table of detectors": 'name = "a"\ndetectors = {prefix = "WFI", count = 1000000000}\n' + SEASON,
    "detectors of numbers": 'name = "a"\ndetectors = [1, 2]\n' + SEASON,
    "huge numbers": START + SEASON + '[[fields]]\nname = "f"\nra = 1e400\ndec = 0\nradius_deg = 1\n',
    "integers of 5000 digits": START + SEASON + f'[[fields]]\nname = "f"\nra = {"9" * 5000}\ndec = 0\nradius_deg = 1\n',
    "keys twice": START + START + SEASON,
    "a byte order mark": "\ufeff" + START + SEASON,
    "control characters": START + 'x = "\x01"\n',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_calendars_invalid(tmp_path: Path, name: str) -> None:
    file = tmp_path / "calendar.toml"
    file.write_text(HOSTILE[name], encoding="utf-8")
    begun = time.process_time()
    assert refused(load_calendar, file) is not None
    assert time.process_time() - begun < 10


@pytest.mark.parametrize("name", NOTHING)
def test_files_of_nothing_invalid(tmp_path: Path, name: str) -> None:
    file = tmp_path / "calendar.toml"
    file.write_bytes(NOTHING[name]())
    assert refused(load_calendar, file) is not None


def test_what_is_no_file_invalid(tmp_path: Path) -> None:
    (tmp_path / "calendar.toml").mkdir()
    for place in (tmp_path / "calendar.toml", tmp_path / "absent.toml", tmp_path / ("x" * 300)):
        assert refused(load_calendar, place) is not None


def test_a_region_as_large_as_the_survey_needs_is_read(tmp_path: Path) -> None:
    file = tmp_path / "calendar.toml"
    file.write_text(REGION + "order = 8\n" + CIRCLE.format(ra=270, dec=-29, radius=20))
    assert len(load_calendar(file).regions[0].cells) > 20_000


KEYS = ["name", "detectors", "seasons", "regions", "circles", "days", "first", "count", "order", "cells", "ra", "dec"]
SIGNS = ["=", "[", "]", "[[", "]]", "{", "}", ",", ".", "'", "#", "\n"]
VALUES = ["1", "-1", "1e9", "nan", "2027-01-01", "true", '"a"']
WORDS = st.sampled_from(KEYS + SIGNS + VALUES)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(words=st.lists(WORDS, max_size=30))
def test_any_text_invalid(tmp_path_factory: pytest.TempPathFactory, words: list[str]) -> None:
    file = tmp_path_factory.mktemp("text") / "calendar.toml"
    file.write_text(START + SEASON + " ".join(words))
    refused(load_calendar, file)
