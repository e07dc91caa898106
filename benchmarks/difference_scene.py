"""Difference photometry in the bulge scene, whose event stars are taken out of the catalogue: for difference_validation.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.spatial import cKDTree

from benchmarks.difference_fields import F64, OWN_ENTRY_PX, SAME_PX, Row, fitted_amplitude, true_flux
from roman_assets.exposures.level2.frames import Frame, prepare
from roman_assets.exposures.level2.reader import read_image
from roman_assets.systems.msos.catalogue.self_calibration import calibrated_catalogue
from roman_assets.systems.msos.difference.grid import ReferenceGrid, SeasonCube, fill, saturating, time_bins
from roman_assets.systems.msos.difference.photometry import Stamps
from roman_assets.systems.msos.difference.residual import ConstantSky, Registration, residual_image
from roman_assets.systems.msos.difference.search import DifferenceConfig
from roman_assets.systems.msos.difference.sources import Verdicts, find_candidates, judge
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS
from roman_assets.systems.msos.photometry.calibration import ab_zero_point, ensemble_zero_point
from roman_assets.systems.msos.photometry.exposure_fit import fit_exposure
from roman_assets.systems.msos.psf.effective_psf import model_psf
from roman_assets.systems.msos.psf.grid import DetectorPsf


def bulge_scene_rows(folder: Path) -> list[Row]:
    """The scene's events, their entries taken out of the blind catalogue."""
    events = pl.read_parquet(folder / "events.parquet")
    frames, sky, registrations, zero_point = _measured_scene(folder)
    (x, y), (ex, ey) = (
        frames[0].to_pixels(*(v.to_numpy() if isinstance(v, pl.Series) else v for v in place))
        for place in ((sky.ra, sky.dec), (events["ra"], events["dec"]))
    )
    distance, _ = cKDTree(np.column_stack([ex, ey])).query(np.column_stack([x, y]))
    keep = distance > OWN_ENTRY_PX
    sky = ConstantSky(sky.ra[keep], sky.dec[keep], sky.x[keep], sky.y[keep], sky.flux[keep], sky.psf, sky.phase_map)
    verdicts = _search(frames, sky, registrations)
    return _scene_rows(events, verdicts, frames, registrations, zero_point, folder)


def _measured_scene(folder: Path) -> tuple[list[Frame], ConstantSky, list[Registration], float]:
    images = [read_image(path) for path in sorted(folder.glob("*.asdf"))]
    frames = sorted((prepare(image) for image in images), key=lambda f: f.mjd)
    header = images[0].header
    zero_point, _ = ab_zero_point(header.conversion_megajanskys, header.pixel_area_sr)
    found = calibrated_catalogue(frames[:12], model_psf(header.detector, header.optical_element))
    registrations = []
    for frame in frames:
        fit = fit_exposure(frame, found.ra, found.dec, found.stars.flux, found.psf, found.phase_map)
        good = (fit.flag & UNUSED_FLAGS) == 0
        scale = ensemble_zero_point(fit.flux, fit.flux_err, found.stars.flux, found.flux_err, good).scale
        registrations.append(Registration(fit.shift, scale))
    stars = found.stars
    psf = DetectorPsf.of(found.psf)
    sky = ConstantSky(found.ra, found.dec, stars.x, stars.y, stars.flux, psf, found.phase_map)
    return frames, sky, registrations, zero_point


