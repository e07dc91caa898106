"""Files in S3: the first writer of a key wins, checksums are checked on both sides.

Large objects go in parts. Every part carries its sha256, which the server checks; what the server then knows of the
whole is the hash of the parts' hashes, which is compared with our own. Requests are retried with growing pauses by
boto3; a body that breaks off is asked for again (`retry.py`).
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable, Iterator, MutableSequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from roman_assets.errors import Damaged, InputError
from roman_assets.storage.base import Absent, Checkpoint, Stat, Unavailable, check_key, no_checkpoint
from roman_assets.storage.retry import ATTEMPTS, again

#: Larger objects are sent in parts of this size; S3 takes 10,000 of them.
PART_BYTES = 64 << 20
MAX_OBJECT_BYTES = 10_000 * PART_BYTES
RENEW_AFTER_HOURS = 1.0


class _BrokenOff(Unavailable):
    """A body ended before its length: the next one may not."""


class BucketBlobs:
    """Objects under a prefix of a bucket; endpoint and credentials come from boto3's usual environment."""

    def __init__(self, bucket: str, prefix: str, client: Any = None) -> None:
        self.bucket = bucket
        self.prefix = prefix.strip("/")
        self.url = f"s3://{bucket}/{self.prefix}".rstrip("/")
        self._given = client

    def __getstate__(self) -> dict[str, Any]:
        # A client holds sockets and credentials: neither travels to another process.
        return {"bucket": self.bucket, "prefix": self.prefix, "url": self.url, "_given": None}

    @cached_property
    def _client(self) -> Any:
        if self._given is not None:
            return self._given
        import boto3
        from botocore.config import Config

        # boto3 counts the first try; `again` takes care of bodies, which boto3 does not retry.
        retries = {"mode": "standard", "max_attempts": ATTEMPTS}
        return boto3.Session().client("s3", config=Config(retries=retries, connect_timeout=10, read_timeout=60))

    def _name(self, key: str) -> str:
        if ".." in key.split("/"):
            raise InputError("the key leaves its prefix", file=key, remedy="use a key without '..'")
        return f"{self.prefix}/{key}" if self.prefix else key

    def put(self, key: str, content: bytes, sha256: str, *, checkpoint: Checkpoint = no_checkpoint) -> bool:
        if len(content) > MAX_OBJECT_BYTES:
            raise InputError(f"{len(content)} bytes are too many for one object", file=key, remedy="write it in parts")
        name = self._name(check_key(key))
        checkpoint("temporary_written")
        wrote = self._put(name, content, sha256, first=True)
        whole = self._holds(name, content, sha256)
        if whole and (wrote or self._age_hours(name) < RENEW_AFTER_HOURS):
            return wrote
        if not wrote:
            # Damaged (the key carries the content's hash), or so old that it might be collected as an orphan
            # before it is indexed.
            self._put(name, content, sha256, first=False)
            if self._holds(name, content, sha256):
                return not whole
        raise Damaged(f"s3://{self.bucket}/{name}: the object differs from what was sent")

    def _put(self, name: str, content: bytes, sha256: str, *, first: bool) -> bool:
        """Sends an object; False if `first` is asked for and one is there.

        Someone else's, or our own whose answer was lost on the way: its bytes decide.
        """
        condition = {"IfNoneMatch": "*"} if first else {}
        if len(content) > PART_BYTES:
            return self._put_parts(name, content, condition)
        with self._translated("write", name, accept=(409, 412) if first else ()) as refused:
            self._client.put_object(
                Bucket=self.bucket,
                Key=name,
                Body=content,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
                **condition,
            )
        return not refused

    def _put_parts(self, name: str, content: bytes, condition: dict[str, str]) -> bool:
        """Sends an object in parts; False if one was there, as in `_put`. Nothing is visible before the last step."""
        place = {"Bucket": self.bucket, "Key": name}
        with self._translated("write", name):
            upload = self._client.create_multipart_upload(**place, ChecksumAlgorithm="SHA256")["UploadId"]
        # An upload that was completed and whose answer was lost is unknown when the client asks again (404).
        accept = (404, 409, 412) if condition else (404,)
        try:
            with self._translated("write", name, accept=accept) as refused:
                parts = [self._put_part(place, upload, number, part) for number, part in _parts(content)]
                self._client.complete_multipart_upload(
                    **place, UploadId=upload, MultipartUpload={"Parts": parts}, **condition
                )
        except BaseException:
            self._abort(place, upload)
            raise
        if refused:
            self._abort(place, upload)
        return not refused

    def _put_part(self, place: dict[str, str], upload: str, number: int, part: memoryview) -> dict[str, Any]:
        checksum = base64.b64encode(hashlib.sha256(part).digest()).decode()
        answer = self._client.upload_part(
            **place, UploadId=upload, PartNumber=number, Body=bytes(part), ChecksumSHA256=checksum
        )
        return {"PartNumber": number, "ETag": answer["ETag"], "ChecksumSHA256": checksum}

    def _abort(self, place: dict[str, str], upload: str) -> None:
        """Frees the parts sent; a lifecycle rule of the bucket does it where this fails."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            self._client.abort_multipart_upload(**place, UploadId=upload)
        except (BotoCoreError, ClientError) as error:
            logging.getLogger(__name__).info("upload of %s was not aborted: %s", place["Key"], type(error).__name__)

    @contextmanager
    def _translated(self, action: str, name: str, accept: tuple[int, ...] = ()) -> Iterator[list[int]]:
        """Turns the client's errors into ours; HTTP statuses to `accept` are put into the list instead."""
        from botocore.exceptions import BotoCoreError, ClientError

        accepted: list[int] = []
        what = f"cannot {action} s3://{self.bucket}/{name}"
        try:
            yield accepted
        except ClientError as error:
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if status in accept:
                accepted.append(status)
            elif error.response.get("Error", {}).get("Code") in ("NoSuchKey", "404", "NotFound"):
                raise Absent(f"{what}: {_reason(error)}") from error
            else:
                raise Unavailable(f"{what}: {_reason(error)}") from error
        except BotoCoreError as error:
            raise Unavailable(f"{what}: {error}") from error

    def _head(self, name: str) -> dict[str, Any] | None:
        try:
            with self._translated("check", name):
                return dict(self._client.head_object(Bucket=self.bucket, Key=name, ChecksumMode="ENABLED"))
        except Absent:
            return None

    def _holds(self, name: str, content: bytes, sha256: str) -> bool:
        """Whether an object is there and whole, by what the server knows of it or, failing that, by a download."""
        head = self._head(name)
        if head is None or head["ContentLength"] != len(content):
            return False
        known = head.get("ChecksumSHA256")
        if known and known == _checksum(content, sha256):
            return True
        if known and "-" not in known:
            return False
        return hashlib.sha256(self._body(name, "check")).hexdigest() == sha256

    def _age_hours(self, name: str) -> float:
        head = self._head(name)
        return 0.0 if head is None else float((datetime.now(UTC) - head["LastModified"]).total_seconds() / 3600)

    def write(self, key: str, data: bytes) -> None:
        name = self._name(key)
        with self._translated("write", name):
            self._client.put_object(Bucket=self.bucket, Key=name, Body=data)

    def upload(self, key: str, path: Path) -> None:
        name = self._name(key)
        with path.open("rb") as stream, self._translated("write", name):
            self._client.put_object(Bucket=self.bucket, Key=name, Body=stream)

    def read(self, key: str, limit: int = -1) -> bytes:
        return self._body(self._name(key), "read", lambda body: bytes(body.read(limit if limit >= 0 else None)))

    def download(self, key: str, path: Path) -> None:
        def copy(body: Any) -> bytes:
            with path.open("wb") as stream:
                while chunk := body.read(8 << 20):
                    stream.write(chunk)
            return b""

        self._body(self._name(key), "read", copy)

    def _body(self, name: str, action: str, work: Callable[[Any], bytes] = lambda body: bytes(body.read())) -> bytes:
        """What `work` makes of an object's body, anew with another body where one breaks off."""
        from botocore.exceptions import HTTPClientError, IncompleteReadError

        def once() -> bytes:
            body = self._client.get_object(Bucket=self.bucket, Key=name)["Body"]  # boto3 itself tries this again
            try:
                return work(body)
            except (HTTPClientError, IncompleteReadError) as error:
                raise _BrokenOff(f"cannot {action} s3://{self.bucket}/{name}: {error}") from error

        with self._translated(action, name):
            return again(once, lambda error: isinstance(error, _BrokenOff))
        raise AssertionError("unreachable")

    def size(self, key: str) -> int | None:
        head = self._head(self._name(key))
        return None if head is None else int(head["ContentLength"])

    def delete(self, key: str) -> None:
        with self._translated("delete", key):
            self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def list(self, prefix: str = "", unreadable: MutableSequence[str] | None = None) -> Iterator[Stat]:
        start = f"{self.prefix}/" if self.prefix else ""
        with self._translated("list", start + prefix):
            paginator = self._client.get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=self.bucket, Prefix=start + prefix):
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(start)
                    if key and not key.endswith("/"):
                        yield Stat(key, int(item["Size"]), item["ETag"].strip('"'), item["LastModified"], whole=True)

    def local(self, key: str) -> None:
        return None

    def location(self, key: str) -> str:
        return f"{self.url}/{key}"

    def storage_options(self) -> dict[str, str]:
        """Endpoint and region for polars."""
        endpoint = self._client.meta.endpoint_url
        options = {"aws_region": self._client.meta.region_name or "us-east-1", "aws_endpoint_url": endpoint}
        return options | ({"aws_allow_http": "true"} if endpoint.startswith("http://") else {})

    def credential_provider(self) -> Callable[[], tuple[dict[str, str], int | None]]:
        """Credentials for polars: it asks whenever the last ones have run out, so a plan holds none."""
        return _polars_credentials


