"""Where a long command is when nobody watches a terminal, and what a processing says at its end."""

from __future__ import annotations

import pytest

from roman_assets.cli import common
from roman_assets.cli.common import duration, progress_bar, report
from roman_assets.errors import InputError
from roman_assets.orchestration.processing import Outcome, plan, survey_steps
from tests.mini_survey import Processed


def test_without_a_terminal_every_unit_has_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(common, "LINE_S", 0.0)
    with progress_bar("processing") as advance:
        for done in range(3):
            advance(done, 3, f"step {done}\x1b[31m")
    told = capsys.readouterr()
    assert told.out == ""
    lines = told.err.splitlines()
    assert [line.split(" (")[0] for line in lines] == [f"processing {n}/3 step {n}\\x1b[31m" for n in range(3)]
    assert "left" not in lines[0]
    assert lines[1].endswith("left)")


def test_fast_units_do_not_flood_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bar("comparing") as advance:
        for done in range(10_000):
            advance(done, 10_000, "product")
    assert len(capsys.readouterr().err.splitlines()) < 5


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (99, "99 s"), (600, "10 min"), (7200, "2.0 h")])
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_end_counts_exposures_from_the_registry(processed: Processed) -> None:
    assert processed.outcome.exposures == len(processed.workspace.registry.exposures(kind="imaging")) > 0
    assert processed.outcome.measured == processed.outcome.exposures


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (Outcome(done=3, planned=3, exposures=24, measured=17), "24 imaging exposures, 7 left out: see the caveats"),
        (Outcome(done=3, planned=3, exposures=24, measured=24), "24 imaging exposures, all of them measured"),
        (Outcome(done=3, planned=3, failed_checks=["a", "b"]), "3 of 3 runs succeeded, 0 failed, 2 checks not passed"),
    ],
)
def test_the_closing_lines(outcome: Outcome, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with common.console.capture() as captured:
        report(outcome)
    assert said in captured.get()


def test_assets_can_be_left_out(processed: Processed) -> None:
    place = processed.workspace
    every = {name for step in [*plan(place), *survey_steps(place)] for name in step.assets}
    without = ("detection_efficiency", "survey_objects")
    assert set(without) < every
    left = {name for step in [*plan(place, without=without), *survey_steps(place, without)] for name in step.assets}
    assert left == every - set(without)
    assert all(step.assets for step in plan(place, without=without))
    with pytest.raises(InputError, match="no asset 'efficiency'"):
        plan(place, without=["efficiency"])
