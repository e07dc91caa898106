"""Files by key in a folder or under ``s3://bucket/prefix``: the little that landing and quarantine need."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from roman_assets.errors import InputError
from roman_assets.exposures.rejection import Unavailable
from roman_assets.storage.bodies import read_body


@dataclass(frozen=True)
class Stat:
    """One stored file: its key, size [bytes], and version (modification time in ns, or entity tag)."""

    key: str
    size: int
    version: str
    modified: float | None  # seconds since 1970, None where an object is whole as soon as it is listed


class Blobs(Protocol):
    """What both kinds of place can do.  Every write is atomic."""

    url: str

    def files(self) -> Iterator[Stat]: ...
    def uri(self, key: str) -> str: ...
    def exists(self, key: str) -> bool: ...
    def read(self, key: str, limit: int) -> bytes: ...
    def download(self, key: str, path: Path) -> None: ...
    def local(self, key: str) -> Path | None: ...
    def write(self, key: str, data: bytes) -> None: ...
    def upload(self, key: str, path: Path) -> None: ...


def open_blobs(url: str | Path, client: Any = None) -> Blobs:
    """A folder, or ``s3://bucket/prefix`` (endpoint of AWS_ENDPOINT_URL).  InputError for another scheme."""
    text = str(url)
    if "://" not in text:
        return FolderBlobs(text)
    parts = urlsplit(text)
    if parts.scheme == "file":
        return FolderBlobs(parts.path)
    if parts.scheme != "s3" or not parts.netloc:
        raise InputError(f"{text} is not a place for files", remedy="give a folder or s3://bucket/prefix.")
    return BucketBlobs(parts.netloc, parts.path.strip("/"), client)


class FolderBlobs:
    """Files under a folder.  Symbolic links are not followed: they may lead out of it."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser().absolute()
        self.url = str(self.root)

    def files(self) -> Iterator[Stat]:
        """Every regular file, in order of its key."""
        open_folders = [self.root]
        while open_folders:
            folder = open_folders.pop()
            with os.scandir(folder) as entries:
                for entry in sorted(entries, key=lambda entry: entry.name):
                    if entry.is_dir(follow_symlinks=False):
                        open_folders.append(Path(entry.path))
                    elif entry.is_file(follow_symlinks=False):
                        yield self._stat(entry)

    def _stat(self, entry: os.DirEntry[str]) -> Stat:
        status = entry.stat(follow_symlinks=False)
        key = os.path.relpath(entry.path, self.root)
        return Stat(key, status.st_size, str(status.st_mtime_ns), status.st_mtime)

    def uri(self, key: str) -> str:
        """Path of a key."""
        return str(self._path(key))

    def exists(self, key: str) -> bool:
        """True if there is a file of this key."""
        return self._path(key).is_file()

    def read(self, key: str, limit: int) -> bytes:
        """At most ``limit`` bytes of a file (negative: all)."""
        with open(self._path(key), "rb") as stream:
            return stream.read(limit)

    def download(self, key: str, path: Path) -> None:
        """Copy a file to ``path``."""
        shutil.copyfile(self._path(key), path)

    def local(self, key: str) -> Path | None:
        """The path itself: no copy is needed."""
        return self._path(key)

    def write(self, key: str, data: bytes) -> None:
        """Write a file in one step."""
        self._place(key, lambda temporary: temporary.write_bytes(data))

    def upload(self, key: str, path: Path) -> None:
        """Copy a file here in one step."""
        self._place(key, lambda temporary: shutil.copyfile(path, temporary))

    def _place(self, key: str, fill: Any) -> None:
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
        os.close(handle)
        temporary = Path(name)
        try:
            fill(temporary)
            with open(temporary, "rb") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise

    def _path(self, key: str) -> Path:
        path = Path(os.path.normpath(self.root / key))
        if not path.is_relative_to(self.root):
            raise InputError("the key leaves its folder", file=key, remedy="use a key without '..'.")
        return path


@contextmanager
def _requests(what: str) -> Iterator[None]:
    """Turn a failed S3 request into Unavailable: it says nothing about the file."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (BotoCoreError, ClientError) as error:
        remedy = "check endpoint, credentials and bucket, and try again."
        raise Unavailable(f"the S3 request failed: {error}", file=what, remedy=remedy) from error


class BucketBlobs:
    """Objects under a prefix of an S3 bucket.  boto3 is imported when the first request is made."""

    def __init__(self, bucket: str, prefix: str, client: Any = None) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.url = f"s3://{bucket}/{prefix}".rstrip("/")
        self._client = client

    @property
    def client(self) -> Any:
        """The S3 client, made once."""
        if self._client is None:
            import boto3
            from botocore.config import Config

            config = Config(retries={"max_attempts": 5, "mode": "standard"}, connect_timeout=10, read_timeout=60)
            self._client = boto3.client("s3", endpoint_url=os.environ.get("AWS_ENDPOINT_URL") or None, config=config)
        return self._client

    def files(self) -> Iterator[Stat]:
        """Every object under the prefix, in order of its key."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=f"{self.prefix}/" if self.prefix else ""
        )
        start = len(self.prefix) + 1 if self.prefix else 0
        with _requests(self.url):
            for page in pages:
                for item in page.get("Contents", []):
                    key = item["Key"][start:]
                    if key and not key.endswith("/"):
                        yield Stat(key, int(item["Size"]), item["ETag"].strip('"'), None)

    def uri(self, key: str) -> str:
        """``s3://bucket/prefix/key``."""
        return f"{self.url}/{key}"

    def exists(self, key: str) -> bool:
        """True if there is an object of this key."""
        from botocore.exceptions import ClientError

        with _requests(self.uri(key)):
            try:
                self.client.head_object(Bucket=self.bucket, Key=self._key(key))
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") in ("404", "NoSuchKey", "NotFound"):
                    return False
                raise
        return True

    def read(self, key: str, limit: int) -> bytes:
        """At most ``limit`` bytes of an object (negative: all)."""
        wanted = limit if limit >= 0 else None
        data: bytes = self._stream(key, lambda body: body.read(wanted))
        return data

    def download(self, key: str, path: Path) -> None:
        """Copy an object to ``path``."""

        def copy(body: Any) -> None:
            with open(path, "wb") as stream:
                while chunk := body.read(8 << 20):
                    stream.write(chunk)

        self._stream(key, copy)

    def _stream(self, key: str, work: Callable[[Any], Any]) -> Any:
        """Does ``work`` with an object's body, anew if it breaks off."""
        with _requests(self.uri(key)):
            return read_body(lambda: self.client.get_object(Bucket=self.bucket, Key=self._key(key))["Body"], work)

    def local(self, key: str) -> Path | None:
        """None: an object has no path."""
        return None

    def write(self, key: str, data: bytes) -> None:
        """Write an object (S3 makes it visible whole)."""
        with _requests(self.uri(key)):
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=data)

    def upload(self, key: str, path: Path) -> None:
        """Copy a file here."""
        with _requests(self.uri(key)), open(path, "rb") as stream:
            self.client.put_object(Bucket=self.bucket, Key=self._key(key), Body=stream)

    def _key(self, key: str) -> str:
        if ".." in key.split("/"):
            raise InputError("the key leaves its prefix", file=key, remedy="use a key without '..'.")
        return f"{self.prefix}/{key}" if self.prefix else key
