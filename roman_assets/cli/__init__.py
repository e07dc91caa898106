"""The `roman` command."""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from roman_assets.cli import cluster, data, lenses, operate, query, run, spectra
from roman_assets.cli.common import PANELS, console, set_home, untrusted
from roman_assets.errors import RomanError, first_line
from roman_assets.platform.stopping import Stopped
from roman_assets.platform.workspace import Workspace

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Roman Space Telescope science pipelines as a platform of data assets.",
)


@app.callback()
def workspace(
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder of this installation (default: $ROMAN_HOME, else ./roman_home).", envvar="ROMAN_HOME"
        ),
    ] = None,
) -> None:
    """Choose the installation that the commands work on."""
    set_home(home)


for module in (run, data, query, lenses, spectra, operate, cluster):
    module.register(app)
# The help shows panels in the order of their first commands.
app.registered_commands.sort(key=lambda command: [*PANELS, command.rich_help_panel].index(command.rich_help_panel))


def main() -> None:
    """Entry point: errors made on purpose, and those of the moment, are shown as one message, without a traceback.

    SIGINT and SIGTERM end every command with status 128 + signal; in a container the first process has no default for
    SIGTERM, and would sit out its grace.
    """

    def stop(number: int, _frame: FrameType | None) -> None:
        raise Stopped(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        app()
    except Stopped as stopped:
        console.print(f"[yellow]{stopped}[/yellow]: run the command again for the rest")
        sys.exit(128 + stopped.number)
    except (RomanError, OSError, MemoryError) as error:
        _fail(str(error) or type(error).__name__)
    except Exception as error:
        # Dagster's own databases: a full or read-only disk is a line, not a page.
        if type(error).__module__.partition(".")[0] not in ("sqlalchemy", "sqlite3", "psycopg2"):
            raise
        text = first_line(getattr(error, "orig", None) or error)
        _fail(f"a database cannot be used now: {'disk full: ' if _disk_is_full() else ''}{text}")


def _disk_is_full() -> bool:
    """Whether there is no room where the installation is: SQLite then speaks of I/O errors as often as of room."""
    home = Workspace.from_environment().home
    return home.is_dir() and shutil.disk_usage(home).free < 1 << 20


def _fail(text: str) -> None:
    console.print("[red]error:[/red]", untrusted(text), soft_wrap=True, highlight=False)
    sys.exit(1)