def _polars_credentials() -> tuple[dict[str, str], int | None]:
    """Keys of boto3's chain (environment, web identity, instance role), and when they end [s since 1970]."""
    import boto3

    credentials = boto3.Session().get_credentials()
    if credentials is None:
        return {}, None
    frozen = credentials.get_frozen_credentials()
    keys = {"aws_access_key_id": frozen.access_key, "aws_secret_access_key": frozen.secret_key}
    if frozen.token:
        keys["aws_session_token"] = frozen.token
    ends = getattr(credentials, "_expiry_time", None)
    return keys, int(ends.timestamp()) if ends is not None else None


def _parts(content: bytes) -> Iterator[tuple[int, memoryview]]:
    """Parts of an object with their numbers, from 1."""
    view = memoryview(content)
    for number, start in enumerate(range(0, len(content), PART_BYTES), start=1):
        yield number, view[start : start + PART_BYTES]


def _checksum(content: bytes, sha256: str) -> str:
    """What S3 calls the sha256 of an object that was sent as `_put` sends it."""
    if len(content) <= PART_BYTES:
        return base64.b64encode(bytes.fromhex(sha256)).decode()
    digests = [hashlib.sha256(part).digest() for _, part in _parts(content)]
    return base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode() + f"-{len(digests)}"


def _reason(error: Any) -> str:
    """Code and message of the service's answer, without request headers."""
    details = error.response.get("Error", {})
    return f"{details.get('Code', '?')} {details.get('Message', '')}".strip()
