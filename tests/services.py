"""A real service for tests: an S3 server (seaweedfs, from PyPI) on free ports. PostgreSQL: postgresql.py."""

from __future__ import annotations

import json
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.processes import end

KEY, SECRET = "roman-test", "secret-of-the-test"


def free_ports(number: int) -> list[int]:
    """Ports nobody listens on now; below 22,000, since weed's gRPC ports are 10,000 higher."""
    found: list[int] = []
    # In no order: workers that start together must not try the same ones in turn.
    for port in random.SystemRandom().sample(range(12_000, 22_000), 10_000):
        with socket.socket() as one, socket.socket() as other:
            try:
                one.bind(("127.0.0.1", port))
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        found.append(port)
        if len(found) == number:
            return found
    raise AssertionError("no free ports")


@contextmanager
def s3_server(folder: Path) -> Iterator[str]:
    """`weed` with one account; yields its address. It rejects wrong secrets and verifies checksums."""
    program = Path(sys.executable).with_name("weed")
    identity = {
        "name": "roman",
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    master, volume, filer, s3 = free_ports(4)
    command = [
        program,
        "server",
        f"-dir={folder}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-master.port={master}",
        f"-volume.port={volume}",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=500",
        "-filer",
        f"-filer.port={filer}",
        "-s3",
        f"-s3.port={s3}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        f"-s3.config={folder / 's3.json'}",
    ]
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, start_new_session=True)
        try:
            url = f"http://127.0.0.1:{s3}"
            _wait(lambda: _http(url), process, folder / "weed.log")
            yield url
        finally:
            end(process, signal.SIGKILL, group=True)  # asked to end in order, it takes 25 seconds, and nothing is kept


def _http(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2)
    except urllib.error.HTTPError as error:
        return error.code == 403  # no signature: it is the S3 interface that answers
    except OSError:
        return False
    return True


def _wait(answers: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 240
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the service did not come up:\n{log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)
