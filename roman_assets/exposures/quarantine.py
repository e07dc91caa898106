"""The quarantine: the bytes of refused files with the reason, never deleted.

Bytes are stored once by their sha256, reasons next to them as JSON, one per (sha256, reason): putting the
same file in twice changes nothing.  A reviewer may release a file for a reason that is a judgement (a gate
on pixels, a conflict); structural faults cannot be waived.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from roman_assets.errors import InputError
from roman_assets.exposures.names import plain_name
from roman_assets.exposures.rejection import WAIVABLE, Reason, Rejected
from roman_assets.storage.blobs import open_blobs
from roman_assets.text import printable, storable

_RECORD_BYTES = 1 << 20


@dataclass(frozen=True)
class QuarantineRecord:
    """Why a file is in quarantine, and whether a reviewer has released it."""

    sha256: str
    reason: str
    name: str
    uri: str
    size: int
    message: str
    field: str | None
    remedy: str | None
    quarantined_at: str
    released_at: str | None = None
    released_by: str | None = None
    note: str | None = None


class Quarantine:
    """A folder or ``s3://bucket/prefix`` that keeps refused files."""

    def __init__(self, root: str | Path, client: Any = None) -> None:
        self.blobs = open_blobs(root, client)

    def put(
        self, path: Path, rejected: Rejected, *, uri: str | None = None, name: str | None = None
    ) -> QuarantineRecord:
        """Keep the bytes of a file and the reason.  Idempotent by (sha256, reason)."""
        digest, size = _digest(path)
        known = self.find(digest, rejected.reason)
        if known is not None and known.released_at is None:
            return known
        if self.blobs.size(_bytes_key(digest)) != size:
            self.blobs.upload(_bytes_key(digest), path)
        record = QuarantineRecord(
            sha256=digest,
            reason=rejected.reason.value,
            name=storable(name or Path(path).name),
            uri=storable(uri or str(path)),
            size=size,
            message=printable(rejected, 4000),
            field=rejected.field,
            remedy=rejected.remedy,
            quarantined_at=_now(),
        )
        self._write(record)
        return record

    def find(self, sha256: str, reason: Reason | str) -> QuarantineRecord | None:
        """The record of a file and reason, or None."""
        key = _record_key(sha256, str(reason))
        if self.blobs.size(key) is None:
            return None
        return _record(self.blobs.read(key, _RECORD_BYTES), self.blobs.location(key))

    def list(self, *, released: bool | None = False) -> list[QuarantineRecord]:
        """Records, oldest first; by default those that nobody has released (None: all)."""
        records = [
            _record(self.blobs.read(stat.key, _RECORD_BYTES), self.blobs.location(stat.key))
            for stat in self.blobs.list()
            if stat.key.endswith(".json")
        ]
        wanted = [r for r in records if released is None or (r.released_at is not None) == released]
        return sorted(wanted, key=lambda record: (record.quarantined_at, record.sha256, record.reason))

    def release(
        self, sha256: str, reason: Reason | str, *, reviewer: str, note: str, destination: str | Path | None = None
    ) -> QuarantineRecord:
        """Record that a reviewer overrules a reason, so that ingestion accepts the file.

        ``destination`` (a landing folder) gets the file under its name.  The record and the bytes stay.
        Raises InputError if there is no such record or the reason may not be waived.
        """
        reason = _reason(reason)
        record = self.find(sha256, reason)
        if record is None:
            raise InputError(
                f"no file {sha256[:16]}... is in quarantine for {reason.value}",
                field="sha256",
                remedy="list the quarantine to see sha256 and reason.",
            )
        if reason not in WAIVABLE:
            raise InputError(
                f"{reason.value} cannot be waived: the file is damaged or unsafe",
                file=record.name,
                remedy="ask for the file to be delivered again.",
            )
        released = replace(record, released_at=_now(), released_by=reviewer, note=note)
        if destination is not None:
            with self.open(record) as path:
                open_blobs(destination).upload(path.name, path)
        self._write(released)
        return released

    def waived(self, sha256: str) -> frozenset[Reason]:
        """Reasons that a reviewer has overruled for a file."""
        found = (self.find(sha256, reason) for reason in WAIVABLE)
        return frozenset(_reason(r.reason) for r in found if r is not None and r.released_at is not None)

    def read(self, sha256: str) -> bytes:
        """The bytes of a file in quarantine."""
        return self.blobs.read(_bytes_key(sha256))

    @contextmanager
    def open(self, record: QuarantineRecord) -> Iterator[Path]:
        """A local path with the bytes of a record, under the file's own name."""
        import tempfile

        with tempfile.TemporaryDirectory(prefix="roman-quarantine-") as folder:
            path = Path(folder) / plain_name(record.name)
            self.blobs.download(_bytes_key(record.sha256), path)
            yield path

    def _write(self, record: QuarantineRecord) -> None:
        text = json.dumps(asdict(record), indent=1, sort_keys=True)
        self.blobs.write(_record_key(record.sha256, record.reason), text.encode())


def _bytes_key(sha256: str) -> str:
    # The stored name is ours: that of a refused file is not to be trusted with a path.
    return f"{sha256[:2]}/{sha256}/bytes"


def _record_key(sha256: str, reason: str) -> str:
    return f"{sha256[:2]}/{sha256}/{reason}.json"


def _record(text: bytes, file: str) -> QuarantineRecord:
    try:
        return QuarantineRecord(**json.loads(text))
    except (ValueError, TypeError) as error:
        remedy = "move the record away; the bytes next to it are unharmed."
        raise InputError(f"the quarantine record cannot be read: {error}", file=file, remedy=remedy) from error


def _reason(reason: Reason | str) -> Reason:
    try:
        return Reason(reason)
    except ValueError:
        known = ", ".join(sorted(item.value for item in Reason))
        raise InputError(f"{reason!r} is no reason", field="reason", remedy=f"use one of: {known}.") from None


def _digest(path: Path) -> tuple[str, int]:
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return digest.hexdigest(), stream.tell()


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
