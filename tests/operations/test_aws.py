"""The `sh aws` blocks of the guide and of docs/infrastructure.md, run as they stand: moto's server and a PostgreSQL answer.

What moto cannot do is left out of the templates (NOT_IN_MOTO of tests/deploy/infrastructure) and made here beforehand,
by its API: the database cluster and the secrets. Every command of the two pages is run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.dagster_server import free_port
from tests.deploy.infrastructure.templates import NAMES
from tests.deploy.infrastructure.test_deployment import reduced
from tests.operations.guide import GUIDE, ROOT, blocks
from tests.optional import needed
from tests.postgresql import postgresql_server
from tests.processes import end

ACCOUNT = "111122223333"
INFRASTRUCTURE = (ROOT / "docs" / "infrastructure.md").read_text()
BUCKET = f"roman-production-products-{ACCOUNT}"
KEY = "assets/season_events/WFI01|s01/product.parquet"


@contextmanager
def aws_server(folder: Path) -> Iterator[str]:
    """moto's server with an empty account; yields its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "tests.operations.moto_server", str(port)]
    environment = os.environ | {"MOTO_ACCOUNT_ID": ACCOUNT}
    with (folder / "moto.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, cwd=ROOT)
        try:
            deadline = time.monotonic() + 240
            while not answers(url):
                assert process.poll() is None, (folder / "moto.log").read_text()[-3000:]
                assert time.monotonic() < deadline, "moto's server did not come up"
                time.sleep(0.3)
            yield url
        finally:
            end(process)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/moto-api/", timeout=5):
            return True
    except OSError:
        return False


class Account:
    """An account of moto's server, and the shell of its operator."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.folder = url, folder
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "ROMAN_", "PG"))}
        self.environment = kept | {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_PAGER": "",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "PATH": f"{folder / 'bin'}:{kept['PATH']}",
        }
        # `aws rds` of 1.45 does not read AWS_ENDPOINT_URL.
        program = folder / "bin" / "aws"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shutil.which("aws")} --endpoint-url {url} "$@"\n')
        program.chmod(0o755)

    def client(self, service: str) -> Any:
        import boto3

        return boto3.client(
            service, endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t"
        )

    def run(self, script: str, **given: str) -> str:
        """Output of a script, whose every command must succeed."""
        text = f"set -euo pipefail\nPS4='+ ${{SECONDS}}s '\nset -x\n{script}"
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=self.folder,
            env=self.environment | given,
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-1500:] + done.stderr[-4000:]
        return done.stdout


@pytest.fixture(scope="module")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account in which the stacks of docs/infrastructure.md have been deployed by its commands."""
    for program, package in (("aws", "awscli"), ("jq", "jq"), ("psql", "postgresql-client")):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed ({package})")
    needed("flask", "moto[server]")
    folder = tmp_path_factory.mktemp("aws")
    (folder / "deploy" / "infrastructure").mkdir(parents=True)
    with aws_server(folder) as url:
        made = Account(url, folder)
        group = made.client("ec2").create_security_group(GroupName="cluster", Description="of the cluster")["GroupId"]
        for name in NAMES:
            template = reduced(name, lists=True).replace("stand-in//Cluster//ClusterSecurityGroupId", group)
            (folder / "deploy" / "infrastructure" / f"{name}.yaml").write_text(template)
        made.run(
            "\n".join(blocks("aws", INFRASTRUCTURE)),
            OPERATORS_EMAIL="operators@example.org",
            ADMINISTRATOR_ARN=f"arn:aws:iam::{ACCOUNT}:role/administrators",
        )
        yield made


@pytest.mark.slow
def test_stacks_of_the_infrastructure_page(account: Account) -> None:
    stacks = account.client("cloudformation").describe_stacks()["Stacks"]
    assert {s["StackName"]: s["StackStatus"] for s in stacks} == dict.fromkeys(
        [f"roman-production-{name}" for name in NAMES], "CREATE_COMPLETE"
    )
    given = {s["StackName"]: {p["ParameterKey"]: p["ParameterValue"] for p in s["Parameters"]} for s in stacks}
    put_out = {s["StackName"]: {o["OutputKey"]: o["OutputValue"] for o in s.get("Outputs", [])} for s in stacks}
    key = put_out["roman-production-keys"]["KmsKeyArn"]
    assert key.startswith("arn:aws:kms:")
    assert {p["KmsKeyArn"] for p in given.values() if "KmsKeyArn" in p} == {key}
    buckets = {b["Name"] for b in account.client("s3").list_buckets()["Buckets"]}
    assert BUCKET in buckets


def database_and_versions(account: Account) -> str:
    """What moto's CloudFormation did not make, and a product that somebody overwrote; returns its first version."""
    ec2, rds = account.client("ec2"), account.client("rds")
    subnets = [s["SubnetId"] for s in ec2.describe_subnets()["Subnets"]][:2]
    if not rds.describe_db_subnet_groups()["DBSubnetGroups"]:
        rds.create_db_subnet_group(DBSubnetGroupName="roman", DBSubnetGroupDescription="x", SubnetIds=subnets)
    rds.create_db_cluster_parameter_group(
        DBClusterParameterGroupName="roman", DBParameterGroupFamily="aurora-postgresql16", Description="x"
    )
    rds.create_db_cluster(
        DBClusterIdentifier="roman-production",
        Engine="aurora-postgresql",
        MasterUsername="roman",
        MasterUserPassword="of-the-test",
        DBClusterParameterGroupName="roman",
        DBSubnetGroupName=rds.describe_db_subnet_groups()["DBSubnetGroups"][0]["DBSubnetGroupName"],
        VpcSecurityGroupIds=[g["GroupId"] for g in ec2.describe_security_groups()["SecurityGroups"]][:2],
    )
    secrets = account.client("secretsmanager")
    for name, user in (("roman/dagster-database", "dagster"), ("roman/products-database", "roman_products")):
        value = {"username": user, "password": f"{user}Password", "host": "old.example.org", "port": "5432"}
        secrets.create_secret(Name=name, SecretString=json.dumps(value))
    s3 = account.client("s3")
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"good")["VersionId"]
    s3.put_object(Bucket=BUCKET, Key=KEY, Body=b"damaged")
    return str(first)


