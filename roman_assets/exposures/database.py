"""Opening the registry's database: SQLite or PostgreSQL, with its migrations."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from roman_assets.errors import InputError
from roman_assets.exposures.tables import VERSION_TABLE

HEAD = "0001"  # newest migration; a test compares it with the folder
_BUSY_SECONDS = 60
_LOCK = 0x524F4D41  # "ROMA": PostgreSQL advisory lock held while migrating


def open_engine(url: str) -> Engine:
    """Engine for a registry URL, migrated to the newest version.

    Raises InputError for a URL that is neither SQLite nor PostgreSQL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        remedy = "use sqlite:///PATH or postgresql+psycopg2://USER:PASSWORD@HOST/NAME."
        raise InputError("not a database URL", field="registry url", remedy=remedy) from error
    if parsed.drivername in ("postgresql", "postgres"):
        # A bare URL means psycopg 3 to SQLAlchemy 2.1, which is not installed.
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if parsed.drivername == "sqlite":
        engine = _sqlite(parsed)
    elif parsed.drivername == "postgresql+psycopg2":
        engine = create_engine(parsed, pool_pre_ping=True, pool_size=2)
    else:
        remedy = "use sqlite:///PATH or postgresql+psycopg2://USER:PASSWORD@HOST/NAME."
        raise InputError(f"database {parsed.drivername!r} is not supported", field="registry url", remedy=remedy)
    _migrate(engine)
    return engine


def _sqlite(url: Any) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).expanduser().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _: Any) -> None:
        connection.isolation_level = None  # the driver's own BEGIN is too late for a write lock
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA busy_timeout = {_BUSY_SECONDS * 1000}")
        # A change number, once a sensor has seen it, must survive a power cut.
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("roman_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One write transaction.  SQLite locks at once: readers that turn writers may deadlock."""
    with engine.connect().execution_options(roman_write=True) as connection, connection.begin():
        yield connection


def current_version(connection: Connection) -> str | None:
    """The version of the tables in a database, None if there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def _migrate(engine: Engine) -> None:
    with engine.connect() as connection:
        if current_version(connection) == HEAD:
            return
    with writing(engine) as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = current_version(connection)
        if found == HEAD:  # another process was faster
            return
        if found is not None and found > HEAD:
            raise InputError(
                f"the registry has version {found}, newer than {HEAD} of this program",
                field="registry url",
                remedy="install a newer roman_assets.",
            )
        from alembic import command
        from alembic.config import Config

        config = Config()
        folder = str(Path(__file__).parent / "migrations")
        config.set_main_option("script_location", folder.replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
