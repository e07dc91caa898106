"""Opening a place for files by its address."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from roman_assets.errors import InputError
from roman_assets.storage.base import Absent, Blobs, Stat, Unavailable

__all__ = ["Absent", "Blobs", "Stat", "Unavailable", "open_blobs"]


def open_blobs(url: str | Path, client: Any = None) -> Blobs:
    """A folder, or ``s3://bucket/prefix`` (endpoint of AWS_ENDPOINT_URL). InputError for another scheme."""
    from roman_assets.storage.folder import FolderBlobs

    text = str(url)
    if "://" not in text:
        return FolderBlobs(text)
    parts = urlsplit(text)
    if parts.scheme == "file":
        return FolderBlobs(parts.path)
    if parts.scheme != "s3" or not parts.netloc:
        raise InputError(f"{text} is not a place for files", remedy="give a folder or s3://bucket/prefix")
    from roman_assets.storage.s3 import BucketBlobs

    return BucketBlobs(parts.netloc, parts.path.strip("/"), client)
