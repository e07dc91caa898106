"""Files under a folder: written to a temporary file, flushed to disk, then renamed."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator, MutableSequence, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from roman_assets.errors import Damaged, InputError, of_the_path
from roman_assets.storage.base import Absent, Checkpoint, Stat, Unavailable, check_key, no_checkpoint
from roman_assets.text import printable

#: Where files lie while they are written: on the same file system, and out of the way of listings by prefix.
TEMPORARY = ".tmp"
_SUFFIX = ".asdf"


class FolderBlobs:
    """Files under a folder.

    Symbolic links are not followed when listing: they may lead out of it. With `follow` (a folder that the user names)
    those to folders, and to files of the same kind of name, are.
    """

    def __init__(self, root: str | Path, *, follow: bool = False) -> None:
        self.root = Path(root).expanduser().absolute()
        self.url = str(self.root)
        self.follow = follow

    def put(self, key: str, content: bytes, sha256: str, *, checkpoint: Checkpoint = no_checkpoint) -> bool:
        path = self._path(check_key(key))
        with self._translated("write", path):
            if _holds(path, sha256):
                # As young as a new one: what collects orphans by their age must not take it before it is indexed.
                os.utime(path)
                return False
            # Replaces at most a file of the same name that was damaged: the name holds the content's hash.
            self._place(path, lambda temporary: temporary.write_bytes(content), sha256, checkpoint)
        return True

    def write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._translated("write", path):
            self._place(path, lambda temporary: temporary.write_bytes(data))

    def upload(self, key: str, path: Path) -> None:
        target = self._path(key)
        with self._translated("write", target):
            self._place(target, lambda temporary: shutil.copyfile(path, temporary))

    def read(self, key: str, limit: int = -1) -> bytes:
        path = self._path(key)
        with self._translated("read", path), path.open("rb") as stream:
            return stream.read(limit)

    def download(self, key: str, path: Path) -> None:
        source = self._path(key)
        with self._translated("read", source):
            shutil.copyfile(source, path)

    def size(self, key: str) -> int | None:
        path = self._path(key)
        try:
            with self._translated("check", path):
                return path.stat().st_size
        except Absent:
            return None

    def delete(self, key: str) -> None:
        path = self._path(key)
        with self._translated("delete", path):
            path.unlink(missing_ok=True)

    def list(self, prefix: str = "", unreadable: MutableSequence[str] | None = None) -> Iterator[Stat]:
        if not self.root.is_dir():
            return
        folders, seen = [self.root], {_place_of(self.root.stat())}
        while folders:
            for entry in self._entries(folders.pop(), unreadable):
                key = os.path.relpath(entry.path, self.root)
                try:
                    status = self._status(entry)
                except OSError as error:
                    gone = isinstance(error, FileNotFoundError)
                    if unreadable is None and not gone:
                        raise Unavailable(f"cannot check {entry.path}: {error.strerror or error}") from error
                    if unreadable is not None and (entry.is_symlink() or not gone):
                        unreadable.append(f"{printable(entry.path)}: {printable(error.strerror or error)}")
                    continue
                if status is None:
                    continue
                if not stat.S_ISDIR(status.st_mode):
                    if key.startswith(prefix):
                        yield _stat(key, status)
                # Links may lead in a circle; and only where keys of the prefix can be is looked.
                elif _place_of(status) not in seen and (prefix.startswith(f"{key}/") or key.startswith(prefix)):
                    seen.add(_place_of(status))
                    folders.append(Path(entry.path))

    def _entries(self, folder: Path, unreadable: MutableSequence[str] | None) -> Sequence[os.DirEntry[str]]:
        """What is in a folder, in order; nothing where it has been removed since its parent was read."""
        try:
            with self._translated("list", folder), os.scandir(folder) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except Absent:
            return []
        except Unavailable as error:
            if unreadable is None or folder == self.root:
                raise
            unreadable.append(printable(error))
            return []

    def _status(self, entry: os.DirEntry[str]) -> os.stat_result | None:
        """Status of a regular file or folder; None for what is neither. OSError says what is wrong with a link."""
        if not entry.is_symlink():
            status = entry.stat(follow_symlinks=False)
        elif not self.follow:
            if entry.name.lower().endswith(_SUFFIX) or entry.is_dir():
                raise OSError(errno.ELOOP, "a symbolic link, not followed")
            return None
        else:
            status = entry.stat()
            # A link of an exposure's name to something else, say a key, would end in the quarantine.
            target = os.path.realpath(entry.path)
            if entry.name.lower().endswith(_SUFFIX) and not target.lower().endswith(_SUFFIX):
                raise OSError(errno.ELOOP, "a symbolic link to what has another kind of name, not followed")
        return status if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode) else None

    def local(self, key: str) -> Path | None:
        return self._path(key)

    def location(self, key: str) -> str:
        return str(self._path(key))

    def storage_options(self) -> dict[str, str]:
        return {}

    def credential_provider(self) -> None:
        return None

    def _path(self, key: str) -> Path:
        path = Path(os.path.normpath(self.root / key))
        if not path.is_relative_to(self.root):
            raise InputError("the key leaves its folder", file=key, remedy="use a key without '..'")
        return path

    def _place(
        self,
        target: Path,
        fill: Callable[[Path], object],
        sha256: str | None = None,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        """Fills a temporary file, checks it where its hash is known, and renames it."""
        temporary = self.root / TEMPORARY / uuid.uuid4().hex
        temporary.parent.mkdir(parents=True, exist_ok=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            fill(temporary)
            checkpoint("temporary_written")
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            if sha256 is not None and not _holds(temporary, sha256):
                raise Damaged(f"{temporary}: the bytes on disk differ from those written; check the disk")
            os.replace(temporary, target)
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)

    @contextmanager
    def _translated(self, action: str, path: Path) -> Iterator[None]:
        """Turns the system's errors into ours: a fault of the disk says nothing of the file."""
        try:
            yield
        except OSError as error:
            text = f"cannot {action} {path}: {error.strerror or error}"
            # With the folder gone, too, a disk that is not mounted looks like a file that is not there.
            if of_the_path(error) and (action == "check" or (action != "write" and self.root.is_dir())):
                raise Absent(text) from error
            raise Unavailable(text) from error


def unreadable(path: str | Path, error: OSError) -> Absent | Unavailable:
    """What an error in reading a file says: Absent if the file is truly not there, Unavailable for everything else.

    A disk that is not mounted looks like a file that is not there: only a folder that holds others can tell.
    """
    text = f"the file cannot be read: {error.strerror or error}"
    if error.errno in (errno.ENOENT, errno.ENOTDIR) and _holds_files(Path(path).parent):
        return Absent(text, file=path, remedy="deliver the file again")
    return Unavailable(text, file=path, remedy="try again later")


def _holds_files(folder: Path) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is not None
    except OSError:
        return False


def _place_of(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _stat(key: str, status: os.stat_result) -> Stat:
    # The sender's clock may be ahead of ours, and sets the time of modification; that of the last change is the file
    # system's own.
    modified = datetime.fromtimestamp(min(status.st_mtime, status.st_ctime), UTC)
    return Stat(key, status.st_size, str(status.st_mtime_ns), modified, whole=False)


def _holds(path: Path, sha256: str) -> bool:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == sha256
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    """Makes a new name survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
