"""An S3 client in memory: the few calls that landing and quarantine make, with pages and failures."""

from __future__ import annotations

import datetime as dt
import hashlib
import io

from botocore.exceptions import ClientError, EndpointConnectionError


class FakeS3:
    """Objects of one bucket.  ``broken`` makes every request fail as if the endpoint were gone."""

    def __init__(self, page: int = 2) -> None:
        self.objects: dict[str, bytes] = {}
        self.page = page
        self.broken = False

    def _check(self) -> None:
        if self.broken:
            raise EndpointConnectionError(endpoint_url="http://s3.example")

    def get_paginator(self, name: str):
        assert name == "list_objects_v2"
        return self

    def paginate(self, *, Bucket: str, Prefix: str):
        self._check()
        keys = sorted(key for key in self.objects if key.startswith(Prefix))
        for start in range(0, len(keys), self.page):
            yield {
                "Contents": [
                    {
                        "Key": k,
                        "Size": len(self.objects[k]),
                        "ETag": f'"{self._tag(k)}"',
                        "LastModified": dt.datetime(2027, 3, 1, tzinfo=dt.UTC),
                    }
                    for k in keys[start : start + self.page]
                ]
            }
        yield {}

    def _tag(self, key: str) -> str:
        return hashlib.md5(self.objects[key]).hexdigest()

    def get_object(self, *, Bucket: str, Key: str):
        self._check()
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "NoSuchKey", "Message": "absent"}}, "GetObject")
        return {"Body": io.BytesIO(self.objects[Key])}

    def head_object(self, *, Bucket: str, Key: str, ChecksumMode: str = ""):
        self._check()
        if Key not in self.objects:
            raise ClientError({"Error": {"Code": "404", "Message": "absent"}}, "HeadObject")
        return {"ContentLength": len(self.objects[Key])}

    def put_object(self, *, Bucket: str, Key: str, Body) -> None:
        self._check()
        self.objects[Key] = Body if isinstance(Body, bytes) else Body.read()
