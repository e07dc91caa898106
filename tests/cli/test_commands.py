"""The commands as a user types them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner, Result

from roman_assets.cli import app, main
from roman_assets.cli.common import PANELS, console
from roman_assets.errors import InputError
from tests.mini_survey import Processed


@pytest.fixture
def runner(monkeypatch: pytest.MonkeyPatch) -> CliRunner:
    """A wide terminal and no installation from the environment."""
    for name in ("ROMAN_HOME", "ROMAN_CALENDAR", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(console, "_width", 200)
    return CliRunner()


def run(runner: CliRunner, home: Path, *arguments: str) -> Result:
    """Run a command on an installation; fails with its output if it raised."""
    result = runner.invoke(app, ["--home", str(home), *arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def lens_file(path: Path) -> Path:
    """Two light curves as CSV: a lens with u0 0.3, tE 12 d at 2000, and a constant star."""
    rng = np.random.default_rng(3)
    time = np.arange(1900, 2100, 0.25)
    u = np.hypot(0.3, (time - 2000) / 12)
    lens = 100 * (u**2 + 2) / (u * np.sqrt(u**2 + 4)) + 20 + rng.normal(0, 1, time.size)
    flat = 120 + rng.normal(0, 1, time.size)
    frame = pl.DataFrame(
        {
            "id": ["lens"] * time.size + ["flat"] * time.size,
            "time": np.concatenate([time, time]),
            "flux": np.concatenate([lens, flat]),
            "flux_err": np.ones(2 * time.size),
        }
    )
    frame.write_csv(path)
    return path


def test_every_command_is_in_a_panel_of_the_help(runner: CliRunner) -> None:
    """In an order for newcomers, and under headings that say whom a command is for."""
    every = [*app.registered_commands, *app.registered_groups]
    panels = {str(item.name or item.callback.__name__).replace("_", "-"): item.rich_help_panel for item in every}
    assert {name for name, panel in panels.items() if panel not in PANELS} == set()
    assert set(panels.values()) == set(PANELS)
    told = runner.invoke(app, ["--help"], env={"COLUMNS": "120"}).output
    headings = re.findall(r"^╭─ (.+?) ─+╮$", told, re.MULTILINE)
    assert headings == ["Options", "Getting started", "Science products", "Your own data", "Operators"]
    for name, panel in panels.items():
        assert re.search(rf"^│ {name}\s", told.partition(f"╭─ {panel} ")[2].partition("╰")[0], re.MULTILINE), name
    assert panels["demo"] == "Getting started"
    assert panels["events"] == "Science products"
    assert panels["redshift"] == "Your own data"
    assert panels["quarantine"] == "Operators"


def test_find_events_on_own_light_curves(runner: CliRunner, tmp_path: Path) -> None:
    file, out = str(lens_file(tmp_path / "own.csv")), str(tmp_path / "found.parquet")
    result = run(runner, tmp_path, "find-events", file, "--out", out)
    assert result.exit_code == 0
    assert "1 of 2 light curves" in result.output
    found = pl.read_parquet(tmp_path / "found.parquet")
    assert found["id"].to_list() == ["lens"]
    assert found["t0"][0] == pytest.approx(2000, abs=0.1)


def test_fit_event_on_own_light_curve(runner: CliRunner, tmp_path: Path) -> None:
    plot = tmp_path / "fit.png"
    result = run(
        runner, tmp_path, "fit-event", str(lens_file(tmp_path / "own.csv")), "--id", "lens", "--plot", str(plot)
    )
    assert result.exit_code == 0
    assert "tE (d)" in result.output
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_fit_event_on_ogle(runner: CliRunner, tmp_path: Path, shared_data: Path) -> None:
    """Values of MulensModel's documentation, chi2 to 0.01."""
    result = run(runner, tmp_path, "fit-event", str(shared_data / "ogle/OB08092/phot_ob08092_O4.dat"))
    assert "427.20" in result.output
    assert "5379.57" in result.output
    assert "17.940" in result.output


