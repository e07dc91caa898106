"""Commands of the production profile: migrate, clean-jobs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from roman_assets.cli.common import OPERATORS, console, workspace
from roman_assets.errors import InputError

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def _say(text: str) -> None:
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def migrate(
    wait: Annotated[
        bool, typer.Option("--wait", help="Change nothing; return when the databases are at this version.")
    ] = False,
    patience: Annotated[float, typer.Option(help="Seconds to wait for a database, or with --wait for all.")] = 300.0,
) -> None:
    """Bring Dagster's database, the registry and the product index to this version; several may run at once."""
    from roman_assets.orchestration import migration

    (migration.wait if wait else migration.migrate)(workspace(), say=_say, patience_s=patience)


def clean_jobs(
    namespace: Annotated[
        str | None, typer.Option(help="Namespace of the runs (default: this pod's own, or $ROMAN_NAMESPACE).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be deleted.")] = False,
    settle: Annotated[float, typer.Option(help="Seconds that a run's Jobs may outlive it.")] = 300.0,
) -> None:
    """Delete Kubernetes Jobs that nothing waits for: of runs that are over or unknown, finished long ago."""
    import kubernetes

    from roman_assets.orchestration.kubernetes_jobs import clean_jobs as clean
    from roman_assets.orchestration.processing import dagster_instance

    if _NAMESPACE_FILE.exists():
        kubernetes.config.load_incluster_config()
    else:
        kubernetes.config.load_kube_config()
    own = _NAMESPACE_FILE.read_text().strip() if _NAMESPACE_FILE.exists() else None
    place = namespace or os.environ.get("ROMAN_NAMESPACE") or own
    if not place:
        raise InputError("no namespace given", field="--namespace", remedy="name the namespace of the runs")
    with dagster_instance(workspace()) as instance:
        done = clean(kubernetes.client.BatchV1Api(), instance, place, say=_say, dry_run=dry_run, settle_s=settle)
    _say(f"{len(done)} Jobs {'would be' if dry_run else 'were'} deleted")


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (migrate, clean_jobs):
        app.command(rich_help_panel=OPERATORS)(command)
