"""Commands that bring data in: simulate, ingest, calendar, quarantine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from roman_assets.cli.common import OPERATORS, OWN_DATA, console, progress_bar, untrusted, workspace
from roman_assets.errors import InputError, Transient

if TYPE_CHECKING:
    from roman_assets.exposures.ingest import IngestReport
    from roman_assets.exposures.level2.header import ExposureHeader

_SHOWN = 20


def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write exposures/ and truth/ into.")],
    seed: Annotated[int, typer.Option(help="Same seed, same survey.")] = 1,
    days: Annotated[int, typer.Option(help="Days in a row.")] = 3,
    visits: Annotated[int, typer.Option(help="Visits a day.")] = 8,
    detector: Annotated[list[str] | None, typer.Option(help="Detector; may be repeated.")] = None,
    size: Annotated[int, typer.Option(help="Side of the images [px].")] = 200,
    seasons: Annotated[int, typer.Option(help="Seasons; the field is turned by 180 degrees in every second.")] = 1,
) -> None:
    """Simulate a mini bulge survey as Level 2 files, with its truth beside them."""
    from roman_assets.simulate.config import MiniSurvey
    from roman_assets.simulate.survey import simulate_survey

    config = MiniSurvey(
        seed=seed,
        detectors=tuple(detector or ("WFI01", "WFI02")),
        days=days,
        seasons=seasons,
        visits_per_day=visits,
        size_px=size,
    )
    with progress_bar("simulating") as advance:
        made = simulate_survey(config, out, progress=lambda done, total: advance(done, total, ""))
    console.print(f"{len(made.exposures)} exposures in {out / 'exposures'}, truth in {out / 'truth'}")
    console.print(f"next: roman calendar init {out / 'exposures'} && roman ingest {out / 'exposures'} && roman process")


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of _cal.asdf files.")],
    quick: Annotated[bool, typer.Option(help="Leave out schema validation and pixel checks.")] = False,
) -> None:
    """Validate exposures and register them; what cannot be used is quarantined with its reason.

    Ends with status 2 if any file was not registered, now or before, or if there was none.
    """
    from roman_assets.exposures.ingest import ingest as run_ingest

    place = workspace()
    missing = [p for p in paths if not p.exists()]
    if missing:
        raise InputError("no such file or folder", file=missing[0], remedy="check the path")
    with progress_bar("ingesting") as advance:
        report = run_ingest(
            list(paths),
            place.registry,
            place.quarantine,
            place.calendar,
            full=not quick,
            progress=lambda name, done, total: advance(done, total, name),
        )
    _show_report(report)
    if not report.complete:
        raise typer.Exit(2)
    if not (report.registered or report.replaced or report.duplicates or report.waiting):
        console.print("[yellow]nothing found:[/yellow] there is no *.asdf file in what was named")
        raise typer.Exit(2)


def _show_report(report: IngestReport) -> None:
    """Every file in one row; below the line, what else is to be said of those registered."""
    table = Table(title=f"Ingested in {report.seconds:.1f} s")
    table.add_column("outcome")
    table.add_column("files", justify="right")
    rows = ("registered", "duplicates", "replaced", "conflicts", "quarantined", "unavailable", "waiting")
    for name in rows:
        table.add_row(name, str(len(getattr(report, name))), end_section=name == rows[-1])
    for name in ("outside_calendar", "caveats"):
        table.add_row(f"of these: {name.replace('_', ' ')}", str(len(getattr(report, name))))
    console.print(table)
    for refused in [*report.conflicts, *report.quarantined][:_SHOWN]:
        console.print(
            f"[yellow]{refused.reason}[/yellow] {untrusted(refused.message)}", soft_wrap=True, highlight=False
        )
    for problem in report.problems[:_SHOWN]:
        console.print(f"[yellow]to be tried again[/yellow] {untrusted(problem)}", soft_wrap=True, highlight=False)
    for name in report.waiting[:_SHOWN]:
        console.print(f"[yellow]still being written[/yellow] {untrusted(name)}", soft_wrap=True, highlight=False)
    if report.outside_calendar:
        console.print(
            f"[yellow]{len(report.outside_calendar)} exposures are outside the calendar and have no partition:[/yellow] "
            "make a calendar for them with `roman calendar init PATH`"
        )
    for exposure, caveats in list(report.caveats.items())[:5]:
        console.print(f"[dim]caveat {untrusted(exposure)}: {untrusted(', '.join(caveats))}[/dim]")


calendar_app = typer.Typer(no_args_is_help=True, help="The survey calendar: seasons, days, detectors, fields.")


@calendar_app.command("show")
def calendar_show() -> None:
    """Show the calendar in use."""
    place = workspace()
    calendar = place.calendar
    table = Table(title=untrusted(f"{calendar.name} ({place.calendar_file or 'shipped with roman_assets'})"))
    for heading in ("season", "first day", "last day", "days"):
        table.add_column(heading)
    for season in calendar.seasons:
        table.add_row(untrusted(season.name), season.days[0], season.days[-1], str(len(season.days)))
    console.print(table)
    console.print(
        f"{len(calendar.detectors)} detectors, {len(calendar.fields)} fields, {len(calendar.regions)} sky regions, "
        f"{len(calendar.spectroscopic_days)} spectroscopic days"
    )


@calendar_app.command("init")
def calendar_init(
    paths: Annotated[list[Path], typer.Argument(help="Files or folders of _cal.asdf files.")],
    name: Annotated[str, typer.Option(help="Name of the survey.")] = "own",
    force: Annotated[bool, typer.Option(help="Replace an existing calendar.")] = False,
) -> None:
    """Write a calendar for your own exposures into the installation's folder."""
    from roman_assets.survey.calendar import calendar_for_files
    from roman_assets.survey.calendar_file import write_calendar

    place = workspace()
    target = place.home / "calendar.toml"
    if target.exists() and not force:
        raise InputError("there is a calendar already", file=target, remedy="use --force to replace it")
    headers, unavailable = _headers(paths)
    if not headers:
        raise InputError("no usable exposure", file=paths[0], remedy="give a folder with _cal.asdf files")
    place.home.mkdir(parents=True, exist_ok=True)
    made = calendar_for_files(headers, name)
    write_calendar(made, target)
    console.print(f"{untrusted(target)}: written for {len(headers)} exposures")
    moved = place.registry.apply_calendar(made)
    if moved:
        console.print(f"{moved} registered exposures have another season or field now: `roman process` takes them up")
    calendar_show()
    if unavailable:
        console.print(f"[yellow]{unavailable} files could not be read now:[/yellow] try again with --force")
        raise typer.Exit(2)