def _search(frames: Sequence[Frame], sky: ConstantSky, registrations: Sequence[Registration]) -> Verdicts:
    config = DifferenceConfig()
    mjd = np.array([f.mjd for f in frames])
    bins = time_bins(mjd, config.bin_days, config.least_in_bin)
    grid = ReferenceGrid.of(frames[0], registrations[0])
    cube = SeasonCube.empty(grid, bins, len(sky.ra), None)
    fill(cube, sky, lambda k: (frames[k], registrations[k]), lambda _k, _error: None)
    x, y = frames[0].to_pixels(sky.ra, sky.dec)
    x, y = x + registrations[0].shift[0], y + registrations[0].shift[1]
    found = find_candidates(cube, x, y, saturating(cube), sky.psf, config)
    ra, dec = grid.sky(found.peaks.x, found.peaks.y)
    stamps = Stamps.empty(len(ra), len(frames), None)
    for k, frame in enumerate(frames):
        residual = residual_image(frame, sky, registrations[k], background=cube.backgrounds[k])
        stamps.cut(k, frame, residual, registrations[k], sky, ra, dec)
    runs = [(bins[s][0], bins[s + n - 1][1]) for s, n in zip(found.peaks.start, found.peaks.length, strict=True)]
    return judge(found, stamps, runs, x, y, sky.psf, 0.0)


def _scene_rows(
    events: pl.DataFrame,
    verdicts: Verdicts,
    frames: Sequence[Frame],
    registrations: Sequence[Registration],
    zero_point: float,
    folder: Path,
) -> list[Row]:
    data_set = "bulge_scene wfi01, event stars taken out of the catalogue"
    mjd = np.array([f.mjd for f in frames])
    shift = registrations[0].shift
    variables = pl.read_parquet(folder / "variables.parquet")

    def places(table: pl.DataFrame) -> F64:
        x, y = frames[0].to_pixels(table["ra"].to_numpy(), table["dec"].to_numpy())
        return np.column_stack([x + shift[0], y + shift[1]])

    found = np.array([(s.x, s.y) for s in verdicts.sources]).reshape(-1, 2)
    distance, index = cKDTree(places(events)).query(found)
    known, _ = cKDTree(places(variables)).query(found)
    detectable = [k for k, e in enumerate(events.iter_rows(named=True)) if _signal(e, mjd, zero_point, verdicts) > 300]
    recovered = {int(i) for i, d in zip(index, distance, strict=True) if d < SAME_PX}
    measured = np.array(
        [
            fitted_amplitude(curve, true_flux(events.row(int(i), named=True), mjd, zero_point))
            for curve, i, d in zip(verdicts.curves, index, distance, strict=True)
            if d < SAME_PX
        ]
    ).reshape(-1, 3)
    weight = np.hypot(measured[:, 1], 0.01) ** -2.0
    bias = float((weight * (measured[:, 0] - 1)).sum() / max(weight.sum(), 1e-30))
    share = len(recovered & set(detectable)) / max(len(detectable), 1)
    false = int(((distance >= SAME_PX) & (known > 1.0)).sum())
    width = float(np.median(measured[:, 2])) if len(measured) else float("nan")
    place = float(distance[distance < SAME_PX].max(initial=0.0))
    return [
        measured_row(
            f"events found again (of {len(detectable)} with dchi2 above 300)", share, ">= 0.8", data_set, share >= 0.8
        ),
        measured_row("flux bias", bias, "within 0.02", data_set, abs(bias) <= 0.02),
        measured_row("width of (flux - truth) / error, by point", width, "0.7 to 1.4", data_set, 0.7 <= width <= 1.4),
        measured_row("largest error of a position [px]", place, "<= 0.1", data_set, place <= 0.1),
        measured_row("sources that nothing explains", false, "0", data_set, false == 0),
    ]


def _signal(event: dict[str, Any], mjd: F64, zero_point: float, verdicts: Verdicts) -> float:
    """dchi2 of an event over a constant, with the typical error of the curves found and its own photons."""
    errors = [float(np.median(c.error[c.good])) for c in verdicts.curves] or [1.0]
    truth = true_flux(event, mjd, zero_point)
    return float(((truth - truth.mean()) ** 2).sum() / np.median(errors) ** 2)


def measured_row(name: str, value: float, required: str, data_set: str, passed: Any) -> Row:
    number = round(float(value), 4)
    return {"name": name, "value": number, "required": required, "data_set": data_set, "passed": bool(passed)}
