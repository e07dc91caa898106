"""A PostgreSQL server for one test: ROMAN_TEST_POSTGRES_URL's, or a new one where its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.dagster_server import free_port
from tests.processes import end


def _program(name: str) -> str | None:
    """Debian keeps the server's programs off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((str(f / name) for f in folders if (f / name).exists()), shutil.which(name))


@contextmanager
def postgresql_server() -> Iterator[str]:
    """URL of a database, empty as far as the caller is concerned; skips where there can be none."""
    given = os.environ.get("ROMAN_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    initdb, server = _program("initdb"), _program("postgres")
    if initdb is None or server is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql) and ROMAN_TEST_POSTGRES_URL is not set")
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("no user postgres to run the server as")
    folder = Path(tempfile.mkdtemp(prefix="roman-postgresql-", dir="/tmp"))
    if user:
        shutil.chown(folder, user)
    port = free_port()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "user": user, "cwd": folder}
    try:
        subprocess.run([initdb, "-D", folder / "data", "-U", "roman", "-A", "trust", "-N"], check=True, **quiet)
        settings = ["-c", "fsync=off", "-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=127.0.0.1"]
        command = [server, "-D", folder / "data", "-p", str(port), *settings]
        process = subprocess.Popen(command, start_new_session=True, **quiet)
        try:
            url = f"postgresql+psycopg2://roman@127.0.0.1:{port}/postgres"
            _wait(url)
            yield url
        finally:
            end(process, signal.SIGINT)  # fast: connections are cut
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _wait(url: str) -> None:
    import time

    import sqlalchemy as sa

    deadline = time.monotonic() + 240
    while True:
        try:
            with sa.create_engine(url).connect():
                return
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
