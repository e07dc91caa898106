"""The landing place: where deliveries arrive, a folder or an S3 prefix.

Listing tells files that are complete from files that are still being written.  A delivery manifest settles it
(name and size); without one a file in a folder must have rested for a while, and an S3 object is whole as
soon as it is listed.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from roman_assets.errors import InputError, RomanError
from roman_assets.exposures.level2.guards import MANIFEST_BYTES, ManifestEntry, read_manifest
from roman_assets.exposures.names import plain_name
from roman_assets.storage.base import Blobs, Stat
from roman_assets.storage.blobs import open_blobs
from roman_assets.storage.folder import FolderBlobs
from roman_assets.text import is_storable, printable, storable

SETTLE_SECONDS = 30.0
_MAX_URI_BYTES = 2000  # PostgreSQL indexes no more than 2,700
_UNFINISHED = (".part", ".tmp", ".partial", ".filepart", ".crdownload", "~")


@dataclass(frozen=True)
class LandedFile:
    """A complete file at the landing place; ``version`` (modification time, entity tag) changes with it.

    ``key`` opens it; ``name`` and ``uri`` are for records: where the file's own are not text that a database can
    hold, they are replaced by what it can, and the uri then leads nowhere (``addressable`` is False).
    """

    name: str
    key: str
    uri: str
    size: int
    version: str
    addressable: bool = True

    @property
    def identity(self) -> tuple[str, int, str]:
        """What the delivery log knows a file by."""
        return self.uri, self.size, self.version


@dataclass
class Listing:
    """What is at a landing place now."""

    files: list[LandedFile] = field(default_factory=list)
    manifest: dict[str, ManifestEntry] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)  # still being written
    missing: list[str] = field(default_factory=list)  # announced by a manifest, not here yet
    problems: list[str] = field(default_factory=list)  # manifests, links and folders that cannot be used


class Landing:
    """A landing place in a folder or an S3 prefix.

    Parameters
    ----------
    url
        Folder or ``s3://bucket/prefix``.
    settle_seconds
        A file in a folder that changed more recently, and that no manifest lists with this size, is left
        for the next time.
    follow
        Follow symbolic links in a folder.
    """

    def __init__(
        self, url: str | Path, *, settle_seconds: float = SETTLE_SECONDS, client: Any = None, follow: bool = False
    ) -> None:
        self.blobs: Blobs = FolderBlobs(url, follow=True) if follow else open_blobs(url, client)
        self.settle_seconds = settle_seconds
        if isinstance(self.blobs, FolderBlobs) and not self.blobs.root.is_dir():
            raise InputError("there is no such folder", file=url, field="landing", remedy="create it or name another.")

    def list(self) -> Listing:
        """List complete files (``*.asdf``), in order of their keys, with what the manifests say of them."""
        listing = Listing()
        candidates: list[Stat] = []
        for stat in self.blobs.list(unreadable=listing.problems):
            name = PurePosixPath(stat.key).name
            if name.startswith(".") or name.endswith(_UNFINISHED):
                listing.waiting.append(storable(stat.key))
            elif name.endswith(".json") and "manifest" in name:
                self._read_manifest(stat, listing)
            elif name.lower().endswith(".asdf"):
                candidates.append(stat)
        now = time.time()
        for stat in candidates:
            entry = listing.manifest.get(PurePosixPath(stat.key).name)
            if self._settled(stat, entry, now):
                listing.files.append(_landed(stat, self.blobs.location(stat.key)))
            else:
                listing.waiting.append(storable(stat.key))
        present = {PurePosixPath(stat.key).name for stat in candidates}
        listing.missing = sorted(set(listing.manifest) - present)
        return listing

    def _settled(self, stat: Stat, entry: ManifestEntry | None, now: float) -> bool:
        if stat.whole or self.settle_seconds <= 0 or (entry is not None and entry.size == stat.size):
            return True
        return now - stat.modified.timestamp() >= self.settle_seconds

    def _read_manifest(self, stat: Stat, listing: Listing) -> None:
        uri = storable(self.blobs.location(stat.key))
        try:
            entries = read_manifest(self.blobs.read(stat.key, MANIFEST_BYTES + 1), uri)
        except (RomanError, OSError) as error:
            listing.problems.append(printable(error))
            return
        for name, entry in entries.items():
            if listing.manifest.setdefault(name, entry) != entry:
                listing.problems.append(f"{printable(uri)}: {name} is listed differently in an earlier manifest")

    @contextmanager
    def fetch(self, file: LandedFile) -> Iterator[Path]:
        """A local path with the bytes of a file and its name; a temporary copy if it is in a bucket."""
        local = self.blobs.local(file.key)
        if local is not None:
            yield local
            return
        with tempfile.TemporaryDirectory(prefix="roman-landing-") as folder:
            path = Path(folder) / _local_name(file.name)
            self.blobs.download(file.key, path)
            yield path


class FileList:
    """Files and folders the user named: taken as they are, without waiting for them to settle; links are followed."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self.paths = [Path(path) for path in paths]

    def list(self) -> Listing:
        """The named files, and every ``*.asdf`` in the named folders."""
        listing = Listing()
        for path in self.paths:
            if path.is_dir():
                folder = path.absolute()
                part = Landing(folder, settle_seconds=0.0, follow=True).list()
                listing.files += [replace(file, key=str(folder / file.key)) for file in part.files]
                listing.manifest.update(part.manifest)
                listing.waiting += part.waiting
                listing.missing += part.missing
                listing.problems += part.problems
            elif path.is_file():
                status = path.stat()
                modified = datetime.fromtimestamp(status.st_mtime, UTC)
                stat = Stat(str(path.absolute()), status.st_size, str(status.st_mtime_ns), modified, whole=True)
                listing.files.append(_landed(stat, stat.key))
            else:
                raise InputError("there is no such file or folder", file=path, remedy="check the path.")
        listing.files = [*{file.uri: file for file in listing.files}.values()]  # named twice is one file
        return listing

    @contextmanager
    def fetch(self, file: LandedFile) -> Iterator[Path]:
        """The path of a file."""
        yield Path(file.key)


def open_landing(source: str | Path | Sequence[str | Path] | Landing | FileList) -> Landing | FileList:
    """A landing place from what a user names: a bucket URL, a folder, a file, or a list of these."""
    if isinstance(source, Landing | FileList):
        return source
    if isinstance(source, str | Path):
        return Landing(source) if "://" in str(source) else FileList([source])
    return FileList(source)


@contextmanager
def local_exposure(uri: str) -> Iterator[Path]:
    """A local path for the bytes of a registered exposure, wherever they are (the registry's ``uri``)."""
    if "://" not in uri:
        yield Path(uri)
        return
    place, _, name = uri.rpartition("/")
    with Landing(place).fetch(LandedFile(name, name, uri, 0, "")) as path:
        yield path


def _local_name(name: str) -> str:
    """The name of a temporary copy: a hostile or over-long one must not choose where it is written."""
    try:
        return plain_name(name)
    except InputError:
        return "refused.asdf"


def _landed(stat: Stat, uri: str) -> LandedFile:
    name = PurePosixPath(stat.key).name
    shown = name if is_storable(name) else printable(name)
    recorded = storable(uri)
    if len(recorded.encode()) > _MAX_URI_BYTES:
        recorded = f"'{recorded[:200]}...' {hashlib.sha256(recorded.encode()).hexdigest()}"
    return LandedFile(shown, stat.key, recorded, stat.size, stat.version, recorded == uri)
