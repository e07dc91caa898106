"""The product index's database: SQLite (WAL) or PostgreSQL, migrated, with transactions that survive a
restart.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError

from roman_assets.errors import InputError
from roman_assets.products.index_tables import HEAD, VERSION_TABLE

T = TypeVar("T")

BUSY_SECONDS = 60
#: PostgreSQL advisory lock held while migrating.
MIGRATION_LOCK = 0x524F4D50
ATTEMPTS = 6
FIRST_PAUSE_S = 0.1
REMEDY = "use sqlite:///PATH or postgresql+psycopg2://USER:PASSWORD@HOST/NAME"


class Database:
    """Lazily opened engine, one per process: forked and pickled copies open their own."""

    def __init__(self, url: str) -> None:
        self.url = _parse(url)
        self._engine: Engine | None = None
        self._pid = -1

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "_engine": None, "_pid": -1}

    @property
    def engine(self) -> Engine:
        """The engine, its database migrated to the newest version."""
        if self._engine is None or self._pid != os.getpid():
            self._engine = _sqlite(self.url) if self.url.drivername == "sqlite" else _postgresql(self.url)
            self._pid = os.getpid()
            try:
                if self.read(version) != HEAD:
                    self.write(migrate)
            except BaseException:
                self._engine = None
                raise
        return self._engine

    def read(self, query: Callable[[Connection], T]) -> T:
        """Runs a query in a read transaction, again after a lost connection."""
        return self._run(query, write=False)

    def write(self, change: Callable[[Connection], T]) -> T:
        """Runs a change in one transaction.

        It is tried again when the database restarts, another writer comes first or the answer to a commit
        is lost: `change` must look at what is there before it writes.
        """
        return self._run(change, write=True)

    def _run(self, work: Callable[[Connection], T], *, write: bool) -> T:
        pause = FIRST_PAUSE_S
        for attempt in range(1, ATTEMPTS + 1):
            try:
                engine = self._engine if self._engine is not None and self._pid == os.getpid() else self.engine
                with engine.connect().execution_options(roman_write=write) as connection, connection.begin():
                    return work(connection)
            except DBAPIError as error:
                if attempt == ATTEMPTS or not _passing(error):
                    raise
            time.sleep(pause)
            pause *= 2
        raise AssertionError("unreachable")

    def dispose(self) -> None:
        """Closes the connections."""
        if self._engine is not None and self._pid == os.getpid():
            self._engine.dispose()
        self._engine = None


def _passing(error: DBAPIError) -> bool:
    """Whether trying again may help: lost connections, locks, serialization, a unique key taken meanwhile."""
    if isinstance(error, IntegrityError):
        return True
    code = getattr(error.orig, "pgcode", None)
    if error.connection_invalidated or code in ("40001", "40P01", "57P01", "57P02", "57P03"):
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return isinstance(error, OperationalError | InterfaceError) and code is None


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError("not a database URL", field="index_url", remedy=REMEDY) from error
    if parsed.drivername in ("postgresql", "postgres"):
        # A bare URL means psycopg 3 to SQLAlchemy 2.1, which is not installed.
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg2"):
        raise InputError(f"no support for {parsed.drivername!r} databases", field="index_url", remedy=REMEDY)
    return parsed


def _postgresql(url: URL) -> Engine:
    return create_engine(url, pool_pre_ping=True, pool_size=2, isolation_level="READ COMMITTED")


def _sqlite(url: URL) -> Engine:
    if url.database and url.database != ":memory:":
        Path(url.database).expanduser().parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own BEGIN comes too late to take the write lock before reading.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("roman_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def version(connection: Connection) -> str | None:
    """Version of the index's tables, None where there are none."""
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()


def migrate(connection: Connection) -> None:
    """Brings the tables to the newest version; InputError if they are newer than this program."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": MIGRATION_LOCK})
    found = version(connection)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        raise InputError(
            f"the product index has version {found}, newer than {HEAD} of this program",
            field="index_url",
            remedy="install a newer roman_assets",
        )
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
