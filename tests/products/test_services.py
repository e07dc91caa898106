"""The same contract on real services: seaweedfs and PostgreSQL, or those of ROMAN_TEST_S3_ENDPOINT (with the usual AWS
variables) and ROMAN_TEST_POSTGRES_URL, which must be services for tests: they get a bucket, tables.
"""

import hashlib
import pickle
import threading

import pytest

from roman_assets.products import IdentityConflictWarning, Products
from roman_assets.products.retention import collect, orphans
from roman_assets.storage.base import Absent, Unavailable
from roman_assets.storage.s3 import BucketBlobs
from tests.products.product_frames import identity, part_frame

DAY = "day=2027-03-01/detector=WFI01"


def digest(content):
    return hashlib.sha256(content).hexdigest()


def test_s3_store_first_writer_wins_and_damage_is_repaired(bucket):
    store = BucketBlobs(bucket, "some/prefix")
    content = b"x" * 100_000
    assert store.put("a/b.bin", content, digest(content)) is True
    assert store.put("a/b.bin", content, digest(content)) is False
    assert store.read("a/b.bin") == content
    assert store.size("a/b.bin") == 100_000
    assert store.size("a/c.bin") is None
    assert [item.key for item in store.list()] == ["a/b.bin"]
    store._client.put_object(Bucket=bucket, Key="some/prefix/a/b.bin", Body=b"damaged")
    assert store.put("a/b.bin", content, digest(content)) is True
    assert store.read("a/b.bin") == content
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    with pytest.raises(Absent, match="cannot read"):
        store.read("a/b.bin")


def test_s3_refuses_bytes_that_are_not_those_of_the_checksum(bucket):
    store = BucketBlobs(bucket, "")
    with pytest.raises(Unavailable):
        store.put("a", b"one", digest(b"two"))
    assert store.size("a") is None


def test_lost_answer_of_a_put_is_no_failure(bucket, monkeypatch):
    store = BucketBlobs(bucket, "")
    real = store._put

    def put_twice(name, content, sha256, *, first):
        real(name, content, sha256, first=first)
        return real(name, content, sha256, first=first)

    monkeypatch.setattr(store, "_put", put_twice)
    assert store.put("a", b"one", digest(b"one")) is False
    assert store.read("a") == b"one"


def test_wrong_secret_is_refused_and_not_shown(bucket, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
    with pytest.raises(Unavailable) as caught:
        BucketBlobs(bucket, "").put("a", b"one", digest(b"one"))
    assert "not-the-secret" not in str(caught.value)


def test_service_that_is_away_is_a_store_error(bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = BucketBlobs(bucket, "")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unavailable, match="cannot check"):
        store.size("a")


def test_products_in_s3(bucket, tmp_path):
    products = Products(f"s3://{bucket}/products", f"sqlite:///{tmp_path}/index.sqlite")
    record = products.put_table("psf_photometry_part", DAY, part_frame(), identity())
    products.verify(record)
    assert products.read_table(record).equals(part_frame())
    assert products.scan(record).select("star").collect().height == 50
    copy = pickle.loads(pickle.dumps(products))
    assert copy.put_table("psf_photometry_part", DAY, part_frame(), identity()).outcome == "same"
    products.store.put("stray", b"x", digest(b"x"))
    assert [item.key for item in orphans(products, older_than_hours=-1)] == ["stray"]
    collect(products, dry_run=False, older_than_hours=-1)
    assert products.store.size("stray") is None
    products.verify(record)


def test_index_in_postgresql(postgres_url, tmp_path):
    products = Products(str(tmp_path), postgres_url)
    first = products.put_table("psf_photometry_part", DAY, part_frame(), identity(), attributes={"visit": "7"})
    assert first.outcome == "new"
    assert products.lookup("psf_photometry_part", DAY, identity=identity()) == first
    with pytest.warns(IdentityConflictWarning):
        products.put_table("psf_photometry_part", DAY, part_frame(seed=4), identity())
    second = products.put_table("psf_photometry_part", DAY, part_frame(seed=1), identity(code_version="4"))
    assert products.current(detector="WFI01") == [second]
    assert products.current(visit="7") == []
    assert [r.sequence for r in products.history("psf_photometry_part", DAY)] == [1, 2]
    assert len(products.incidents()) == 1
    assert products.index.using("a" * 64) == [second]
    assert not (tmp_path / "index.sqlite").exists()


@pytest.mark.parametrize("step", ["index_changed", "index_committed"])
def test_connection_lost_before_or_after_the_commit(postgres_url, tmp_path, step):
    import sqlalchemy as sa

    products = Products(str(tmp_path), postgres_url)
    products.current()
    lost = []

    def lose(reached):
        if reached == step and not lost:
            lost.append(step)
            with sa.create_engine(postgres_url).connect() as connection:
                query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                connection.execute(sa.text(query + " AND application_name = 'roman-test'"))

    products = Products(str(tmp_path), postgres_url + "&application_name=roman-test")
    products.checkpoint = lose
    record = products.put_table("psf_photometry_part", DAY, part_frame(), identity())
    assert lost == [step]
    assert record.outcome == "new"
    assert products.current() == [record]
    assert len(products.history("psf_photometry_part", DAY)) == 1


def test_workers_race_on_postgresql_from_an_empty_database(postgres_url, tmp_path):
    errors = []

    def work():
        try:
            own = Products(str(tmp_path), postgres_url)
            for version in range(5):
                own.put_table("psf_photometry_part", DAY, part_frame(seed=version), identity(code_version=str(version)))
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    products = Products(str(tmp_path), postgres_url)
    history = products.history("psf_photometry_part", DAY)
    assert [record.sequence for record in history] == [1, 2, 3, 4, 5]
    assert sum(record.current for record in history) == 1
