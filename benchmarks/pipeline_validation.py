"""The spine on external data: bulge_scene through all Dagster assets, its events against their truth."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from roman_assets.exposures.ingest import ingest
from roman_assets.orchestration.processing import plan, run_steps
from roman_assets.platform.workspace import Workspace
from roman_assets.survey.sky import MAS_DEG, unit_vectors
from roman_assets.systems.msos.events.classify import MICROLENSING
from roman_assets.systems.msos.models.point_lens import magnification
from roman_assets.systems.msos.stages.season_curves import SeasonCurves, open_curves

MATCH_MAS = 55.0  # half a pixel
MIN_DCHI2, MIN_POINTS, HIGH = 300.0, 4, 3.0
DATA_SET = "bulge_scene wfi01"


def rows(data_folder: Path) -> list[dict[str, Any]]:
    """Rows of the validation table: name, value, required, data_set, passed."""
    scene = Path(data_folder) / "bulge_scene"
    with tempfile.TemporaryDirectory(prefix="roman_validation_") as folder:
        workspace = process(scene, Path(folder))
        return judge_events(workspace, scene / "wfi01")


def process(scene: Path, home: Path) -> Workspace:
    """A workspace with the scene ingested and processed; every run must succeed."""
    workspace = Workspace(home)
    report = ingest([scene], workspace.registry, workspace.quarantine, workspace.calendar)
    if report.quarantined or not report.registered:
        raise RuntimeError(f"ingestion of {scene}: {len(report.registered)} registered, {report.quarantined[:2]}")
    outcome = run_steps(workspace, plan(workspace))
    if outcome.failed:
        raise RuntimeError(f"processing failed: {outcome.failed}")
    return workspace


def judge_events(workspace: Workspace, truth_folder: Path) -> list[dict[str, Any]]:
    """Events and variables of one detector against the truth tables beside its exposures."""
    detector = truth_folder.name.upper()
    (curves_record,) = workspace.products.current("season_light_curves", None, detector=detector)
    curves = open_curves(workspace, curves_record)
    (events_record,) = workspace.products.current("season_events", None, detector=detector)
    found = workspace.products.read_table(events_record)
    lenses = found.filter(pl.col("event_class").is_in(MICROLENSING))
    truth = pl.read_parquet(truth_folder / "events.parquet")
    detectable, recovered, worst, missed = 0, 0, 0.0, []
    for event in truth.iter_rows(named=True):
        star = _star_at(curves, event)
        if star is None or not _is_detectable(curves, star, event):
            continue
        detectable += 1
        row = lenses.filter(pl.col("star") == star)
        if row.height:
            recovered += 1
            best = row.row(0, named=True)
            worst = max(worst, abs(best["t0"] - event["t0_mjd"]) / (best["t0_err"] or float("nan")))
        else:
            missed.append(event["source_id"])
    variables = pl.read_parquet(truth_folder / "variables.parquet")
    wrong = [s for s in (_star_at(curves, v) for v in variables.iter_rows(named=True)) if s in set(lenses["star"])]
    true_stars = {_star_at(curves, e) for e in truth.iter_rows(named=True)}
    false = lenses.filter(~pl.col("star").is_in([s for s in true_stars if s is not None]))
    share = recovered / max(detectable, 1)
    return [
        _row(f"detectable events found as microlensing (of {detectable})", share, ">= 1.0", share >= 1.0),
        _row("largest |t0 - truth| of found events [sigma]", worst, "<= 3", worst <= 3 and recovered > 0),
        _row("sinusoidal variables called microlensing", len(wrong), "0", not wrong),
        _row("false microlensing candidates", false.height, "counted", True),
        _row("candidates of all classes", found.height, "counted", True),
    ]


def _row(name: str, value: float, required: str, passed: bool) -> dict[str, Any]:
    return {"name": name, "value": round(float(value), 4), "required": required, "data_set": DATA_SET, "passed": passed}


def _star_at(curves: SeasonCurves, place: dict[str, Any]) -> int | None:
    """Catalogued star at a true position, None if there is none within half a pixel."""
    table = curves.objects
    catalogue = unit_vectors(table["ra"].to_numpy(), table["dec"].to_numpy())
    (point,) = unit_vectors(np.array([place["ra"]]), np.array([place["dec"]]))
    distance = np.rad2deg(2 * np.arcsin(np.linalg.norm(catalogue - point, axis=1) / 2)) / MAS_DEG
    nearest = int(np.argmin(distance))
    return int(table["star"][nearest]) if distance[nearest] < MATCH_MAS else None


def _is_detectable(curves: SeasonCurves, star: int, event: dict[str, Any]) -> bool:
    """Whether the true signal, with the measured errors, exceeds the limits: decided by truth, not by the search."""
    mjd, _, error = curves.masked("F146")
    sigma = error[star].astype(float)
    good = np.isfinite(sigma)
    zero_point = float(curves.record.attributes["zero_point"])
    baseline = 10 ** (-0.4 * (event["mag_f146"] - zero_point))
    flux = baseline * magnification(mjd[good], event["t0_mjd"], event["u0"], event["te_days"])
    weight = sigma[good] ** -2
    flat = float((weight * flux).sum() / weight.sum())
    dchi2 = float((weight * (flux - flat) ** 2).sum())
    high = int(((flux - baseline) / sigma[good] > HIGH).sum())
    return dchi2 > MIN_DCHI2 and high >= MIN_POINTS
