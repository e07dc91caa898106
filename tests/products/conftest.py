"""The products of one test, a bucket and a database of its own."""

from __future__ import annotations

import os
import uuid

import pytest

from roman_assets.products import Products


@pytest.fixture
def products(tmp_path) -> Products:
    return Products(str(tmp_path / "products"))


@pytest.fixture
def bucket(monkeypatch, s3_endpoint):
    import boto3

    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_DEFAULT_REGION", os.environ.get("AWS_DEFAULT_REGION", "us-east-1"))
    name = f"roman-test-{uuid.uuid4().hex[:12]}"
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    yield name
    for item in client.list_objects_v2(Bucket=name).get("Contents", []):
        client.delete_object(Bucket=name, Key=item["Key"])
    client.delete_bucket(Bucket=name)


@pytest.fixture
def postgres_url(postgresql_url):
    import sqlalchemy as sa

    url = postgresql_url
    schema = f"roman_test_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.schema.CreateSchema(schema))
    yield f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{schema}"
    with engine.begin() as connection:
        connection.execute(sa.schema.DropSchema(schema, cascade=True))
    engine.dispose()


@pytest.fixture(params=["folder-sqlite", "folder-postgresql", "s3-sqlite", "s3-postgresql"])
def place(request, tmp_path):
    """Products in each kind of store, with each kind of index."""
    store, index = request.param.split("-")
    root = f"s3://{request.getfixturevalue('bucket')}/p" if store == "s3" else str(tmp_path / "products")
    url = request.getfixturevalue("postgres_url") if index == "postgresql" else f"sqlite:///{tmp_path}/index.sqlite"
    made = Products(root, url)
    yield made
    made.index.database.dispose()
