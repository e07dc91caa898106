"""The commands of docs/operations.md, as the tests take them from the page."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "operations.md").read_text()
#: What a block needs: nothing, a cluster, an account, or charts and images that no test has.
KINDS = ("run", "cluster", "aws", "chart")
BLOCK = re.compile(r"^```sh ?(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(kind: str, text: str = GUIDE) -> list[str]:
    """Commands of a kind, block by block."""
    return [body for mark, body in BLOCK.findall(text) if mark == kind]


def sections(kind: str, text: str = GUIDE) -> dict[str, list[str]]:
    """Blocks of a kind by the heading that they stand under ("" before the first)."""
    found: dict[str, list[str]] = {}
    for part in re.split(r"^## ", text, flags=re.MULTILINE):
        heading = part.partition("\n")[0] if not part.startswith("# ") else ""
        if blocks(kind, part):
            found[heading] = blocks(kind, part)
    return found


def lines(body: str) -> list[str]:
    """The commands of a block, one a line."""
    return [" ".join(line.split()) for line in body.replace("\\\n", " ").splitlines()]


def commands(program: str) -> list[list[str]]:
    """Every call of a program in any block, split as a shell does, up to what ends or redirects it."""
    found = []
    for _, body in BLOCK.findall(GUIDE):
        lexer = shlex.shlex(body.replace("\\\n", " ").replace("\n", " ;\n"), posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        call: list[str] | None = None
        for before, word in itertools.pairwise([";", *lexer, ";"]):
            if re.fullmatch(r"[();<>|&]+", word):
                found += [call] if call is not None else []
                call = None
            elif call is not None:
                call.append(word)
            elif word == program and (before in ("--", "do") or re.fullmatch(r"[();<>|&]+", before)):
                call = []
    return found


def run(script: str, folder: Path, timeout: float, **given: str) -> tuple[int, str]:
    """Exit code and output of a script in a shell that stops at the first failure; what it leaves running is killed.

    The shell has the programs of this installation and of the machine, and nothing of the caller's own installation.
    """
    text = f"set -euo pipefail\nPS4='+ ${{SECONDS}}s '\nset -x\n{script}"
    places = ("ROMAN_", "DAGSTER_", "AWS_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(places)}
    environment |= {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}"} | given
    log = folder / "log.txt"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["bash", "-c", text],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(timeout=timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # whatever the page left running
    return code, log.read_text()
