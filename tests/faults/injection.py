"""Faults of storage, databases and files, put in one by one at every call that a stage makes."""

from __future__ import annotations

import builtins
import errno
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from roman_assets.storage.base import Unavailable
from roman_assets.storage.database import Database, DatabaseUnavailable
from roman_assets.storage.folder import FolderBlobs


class Killed(BaseException):
    """Stands for SIGKILL: nothing may handle it."""


@dataclass
class Faults:
    """Which calls fail: `chosen` gets the number of a call within an attempt, from 0, and its name.

    `calls` are the names of all calls of the attempt so far.
    """

    chosen: Callable[[int, str], bool] = lambda _number, _name: False
    kind: str = "fault"
    calls: list[str] = field(default_factory=list)
    met: int = 0

    def begin(self) -> None:
        """A new attempt."""
        self.calls = []

    def at(self, name: str, error: Callable[[], Exception]) -> None:
        """Called before (or after, for an answer that is lost) each call to storage, database or file."""
        number = len(self.calls)
        self.calls.append(name)
        if self.chosen(number, name):
            self.met += 1
            raise Killed(name) if self.kind == "kill" else error()


@contextmanager
def injected(folders: Sequence[Path], faults: Faults) -> Iterator[None]:
    """Every call of the blob and database layers, and every opening of a file below `folders`, passes by `faults`."""
    patch = pytest.MonkeyPatch()

    def unavailable() -> Exception:
        return Unavailable("injected")

    def database() -> Exception:
        return DatabaseUnavailable("injected")

    def disk() -> Exception:
        return OSError(errno.EIO, "injected")

    for name in ("read", "put", "size", "write", "upload"):
        real = getattr(FolderBlobs, name)

        def call(self: FolderBlobs, *args: Any, _real: Any = real, _name: str = name, **kw: Any) -> Any:
            faults.at(f"blobs.{_name}", unavailable)
            answer = _real(self, *args, **kw)
            if _name in ("put", "write", "upload"):
                faults.at(f"blobs.{_name}: answer lost", unavailable)
            return answer

        patch.setattr(FolderBlobs, name, call)
    real_run = Database._run

    def run(self: Database, work: Any, *, write: bool) -> Any:
        what = f"{self.tables.name}.{'write' if write else 'read'}"
        faults.at(what, database)
        answer = real_run(self, work, write=write)
        if write:
            faults.at(f"{what}: answer lost", database)
        return answer

    patch.setattr(Database, "_run", run)
    for module in (builtins, io):
        real_open = module.open

        def opened(file: Any, mode: str = "r", *args: Any, _real: Any = real_open, **kw: Any) -> Any:
            if (
                isinstance(file, str | Path)
                and "sqlite" not in str(file)
                and any(map(Path(file).is_relative_to, folders))
            ):
                faults.at(f"open {'w' if set(mode) & set('wax+') else 'r'}", disk)
            return _real(file, mode, *args, **kw)

        patch.setattr(module, "open", opened)
    try:
        yield
    finally:
        patch.undo()