@pytest.mark.slow
def test_commands_of_the_guide(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users are made by an administrator who, as Aurora's, is no superuser; a product and the database are restored."""
    import sqlalchemy as sa

    first = database_and_versions(account)
    monkeypatch.delenv("ROMAN_TEST_POSTGRES_URL", raising=False)  # its server would keep the users
    with postgresql_server() as url:
        engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sa.text("CREATE ROLE administrator LOGIN CREATEDB CREATEROLE"))
            connection.execute(sa.text("CREATE DATABASE dagster OWNER administrator"))
        place = sa.make_url(url)
        out = account.run(
            "\n".join(blocks("aws", GUIDE)),
            KEY=KEY,
            VERSION=first,
            ADMINISTRATOR_URL=f"postgresql://administrator@{place.host}:{place.port}/dagster",
        )
        with engine.connect() as connection:
            query = "SELECT datname, rolname FROM pg_database JOIN pg_roles r ON r.oid = datdba"
            owners = dict(connection.execute(sa.text(query)).all())
            assert (owners["dagster"], owners["roman"]) == ("dagster", "roman_products")
            query = "SELECT rolname FROM pg_authid WHERE rolpassword LIKE 'SCRAM-SHA-256$%'"
            assert set(connection.execute(sa.text(query)).scalars()) == {"dagster", "roman_products"}
        engine.dispose()
    assert first in out, "the version is not in the list that is shown"
    assert account.client("s3").get_object(Bucket=BUCKET, Key=KEY)["Body"].read() == b"good"
    rds = account.client("rds")
    (old,) = rds.describe_db_clusters(DBClusterIdentifier="roman-production")["DBClusters"]
    (new,) = rds.describe_db_clusters(DBClusterIdentifier="roman-production-restored")["DBClusters"]
    for name in ("DBSubnetGroup", "DBClusterParameterGroup"):
        assert new[name] == old[name], name
    assert {m["DBInstanceIdentifier"] for m in new["DBClusterMembers"]} == {
        f"roman-production-restored-{n}" for n in (1, 2)
    }
    secret = account.client("secretsmanager").get_secret_value(SecretId="roman/products-database")["SecretString"]
    assert json.loads(secret) == {
        "username": "roman_products",
        "password": "roman_productsPassword",
        "host": new["Endpoint"],
        "port": "5432",
    }
    assert "ResultsByTime" in out
