"""The migration hook on PostgreSQL: several at once from an empty database, waiting, a database that is not up yet."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from roman_assets.errors import InputError, RomanError
from roman_assets.orchestration import migration
from roman_assets.platform import pods
from roman_assets.platform.workspace import Workspace

ROMAN = str(Path(sys.executable).with_name("roman"))


@pytest.fixture
def environment(postgresql_url: str, tmp_path: Path) -> Iterator[dict[str, str]]:
    """Variables of a pod whose databases are empty; Dagster's and our own are two, as in production."""
    import sqlalchemy as sa

    url = sa.engine.make_url(postgresql_url)
    names = [f"{kind}_{uuid.uuid4().hex[:8]}" for kind in ("dagster", "roman")]
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for name in names:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
    own = url.set(database=names[1]).render_as_string(hide_password=False)
    (tmp_path / "dagster").mkdir()
    storage = {
        "hostname": {"env": "DAGSTER_PG_HOST"},
        "port": int(url.port or 5432),
        "username": url.username,
        "password": {"env": "DAGSTER_PG_PASSWORD"},
        "db_name": {"env": "DAGSTER_PG_DB"},
        "scheme": "postgresql+psycopg2",
    }
    settings = {"storage": {"postgres": {"postgres_db": storage}}, "telemetry": {"enabled": False}}
    (tmp_path / "dagster" / "dagster.yaml").write_text(yaml.safe_dump(settings))
    yield {
        **{name: value for name, value in os.environ.items() if not name.startswith(("ROMAN_", "DAGSTER_"))},
        "ROMAN_HOME": str(tmp_path / "home"),
        "DAGSTER_HOME": str(tmp_path / "dagster"),
        "ROMAN_INDEX_URL": own,
        "ROMAN_REGISTRY_URL": own,
        "ROMAN_POOLS": "season=7",
        "DAGSTER_PG_HOST": str(url.host),
        "DAGSTER_PG_PORT": str(url.port or 5432),
        "DAGSTER_PG_USERNAME": str(url.username),
        "DAGSTER_PG_PASSWORD": url.password or "none",
        "DAGSTER_PG_DB": names[0],
    }
    with engine.connect() as connection:
        for name in names:
            connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def start(environment: dict[str, str], *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [ROMAN, "migrate", *arguments], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    said, _ = process.communicate(timeout=180)
    return process.returncode, said


def test_several_hooks_at_once_and_one_that_waits(environment: dict[str, str]) -> None:
    """From an empty database: who waits goes on when the tables are there; limits of pools are set once."""
    waiting = start(environment, "--wait")
    results = [ended(process) for process in [start(environment) for _ in range(3)]]
    assert [code for code, _ in results] == [0, 0, 0], results
    assert sum("pool season: 7 steps at once" in said for _, said in results) == 1
    code, said = ended(waiting)
    assert code == 0, said
    assert "waiting: the exposure registry has version none" in said
    assert ended(start(environment, "--wait", "--patience", "1"))[0] == 0


def test_waiting_ends(environment: dict[str, str]) -> None:
    code, said = ended(start(environment, "--wait", "--patience", "3"))
    assert code == 1
    assert "gave up waiting after 3 s: the exposure registry has version none" in " ".join(said.split())


def test_a_database_that_is_away_is_named_and_its_password_is_not(environment: dict[str, str]) -> None:
    port = "1"
    away = {**environment, "DAGSTER_PG_PORT": port, "DAGSTER_PG_PASSWORD": "very-secret"}
    code, said = ended(start(away, "--patience", "2"))
    assert code == 1
    assert "did not answer in 2 s" in " ".join(said.split())
    assert "very-secret" not in said
    assert "Traceback" not in said


def test_an_operators_limit_stays(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from roman_assets.orchestration.processing import dagster_instance

    assert ended(start(environment))[0] == 0
    for name in ("DAGSTER_HOME", "DAGSTER_PG_HOST", "DAGSTER_PG_PASSWORD", "DAGSTER_PG_DB"):
        monkeypatch.setenv(name, environment[name])
    workspace = Workspace.from_environment(environment)
    with dagster_instance(workspace) as instance:
        limits = {key: instance.event_log_storage.get_concurrency_info(key).slot_count for key in pods.POOL_LIMITS}
        assert limits == {pods.POOL_IMAGES: pods.POOL_LIMITS[pods.POOL_IMAGES], pods.POOL_SEASON: 7}
        instance.event_log_storage.set_concurrency_slots(pods.POOL_SEASON, 3)
    assert ended(start(environment))[0] == 0
    with dagster_instance(workspace) as instance:
        assert instance.event_log_storage.get_concurrency_info(pods.POOL_SEASON).slot_count == 3


@pytest.mark.parametrize("text", ["images", "images=", "images=many", "imges=4", "images=-1"])
def test_limits_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="write images=NUMBER, season=NUMBER"):
        migration.pool_limits({migration.POOLS: text})


def test_an_embedded_installation_is_migrated_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DAGSTER_HOME", "DAGSTER_PG_HOST"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []
    migration.migrate(Workspace(tmp_path / "home"), say=said.append, patience_s=5)
    migration.wait(Workspace(tmp_path / "home"), say=said.append, patience_s=1)
    assert "registry and product index are at their newest version" in said


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    import sqlalchemy as sa

    url = f"sqlite:///{tmp_path}/registry.sqlite"
    place = Workspace(tmp_path / "home", registry_url=url)
    place.registry.last_change()
    with sa.create_engine(url).begin() as connection:
        from roman_assets.exposures.tables import TABLES

        connection.execute(sa.text(f"UPDATE {TABLES.version_table} SET version_num = '9999'"))
    with pytest.raises(InputError, match="newer than"):
        migration.migrate(Workspace(tmp_path / "home", registry_url=url), say=lambda _text: None, patience_s=2)
    with pytest.raises(RomanError, match="gave up waiting"):
        migration.wait(Workspace(tmp_path / "home", registry_url=url), say=lambda _text: None, patience_s=0.1)
