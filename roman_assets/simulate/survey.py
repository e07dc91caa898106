"""Simulating a mini survey: exposures as Level 2 files, the truth beside them, and a delivery manifest."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl

from roman_assets.simulate.config import MiniSurvey, Visit, detector_frame, patch_of, timetable
from roman_assets.simulate.detector import bad_pixels, expose
from roman_assets.simulate.level2 import ExposureFacts, write_level2
from roman_assets.simulate.psf import EpsfSpline, draw_stars, pixel_integrated_psf
from roman_assets.simulate.sky import MJD_UNIX, Patch, make_patch, truth_tables

PSF_OVERSAMPLE = 8
PSF_HALF_WIDTH_PX = 64
MANIFEST = "delivery_manifest.json"

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class SimulatedSurvey:
    """Where a simulated survey lies.

    `stars`, `events`, `variables` and `epochs` are the truth tables (polars); `exposures` the Level 2 files.
    """

    config: MiniSurvey
    folder: Path
    exposures: tuple[Path, ...]
    manifest: Path

    def truth(self, table: str) -> pl.DataFrame:
        """One of the truth tables: stars, events, variables, epochs."""
        return pl.read_parquet(self.folder / "truth" / f"{table}.parquet")


@dataclass(frozen=True)
class _Task:
    config: MiniSurvey
    visit: Visit
    detector: str
    folder: str


@lru_cache(maxsize=2)
def _spline(detector: str, optical_element: str, size_px: int) -> EpsfSpline:
    samples = pixel_integrated_psf(
        detector,
        optical_element,
        oversample=PSF_OVERSAMPLE,
        half_width_px=PSF_HALF_WIDTH_PX,
        position=(size_px / 2, size_px / 2),
    )
    return EpsfSpline.from_samples(samples, PSF_OVERSAMPLE)


@lru_cache(maxsize=4)
def _patch(config: MiniSurvey, index: int) -> Patch:
    return make_patch(config, index)


def mid_mjd(facts: ExposureFacts) -> float:
    """MJD (UTC) at mid-exposure."""
    return facts.mid_time.timestamp() / 86400 + MJD_UNIX


def noiseless_scene(config: MiniSurvey, visit: Visit, detector: str) -> np.ndarray:
    """Stars and sky [DN/s per px, f8 (ny, nx)] of one exposure before any noise."""
    pointing = detector_frame(config, detector, visit.season, visit.dx, visit.dy)
    mjd = mid_mjd(ExposureFacts(config, visit, detector, pointing))
    patch = _patch(config, patch_of(config, detector, visit.season))
    x, y = pointing.to_pixel(*patch.positions(mjd))
    spline = _spline(detector, config.optical_element, config.size_px)
    shape = (config.size_px, config.size_px)
    return draw_stars(shape, x, y, patch.flux(mjd, config.zero_point), spline) + config.sky


def _simulate_exposure(task: _Task) -> dict[str, object]:
    """Makes one exposure and returns its row of the epochs table."""
    config, visit = task.config, task.visit
    index = config.detectors.index(task.detector)
    pointing = detector_frame(config, task.detector, visit.season, visit.dx, visit.dy)
    facts = ExposureFacts(config, visit, task.detector, pointing)
    key = (3, visit.season, visit.number, index)
    rng = np.random.default_rng(np.random.SeedSequence(config.seed, spawn_key=key))
    frame = expose(noiseless_scene(config, visit, task.detector), config, rng, bad_pixels(config, index))
    write_level2(Path(task.folder) / facts.filename, facts, frame)
    return {
        "visit": visit.number,
        "mjd_mid": mid_mjd(facts),
        "start_utc": visit.start.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3],
        "dx_pix": visit.dx,
        "dy_pix": visit.dy,
        "filename": facts.filename,
        "detector": task.detector,
        "season": f"s{visit.season + 1:02d}",
    }


def _run(tasks: list[_Task], workers: int) -> Iterator[dict[str, object]]:
    if workers <= 1:
        yield from map(_simulate_exposure, tasks)
        return
    # Spawned, not forked: polars and Dagster run threads that a forked child would inherit locked.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        futures = [pool.submit(_simulate_exposure, task) for task in tasks]
        try:
            for future in as_completed(futures):
                yield future.result()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def simulate_survey(
    config: MiniSurvey, out_dir: str | Path, *, progress: Progress | None = None, workers: int | None = None
) -> SimulatedSurvey:
    """Simulates a mini survey.

    Writes `<out>/exposures/*.asdf`, `<out>/exposures/delivery_manifest.json` (name, size, sha256 of each
    file) and `<out>/truth/{stars,events,variables,epochs}.parquet` with `config.json`. The files depend on
    the configuration alone, not on `workers` (None: one per core).

    Parameters
    ----------
    progress
        Called with (exposures done, exposures in all).
    """
    out = Path(out_dir)
    exposures, truth = out / "exposures", out / "truth"
    exposures.mkdir(parents=True, exist_ok=True)
    truth.mkdir(parents=True, exist_ok=True)
    patches = [_patch(config, index) for index in range(len(config.detectors))]
    visits = timetable(config)
    # Detector by detector: a worker keeps the PSF of the detector it is at.
    tasks = [_Task(config, visit, detector, str(exposures)) for detector in config.detectors for visit in visits]
    count = min(workers if workers is not None else os.cpu_count() or 1, len(tasks))
    rows = []
    for row in _run(tasks, count):
        rows.append(row)
        if progress is not None:
            progress(len(rows), len(tasks))
    epochs = pl.DataFrame(rows).sort("detector", "mjd_mid")
    for name, table in {**truth_tables(config, patches), "epochs": epochs}.items():
        table.write_parquet(truth / f"{name}.parquet")
    (truth / "config.json").write_text(json.dumps(config.as_dict(), indent=1))
    files = tuple(exposures / str(name) for name in epochs["filename"])
    manifest = write_manifest(exposures, files)
    return SimulatedSurvey(config, out, files, manifest)


def write_manifest(folder: Path, files: tuple[Path, ...]) -> Path:
    """Delivery manifest of files in `folder`: JSON `{"files": [{"name", "size", "sha256"}, ...]}`."""
    entries = [
        {"name": file.name, "size": file.stat().st_size, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in sorted(files)
    ]
    path = folder / MANIFEST
    part = path.with_suffix(".part")
    part.write_text(json.dumps({"files": entries}, indent=1))
    os.replace(part, path)
    return path
