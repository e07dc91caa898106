"""Where product bytes lie: a local folder or an S3 bucket, under keys that carry their content's hash.

Nothing is ever changed in place. An object that no index row names is harmless and collected later.
"""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from roman_assets.errors import InputError, RomanError

#: Called with the name of the step just done; tests use it to stop a process there.
Checkpoint = Callable[[str], None]

TEMPORARY = ".tmp"


def no_checkpoint(_step: str) -> None:
    """The checkpoint of production: nothing."""


class StoreError(RomanError):
    """Bytes could not be written or read back as they were."""


@dataclass(frozen=True)
class StoredObject:
    """One object of a listing; `modified` is UTC."""

    key: str
    size: int
    modified: datetime


class Store(Protocol):
    """What `Products` needs of a place for bytes. Keys are relative paths with forward slashes."""

    def put(self, key: str, content: bytes, sha256: str, *, checkpoint: Checkpoint = no_checkpoint) -> bool:
        """Writes an object unless it is there already, whole, and verifies it; True if it wrote.

        StoreError if the bytes do not come back with this sha256.
        """

    def get(self, key: str) -> bytes:
        """The bytes of an object; StoreError if there is none."""

    def size(self, key: str) -> int | None:
        """Bytes of an object, None if there is none."""

    def delete(self, key: str) -> None:
        """Removes an object; nothing happens if there is none."""

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        """Every object under a prefix, half-written ones included (their keys begin with `.tmp/`)."""

    def location(self, key: str) -> str:
        """Path or URL that polars and pyarrow can read."""

    def storage_options(self) -> dict[str, str]:
        """Options that polars needs to read `location`; nothing secret."""

    def credential_provider(self) -> Callable[[], tuple[dict[str, str], int | None]] | None:
        """What polars asks for credentials; None where none are needed."""


def open_store(root: str) -> Store:
    """The store of a folder or of `s3://bucket/prefix`."""
    if root.startswith("s3://"):
        from roman_assets.storage.s3 import S3Store

        return S3Store(root)
    if "://" in root:
        raise InputError(
            f"products cannot be kept at {root}", field="root", remedy="give a folder or s3://bucket/prefix"
        )
    return LocalStore(root)


def check_key(key: str) -> str:
    """A key that stays inside its store; InputError for absolute paths, `..` and control characters."""
    parts = key.split("/")
    if not key or any(part in ("", ".", "..") for part in parts) or any(ord(c) < 32 or c == "\\" for c in key):
        raise InputError(f"unsafe object key {key!r}", field="key", remedy="use plain relative names")
    return key


class LocalStore:
    """Objects as files: written to a temporary file, flushed to disk, then linked to their name."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    def put(self, key: str, content: bytes, sha256: str, *, checkpoint: Checkpoint = no_checkpoint) -> bool:
        path = self._path(key)
        if self._holds(path, sha256):
            # As young as a new one: what collects orphans by their age must not take it before it is indexed.
            os.utime(path)
            return False
        temporary = self.root / TEMPORARY / uuid.uuid4().hex
        try:
            temporary.parent.mkdir(parents=True, exist_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            with temporary.open("xb") as stream:
                stream.write(content)
                checkpoint("temporary_written")
                stream.flush()
                os.fsync(stream.fileno())
            if not self._holds(temporary, sha256):
                raise StoreError(f"{temporary}: the bytes on disk differ from those written; check the disk")
            # Replaces at most an object of the same name that was damaged: the name holds the content's hash.
            os.replace(temporary, path)
            _sync_folder(path.parent)
        except OSError as error:
            raise StoreError(f"cannot write {path}: {error.strerror or error}") from error
        finally:
            temporary.unlink(missing_ok=True)
        return True

    @staticmethod
    def _holds(path: Path, sha256: str) -> bool:
        try:
            with path.open("rb") as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest() == sha256
        except FileNotFoundError:
            return False

    def get(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except OSError as error:
            raise StoreError(f"cannot read {self._path(key)}: {error.strerror or error}") from error

    def size(self, key: str) -> int | None:
        try:
            return self._path(key).stat().st_size
        except FileNotFoundError:
            return None

    def delete(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        for folder, _, names in os.walk(self.root):
            for name in names:
                path = Path(folder) / name
                key = path.relative_to(self.root).as_posix()
                if not key.startswith(prefix):
                    continue
                try:
                    status = path.stat()
                except FileNotFoundError:
                    continue
                yield StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    def location(self, key: str) -> str:
        return str(self._path(key))

    def storage_options(self) -> dict[str, str]:
        return {}

    def credential_provider(self) -> None:
        return None


def _sync_folder(folder: Path) -> None:
    """Makes a new name survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
