"""Ending processes: a machine under load must not make a test fail."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import processes

STUBBORN = "import signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"


def test_what_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.2)
    process = subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()  # it ignores SIGTERM from here on
    processes.end(process, group=True)
    assert process.returncode == -9
    processes.end(process, group=True)  # ended already: nothing happens


def test_a_group_ends_with_its_leader() -> None:
    process = subprocess.Popen(["sh", "-c", "sleep 600 & echo; wait"], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()  # both are there
    processes.end(process, group=True)
    assert process.returncode == -15
    assert process.stdout.read() == b"", "this would block as long as the other one holds the pipe"
