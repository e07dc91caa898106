"""An S3 server on a bad day: 503s, answers lost after the write, bodies that break off; parts, credentials."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import boto3
import polars as pl
import pytest

from roman_assets.exposures.landing import Landing
from roman_assets.products import Products
from roman_assets.storage import s3 as s3_module
from roman_assets.storage.base import Unavailable
from roman_assets.storage.s3 import BucketBlobs
from tests.products.faulty_proxy import Proxy, faulty_proxy
from tests.products.product_frames import identity, part_frame

MB = 1 << 20


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, s3_endpoint: str) -> Iterator[Proxy]:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with faulty_proxy(s3_endpoint) as between:
        monkeypatch.setenv("AWS_ENDPOINT_URL", between.url)
        yield between


@pytest.fixture
def store(proxy: Proxy) -> BucketBlobs:
    bucket = f"roman-faults-{uuid.uuid4().hex[:12]}"
    boto3.client("s3").create_bucket(Bucket=bucket)
    proxy.seen.clear()
    return BucketBlobs(bucket, "prefix")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An object of three parts, of 5 MiB: the smallest that S3 takes."""
    monkeypatch.setattr(s3_module, "PART_BYTES", 5 * MB)
    return os.urandom(12 * MB)


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(store: BucketBlobs, key: str, content: bytes) -> bool:
    return store.put(key, content, digest(content))


def test_a_server_that_is_overloaded_is_asked_again(store: BucketBlobs, proxy: Proxy) -> None:
    proxy.spoil("put", "unavailable", 2)
    proxy.spoil("head", "unavailable", 1)
    assert put(store, "a", b"content") is True
    assert proxy.seen["put"] == 3
    assert store.read("a") == b"content"


def test_an_answer_lost_after_the_write_is_harmless(store: BucketBlobs, proxy: Proxy) -> None:
    """The client asks again, hears that somebody was first, and sees by the checksum that it was itself."""
    proxy.spoil("put", "lost")
    assert put(store, "a", b"content") is False
    assert proxy.seen["put"] == 2
    assert store.read("a") == b"content"
    assert [item.key for item in store.list()] == ["a"]


def test_a_body_that_breaks_off_is_read_again(store: BucketBlobs, proxy: Proxy, tmp_path: Path) -> None:
    content = os.urandom(3 * MB)
    put(store, "level2/a.asdf", content)
    proxy.spoil("get", "cut", 2)
    assert store.read("level2/a.asdf") == content
    landing = Landing(f"s3://{store.bucket}/prefix/level2")
    (landed,) = landing.list().files
    proxy.spoil("get", "cut", 2)
    with landing.fetch(landed) as path:
        assert path.read_bytes() == content


