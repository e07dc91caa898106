"""What the commands share: the console, the workspace, progress."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from roman_assets.platform.workspace import HOME, Workspace
from roman_assets.text import printable

# Without emoji codes: ":bomb:" in a file's name is its name.
#: Panels of `roman --help`, in their order. Every command is in one of them.
GETTING_STARTED, SCIENCE_PRODUCTS, OWN_DATA, OPERATORS = (
    "Getting started",
    "Science products",
    "Your own data",
    "Operators",
)
PANELS = (GETTING_STARTED, SCIENCE_PRODUCTS, OWN_DATA, OPERATORS)
console = Console(emoji=False)
_NAME_CHARACTERS = 100
#: Lines of progress come no faster than this [s].
LINE_S = 2.0


def untrusted(text: object) -> str:
    """Text that did not come from this program, for tables and messages: markup and control characters shown."""
    return escape(printable(text, 4000))


def file_names(ids: Iterable[str], suffix: str) -> dict[str, str]:
    """A name within a folder for a file of every id, different for different ids on every file system.

    Letters, digits and ``+-._`` stay; anything else becomes ``_``.  An id that another's name would meet, or that is
    too long, has eight digits of its sha256 in its name.
    """
    wanted = {}
    for name in dict.fromkeys(ids):
        plain = re.sub(r"[^A-Za-z0-9+._-]", "_", name)
        plain = plain if re.match(r"[A-Za-z0-9_+]", plain) else f"_{plain}"  # hidden, an option, or "", "." and ".."
        wanted[name] = plain
    met = Counter(plain.lower() for plain in wanted.values())
    found: dict[str, str] = {}
    taken: set[str] = set()
    for name, plain in wanted.items():
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()
        short = plain[:_NAME_CHARACTERS]
        digits = 8 if met[plain.lower()] > 1 or short != plain else 0
        while (chosen := f"{short}-{digest[:digits]}" if digits else short).lower() in taken:
            digits += 8
        taken.add(chosen.lower())
        found[name] = f"{chosen}{suffix}"
    return found


def set_home(home: Path | None) -> None:
    """Make `home` the installation of this process and of those it starts."""
    if home is not None:
        os.environ[HOME] = str(home.expanduser().resolve())


def workspace() -> Workspace:
    """The installation the command works on."""
    return Workspace.from_environment()


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar; call what it yields with (done, total, text). Where nobody watches a terminal, lines on stderr."""
    if not console.is_terminal:
        yield _progress_lines(title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}", markup=True),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(title, total=None, detail="")

        def advance(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, detail=escape(printable(text, 60)))

        yield advance


def _progress_lines(title: str) -> Callable[[int, int, str], None]:
    """A line for each unit of work that takes a while: where it is, how long it has run, what is left."""
    began, told = time.monotonic(), -LINE_S

    def advance(done: int, total: int, text: str) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < LINE_S:
            return
        told = now
        spent = now - began
        left = f", some {duration(spent / done * (total - done))} left" if 0 < done < total else ""
        # stderr, at once: what a log is read for while it grows, and not what a command answers.
        print(f"{title} {done}/{total} {printable(text, 60)} ({duration(spent)}{left})", file=sys.stderr, flush=True)

    return advance


def duration(seconds: float) -> str:
    """A time for people."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def print_reasons(reasons: Sequence[tuple[object, str]]) -> None:
    """Why each object has its class, one line each."""
    for name, reason in reasons:
        console.print(f"[dim]{untrusted(name)}:[/dim] {untrusted(reason)}", soft_wrap=True, highlight=False)


def size_text(size: float) -> str:
    """A number of bytes for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def finish(outcome: object) -> None:
    """Report a processing and end with its status: 2 if anything failed, 128 + signal if it was stopped."""
    from roman_assets.orchestration.processing import Outcome

    assert isinstance(outcome, Outcome)
    report(outcome)
    if outcome.stopped is not None:
        raise typer.Exit(128 + outcome.stopped)
    if outcome.failed:
        raise typer.Exit(2)


def report(outcome: object) -> None:
    """Print what a processing came to: done, failed, caveats, failed checks."""
    from roman_assets.orchestration.processing import Outcome

    assert isinstance(outcome, Outcome)
    caveats = f", {len(outcome.caveats)} partitions with caveats" if outcome.caveats else ""
    checks = f", {len(outcome.failed_checks)} checks not passed" if outcome.failed_checks else ""
    console.print(f"{outcome.done} of {outcome.planned} runs succeeded, {len(outcome.failed)} failed{caveats}{checks}")
    if outcome.exposures:
        lost = outcome.exposures - outcome.measured
        told = f", [yellow]{lost} left out[/yellow]: see the caveats" if lost else ", all of them measured"
        console.print(f"{outcome.exposures} imaging exposures{told}")
    if outcome.stopped is not None:
        name = signal.Signals(outcome.stopped).name
        console.print(f"[yellow]stopped[/yellow] by {name} after {outcome.done} runs: run it again for the rest")
    if outcome.withdrawn:
        console.print(
            f"{len(outcome.withdrawn)} partitions are no longer in the calendar: their products were withdrawn"
        )
    if outcome.damaged:
        console.print(f"[yellow]mended[/yellow] damaged products that {len(outcome.damaged)} runs met")
    for label, reason in outcome.failed.items():
        console.print(f"[red]failed[/red] {untrusted(label)}: {untrusted(reason)}", soft_wrap=True, highlight=False)
    for label, text in list(outcome.caveats.items())[:10]:
        first, *rest = text.splitlines()
        more = f" (and {len(rest)} more)" if rest else ""
        console.print(
            f"[yellow]caveat[/yellow] {untrusted(label)}: {untrusted(first.removeprefix('- '))}{more}",
            soft_wrap=True,
            highlight=False,
        )
    if len(outcome.caveats) > 10:
        console.print(
            f"[yellow]caveats[/yellow] in {len(outcome.caveats) - 10} more partitions: see the UI or `roman products`"
        )
    for name in outcome.failed_checks[:10]:
        console.print(f"[yellow]check not passed[/yellow] {untrusted(name)}", highlight=False)
