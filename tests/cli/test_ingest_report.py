"""What `roman ingest` and `roman calendar init` say of files that are not there, not readable, or not exposures."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from roman_assets.cli import app
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey


@pytest.fixture(scope="module")
def exposures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mini")
    simulate_survey(MiniSurvey(seed=5, detectors=("WFI01",), days=1, visits_per_day=2, size_px=64), folder)
    return folder / "exposures"


def roman(home: Path, *arguments: object) -> tuple[int, str]:
    result = CliRunner(env={"COLUMNS": "250"}).invoke(app, ["--home", str(home), *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def test_nothing_found_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "r0000201001001001001_0001_wfi01_f146_cal.asdf.gz").touch()
    code, output = roman(tmp_path, "ingest", folder)
    assert code == 2
    assert "nothing found" in output


def test_files_that_cannot_be_read_now(exposures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sorted(exposures.glob("*.asdf"))
    pread, busy = os.pread, first.stat().st_ino

    def fails(descriptor: int, size: int, offset: int) -> bytes:
        if os.fstat(descriptor).st_ino == busy:
            raise OSError(errno.ESTALE, "Stale file handle")
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", fails)
    code, output = roman(tmp_path, "calendar", "init", exposures)
    assert code == 2
    assert "written for 1 exposures" in output
    assert "Stale file handle" in output
    code, output = roman(tmp_path, "ingest", exposures)
    assert code == 2
    assert "Stale file handle" in output
    assert [line.split("│")[1:3] for line in output.splitlines() if "unavailable" in line] == [
        [" unavailable                ", "     1 "]
    ]
    monkeypatch.undo()
    assert roman(tmp_path, "calendar", "init", exposures, "--force")[0] == 0
    code, output = roman(tmp_path, "ingest", exposures)
    assert code == 0
    assert second.name not in output


def test_unfinished_files_are_shown(exposures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for file in exposures.glob("*.asdf"):
        (folder / file.name).symlink_to(file)
    (folder / "r1_cal.asdf.part").touch()
    assert roman(tmp_path, "calendar", "init", folder)[0] == 0
    code, output = roman(tmp_path, "ingest", folder)
    assert code == 0
    assert "still being written r1_cal.asdf.part" in output
