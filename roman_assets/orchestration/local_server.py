"""Dagster's webserver and daemon of one installation, as two processes of this machine that start and end together."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from roman_assets.errors import InputError

#: What both load, under the name that it has in every deployment: Dagster knows a sensor's state by that name.
WORKSPACE_YAML = """\
# Written by `roman ui`.
load_from:
  - python_module:
      module_name: roman_assets.orchestration.code_location
      location_name: roman_assets
"""
#: Time for the two to end their code servers, after which they are killed.
GRACE_S = 30.0
POLL_S = 0.5


def serve(dagster_home: Path, environment: Mapping[str, str], *, host: str, port: int) -> int:
    """Serve Dagster's UI and run its daemon until interrupted (SIGINT or SIGTERM) or until one of the two ends.

    Parameters
    ----------
    dagster_home
        Dagster's home folder, with its ``dagster.yaml``; what the two load is written beside it.
    environment
        Environment of both processes.
    host, port
        Address that the web server listens on.

    Returns
    -------
    Exit code: 0 when it was interrupted, else 1, since none of the two ends by itself.

    Raises
    ------
    InputError
        One of Dagster's commands is not installed.
    """
    workspace = dagster_home / "roman_ui_workspace.yaml"  # a `workspace.yaml` there is somebody's own
    workspace.write_text(WORKSPACE_YAML)
    # `dagster dev` is superseded by `dg dev`, which wants a project's source: an installed package has none.
    commands = [
        [_program("dagster-webserver"), "-w", str(workspace), "-h", host, "-p", str(port)],
        [_program("dagster-daemon"), "run", "-w", str(workspace)],
    ]
    before = {number: signal.signal(number, _interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    children: list[subprocess.Popen[bytes]] = []
    try:
        for command in commands:
            children.append(subprocess.Popen(command, env=dict(environment)))
        while all(child.poll() is None for child in children):
            time.sleep(POLL_S)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        _stop(children)
        for number, handler in before.items():
            signal.signal(number, handler)


def _program(name: str) -> str:
    """A command of the environment that this Python belongs to."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise InputError(f"the command {name} is not installed", file=path, remedy="pip install dagster-webserver")
    return str(path)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _stop(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask the processes to end, and kill those that have not ended in time."""
    for child in children:
        if child.poll() is None:
            child.terminate()
    deadline = time.monotonic() + GRACE_S
    for child in children:
        try:
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
