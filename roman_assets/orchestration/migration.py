"""Bringing every database of an installation to this version: Dagster's, the registry, the product index.

`roman migrate` is the hook that runs before a new version starts. Several may start at once: Dagster's part is done
under an advisory lock, the others have one of their own. `roman migrate --wait` changes nothing: the other pods use it
to wait until the hook is done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import dagster as dg

from roman_assets.errors import InputError, RomanError
from roman_assets.platform.pods import POOL_LIMITS
from roman_assets.platform.workspace import Workspace
from roman_assets.storage.database import Database, DatabaseUnavailable, Tables

#: PostgreSQL advisory lock held while Dagster's tables are made or changed ("ROMD").
DAGSTER_LOCK = 0x524F4D44
#: Limits of pools that have none yet, as `images=400,season=60`.
POOLS = "ROMAN_POOLS"
PAUSE_S = 2.0

Say = Callable[[str], None]


def migrate(workspace: Workspace, *, say: Say, patience_s: float = 300.0) -> None:
    """Make or change the tables of all databases, and set the limits of pools that have none.

    A database that does not answer yet is waited for.

    Raises
    ------
    RomanError
        It did not answer in `patience_s`.
    InputError
        A database is newer than this program, or ROMAN_POOLS cannot be read.
    """
    limits = pool_limits()
    _patiently(lambda: _migrate_dagster(workspace, limits, say), "Dagster's database", patience_s)
    # Last, since `wait` looks at these first: where they are new, Dagster's tables are there, too.
    _patiently(lambda: _open_own(workspace), "registry or product index", patience_s)
    say("registry and product index are at their newest version")


def wait(workspace: Workspace, *, say: Say, patience_s: float = 600.0) -> None:
    """Return once every database is at this program's version; RomanError after `patience_s`."""
    deadline = time.monotonic() + patience_s
    told = ""
    while state := _state(workspace):
        if state != told:
            say(f"waiting: {state}")
            told = state
        if time.monotonic() > deadline:
            raise RomanError(
                f"gave up waiting after {patience_s:.0f} s: {state}; look at the job that runs `roman migrate`"
            )
        time.sleep(PAUSE_S)


def pool_limits(environment: Mapping[str, str] | None = None) -> dict[str, int]:
    """Limits of the pools of a new installation; InputError if ROMAN_POOLS cannot be read."""
    text = (os.environ if environment is None else environment).get(POOLS) or ""
    limits = dict(POOL_LIMITS)
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, number = item.partition("=")
        if name not in limits or not number.isdigit():
            known = ", ".join(f"{pool}=NUMBER" for pool in POOL_LIMITS)
            raise InputError(f"cannot read {item!r}", field=POOLS, remedy=f"write {known}")
        limits[name] = int(number)
    return limits


def _migrate_dagster(workspace: Workspace, limits: Mapping[str, int], say: Say) -> None:
    from roman_assets.orchestration.processing import dagster_instance

    with _locked(), dagster_instance(workspace) as instance:
        instance.upgrade(say)
        known = instance.event_log_storage.get_concurrency_keys()
        for pool, limit in limits.items():
            if pool not in known:  # an operator's own limit stays
                instance.event_log_storage.set_concurrency_slots(pool, limit)
                say(f"pool {pool}: {limit} steps at once")


@contextmanager
def _locked() -> Iterator[None]:
    """Holds an advisory lock of the PostgreSQL server that DAGSTER_PG_HOST names; without one there is no need."""
    host = os.environ.get("DAGSTER_PG_HOST")
    if not host:
        yield
        return
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import URL
    from sqlalchemy.pool import NullPool

    env = os.environ
    url = URL.create(
        "postgresql+psycopg2",
        env.get("DAGSTER_PG_USERNAME"),
        env.get("DAGSTER_PG_PASSWORD"),
        host,
        int(env.get("DAGSTER_PG_PORT") or 5432),
        env.get("DAGSTER_PG_DB"),
    )
    with create_engine(url, poolclass=NullPool).connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": DAGSTER_LOCK})
        yield  # closing the connection gives the lock back


def _open_own(workspace: Workspace) -> None:
    workspace.registry.last_change()
    workspace.registry.close()
    workspace.products.index.database.read(lambda _connection: None)
    workspace.products.index.database.dispose()


def _state(workspace: Workspace) -> str:
    """What is not at this program's version yet; empty if all is."""
    from sqlalchemy.exc import DBAPIError

    from roman_assets.exposures.tables import TABLES as REGISTRY
    from roman_assets.products.index_tables import TABLES as INDEX

    try:
        for url, tables in ((workspace.registry_url, REGISTRY), (workspace.index_url, INDEX)):
            if url is not None and (found := _version(url, tables)) != tables.head:
                return f"the {tables.name} has version {found or 'none'}, this program wants {tables.head}"
        return _dagster_state(workspace)
    except DBAPIError as error:
        return f"a database does not answer ({_short(error)})"


def _version(url: str, tables: Tables) -> str | None:
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    database = Database(url, tables)
    # An engine of its own: that of the database migrates, and this only looks.
    with create_engine(database.url, poolclass=NullPool).connect() as connection:
        return database.version(connection)


def _dagster_state(workspace: Workspace) -> str:
    from roman_assets.orchestration.processing import dagster_instance

    with dagster_instance(workspace) as instance:
        for name in ("run_storage", "event_log_storage", "schedule_storage"):
            found = getattr(instance, name).alembic_version()
            if found is not None and found[0] != found[1]:
                return f"Dagster's {name} has version {found[0] or 'none'}, this program wants {found[1]}"
    return ""


def _patiently(work: Callable[[], None], what: str, patience_s: float) -> None:
    """Does `work`, again while the database does not answer; what it does must bear repetition."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    deadline = time.monotonic() + patience_s
    while True:
        try:
            return work()
        except (DatabaseUnavailable, OperationalError, InterfaceError) as error:
            if time.monotonic() > deadline:
                raise RomanError(f"{what} did not answer in {patience_s:.0f} s: {_short(error)}") from error
        except dg.DagsterInvariantViolationError as error:
            raise RomanError(f"{what}: {error}") from error
        time.sleep(PAUSE_S)


def _short(error: Any) -> str:
    """The driver's first line: neither the statement nor the URL, which holds a password."""
    return str(error.orig).strip().splitlines()[0] if str(error.orig).strip() else type(error.orig).__name__