def _headers(paths: list[Path]) -> tuple[list[ExposureHeader], int]:
    """Headers of the named files, and of those called *_cal.asdf in the named folders; how many cannot be read now.

    Says which are left out, and why.
    """
    from roman_assets.exposures.landing import FileList
    from roman_assets.exposures.level2.reader import read_header

    named = {str(path.absolute()) for path in paths}
    listing = FileList(paths).list()
    headers, unavailable, left_out = [], len(listing.problems), list(listing.problems)
    for file in listing.files:
        if file.key not in named and not file.name.endswith("_cal.asdf"):
            continue
        try:
            headers.append(read_header(file.key))
        except Transient as error:
            unavailable += 1
            left_out.append(str(error))
        except InputError as error:
            left_out.append(str(error))
    for reason in left_out:
        console.print(f"[yellow]left out:[/yellow] {untrusted(reason)}", soft_wrap=True, highlight=False)
    return headers, unavailable


quarantine_app = typer.Typer(no_args_is_help=True, help="Files that were refused: why, and putting them back.")


@quarantine_app.command("list")
def quarantine_list() -> None:
    """List quarantined files with their reasons."""
    table = Table(title="Quarantine")
    for heading in ("file", "reason", "message", "sha256"):
        table.add_column(heading, overflow="fold")
    for record in workspace().quarantine.list():
        table.add_row(untrusted(record.name), untrusted(record.reason), untrusted(record.message), record.sha256[:12])
    console.print(table)


@quarantine_app.command("release")
def quarantine_release(
    sha256: Annotated[str, typer.Argument(help="The file's sha256, or its beginning as `list` shows it.")],
    reviewer: Annotated[str, typer.Option(help="Who overrules the reason.")],
    note: Annotated[str, typer.Option(help="Why.")],
    to: Annotated[Path | None, typer.Option(help="Where to put the file (default: where it came from).")] = None,
) -> None:
    """Overrule a reason after review: the next ingestion accepts the file."""
    from roman_assets.exposures.ingest import release

    place = workspace()
    found = [r for r in place.quarantine.list() if r.sha256.startswith(sha256)]
    if not found:
        raise InputError(f"nothing in quarantine begins with {sha256}", remedy="see `roman quarantine list`")
    if len({r.sha256 for r in found}) > 1:
        raise InputError(f"{len(found)} files begin with {sha256}", remedy="give more digits")
    for record in found:
        released = release(
            place.registry, place.quarantine, record.sha256, record.reason, reviewer=reviewer, note=note, destination=to
        )
        console.print(
            untrusted(f"{released.name}: {released.reason} overruled by {reviewer}; ingest it again"), highlight=False
        )


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    app.command(rich_help_panel=OWN_DATA)(simulate)
    app.command(rich_help_panel=OPERATORS)(ingest)
    app.add_typer(calendar_app, name="calendar", rich_help_panel=OWN_DATA)
    app.add_typer(quarantine_app, name="quarantine", rich_help_panel=OPERATORS)
