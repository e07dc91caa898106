"""The databases of an installation: SQLite (WAL) or PostgreSQL, migrated, with transactions that survive a restart.

Whoever keeps tables hands in what they are (`Tables`): a folder of alembic migrations, the newest of them, a lock.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from sqlalchemy import Connection, Engine, MetaData, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from roman_assets.errors import InputError, Transient
from roman_assets.storage.retry import again

T = TypeVar("T")

BUSY_SECONDS = 60
REMEDY = "use sqlite:///PATH or postgresql+psycopg2://USER:PASSWORD@HOST/NAME"
#: PostgreSQL's codes of what passes: serialization, deadlock, shutdown, crash, start-up, too many connections, recovery.
_PASSING = frozenset({"40001", "40P01", "57P01", "57P02", "57P03", "53300", "25006"})


class DatabaseUnavailable(Transient):
    """A database does not answer, is locked, full or read-only, now."""


@dataclass(frozen=True)
class Tables:
    """What a database is to hold.

    Attributes
    ----------
    name
        For people: "product index".
    option
        Setting that names the database, for errors.
    metadata, version_table
        SQLAlchemy's tables, and the table that holds their version.
    head
        Newest migration; a test compares it with the folder.
    folder
        Folder of the alembic migrations.
    lock
        PostgreSQL advisory lock held while migrating.
    """

    name: str
    option: str
    metadata: MetaData
    version_table: str
    head: str
    folder: Path
    lock: int


_OF_THIS_PROCESS: WeakSet[Database] = WeakSet()
#: Engines of the parent of a forked copy: kept, since closing their connections here would speak in the parent's name.
_OF_THE_PARENT: list[Engine | None] = []


def _after_fork() -> None:
    for database in list(_OF_THIS_PROCESS):
        _OF_THE_PARENT.extend((database._engine, database._opening))
        database._forget()


os.register_at_fork(after_in_child=_after_fork)


class Database:
    """Lazily opened engine, one per process: forked and pickled copies open their own."""

    def __init__(self, url: str, tables: Tables) -> None:
        self.tables = tables
        self.url = _parse(url, tables.option)
        self._forget()

    def _forget(self) -> None:
        """As if nothing had been opened yet. A forked copy begins so: engine and lock are those of its parent's threads."""
        _OF_THIS_PROCESS.add(self)
        self._engine: Engine | None = None
        #: The engine while the tables are brought to the newest version, and who may use it then: this thread.
        self._opening: Engine | None = None
        self._lock = threading.RLock()

    def __getstate__(self) -> dict[str, Any]:
        return {"url": self.url, "tables": self.tables}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    @property
    def engine(self) -> Engine:
        """The engine, its database migrated to the newest version.

        Raises
        ------
        InputError
            The tables are newer than this program, or cannot be migrated where nothing can be written.
        DatabaseUnavailable
            The database does not answer now.
        """
        if self._engine is not None:
            return self._engine
        # Other threads wait: an engine whose tables are not there yet is of no use to them.
        with self._lock:
            if self._opening is not None:  # this thread's own queries, while it migrates
                return self._opening
            if self._engine is None:
                self._engine = self._open()
            return self._engine

    def _open(self) -> Engine:
        engine = self._opening = _sqlite(self.url) if self.url.drivername == "sqlite" else _postgresql(self.url)
        try:
            if self.read(self.version) != self.tables.head:
                self.write(self.migrate)
        except BaseException:
            engine.dispose()
            raise
        finally:
            self._opening = None
        return engine

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
        def once() -> T:
            # SQLite locks at once for writing: readers that turn writers may deadlock.
            with self.engine.connect().execution_options(roman_write=write) as connection, connection.begin():
                return work(connection)

        try:
            return again(once, _passing)
        except (DBAPIError, PoolTimeoutError) as error:
            if _of_the_moment(error):
                raise DatabaseUnavailable(
                    f"the {self.tables.name} cannot be {'written' if write else 'read'} now: {_reason(error)}",
                    file=self.url.render_as_string(hide_password=True),
                    field=self.tables.option,
                ) from error
            raise

    def dispose(self) -> None:
        """Closes the connections."""
        if self._engine is not None:
            self._engine.dispose()
        self._engine = None

    def version(self, connection: Connection) -> str | None:
        """Version of the tables, None where there are none."""
        if not inspect(connection).has_table(self.tables.version_table):
            return None
        return connection.execute(text(f"SELECT version_num FROM {self.tables.version_table}")).scalar()

    def migrate(self, connection: Connection) -> None:
        """Brings the tables to the newest version; InputError if they are newer than this program."""
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": self.tables.lock})
        found = self.version(connection)
        if found == self.tables.head:  # another process was faster
            return
        if found is not None and found > self.tables.head:
            raise InputError(
                f"the {self.tables.name} has version {found}, newer than {self.tables.head} of this program",
                field=self.tables.option,
                remedy="install a newer roman_assets",
            )
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(self.tables.folder).replace("%", "%%"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _passing(error: Exception) -> bool:
    """Whether trying again may help: lost connections, locks, serialization, a unique key taken meanwhile."""
    if not isinstance(error, DBAPIError):
        return False
    code = getattr(error.orig, "pgcode", None)
    if isinstance(error, IntegrityError):
        return code == "23505" or "UNIQUE" in str(error.orig)
    if error.connection_invalidated or code in _PASSING:
        return True
    if isinstance(error.orig, sqlite3.OperationalError):
        return "locked" in str(error.orig) or "busy" in str(error.orig)
    return isinstance(error, OperationalError | InterfaceError) and code is None


def _of_the_moment(error: Exception) -> bool:
    """Whether an error that trying again did not mend is of the database rather than of what was asked of it."""
    code = getattr(getattr(error, "orig", None), "pgcode", None)
    # 53: insufficient resources, disk full among them; 58: errors of its system.
    return _passing(error) or isinstance(error, OperationalError | PoolTimeoutError) or str(code)[:2] in ("53", "58")


def _reason(error: Exception) -> str:
    text_ = str(getattr(error, "orig", None) or error).strip()
    reason = text_.splitlines()[0] if text_ else type(error).__name__
    return f"disk full ({reason})" if "is full" in reason else reason


def _parse(url: str, option: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError("not a database URL", field=option, remedy=REMEDY) from error
    if parsed.drivername in ("postgresql", "postgres"):
        # A bare URL means psycopg 3 to SQLAlchemy 2.1, which is not installed.
        parsed = parsed.set(drivername="postgresql+psycopg2")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg2"):
        raise InputError(f"no support for {parsed.drivername!r} databases", field=option, remedy=REMEDY)
    if parsed.drivername != "sqlite" and url.split("://", 1)[-1].split("?", 1)[0].count("@") > 1:
        # The rest of the password would be taken for a part of the host, and shown.
        remedy = "write %40 for every @ in user and password (and %2F for /, %3A for :)"
        raise InputError("the URL has more than one @", field=option, remedy=remedy)
    return parsed


def _postgresql(url: URL) -> Engine:
    return create_engine(url, pool_pre_ping=True, pool_size=2, isolation_level="READ COMMITTED", hide_parameters=True)


def _sqlite(url: URL) -> Engine:
    file = Path(url.database).expanduser() if url.database and url.database != ":memory:" else None
    frozen = file is not None and _read_only(file)
    if file is not None and not frozen:
        file.parent.mkdir(parents=True, exist_ok=True)
    arguments: dict[str, Any] = {"connect_args": {"timeout": BUSY_SECONDS}}
    if frozen:
        arguments["creator"] = lambda: _open_frozen(file)
    engine = create_engine(url, **arguments)

    @event.listens_for(engine, "connect")
    def _connect(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver's own BEGIN comes too late to take the write lock before reading.
        connection.isolation_level = None
        if not frozen:
            connection.execute("PRAGMA journal_mode = WAL")
            # A row, once another process has seen it, must survive a power cut.
            connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        immediate = connection.get_execution_options().get("roman_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


def _read_only(file: Path) -> bool:
    """Whether a database is there and nothing can be written beside it: then it is read as it lies."""
    return file.is_file() and not (os.access(file, os.W_OK) and os.access(file.parent, os.W_OK))


def _open_frozen(file: Path | None) -> sqlite3.Connection:
    """A connection to a file on a read-only disk; what a writer left in its log is seen where SQLite can do that."""
    assert file is not None
    log = file.with_name(f"{file.name}-wal")
    # Without a log the file is all there is; SQLite would want to make one beside it.
    mode = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    return sqlite3.connect(f"{file.as_uri()}?{mode}", uri=True, timeout=BUSY_SECONDS)
