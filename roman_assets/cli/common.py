"""What the commands share: the console, the workspace, progress."""

from __future__ import annotations

import hashlib
import os
import re
import signal
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
    """A progress bar; call what it yields with (done, total, text)."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[detail]}", markup=True),
    )
    with Progress(*columns, console=console, transient=not console.is_terminal) as bar:
        task = bar.add_task(title, total=None, detail="")

        def advance(done: int, total: int, text: str) -> None:
            bar.update(task, completed=done, total=total, detail=escape(printable(text, 60)))

        yield advance


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
    console.print(f"{outcome.done} of {outcome.planned} runs succeeded, {len(outcome.failed)} failed{caveats}")
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
