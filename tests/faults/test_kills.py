"""SIGKILL at random moments, of commands as users run them, one alone and two at once: running again makes it whole."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from roman_assets.platform.workspace import Workspace
from roman_assets.products.retention import orphans
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey
from tests.faults.stages import everything_made

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("kills")]
KILLS = 300 if os.environ.get("ROMAN_CAMPAIGN") else 20
#: First ingestion is killed, until it has come to its end; what has been ingested decides what is made. Then these are, in
#: turn, and two of them at once in every third turn.
COMMANDS = (["process"], ["reconcile"], ["process"], ["retention", "--apply"], ["process"])
#: What a command needs before it does anything, and the longest that ingestion and the others are left alone [s].
START_S, INGEST_S, MOST_S = 2.5, 6.0, 14.0


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ROMAN_", "DAGSTER_"))}
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2])}


def start(home: Path, arguments: list[str]) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-c", "from roman_assets.entry import main; main()", "--home", str(home), *arguments]
    return subprocess.Popen(program, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """An installation with its calendar and nothing ingested, and the exposures."""
    folder = tmp_path_factory.mktemp("kills")
    config = MiniSurvey(seed=9, detectors=("WFI01",), days=2, visits_per_day=4, size_px=64, n_events=1, n_variables=0)
    simulate_survey(config, folder / "survey", workers=1)
    exposures = folder / "survey" / "exposures"
    assert start(folder / "home", ["calendar", "init", str(exposures)]).wait(120) == 0
    return folder / "home", exposures


def finish(home: Path, exposures: Path) -> None:
    assert start(home, ["ingest", str(exposures)]).wait(600) == 0
    assert start(home, ["process"]).wait(900) == 0


def test_killed_anywhere(ready: tuple[Path, Path], tmp_path: Path, figure: Callable[[str, int], None]) -> None:
    fresh, exposures = ready
    undisturbed = Path(shutil.copytree(fresh, tmp_path / "undisturbed"))
    finish(undisturbed, exposures)
    expected = everything_made(Workspace(undisturbed))
    chance = random.Random(int(os.environ.get("ROMAN_SEED", "0")))
    killed, round_ = 0, 0
    while killed < KILLS:
        round_ += 1
        home = Path(shutil.copytree(fresh, tmp_path / f"home{round_}"))
        begun = time.monotonic()
        for turn in range(12):
            ingesting = turn < 4
            chosen = [COMMANDS[(turn + round_ + k) % len(COMMANDS)] for k in range(1 + (turn % 3 == 2))]
            running = [start(home, ["ingest", str(exposures)] if ingesting else arguments) for arguments in chosen]
            time.sleep(chance.uniform(START_S, INGEST_S if ingesting else MOST_S))
            for process in running:
                killed += process.poll() is None
                process.kill()
                process.wait()
            if turn == 3:
                assert start(home, ["ingest", str(exposures)]).wait(600) == 0
            if killed >= KILLS:
                break
        finish(home, exposures)
        workspace = Workspace(home)
        assert everything_made(workspace) == expected, f"round {round_}"
        for record in workspace.products.current():
            workspace.products.verify(record)
        assert workspace.registry.counts()["exposures"] == len(list(exposures.glob("*.asdf")))
        left = [item.key for item in orphans(workspace.products, older_than_hours=0)]
        figure("half_written_files_left_for_collection", len(left))
        shutil.rmtree(home)
        assert time.monotonic() - begun < 1800
    figure("kills", killed)
