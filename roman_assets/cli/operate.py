"""Commands of operators: exporter, retention."""

from __future__ import annotations

import signal
import sys
import time
from typing import Annotated

import typer

from roman_assets.cli.common import OPERATORS, console, size_text, untrusted, workspace
from roman_assets.errors import InputError
from roman_assets.monitoring.freshness import SINCE


def exporter(
    port: Annotated[int, typer.Option(help="Port of /metrics and /healthz.")] = 9464,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0: all of this machine.")] = "127.0.0.1",
    interval: Annotated[float, typer.Option(help="Seconds between two readings of the instance.", min=1.0)] = 30.0,
    since: Annotated[
        str | None, typer.Option(envvar=SINCE, help="First day that is promised (default: the first with exposures).")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Read once, print the metrics, end.")] = False,
) -> None:
    """Serve the installation's state to Prometheus: runs, queue, freshness, quarantine, products, throughput."""
    import datetime as dt

    from prometheus_client import CollectorRegistry, generate_latest

    from roman_assets.monitoring.exporter import Exporter, ReadingsCollector
    from roman_assets.monitoring.poll import Poller
    from roman_assets.orchestration.processing import dagster_instance

    if since:
        try:
            dt.date.fromisoformat(since)
        except ValueError as error:
            raise InputError(f"{since!r} is no day", field=f"--since, {SINCE}", remedy="write 2027-03-01") from error
    place = workspace()
    with dagster_instance(place) as instance:
        poller = Poller(instance, place.index, place.registry, place.calendar, since=since)
        if once:
            registry = CollectorRegistry()
            poller.poll()
            registry.register(ReadingsCollector(lambda: poller.snapshot, time.time))  # type: ignore[arg-type]
            sys.stdout.write(generate_latest(registry).decode())
            if any(poller.snapshot.errors.values()):
                raise typer.Exit(2)
            return
        server = Exporter(poller, interval=interval, host=host, port=port)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: server.stop())
        console.print(f"metrics of {untrusted(place.home)} at http://{host}:{server.port}/metrics")
        server.run()


def retention(
    apply: Annotated[bool, typer.Option("--apply", help="Delete; without it, only say what would go.")] = False,
    logs: Annotated[float, typer.Option(help="Days that logs of runs that ended well are kept.", min=0)] = 30.0,
    failed_logs: Annotated[float, typer.Option(help="Days that logs of failed runs are kept.", min=0)] = 90.0,
    superseded: Annotated[
        float, typer.Option(help="Days that superseded products are kept; -1 for ever.", min=-1)
    ] = 180.0,
    orphans: Annotated[
        float, typer.Option(help="Hours that objects without an index row are kept: longer than a write takes.", min=0)
    ] = 24.0,
) -> None:
    """Delete logs of old runs, products superseded long ago and orphans; materializations and the index stay."""
    import datetime as dt

    from roman_assets.orchestration.processing import dagster_instance
    from roman_assets.orchestration.retention import Policy, prune_logs
    from roman_assets.products.retention import collect

    policy = Policy(logs, failed_logs, None if superseded < 0 else superseded, orphans)
    place = workspace()
    verb = "deleted" if apply else "would be deleted"
    with dagster_instance(place) as instance:
        pruned = prune_logs(instance, policy, dt.datetime.now(dt.UTC), dry_run=not apply)
    console.print(f"logs of {pruned.runs} runs ({pruned.events} events) {verb}")
    gone = collect(
        place.products,
        dry_run=not apply,
        older_than_hours=policy.orphans_hours,
        superseded_after_days=policy.superseded_days,
    )
    console.print(
        f"{len(gone.superseded)} superseded products and {len(gone.orphans)} orphans {verb}: {size_text(gone.bytes)}"
    )
    if gone.adoptable:
        console.print(
            f"[yellow]{len(gone.adoptable)} products are in the store and not in the index[/yellow], whole, and are left: "
            "`roman reconcile` adopts them"
        )
    if not apply:
        console.print("nothing was changed: --apply deletes")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (exporter, retention):
        app.command(rich_help_panel=OPERATORS)(command)