def test_a_body_that_always_breaks_off_is_an_error(
    store: BucketBlobs, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("roman_assets.storage.retry.FIRST_PAUSE_S", 0.01)
    put(store, "a", os.urandom(MB))
    proxy.spoil("get", "cut", 1000)
    with pytest.raises(Unavailable, match="cannot read"):
        store.read("a")


def test_large_objects_go_in_parts_and_the_first_writer_wins(store: BucketBlobs, proxy: Proxy, large: bytes) -> None:
    assert put(store, "a", large) is True
    assert proxy.seen["part"] == 3
    assert proxy.seen["get"] == 0, "the checksum that the server knows is enough"
    assert store.read("a") == large
    other = large[:-1] + bytes([large[-1] ^ 1])
    assert store._put_parts("prefix/a", other, {"IfNoneMatch": "*"}) is False
    assert store.read("a") == large
    assert put(store, "a", large) is False


@pytest.mark.parametrize(("kind", "fault"), [("part", "unavailable"), ("part", "lost"), ("complete", "unavailable")])
def test_parts_that_fail_are_sent_again(store: BucketBlobs, proxy: Proxy, large: bytes, kind: str, fault: str) -> None:
    proxy.spoil(kind, fault)
    assert put(store, "a", large) is True
    assert store.read("a") == large


def test_an_answer_lost_after_the_last_part_is_harmless(store: BucketBlobs, proxy: Proxy, large: bytes) -> None:
    proxy.spoil("complete", "lost")
    put(store, "a", large)
    assert store.read("a") == large
    assert [item.key for item in store.list()] == ["a"]


def test_nothing_is_visible_of_an_upload_that_fails(store: BucketBlobs, proxy: Proxy, large: bytes) -> None:
    proxy.spoil("complete", "unavailable", 100)
    with pytest.raises(Unavailable, match="cannot write"):
        put(store, "a", large)
    assert store.size("a") is None
    proxy.faults.clear()
    uploads = store._client.list_multipart_uploads(Bucket=store.bucket)
    assert not uploads.get("Uploads"), "its parts were freed"


def test_a_part_with_another_checksum_is_refused(
    store: BucketBlobs, large: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if memory or the way damaged a part after its hash was taken: the server must not take it."""
    real = store._client.upload_part

    def damaged(**call):
        call["Body"] = b"x" + call["Body"][1:]
        return real(**call)

    monkeypatch.setattr(store._client, "upload_part", damaged)
    with pytest.raises(Unavailable):
        put(store, "a", large)
    assert store.size("a") is None


def test_a_damaged_object_of_many_parts_is_noticed_and_replaced(store: BucketBlobs, large: bytes) -> None:
    put(store, "a", large)
    damaged = b"x" + large[1:]
    assert store._put_parts("prefix/a", damaged, {}) is True
    assert put(store, "a", large) is True
    assert store.read("a") == large


def test_secrets_do_not_reach_logs_or_plans(
    store: BucketBlobs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    products = Products(f"s3://{store.bucket}/products", f"sqlite:///{tmp_path}/index.sqlite")
    secret = os.environ["AWS_SECRET_ACCESS_KEY"]
    with caplog.at_level(logging.DEBUG):
        record = products.put_table("psf_photometry_part", "day=2027-03-01/detector=WFI01", part_frame(), identity())
        plan = products.scan(record)
        rows = plan.select(pl.len()).collect().item()
    assert rows == part_frame().height
    assert len(caplog.text) > 1000, "boto3 was heard"
    assert secret not in caplog.text
    assert secret not in plan.explain() + repr(plan) + json.dumps(products.store.storage_options())


def test_polars_writes_and_reads_the_bucket_directly(store: BucketBlobs) -> None:
    """With the store's own settings: what a user's analysis beside the products needs."""
    place = store.location("analysis/means.parquet")
    settings = {"storage_options": store.storage_options(), "credential_provider": store.credential_provider()}
    pl.LazyFrame({"object_id": [1, 2, 3]}).sink_parquet(place, **settings)
    assert pl.scan_parquet(place, **settings).collect()["object_id"].to_list() == [1, 2, 3]
    assert store.size("analysis/means.parquet") is not None


def test_web_identity_is_enough(store: BucketBlobs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A pod on EKS: no keys in the environment, a token file and a role; polars gets its keys the same way."""
    key, secret = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    (tmp_path / "token").write_text("token-of-the-service-account")
    with SecurityTokenService(key, secret) as (url, asked):
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::111122223333:role/roman")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", url)
        products = Products(f"s3://{store.bucket}/products", f"sqlite:///{tmp_path}/index.sqlite")
        day = "day=2027-03-01/detector=WFI01"
        record = products.put_table("psf_photometry_part", day, part_frame(), identity())
        assert products.scan(record).select(pl.len()).collect().item() == part_frame().height
        assert "token-of-the-service-account" in asked[0]
        keys, ends = products.store.credential_provider()()  # type: ignore[misc]
        assert keys["aws_access_key_id"] == key
        assert ends is not None
        assert ends > 4_000_000_000


class SecurityTokenService:
    """STS, as far as AssumeRoleWithWebIdentity: answers with the test server's account."""

    def __init__(self, key: str, secret: str) -> None:
        asked: list[str] = []
        body = (
            "<AssumeRoleWithWebIdentityResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'>"
            f"<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>{key}</AccessKeyId>"
            f"<SecretAccessKey>{secret}</SecretAccessKey><SessionToken></SessionToken>"
            "<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>"
            "</AssumeRoleWithWebIdentityResponse>"
        ).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.asked = asked
        self.server = HTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> tuple[str, list[str]]:
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self.server.server_address[1]}", self.asked

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()