def test_several_light_curves_need_a_choice(runner: CliRunner, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--id"):
        run(runner, tmp_path, "fit-event", str(lens_file(tmp_path / "own.csv")))


def test_errors_are_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """No traceback for what a user did wrong: file, problem, remedy, exit code 1."""
    monkeypatch.setattr("sys.argv", ["roman", "--home", str(tmp_path), "ingest", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    output = capsys.readouterr().out
    assert "no such file or folder" in output
    assert "Remedy" in output
    assert "Traceback" not in output


def test_own_folder_from_calendar_to_registry(runner: CliRunner, tmp_path: Path, survey: object) -> None:
    """The first steps with own files: a calendar for them, then ingestion, twice."""
    exposures = Path(survey.exposures[0]).parent  # type: ignore[attr-defined]
    home = tmp_path / "home"
    assert run(runner, home, "calendar", "init", str(exposures)).exit_code == 0
    assert "s01" in run(runner, home, "calendar", "show").output
    first = run(runner, home, "ingest", str(exposures), "--quick")
    assert first.exit_code == 0
    assert "16" in first.output
    with pytest.raises(InputError, match="calendar already"):
        run(runner, home, "calendar", "init", str(exposures))
    assert "duplicates" in run(runner, home, "ingest", str(exposures), "--quick").output


def test_a_bad_file_is_quarantined_and_listed(runner: CliRunner, tmp_path: Path) -> None:
    bad = tmp_path / "r0000201001001001001_0001_wfi01_f146_cal.asdf"
    bad.write_bytes(b"#ASDF 1.0.0\nnot an exposure")
    result = run(runner, tmp_path / "home", "ingest", str(bad))
    assert result.exit_code == 2
    assert bad.name.split("_")[0] in run(runner, tmp_path / "home", "quarantine", "list").output


def test_a_conflict_can_be_released_after_review(runner: CliRunner, tmp_path: Path, survey: object) -> None:
    """Another delivery of the same exposure with other bytes: quarantined, reviewed, accepted in its place."""
    home, folder = tmp_path / "home", tmp_path / "again"
    folder.mkdir()
    first = min(survey.exposures)  # type: ignore[attr-defined]
    assert run(runner, home, "ingest", str(first), "--quick").exit_code == 0
    copy = folder / first.name
    copy.write_bytes(first.read_bytes().replace(b"RomanCAL", b"ROMANCAL"))
    assert copy.read_bytes() != first.read_bytes()
    assert run(runner, home, "ingest", str(copy), "--quick").exit_code == 2
    with pytest.raises(InputError, match="nothing in quarantine"):
        run(runner, home, "quarantine", "release", "ffff", "--reviewer", "me", "--note", "no")
    import hashlib

    digest = hashlib.sha256(copy.read_bytes()).hexdigest()
    arguments = ("quarantine", "release", digest[:12], "--reviewer", "me", "--note", "reprocessed", "--to", str(folder))
    assert "overruled by me" in run(runner, home, *arguments).output
    again = run(runner, home, "ingest", str(copy), "--quick")
    assert again.exit_code == 0, again.output


def test_processing_nothing_says_what_to_do(runner: CliRunner, tmp_path: Path) -> None:
    result = run(runner, tmp_path, "process")
    assert result.exit_code == 1
    assert "roman ingest" in result.output


def test_products_events_and_light_curves(runner: CliRunner, processed: Processed, tmp_path: Path) -> None:
    home = processed.workspace.home
    assert "season_events" in run(runner, home, "products").output
    assert "season=s01/detector=WFI01" in run(runner, home, "products", "season_objects").output
    path = run(runner, home, "products", "season_objects", "--paths").output.strip()
    assert pl.read_parquet(path).height > 0
    assert run(runner, home, "events", "--all").exit_code == 0
    catalogue = pl.read_parquet(path).sort("mag").row(30, named=True)
    points, plot = tmp_path / "points.csv", tmp_path / "curve.png"
    at = f"{catalogue['ra']:.8f},{catalogue['dec']:.8f}"
    result = run(runner, home, "light-curve", "--at", at, "--table", str(points), "--plot", str(plot))
    assert str(catalogue["object_id"]) in result.output
    assert pl.read_csv(points).height == 16
    assert plot.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(InputError, match="no object 5"):
        run(runner, home, "light-curve", "5")


def test_reconcile_finds_nothing_to_do(runner: CliRunner, processed: Processed) -> None:
    result = run(runner, processed.workspace.home, "reconcile", "--dry-run")
    assert "0 would be reported" in result.output
