"""The bytes of a file, sliced like ``bytes`` and read when asked for: a large file costs no memory.

Mapping the file would do the same, and kill the process if the sender truncates it meanwhile.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from roman_assets.exposures.judging import TRY_AGAIN
from roman_assets.exposures.rejection import DEFAULT_LIMITS, Limits, Reason, Rejected
from roman_assets.storage.base import Unavailable
from roman_assets.storage.folder import unreadable


class FileBytes:
    """An open regular file of ``size`` bytes.  ``data[start:stop]`` reads; the file's own position never moves."""

    def __init__(self, stream: BinaryIO, path: str | Path) -> None:
        self.descriptor = stream.fileno()
        self.path = path
        self.size, self._modified = self._state()

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, part: slice) -> bytes:
        """The bytes of a slice without step.  Raises Unavailable if the file is shorter by now."""
        start, stop, _ = part.indices(self.size)
        pieces, position = [], start
        while position < stop:
            piece = os.pread(self.descriptor, stop - position, position)
            if not piece:
                raise self._changed()
            pieces.append(piece)
            position += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def open(self) -> BinaryIO:
        """A stream over the same file, at its beginning, for the caller to close."""
        stream = os.fdopen(os.dup(self.descriptor), "rb")
        stream.seek(0)
        return stream

    def check_unchanged(self) -> None:
        """Raise Unavailable if the file was written to since it was opened: what was read is of two files."""
        if self._state() != (self.size, self._modified):
            raise self._changed()

    def _state(self) -> tuple[int, int]:
        status = os.fstat(self.descriptor)
        return status.st_size, status.st_mtime_ns

    def _changed(self) -> Unavailable:
        return Unavailable("the file changed while it was read", file=self.path, remedy=TRY_AGAIN)


@contextmanager
def opened(path: str | Path, limits: Limits = DEFAULT_LIMITS) -> Iterator[FileBytes]:
    """The bytes of a file, the same ones from the first read to the last.

    Raises Rejected (empty, too_large), or Absent if the file is not there, Unavailable if it cannot be opened now
    or changes; a verdict on a file that changed is none.
    """
    try:
        source = open(path, "rb", buffering=0)  # noqa: SIM115 (closed below: only opening it is judged here)
    except OSError as error:
        raise unreadable(path, error) from error
    with source, _regular(source, limits) as stream:
        data = FileBytes(stream, path)
        if data.size > limits.file_bytes:
            raise Rejected(Reason.TOO_LARGE, f"{data.size} bytes, more than {limits.file_bytes}", file=path)
        if data.size == 0:
            raise Rejected(Reason.EMPTY, "the file is empty", file=path)
        try:
            yield data
        except Rejected:
            data.check_unchanged()
            raise
        data.check_unchanged()


@contextmanager
def _regular(source: BinaryIO, limits: Limits) -> Iterator[BinaryIO]:
    """The file itself, or a copy on disk of what a pipe gives."""
    if stat.S_ISREG(os.fstat(source.fileno()).st_mode):
        yield source
        return
    with tempfile.TemporaryFile() as copy:
        while copy.tell() <= limits.file_bytes and (piece := source.read(1 << 20)):
            copy.write(piece)
        copy.flush()
        yield copy
