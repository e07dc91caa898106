"""A real Dagster webserver and daemon for tests, on a free port, stopped whatever happens."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from roman_assets.platform.workspace import Workspace
from tests.processes import end

REPOSITORY = Path(__file__).resolve().parents[1]


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def dagster_server(workspace: Workspace) -> Iterator[str]:
    """`roman ui` of a workspace; yields its address once it answers."""
    port = free_port()
    environment = {**os.environ, **workspace.environment()}
    environment.pop("DAGSTER_HOME", None)
    command = [str(Path(sys.executable).with_name("roman")), "ui", "--port", str(port)]
    log = workspace.home / "ui.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, env=environment, cwd=REPOSITORY, stdout=stream, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, log)
            yield url
        finally:
            end(process, signal.SIGINT, group=True)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/server_info", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"the server did not come up:\n{log.read_text()[-3000:]}")
