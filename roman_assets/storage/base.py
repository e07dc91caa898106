"""Files by key, in a folder or under ``s3://bucket/prefix``: products, landing and quarantine stand on this.

Two kinds of writing: `put` for bytes whose key carries their hash (first writer wins, verified, never changed), and
`write` and `upload` for named files (each in one step, the last one wins). Faults of the place are `Unavailable`, which
is transient; bytes that are not there or not as written are `Damaged`; a file that is not there is `Absent`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, MutableSequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from roman_assets.errors import InputError, Transient

#: Called with the name of the step just done; tests use it to stop a process there.
Checkpoint = Callable[[str], None]


def no_checkpoint(_step: str) -> None:
    """The checkpoint of production: nothing."""


class Unavailable(Transient):
    """A place for files, or a file in it, cannot be reached, read or written now."""


class Absent(InputError):
    """The place answers, and has no such file."""


@dataclass(frozen=True)
class Stat:
    """One stored file.

    `version` (modification time in ns, or entity tag) changes with its content; `modified` is UTC; `whole` says that a
    file is complete as soon as it is listed.
    """

    key: str
    size: int
    version: str
    modified: datetime
    whole: bool


class Blobs(Protocol):
    """What both kinds of place do. Keys are relative paths with forward slashes."""

    url: str

    def put(self, key: str, content: bytes, sha256: str, *, checkpoint: Checkpoint = no_checkpoint) -> bool:
        """Writes bytes whose key carries their hash unless they are there already, whole, and verifies them.

        Returns True if it wrote. Damaged if the bytes do not come back with this sha256, Unavailable.
        """

    def write(self, key: str, data: bytes) -> None:
        """Writes a named file in one step."""

    def upload(self, key: str, path: Path) -> None:
        """Copies a file here in one step."""

    def read(self, key: str, limit: int = -1) -> bytes:
        """At most `limit` bytes of a file (negative: all). Absent, Unavailable."""

    def download(self, key: str, path: Path) -> None:
        """Copies a file to `path`. Absent, Unavailable."""

    def size(self, key: str) -> int | None:
        """Bytes of a file, None if there is none."""

    def delete(self, key: str) -> None:
        """Removes a file; nothing happens if there is none."""

    def list(self, prefix: str = "", unreadable: MutableSequence[str] | None = None) -> Iterator[Stat]:
        """Every file under a prefix, half-written ones included; nothing if the place is empty.

        What goes away meanwhile is left out. What cannot be listed is added to `unreadable`; without it, Unavailable is
        raised.
        """

    def local(self, key: str) -> Path | None:
        """The path of a file, None where files have none."""

    def location(self, key: str) -> str:
        """Path or URL that polars and pyarrow can read."""

    def storage_options(self) -> dict[str, str]:
        """Options that polars needs to read `location`; nothing secret."""

    def credential_provider(self) -> Callable[[], tuple[dict[str, str], int | None]] | None:
        """What polars asks for credentials; None where none are needed."""


def check_key(key: str) -> str:
    """A key that stays inside its place; InputError for absolute paths, `..` and control characters."""
    parts = key.split("/")
    if not key or any(part in ("", ".", "..") for part in parts) or any(ord(c) < 32 or c == "\\" for c in key):
        raise InputError(f"unsafe object key {key!r}", field="key", remedy="use plain relative names")
    return key
