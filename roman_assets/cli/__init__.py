"""The `roman` command."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from roman_assets.cli import cluster, data, lenses, operate, query, run, spectra
from roman_assets.cli.common import PANELS, console, set_home, untrusted
from roman_assets.errors import RomanError

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
    """Entry point: errors made on purpose are shown as one message, without a traceback."""
    if os.getpid() == 1:  # in a container: the first process has no default for SIGTERM, and would sit out its grace
        signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        app()
    except (RomanError, OSError) as error:
        console.print("[red]error:[/red]", untrusted(error), soft_wrap=True, highlight=False)
        sys.exit(1)
