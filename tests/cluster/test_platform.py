"""What the cluster test needs of a cluster elsewhere, as far as that shows without one."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cluster import platform

ROOT = Path(__file__).resolve().parents[2]
#: Far beyond what a loaded machine needs.
LONG_S = 180.0
#: Stands for kubectl: its forwarded ports take one connection and end, as when the container behind them restarts.
KUBECTL = """#!{python}
import pathlib, socket, sys
if "get" in sys.argv:
    print("127.0.0.1", end="")  # the service's own address, on which nobody answers
else:
    with pathlib.Path("{log}").open("a") as log:
        log.write(" ".join(sys.argv[1:]) + "\\n")
    with socket.create_server(("127.0.0.1", int(sys.argv[-1].partition(":")[0]))) as server:
        server.accept()[0].close()
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The log of a kubectl that is none."""
    program, log = tmp_path / "kubectl", tmp_path / "log"
    program.write_text(KUBECTL.format(python=sys.executable, log=log))
    program.chmod(0o755)
    monkeypatch.setattr(platform, "_tool", lambda name: str(program))
    return log


def test_a_forwarded_port_comes_back(kubectl: Path) -> None:
    """It ends when PostgreSQL is restarted, and everything after that would ask in vain."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = probe.getsockname()[1]
    forwards: list[subprocess.Popen[bytes]] = []
    host, _, port = platform.address("roman-postgresql", closed, forwards).partition(":")
    assert (host, len(forwards)) == ("127.0.0.1", 1)
    platform.wait_until("it was forwarded again", lambda: len(kubectl.read_text().splitlines()) >= 2, LONG_S, 0.2)
    platform.wait_until("it answers", lambda: platform.answers(host, int(port), 1.0), LONG_S, 0.2)
    platform.stop(forwards)
    assert kubectl.read_text().splitlines()[0].endswith(f"port-forward service/roman-postgresql {port}:{closed}")
    time.sleep(1.0)  # twice the pause before it would be forwarded again
    assert not platform.answers(host, int(port), 1.0), "what is stopped does not come back"


def test_a_service_in_reach_is_asked_itself(kubectl: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        forwards: list[subprocess.Popen[bytes]] = []
        assert platform.address("roman-webserver", port, forwards) == f"127.0.0.1:{port}"
    assert forwards == []


def test_a_container_is_killed_by_its_identifier(tmp_path: Path) -> None:
    """The first of its processes only, which takes the others along; nothing found is told."""
    first, second, stranger = (subprocess.Popen(["sleep", "600"]) for _ in range(3))
    try:
        for process, group in ((first, "pods/abc123"), (second, "pods/abc123"), (stranger, "pods/def456")):
            (tmp_path / str(process.pid)).mkdir()
            (tmp_path / str(process.pid) / "cgroup").write_text(f"0::/kubepods/{group}\n")
        (tmp_path / "1").mkdir()  # gone before it is read
        command = [sys.executable, "-c", platform._KILL]
        assert subprocess.run([*command, "none", str(tmp_path)], check=False).returncode == 1
        assert subprocess.run([*command, "abc123", str(tmp_path)], check=False).returncode == 0
        assert first.wait(LONG_S) == -9
        assert (second.poll(), stranger.poll()) == (None, None)
    finally:
        for process in (first, second, stranger):
            process.kill()
            process.wait()


@pytest.mark.parametrize("version", ["1.31", "1.33", "1.37"])
def test_the_pod_that_kills_is_valid(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import kubernetes_validate

    monkeypatch.setenv("ROMAN_TEST_IMAGE", "registry.example/roman-assets:1")
    pod = platform.killer("killer-1", "node-1", "abc")
    kubernetes_validate.validate(pod, version, strict=True)
    assert pod["spec"]["containers"][0]["image"] == "registry.example/roman-assets:1"
    assert pod["spec"]["nodeName"] == "node-1"
