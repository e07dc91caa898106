"""Processes that a test started, ended whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress

#: Time to end in order. A loaded machine may need it; nothing fails when it is over, since KILL ends what is left.
GRACE_S = 60.0


def end(process: subprocess.Popen[bytes], number: signal.Signals = signal.SIGTERM, *, group: bool = False) -> None:
    """Ask a process to end (`group`: all of its group, whose leader it is), wait for it, and kill what is left."""
    _send(process, number, group)
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE_S)
    _send(process, signal.SIGKILL, group)
    process.wait()


def _send(process: subprocess.Popen[bytes], number: signal.Signals, group: bool) -> None:
    with suppress(ProcessLookupError):
        if group:
            os.killpg(process.pid, number)
        else:
            process.send_signal(number)
