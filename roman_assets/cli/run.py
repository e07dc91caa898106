"""Commands that make products: process, backfill, reconcile, demo, ui."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from roman_assets.cli.common import GETTING_STARTED, OPERATORS, console, finish, progress_bar, untrusted, workspace
from roman_assets.errors import InputError
from roman_assets.platform.workspace import Workspace


def process(
    season: Annotated[list[str] | None, typer.Option(help="Season, such as s01; may be repeated.")] = None,
    day: Annotated[list[str] | None, typer.Option(help="Day, such as 2027-03-01; may be repeated.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Detector, such as WFI01; may be repeated.")] = None,
    without: Annotated[
        list[str] | None, typer.Option(help="Asset to leave out, such as detection_efficiency; may be repeated.")
    ] = None,
) -> None:
    """Materialize what the registry holds (all of it, or some seasons, days, detectors) in this process."""
    from roman_assets.orchestration.processing import plan, run_steps

    place = workspace()
    steps = plan(place, seasons=season, days=day, detectors=detector, without=without or ())
    if not steps:
        console.print("nothing to process: no registered imaging exposure is in the calendar (`roman ingest` first)")
        raise typer.Exit(1)
    with progress_bar("processing") as advance:
        outcome = run_steps(place, steps, progress=advance, without=without or ())
    finish(outcome)


def close(
    season: Annotated[list[str], typer.Argument(help="Seasons, such as s01.")],
    detector: Annotated[list[str] | None, typer.Option(help="Detector, such as WFI01; may be repeated.")] = None,
    url: Annotated[
        str | None, typer.Option(help="Close it through the running Dagster instance at this address instead.")
    ] = None,
) -> None:
    """Close seasons at once: light curves, objects and events with what is there, efficiency, the survey's catalogues."""
    from roman_assets.orchestration.backfill import launch, partition_keys
    from roman_assets.orchestration.processing import plan, run_steps
    from roman_assets.systems.msos.system import SYSTEM

    place = workspace()
    jobs = ("close_season", "measure_efficiency")
    if url is not None:
        for job in jobs:
            assets = [asset.name for asset in SYSTEM.of_job(job)]
            keys = partition_keys(place.calendar, assets, seasons=season, detectors=detector)
            launched = launch(url, assets, keys)
            console.print(f"backfill {launched.backfill_id}: {launched.partitions} partitions of {', '.join(assets)}")
        console.print("the survey's catalogues follow by closing_sensor, or by a backfill of join_survey's assets")
        return
    steps = [step for step in plan(place, seasons=season, detectors=detector) if step.job in jobs]
    if not steps:
        raise InputError(f"nothing of {', '.join(season)} is registered", field="season", remedy="`roman ingest` first")
    with progress_bar("closing") as advance:
        outcome = run_steps(place, steps, progress=advance)
    finish(outcome)


def backfill(
    asset: Annotated[list[str], typer.Argument(help="Assets, all of one kind of partition.")],
    season: Annotated[list[str] | None, typer.Option(help="Season; may be repeated.")] = None,
    day: Annotated[list[str] | None, typer.Option(help="Day; may be repeated.")] = None,
    detector: Annotated[list[str] | None, typer.Option(help="Detector; may be repeated.")] = None,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="Leave out partitions that are materialized.")
    ] = False,
    url: Annotated[str, typer.Option(help="Address of the running Dagster webserver.")] = "http://127.0.0.1:3000",
    wait: Annotated[
        bool, typer.Option("--wait", help="Return when it has ended; exit with 2 if a run failed.")
    ] = False,
) -> None:
    """Launch a backfill through a running Dagster instance."""
    from roman_assets.orchestration.backfill import launch, partition_keys
    from roman_assets.orchestration.backfill import wait as wait_for

    keys = partition_keys(workspace().calendar, asset, seasons=season, days=day, detectors=detector)
    launched = launch(url, asset, keys, only_missing=only_missing)
    if launched.backfill_id is None:
        console.print("nothing to do: every partition is materialized")
        return
    console.print(f"backfill {launched.backfill_id}: {launched.partitions} partitions of {', '.join(asset)}")
    console.print(f"watch it at {url}/runs/b/{launched.backfill_id}")
    if wait:
        state = wait_for(url, launched.backfill_id)
        console.print(f"backfill {launched.backfill_id}: {state.lower().replace('_', ' ')}")
        if state != "COMPLETED_SUCCESS":
            raise typer.Exit(2)


