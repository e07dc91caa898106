"""The bright half of the sky: scenes of both conventions of saturation flags through all assets, judged from the truth.

What counts is what the truth says should be there: a star without a light curve, an event without a candidate and an
exposure that nobody measured are misses, whatever arrived.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks import catalogue_validation
from benchmarks.catalogue_validation import judge_catalogue
from benchmarks.pipeline_validation import MATCH_MAS, process
from roman_assets.platform.workspace import Workspace
from roman_assets.survey.sky import MAS_DEG, unit_vectors
from roman_assets.systems.msos.events.classify import MICROLENSING
from roman_assets.systems.msos.models.point_lens import magnification
from roman_assets.systems.msos.stages.season_curves import open_curves

F64 = NDArray[np.float64]
SCENES = ("wfi04", "wfi05", "wfi06")
#: An event of this much signal must be found.
IDEAL_DCHI2 = 300.0
#: Noise of an ideal measurement: variance [(DN/s)^2] = POISSON flux + SKY, of a full ramp of the survey's read pattern
#: over the pixels that a star of Roman's PSF fills.
POISSON, SKY = 0.0095, 0.5
#: Light that reaches the array: stars nearer than this to its edge are not judged [px].
EDGE_PX, SIDE_PX = 5.0, 252.0


@dataclass(frozen=True)
class Judged:
    """What became of one scene.

    exposures: measured, and there are; events: found as microlensing, and ideal ones there are; false: lenses on no true
    event; usable: share of the points of stars of 16.5 to 18; excess: their median scatter over the stated error; lost:
    largest median |flux - truth| of stars of 12 to 16.5 in units of the stated error, 0 if there is none.
    """

    exposures: tuple[int, int]
    events: tuple[int, int]
    false: int
    usable: float
    excess: float
    lost: float


def rows(data_folder: Path) -> list[dict[str, Any]]:
    """Rows of the validation table: name, value, required, data_set, passed."""
    found: list[dict[str, Any]] = []
    for name in SCENES:
        scene = Path(data_folder) / "bulge_bright" / name
        with tempfile.TemporaryDirectory(prefix="roman_validation_") as folder:
            workspace = process(scene, Path(folder))
            found += _rows(judge(workspace, scene), f"bulge_bright {name}")
            found += catalogue_validation.rows(judge_catalogue(workspace, scene), f"bulge_bright {name}")
    return found


def judge(workspace: Workspace, scene: Path) -> Judged:
    """A processed scene against the truth tables beside its exposures."""
    detector = scene.name.upper()
    there = len(list(scene.glob("*.asdf")))
    measured = len(workspace.products.current("psf_photometry_part", None, detector=detector))
    (record,) = workspace.products.current("season_light_curves", None, detector=detector)
    curves = open_curves(workspace, record)
    mjd, flux, error = curves.masked("F146")
    zero_point = float(record.attributes["zero_point"])
    places = cKDTree(unit_vectors(curves.objects["ra"].to_numpy(), curves.objects["dec"].to_numpy()))
    numbers = curves.objects["star"].to_numpy()
    truth = pl.read_parquet(scene / "events.parquet")
    (events,) = workspace.products.current("season_events", None, detector=detector)
    table = workspace.products.read_table(events)
    lenses = set(table.filter(pl.col("event_class").is_in(MICROLENSING))["star"].to_list())
    stars_of_events = _stars_at(places, numbers, truth)
    ideal = np.array([_ideal(mjd, event, zero_point) > IDEAL_DCHI2 for event in truth.iter_rows(named=True)])
    found = np.array([star in lenses for star in stars_of_events])
    changing = truth["source_id"].to_list() + pl.read_parquet(scene / "variables.parquet")["source_id"].to_list()
    within = [pl.col(axis).is_between(EDGE_PX, SIDE_PX - EDGE_PX) for axis in ("x", "y")]
    stars = pl.read_parquet(scene / "stars.parquet").filter(~pl.col("source_id").is_in(changing), *within)
    bright = stars.filter(pl.col("mag_f146").is_between(16.5, 18.0))
    usable, excess = _scatter(places, numbers, bright, flux, error)
    return Judged(
        (measured, there),
        (int((found & ideal).sum()), int(ideal.sum())),
        len(lenses - set(stars_of_events)),
        usable,
        excess,
        _lost(places, numbers, stars.filter(pl.col("mag_f146").is_between(12.0, 16.5)), flux, error, zero_point),
    )


def _stars_at(places: cKDTree, numbers: NDArray[Any], table: pl.DataFrame) -> list[int | None]:
    """The catalogued star at each true place, None without one within half a pixel."""
    distance, nearest = places.query(unit_vectors(table["ra"].to_numpy(), table["dec"].to_numpy()))
    near = np.rad2deg(distance) / MAS_DEG < MATCH_MAS
    return [int(numbers[i]) if ok else None for i, ok in zip(nearest, near, strict=True)]


def _ideal(mjd: F64, event: dict[str, Any], zero_point: float) -> float:
    """dchi2 over a flat line of an event measured at the noise of its own light."""
    flux = 10 ** (-0.4 * (event["mag_f146"] - zero_point))
    flux = flux * magnification(mjd, event["t0_mjd"], event["u0"], event["te_days"])
    variance = POISSON * flux + SKY
    mean = float(np.average(flux, weights=1 / variance))
    return float(((flux - mean) ** 2 / variance).sum())


def _scatter(
    places: cKDTree, numbers: NDArray[Any], stars: pl.DataFrame, flux: NDArray[Any], error: NDArray[Any]
) -> tuple[float, float]:
    """Share of the points of true stars that can be used, and the median of their scatter over their stated errors."""
    usable, excess = 0, []
    for star in _stars_at(places, numbers, stars):
        if star is None:
            continue
        good = np.isfinite(flux[star]) & np.isfinite(error[star])
        usable += int(good.sum())
        if good.sum() >= 4:
            f, e = flux[star][good].astype(float), error[star][good].astype(float)
            scatter = 1.4826 * float(np.median(np.abs(f - np.median(f)))) * np.sqrt(len(f) / (len(f) - 1.0))
            excess.append(scatter / float(np.median(e)))
    return usable / max(stars.height * flux.shape[1], 1), float(np.median(excess)) if excess else float("nan")


def _lost(
    places: cKDTree,
    numbers: NDArray[Any],
    stars: pl.DataFrame,
    flux: NDArray[Any],
    error: NDArray[Any],
    zero_point: float,
) -> float:
    """How far the median star of lost core is from its true flux, in stated errors; infinite where most have none."""
    if not stars.height:
        return 0.0
    pulls = []
    for star, mag in zip(_stars_at(places, numbers, stars), stars["mag_f146"], strict=True):
        good = star is not None and np.isfinite(flux[star])
        if star is None or not np.any(good):
            pulls.append(np.inf)
            continue
        true = 10 ** (-0.4 * (mag - zero_point))
        pulls.append(abs(float(np.median(flux[star][good])) - true) / float(np.median(error[star][good])))
    return float(np.median(pulls))


def _rows(result: Judged, data_set: str) -> list[dict[str, Any]]:
    def row(name: str, value: float, required: str, passed: bool) -> dict[str, Any]:
        return {"name": name, "value": round(value, 4), "required": required, "data_set": data_set, "passed": passed}

    (measured, there), (found, ideal) = result.exposures, result.events
    return [
        row(f"exposures measured (of {there})", measured / there, ">= 1.0", measured == there),
        row(f"events of ideal dchi2 > 300 found (of {ideal})", found / max(ideal, 1), ">= 1.0", found == ideal),
        row("false microlensing", result.false, "0", result.false == 0),
        row("points of stars of 16.5 to 18 mag that can be used", result.usable, ">= 0.9", result.usable >= 0.9),
        row("their scatter over the stated error", result.excess, "0.75 to 1.25", 0.75 <= result.excess <= 1.25),
        row("stars of 12 to 16.5: |flux - truth| of the median [stated errors]", result.lost, "<= 2", result.lost <= 2),
    ]
