"""`roman ui`: Dagster's two processes start and end together, load the package, and are commands that Dagster supports."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from roman_assets.errors import InputError
from roman_assets.orchestration import local_server
from roman_assets.platform.workspace import Workspace
from tests.dagster_server import dagster_server

ROOT = Path(__file__).resolve().parents[2]
#: Far beyond what a loaded machine needs.
LONG_S = 120.0


def until(condition, what: str) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + LONG_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins of the two commands: each writes its process id, then waits; the webserver ends when a file appears."""
    for name, text in (
        ("dagster-webserver", "while [ ! -e end ]; do sleep 0.1; done; exit 7"),
        ("dagster-daemon", "while :; do sleep 0.1; done"),
    ):
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\necho $$ > {name}.part && mv {name}.part {name}.pid\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setattr(local_server, "_program", lambda name: str(tmp_path / name))
    return tmp_path


def started(folder: Path) -> bool:
    return all((folder / f"{name}.pid").exists() for name in ("dagster-webserver", "dagster-daemon"))


def gone(folder: Path) -> bool:
    """Neither stand-in is there any more."""
    for name in ("dagster-webserver", "dagster-daemon"):
        try:
            os.kill(int((folder / f"{name}.pid").read_text()), 0)
        except ProcessLookupError:
            continue
        return False
    return True


def test_one_that_ends_takes_the_other_with_it(programs: Path) -> None:
    def end() -> None:
        until(lambda: started(programs), "the stand-ins did not start")
        (programs / "end").touch()

    other = threading.Thread(target=end)
    other.start()
    assert local_server.serve(programs, os.environ, host="127.0.0.1", port=1) == 1
    other.join()
    assert gone(programs)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_both(programs: Path, number: signal.Signals) -> None:
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom roman_assets.orchestration import local_server\n"
        f"folder = Path({str(programs)!r})\nlocal_server._program = lambda name: str(folder / name)\n"
        "sys.exit(local_server.serve(folder, os.environ, host='127.0.0.1', port=1))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    try:
        until(lambda: started(programs), "the stand-ins did not start")
        process.send_signal(number)
        assert process.wait(LONG_S) == 0
        assert gone(programs)
    finally:
        process.kill()


def test_a_missing_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(InputError, match="dagster-webserver is not installed"):
        local_server.serve(tmp_path, os.environ, host="127.0.0.1", port=1)


def test_the_real_two_serve_the_package_and_warn_of_nothing_superseded(tmp_path: Path) -> None:
    """Under the name that the deployments give it, so that Dagster's record of its sensors stays one."""
    workspace = Workspace(tmp_path / "home")
    workspace.home.mkdir()
    query = json.dumps({"query": "{repositoriesOrError{... on RepositoryConnection{nodes{location{name}}}}}"})
    nodes: list[dict[str, Any]] = []

    def loaded() -> bool:
        """On a busy machine the server answers before its code location has."""
        request = urllib.request.Request(f"{url}/graphql", query.encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=LONG_S) as answer:
            nodes[:] = json.load(answer)["data"]["repositoriesOrError"].get("nodes", [])
        return bool(nodes)

    with dagster_server(workspace) as url:
        until(loaded, "the code location was not loaded")
        log = workspace.home / "ui.log"
        until(lambda: "configured with the following daemons" in log.read_text(), "the daemon did not start")
        # Before they are ended: whichever ends first leaves the other one's call without an answer.
        told = log.read_text()
    assert [node["location"]["name"] for node in nodes] == ["roman_assets"]
    assert [word for word in ("supersed", "deprecat", "traceback") if word in told.lower()] == [], told
