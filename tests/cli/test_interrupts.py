"""Signals, read-only and full disks: what a user sees, and that everything recovers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("interrupts")]
ROMAN = [sys.executable, "-c", "from roman_assets.entry import main; main()"]


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ROMAN_", "DAGSTER_"))}
    return {**kept, "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(["", str(Path(__file__).parents[2])])}


def roman(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*ROMAN, "--home", str(home), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=600)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation whose exposures are registered and nothing is processed."""
    folder = tmp_path_factory.mktemp("interrupts")
    config = MiniSurvey(seed=2, detectors=("WFI01",), days=2, visits_per_day=4, size_px=64, n_events=1, n_variables=0)
    simulate_survey(config, folder / "survey", workers=1)
    home = folder / "home"
    assert roman(home, "calendar", "init", str(folder / "survey" / "exposures")).returncode == 0
    assert roman(home, "ingest", str(folder / "survey" / "exposures")).returncode == 0
    return home


@pytest.fixture(scope="module")
def processed(ready: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = Path(shutil.copytree(ready, tmp_path_factory.mktemp("processed") / "home"))
    done = roman(home, "process")
    assert done.returncode == 0, done.stdout + done.stderr
    return home


def hashes(home: Path) -> set[str]:
    from roman_assets.platform.workspace import Workspace

    return {record.sha256 for record in Workspace(home).products.current()}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_ends_processing_within_a_unit_of_work(
    number: signal.Signals, ready: Path, processed: Path, tmp_path: Path
) -> None:
    home = Path(shutil.copytree(ready, tmp_path / "home"))
    command = [*ROMAN, "--home", str(home), "process"]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), start_new_session=True
    )
    try:
        deadline = time.monotonic() + 300
        while not list((home / "products").glob("exposures/*/*/*.json")):
            assert time.monotonic() < deadline, "the processing did not begin"
            time.sleep(0.05)
        running.send_signal(number)
        output, _ = running.communicate(timeout=300)
    finally:
        running.kill()
    assert running.returncode == 128 + number, output
    assert "stopped by" in output
    assert "Traceback" not in output
    assert hashes(home) < hashes(processed)
    again = roman(home, "process")
    assert again.returncode == 0, again.stdout + again.stderr
    assert hashes(home) == hashes(processed)


def test_a_killed_processing_does_not_stay_started(ready: Path, tmp_path: Path) -> None:
    import dagster as dg
    from sqlalchemy.exc import OperationalError

    from roman_assets.orchestration.processing import dagster_instance
    from roman_assets.platform.workspace import Workspace

    going = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    # Runs are short: one that ended while it was looked at is no kill, and another installation is tried.
    for attempt in range(10):
        home = Path(shutil.copytree(ready, tmp_path / f"home{attempt}"))
        running = subprocess.Popen(
            [*ROMAN, "--home", str(home), "process"], env=environment(), stdout=subprocess.DEVNULL
        )
        while running.poll() is None and not (home / "dagster" / "dagster.yaml").exists():
            time.sleep(0.05)
        while running.poll() is None:
            # The processing itself may be making Dagster's tables at this moment.
            with suppress(OperationalError), dagster_instance(Workspace(home)) as instance:
                while running.poll() is None and not instance.get_runs_count(going):
                    time.sleep(0.02)
                running.kill()
                running.wait()
        with dagster_instance(Workspace(home)) as instance:
            if instance.get_runs_count(going):
                break
    with dagster_instance(Workspace(home)) as instance:
        assert instance.get_runs_count(going) == 1
    assert roman(home, "process").returncode == 0
    with dagster_instance(Workspace(home)) as instance:
        assert instance.get_runs_count(going) == 0
        assert instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE])) == 1


@contextmanager
def mounted(*arguments: str, place: Path) -> Iterator[None]:
    """A mount for as long as it is needed; skips where nobody may mount."""
    if subprocess.run(["mount", *arguments, str(place)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)  # this process may still have the index open


def test_a_read_only_installation_can_be_read(processed: Path, tmp_path: Path) -> None:
    home = Path(shutil.copytree(processed, tmp_path / "home"))
    with mounted("--bind", str(home), place=home):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(home)], check=True)
        for command in (["products"], ["events"], ["products", "season_objects", "--paths"]):
            shown = roman(home, *command)
            assert shown.returncode == 0, (command, shown.stdout + shown.stderr)
        assert "season_objects" in roman(home, "products").stdout
        for command in (["process"], ["ingest", str(tmp_path)]):
            refused = roman(home, *command)
            assert refused.returncode != 0, command
            assert "Traceback" not in refused.stdout + refused.stderr, command


def test_a_full_disk_is_one_line_and_all_recovers(ready: Path, processed: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    size = sum(path.stat().st_size for path in ready.rglob("*") if path.is_file())
    with mounted("-t", "tmpfs", "-o", f"size={size + 3_000_000}", "tmpfs", place=home):
        shutil.copytree(ready, home, dirs_exist_ok=True)
        full = roman(home, "process")
        assert full.returncode in (1, 2)
        said = full.stdout + full.stderr
        assert "Traceback" not in said
        assert "full" in said or "No space left" in said
        subprocess.run(["mount", "-o", "remount,size=500m", str(home)], check=True)
        again = roman(home, "process")
        assert again.returncode == 0, again.stdout + again.stderr
        assert hashes(home) == hashes(processed)
