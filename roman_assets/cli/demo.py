"""The demo: from simulated Level 2 files to an event catalogue, and what the truth says of it."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from rich.table import Table

from roman_assets.cli.common import console, progress_bar, report, set_home, size_text, untrusted
from roman_assets.errors import InputError
from roman_assets.platform.workspace import Workspace

MARKER = ".roman_demo"
SEED = 20270301


def run_demo(out: Path, *, keep: bool) -> None:
    """Run everything in `out`; what is there is removed first, if an earlier demo made it, unless `keep`."""
    begun = time.monotonic()
    target = out.resolve()
    if target.exists() and not keep:
        if any(target.iterdir()) and not (target / MARKER).exists():
            raise InputError(
                "the folder holds other things", file=target, field="--out", remedy="choose another folder"
            )
        shutil.rmtree(target)
    target.mkdir(parents=True, exist_ok=True)
    (target / MARKER).touch()
    set_home(target)
    os.environ.pop("ROMAN_CALENDAR", None)
    os.environ["DAGSTER_HOME"] = str(target / "dagster")
    _simulate(target)
    place = _ingest(target)
    outcome = _process(place)
    report(outcome)
    _export(place, target)
    _table(place, target, time.monotonic() - begun)


def _simulate(target: Path) -> None:
    from roman_assets.simulate.config import MiniSurvey
    from roman_assets.simulate.survey import simulate_survey

    console.rule("1  a small bulge survey and a grism field: Level 2 files with the truth beside them")
    if (target / "survey" / "truth").exists():
        console.print("kept from an earlier demo")
        return
    with progress_bar("simulating") as advance:
        made = simulate_survey(
            MiniSurvey(seed=SEED, detectors=("WFI01", "WFI02"), days=3),
            target / "survey",
            progress=lambda done, total: advance(done, total, ""),
        )
    from roman_assets.simulate.dispersed import DispersedField, simulate_dispersed

    dispersed = simulate_dispersed(DispersedField(), target / "grism")
    (target / "sources").mkdir(exist_ok=True)
    shutil.copy(target / "grism" / "sources" / "catalogue.parquet", target / "sources")
    console.print(
        f"{len(made.exposures)} exposures of {len(made.config.detectors)} detectors of the bulge, "
        f"{len(dispersed)} grism exposures of a field of galaxies, in {untrusted(target)}"
    )


def _ingest(target: Path) -> Workspace:
    from roman_assets.exposures.ingest import ingest
    from roman_assets.exposures.level2.reader import read_header
    from roman_assets.survey.calendar import calendar_for_files
    from roman_assets.survey.calendar_file import write_calendar

    console.rule("2  ingest: every file is checked before anything trusts it")
    place = Workspace(target)
    files = [f for part in ("survey", "grism") for f in sorted((target / part / "exposures").glob("*_cal.asdf"))]
    if not (target / "calendar.toml").exists():
        write_calendar(calendar_for_files([read_header(f) for f in files], "demo"), target / "calendar.toml")
    with progress_bar("ingesting") as advance:
        found = ingest(
            files,
            place.registry,
            place.quarantine,
            place.calendar,
            progress=lambda name, done, total: advance(done, total, name),
        )
    console.print(
        f"{len(found.registered)} registered, {len(found.duplicates)} duplicates, {len(found.quarantined)} quarantined"
    )
    return place


def _process(place: Workspace) -> object:
    from roman_assets.orchestration.processing import plan, run_steps

    console.rule("3  process: partitioned Dagster assets, from exposures to events and redshifts")
    with progress_bar("processing") as advance:
        return run_steps(place, plan(place), progress=advance)


def _export(place: Workspace, target: Path) -> None:
    from roman_assets.systems.msos.export import export_catalogues

    export_catalogues(place, target / "hats", replace=True)


def _table(place: Workspace, target: Path, seconds: float) -> None:
    from roman_assets.simulate.judge import judge, judge_redshifts

    console.rule("4  what was made, judged against the truth")
    table = Table(show_header=True)
    for heading in ("product", "files", "rows", "size"):
        table.add_column(heading, justify="left" if heading == "product" else "right")
    for kind in (
        "reference_catalog",
        "psf_photometry_part",
        "daily_light_curves_part",
        "alerts",
        "season_light_curves",
        "difference_sources",
        "season_objects",
        "season_events",
        "detection_efficiency",
        "survey_objects",
        "survey_events",
        "contamination_models",
        "spectra_2d",
        "spectra_1d_part",
        "combined_spectra",
        "redshifts",
        "emission_lines",
    ):
        records = place.products.current(kind)
        counted = [r.rows for r in records if r.rows is not None]
        rows = f"{sum(counted):,}" if counted or not records else "-"  # images have none
        table.add_row(kind, str(len(records)), rows, size_text(sum(r.size for r in records)))
    console.print(table)
    verdict = judge(place.products, target / "survey" / "truth")
    truth = Table(show_header=True)
    for heading in ("against the truth", "value", "required"):
        truth.add_column(heading, justify="left" if heading != "value" else "right")
    truth.add_row("true stars brighter than 21 found", f"{100 * verdict.completeness_21:.1f} %", "80 %")
    truth.add_row("flux bias, 18 to 21 mag", f"{100 * verdict.bias:+.2f} %", "within 0.5 %")
    truth.add_row("epoch scatter over noise, 18 to 21 mag", f"{verdict.scatter_ratio:.2f}", "below 1.25")
    truth.add_row("detectable events found", f"{verdict.found_events} of {verdict.detectable_events}", "all")
    truth.add_row("microlensing that is none", str(verdict.false_events), "0")
    right, galaxies, wrong = judge_redshifts(place.products, target / "grism" / "truth")
    truth.add_row("galaxies with the right redshift", f"{right} of {galaxies}", "most")
    truth.add_row("wrong redshifts without a warning", str(wrong), "0")
    console.print(truth)
    shown = os.path.relpath(target)
    console.print(f"done in {seconds:.0f} s. Look next:")
    console.print("  make ui                          the Dagster UI at http://127.0.0.1:3000")
    console.print(f"  .venv/bin/roman --home {untrusted(shown)} events     the event catalogue, with reasons")
    console.print(f"  .venv/bin/roman --home {untrusted(shown)} products   what the index holds")
    console.print("  README.md                        your own files, and how products are opened", markup=False)
