"""A PostgreSQL server for tests: ROMAN_TEST_POSTGRES_URL's, or a new one where its programs are installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests.dagster_server import free_port
from tests.processes import end

_QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}


def _program(name: str) -> str | None:
    """Debian keeps the server's programs off the PATH."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((str(f / name) for f in folders if (f / name).exists()), shutil.which(name))


class Server:
    """A server in a folder of its own, which can be stopped and started again.

    Attributes
    ----------
    url
        URL of an empty database.
    outages
        How long it did not answer, each time that it was restarted [s].
    """

    def __init__(self, folder: Path, user: str | None, port: int) -> None:
        program = _program("postgres")
        assert program is not None
        settings = ["-c", "fsync=off", "-c", f"unix_socket_directories={folder}", "-c", "listen_addresses=127.0.0.1"]
        self._command = [program, "-D", str(folder / "data"), "-p", str(port), *settings]
        self._options: dict[str, Any] = {**_QUIET, "user": user, "cwd": folder}
        self.url = f"postgresql+psycopg2://roman@127.0.0.1:{port}/postgres"
        self.outages: list[float] = []
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and waits until it answers."""
        deadline = time.monotonic() + 240
        engine = sa.create_engine(self.url, poolclass=sa.pool.NullPool)
        while True:
            # One that was killed leaves its shared memory for a moment, and the next one gives up.
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(self._command, start_new_session=True, **self._options)
            try:
                with engine.connect():
                    return
            except sa.exc.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ends it: SIGINT cuts connections (fast), SIGQUIT leaves all as it is (immediate)."""
        if self._process is not None:
            end(self._process, number)
            self._process = None

    def restart(self, number: signal.Signals) -> None:
        """Ends it and starts it again at once."""
        begun = time.monotonic()
        self.stop(number)
        self.start()
        self.outages.append(time.monotonic() - begun)


@contextmanager
def own_postgresql_server() -> Iterator[Server]:
    """A server that nobody else uses; skips where its programs are not installed."""
    initdb = _program("initdb")
    if initdb is None or _program("postgres") is None:
        pytest.skip("PostgreSQL is not installed (Debian package postgresql)")
    user = None
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            pytest.skip("no user postgres to run the server as")
    folder = Path(tempfile.mkdtemp(prefix="roman-postgresql-", dir="/tmp"))
    if user:
        shutil.chown(folder, user)
    server = Server(folder, user, free_port())
    try:
        command = [initdb, "-D", str(folder / "data"), "-U", "roman", "-A", "trust", "-N"]
        subprocess.run(command, check=True, user=user, cwd=folder, **_QUIET)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgresql_server() -> Iterator[str]:
    """URL of a database, empty as far as the caller is concerned; skips where there can be none."""
    given = os.environ.get("ROMAN_TEST_POSTGRES_URL")
    if given:
        yield given
        return
    with own_postgresql_server() as server:
        yield server.url