def reconcile(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    verify: Annotated[bool, typer.Option(help="Also read every product and compare its sha256.")] = False,
    row_files: Annotated[
        int, typer.Option(help="Row files written at most for products made before there were any.", min=0)
    ] = 10_000,
) -> None:
    """Complete the product index from the store, and Dagster's record from the index; report products that are wrong."""
    from roman_assets.orchestration.reconcile import reconcile as run_reconcile

    with progress_bar("comparing") as advance:
        found = run_reconcile(workspace(), dry_run=dry_run, verify=verify, most_row_files=row_files, progress=advance)
    adoption, would = found.adoption, "would be" if dry_run else "were"
    if adoption.adopted or adoption.problems:
        console.print(
            f"{len(adoption.adopted)} products that the index lacked {would} adopted, {len(adoption.problems)} cannot be"
        )
    if adoption.row_files or adoption.lacking:
        rest = f", {adoption.lacking} still have none: reconcile again" if adoption.lacking and not dry_run else ""
        number = adoption.lacking if dry_run else adoption.row_files
        console.print(f"{number} row files {would} written for products that had none{rest}")
    console.print(
        f"{found.compared} partitions compared: {len(found.reported)} {would} reported to "
        f"Dagster, {len(found.unbacked)} materializations have no product, {len(found.damaged)} products are damaged"
    )
    for line in [*adoption.problems, *found.unbacked, *found.damaged][:20]:
        console.print(f"[yellow]{untrusted(line)}[/yellow]", soft_wrap=True)
    if found.damaged or adoption.problems:
        raise typer.Exit(2)


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo; removed and made anew.")] = Path("demo_output"),
    keep: Annotated[bool, typer.Option("--keep", help="Keep what an earlier demo made, and go on from there.")] = False,
) -> None:
    """Simulate a small survey, process it through all assets, and judge the products against the truth."""
    from roman_assets.cli.demo import run_demo

    run_demo(out, keep=keep)


def ui(
    port: Annotated[int, typer.Option(help="Port of the web server.")] = 3000,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    no_sensors: Annotated[
        bool, typer.Option("--no-sensors", help="Leave all sensors off: nothing runs that nobody asks for.")
    ] = False,
) -> None:
    """Open the Dagster UI of this installation, with its daemon and sensors, until interrupted."""
    from roman_assets.orchestration.local_server import serve
    from roman_assets.orchestration.processing import prepare_dagster_home
    from roman_assets.platform.sensors import SENSORS

    place = workspace()
    if place.home.is_dir() and not os.access(place.home, os.W_OK):
        _show_read_only(place, host, port)
    home = prepare_dagster_home(place)
    environment = {**os.environ, **place.environment(), "DAGSTER_HOME": str(home)}
    if no_sensors:
        environment[SENSORS] = "off"
    console.print(f"Dagster of {untrusted(place.home)} at http://{host}:{port} (Ctrl-C stops it)")
    if environment.get(SENSORS, "").lower() == "off":
        console.print("sensors are off: what arrives waits for you")
    else:
        console.print(
            f"sensors run: what arrives in {untrusted(place.landing.blobs.url)} is ingested and processed, seasons are "
            "closed when they have ended (--no-sensors: nothing of the kind)",
            soft_wrap=True,
        )
    raise typer.Exit(serve(home, environment, host=host, port=port))


def _show_read_only(place: Workspace, host: str, port: int) -> NoReturn:
    """The UI of an installation that cannot be written: of a copy of its event log, without daemon and sensors."""
    from roman_assets.platform.sensors import SENSORS

    copy = Path(tempfile.mkdtemp(prefix="roman-ui-"))
    if place.dagster_home.is_dir():
        shutil.copytree(place.dagster_home, copy, dirs_exist_ok=True)
    environment = {**os.environ, **place.environment(), "DAGSTER_HOME": str(copy), SENSORS: "off"}
    console.print(f"{untrusted(place.home)} cannot be written: shown as it is at http://{host}:{port}, without sensors")
    program = Path(sys.executable).with_name("dagster-webserver")
    arguments = ["-m", "roman_assets.orchestration.code_location", "-h", host, "-p", str(port), "--read-only"]
    os.execve(program, [str(program), *arguments], environment)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for first in (demo, ui):
        app.command(rich_help_panel=GETTING_STARTED)(first)
    for command in (process, close, backfill, reconcile):
        app.command(rich_help_panel=OPERATORS)(command)
