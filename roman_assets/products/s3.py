"""Product bytes in S3: the first writer of a key wins, checksums are checked on both sides."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from roman_assets.errors import InputError
from roman_assets.products.store import Checkpoint, StoredObject, StoreError, check_key, no_checkpoint

#: One PUT carries at most this; products are made in smaller parts.
MAX_OBJECT_BYTES = 5 * 1024**3
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
        return boto3.Session().client(
            "s3", config=Config(retries=retries, connect_timeout=10, read_timeout=60)
        )

    def _name(self, key: str) -> str:
        check_key(key)
        return f"{self.prefix}/{key}" if self.prefix else key

    def put(self, key: str, content: bytes, sha256: str, *, checkpoint: Checkpoint = no_checkpoint) -> bool:
        if len(content) > MAX_OBJECT_BYTES:
            raise StoreError(f"{key}: {len(content)} bytes are too many for one object; write it in parts")
        name = self._name(key)
        checkpoint("temporary_written")
        wrote = self._put(name, content, sha256, first=True)
        whole = self._sha256(name) == sha256
        if whole and (wrote or self._age_hours(name) < RENEW_AFTER_HOURS):
            return wrote
        if not wrote:
            # Damaged (the key carries the content's hash), or so old that it might be collected as an orphan
            # before it is indexed.
            self._put(name, content, sha256, first=False)
            if self._sha256(name) == sha256:
                return not whole
        raise StoreError(f"s3://{self.bucket}/{name}: the object differs from what was sent")

    def _put(self, name: str, content: bytes, sha256: str, *, first: bool) -> bool:
        """Sends an object; False if `first` is asked for and one is there.

        Someone else's, or our own whose answer was lost on the way: its bytes decide.
        """
        condition = {"IfNoneMatch": "*"} if first else {}
        with self._translated("write", name, accept=(409, 412) if first else ()) as refused:
            self._client.put_object(
                Bucket=self.bucket,
                Key=name,
                Body=content,
                ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
                **condition,
            )
        return not refused

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

    def _sha256(self, name: str) -> str | None:
        """Content hash as the server knows it, computed from a download where it does not."""
        head = self._head(name)
        if head is None:
            return None
        known = head.get("ChecksumSHA256")
        if known and "-" not in known:
            return base64.b64decode(known).hex()
        digest = hashlib.sha256()
        with self._translated("check", name):
            body = self._client.get_object(Bucket=self.bucket, Key=name)["Body"]
            for chunk in iter(lambda: body.read(1 << 20), b""):
                digest.update(chunk)
        return digest.hexdigest()

    def _age_hours(self, name: str) -> float:
        head = self._head(name)
        return (
            0.0 if head is None else float((datetime.now(UTC) - head["LastModified"]).total_seconds() / 3600)
        )

    def get(self, key: str) -> bytes:
        name = self._name(key)
        content = b""
        with self._translated("read", name):
            content = bytes(self._client.get_object(Bucket=self.bucket, Key=name)["Body"].read())
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
        """Credentials and endpoint for polars, read from boto3 at the moment of use."""
        import boto3

        credentials = boto3.Session().get_credentials()
        if credentials is None:
            return {}
        frozen = credentials.get_frozen_credentials()
        options = {
            "aws_access_key_id": frozen.access_key,
            "aws_secret_access_key": frozen.secret_key,
            "aws_region": self._client.meta.region_name or "us-east-1",
            "aws_endpoint_url": self._client.meta.endpoint_url,
        }
        if frozen.token:
            options["aws_session_token"] = frozen.token
        if options["aws_endpoint_url"].startswith("http://"):
            options["aws_allow_http"] = "true"
        return options


def _reason(error: Any) -> str:
    """Code and message of the service's answer, without request headers."""
    details = error.response.get("Error", {})
    return f"{details.get('Code', '?')} {details.get('Message', '')}".strip()
