"""Stopping between two units of work: what ^C and SIGTERM ask for."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

_ASKED: list[int] = []


class Stopped(BaseException):
    """The process was asked to stop, and did between two units of work; `number` is the signal's.

    No Exception: nothing that handles errors must take it for one.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(f"stopped by {signal.Signals(number).name}")


def asked_to_stop() -> int | None:
    """Number of the signal that asked this process to stop, None if none did."""
    return _ASKED[0] if _ASKED else None


def stop_here() -> None:
    """Where a unit of work is done: raises Stopped if that was asked for."""
    if _ASKED:
        raise Stopped(_ASKED[0])


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, the first SIGINT or SIGTERM asks for a stop at the next unit of work; a second one interrupts at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, _frame: FrameType | None) -> None:
        if _ASKED:
            raise KeyboardInterrupt
        _ASKED.append(number)

    before: dict[int, Any] = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _ASKED.clear()
