"""Product bytes in S3: the first writer of a key wins, checksums are checked on both sides."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
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
        return boto3.client("s3", config=Config(retries=retries, connect_timeout=10, read_timeout=60))

    def _name(self, key: str) -> str:
        check_key(key)
        return f"{self.prefix}/{key}" if self.prefix else key

    def put(self, key: str, content: bytes, sha256: str, *, checkpoint: Checkpoint = no_checkpoint) -> bool:
        from botocore.exceptions import ClientError

        if len(content) > MAX_OBJECT_BYTES:
            raise StoreError(f"{key}: {len(content)} bytes are too many for one object; write it in parts")
        name = self._name(key)
        checkpoint("temporary_written")
        wrote = True
        try:
            self._put(name, content, sha256, first=True)
        except ClientError as error:
            # Someone else's object, or our own whose answer was lost on the way: the bytes decide.
            if _status(error) not in (409, 412):
                raise StoreError(f"cannot write s3://{self.bucket}/{name}: {_reason(error)}") from error
            wrote = False
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

    def _put(self, name: str, content: bytes, sha256: str, *, first: bool) -> None:
        condition = {"IfNoneMatch": "*"} if first else {}
        self._client.put_object(
            Bucket=self.bucket,
            Key=name,
            Body=content,
            ChecksumSHA256=base64.b64encode(bytes.fromhex(sha256)).decode(),
            **condition,
        )

    def _sha256(self, name: str) -> str | None:
        """Content hash as the server knows it, computed from a download where it does not."""
        from botocore.exceptions import ClientError

        try:
            head = self._client.head_object(Bucket=self.bucket, Key=name, ChecksumMode="ENABLED")
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise StoreError(f"cannot check s3://{self.bucket}/{name}: {_reason(error)}") from error
        known = head.get("ChecksumSHA256")
        if known and "-" not in known:
            return base64.b64decode(known).hex()
        body = self._client.get_object(Bucket=self.bucket, Key=name)["Body"]
        digest = hashlib.sha256()
        for chunk in iter(lambda: body.read(1 << 20), b""):
            digest.update(chunk)
        return digest.hexdigest()

    def _age_hours(self, name: str) -> float:
        modified = self._client.head_object(Bucket=self.bucket, Key=name)["LastModified"]
        return float((datetime.now(UTC) - modified).total_seconds() / 3600)

    def get(self, key: str) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        name = self._name(key)
        try:
            return bytes(self._client.get_object(Bucket=self.bucket, Key=name)["Body"].read())
        except ClientError as error:
            raise StoreError(f"cannot read s3://{self.bucket}/{name}: {_reason(error)}") from error
        except BotoCoreError as error:
            raise StoreError(f"cannot read s3://{self.bucket}/{name}: {error}") from error

    def size(self, key: str) -> int | None:
        from botocore.exceptions import ClientError

        try:
            return int(self._client.head_object(Bucket=self.bucket, Key=self._name(key))["ContentLength"])
        except ClientError as error:
            if _status(error) == 404:
                return None
            raise StoreError(f"cannot read s3://{self.bucket}/{self._name(key)}: {_reason(error)}") from error

    def delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def list(self, prefix: str = "") -> Iterator[StoredObject]:
        start = f"{self.prefix}/" if self.prefix else ""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=start + prefix
        )
        for page in pages:
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


def _status(error: Any) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _reason(error: Any) -> str:
    """Code and message of the service's answer, without request headers."""
    details = error.response.get("Error", {})
    return f"{details.get('Code', '?')} {details.get('Message', '')}".strip()
