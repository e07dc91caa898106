"""Two processes that open a fresh installation at once: Dagster's tables are made by one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import sys, time
from pathlib import Path
from roman_assets.orchestration.processing import dagster_instance
from roman_assets.platform.workspace import Workspace
time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
with dagster_instance(Workspace(Path(sys.argv[1]))) as instance:
    print(instance.get_runs_count())
"""


def test_a_fresh_home_opened_by_several_at_once(tmp_path: Path) -> None:
    """Each used to stamp its own head into the same table: Dagster then refused to open it, for good."""
    import time

    together = str(time.time() + 12)  # all of them have imported by then
    command = [sys.executable, "-c", PROGRAM, str(tmp_path / "home"), together]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    ended = [process.communicate(timeout=300) for process in running]
    assert [out.strip() for out, _ in ended] == ["0"] * 4, ended
    again = subprocess.run([*command[:-1], "0"], capture_output=True, text=True, timeout=300, check=False)
    assert again.stdout.strip() == "0", again.stderr
