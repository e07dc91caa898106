"""Product bytes in S3: the first writer of a key wins, checksums are checked on both sides.

Large objects go in parts. Every part carries its sha256, which the server checks; what the server then knows of the
whole is the hash of the parts' hashes, which is compared with our own. Requests are retried with growing pauses by
boto3, and bodies that break off by bodies.py.
"""

from __future__ import annotations

import base64
import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from roman_assets.errors import InputError
from roman_assets.storage.bodies import read_body
from roman_assets.storage.store import Checkpoint, StoredObject, StoreError, check_key, no_checkpoint

#: Larger objects are sent in parts of this size; S3 takes 10,000 of them.
PART_BYTES = 64 << 20
MAX_OBJECT_BYTES = 10_000 * PART_BYTES
RENEW_AFTER_HOURS = 1.0


class S3Store:
    """Objects under `s3://bucket/prefix`; endpoint and credentials come from boto3's usual environment."""

    def __init__(self, root: str) -> None:
        bucket, _, prefix = root.removeprefix("s3://").partition("/")
        if not bucket:
            raise InputError(f"no bucket in {root!r}", field="root", remedy="give s3://bucket/prefix")
        self.bucket = bucket
        self.prefix = prefix.strip("/")

    def __getstate__(self) -> dict[str, Any]:
        # A client holds sockets and credentials: neither travels to another process.
        return {"bucket": self.bucket, "prefix": self.prefix}

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        retries = {"mode": "standard", "max_attempts": 6}
        return boto3.Session().client("s3", config=Config(retries=retries, connect_timeout=10, read_timeout=60))

    def _name(self, key: str) -> str:
        check_key(key)
        return f"{self.prefix}/{key}" if self.prefix else key

    def put(self, key: str, content: bytes, sha256: str, *, checkpoint: Checkpoint = no_checkpoint) -> bool:
        if len(content) > MAX_OBJECT_BYTES:
            raise StoreError(f"{key}: {len(content)} bytes are too many for one object; write it in parts")
        name = self._name(key)
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
        raise StoreError(f"s3://{self.bucket}/{name}: the object differs from what was sent")

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
        """Turns the client's errors into StoreError; HTTP statuses to `accept` are put into the list
        instead.
        """
        from botocore.exceptions import BotoCoreError, ClientError

        accepted: list[int] = []
        try:
            yield accepted
        except ClientError as error:
            status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
            if status not in accept:
                raise StoreError(f"cannot {action} s3://{self.bucket}/{name}: {_reason(error)}") from error
            accepted.append(status)
        except BotoCoreError as error:
            raise StoreError(f"cannot {action} s3://{self.bucket}/{name}: {error}") from error

    def _head(self, name: str) -> dict[str, Any] | None:
        with self._translated("check", name, accept=(404,)):
            return dict(self._client.head_object(Bucket=self.bucket, Key=name, ChecksumMode="ENABLED"))
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

    def get(self, key: str) -> bytes:
        return self._body(self._name(key), "read")

    def _body(self, name: str, action: str) -> bytes:
        """An object's bytes."""
        content = b""
        with self._translated(action, name):
            content = read_body(
                lambda: self._client.get_object(Bucket=self.bucket, Key=name)["Body"], lambda body: bytes(body.read())
            )
        return content

    def size(self, key: str) -> int | None:
        head = self._head(self._name(key))
        return None if head is None else int(head["ContentLength"])

    def delete(self, key: str) -> None:
        with self._translated("delete", key):
            self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        start = f"{self.prefix}/" if self.prefix else ""
        with self._translated("list", start + prefix):
            paginator = self._client.get_paginator("list_objects_v2")
            for page in paginator.paginate(Bucket=self.bucket, Prefix=start + prefix):
                for item in page.get("Contents", []):
                    yield StoredObject(item["Key"].removeprefix(start), item["Size"], item["LastModified"])

    def location(self, key: str) -> str:
        return f"s3://{self.bucket}/{self._name(key)}"

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
