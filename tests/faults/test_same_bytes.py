"""The same inputs give the same bytes, whatever the process: order of hashes, language, number of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.stages import Survey

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("healing")]
PROGRAM = """
import json, sys
from pathlib import Path
from roman_assets.platform.arithmetic import pin_arithmetic
pin_arithmetic()  # as `roman` and the image do before anything else
from tests.faults.stages import Survey, everything_made, steps
folder, home = Path(sys.argv[1]), Path(sys.argv[2])
survey = Survey.found(folder)
workspace = survey.workspace(home)
for _, work in steps(workspace, survey):
    work(workspace)
print(json.dumps(sorted(everything_made(workspace))))
"""
PROCESSES = (
    {"PYTHONHASHSEED": "1", "LC_ALL": "C", "POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "TZ": "UTC"},
    {"PYTHONHASHSEED": "2", "LC_ALL": "C.UTF-8", "POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "2", "TZ": "Asia/Tokyo"},
)


def test_two_processes_make_the_same(tmp_path: Path) -> None:
    Survey.simulate(tmp_path / "tiny")
    made = []
    for number, variables in enumerate(PROCESSES):
        environment = {**os.environ, **variables, "PYTHONPATH": str(Path(__file__).parents[2])}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "tiny"), str(tmp_path / f"home{number}")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        made.append({tuple(item) for item in json.loads(done.stdout.splitlines()[-1])})
    assert len({kind for kind, *_ in made[0]}) > 15
    assert made[0] - made[1] == set()
    assert made[1] - made[0] == set()
