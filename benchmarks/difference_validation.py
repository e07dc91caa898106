"""Difference photometry against truth: lenses of sources that no catalogue has, simulated and in the bulge scene.

The simulated fields go through the assets. A faint event counts as one for difference photometry where the blind
catalogue has no entry within half a pixel of it; its dchi2 is that of the true light curve over a constant, without
its most significant exposure, with the errors of forced photometry at the true place. In the bulge scene the entries
of the event stars are taken out of the catalogue. Takes 25 minutes on one core; ROMAN_DIFFERENCE_FIELDS sets another
number of fields of each kind.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.matching import robust_scatter
from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.level2.frames import Frame, prepare
from roman_assets.exposures.level2.reader import read_header, read_image
from roman_assets.orchestration.processing import plan, run_steps
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.survey.calendar_file import write_calendar
from roman_assets.systems.msos.catalogue.self_calibration import calibrated_catalogue
from roman_assets.systems.msos.difference.grid import ReferenceGrid, SeasonCube, fill, saturating, time_bins
from roman_assets.systems.msos.difference.photometry import Cutouts, Series, Stamps
from roman_assets.systems.msos.difference.residual import ConstantSky, Registration, residual_image
from roman_assets.systems.msos.difference.search import DifferenceConfig
from roman_assets.systems.msos.difference.sources import Verdicts, find_candidates, judge
from roman_assets.systems.msos.events.classify import MICROLENSING
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS
from roman_assets.systems.msos.models.point_lens import magnification
from roman_assets.systems.msos.photometry.calibration import ab_zero_point, ensemble_zero_point
from roman_assets.systems.msos.photometry.exposure_fit import fit_exposure
from roman_assets.systems.msos.psf.effective_psf import model_psf
from roman_assets.systems.msos.psf.grid import DetectorPsf
from roman_assets.systems.msos.stages.difference_inputs import Pointing

Row = dict[str, Any]
F64 = NDArray[np.float64]
#: A source found within this of an event is it; an entry of the catalogue within it is the event's star [px]. A lens
#: event of an entry within the third is the event, where its t0 is within an Einstein time of the truth: the joint fit
#: gives a star's light to its neighbour in the catalogue.
SAME_PX, OWN_ENTRY_PX, BLENDED_PX = 0.5, 0.5, 1.0
PIXEL_DEG = 0.11 / 3600
#: Ranges of that dchi2; from the last but two on nearly all must be found.
STEPS = (36.0, 60.0, 100.0, 200.0, 400.0, 1000.0, np.inf)
SURE_DCHI2, SURE_SHARE = 200.0, 0.9
FIELDS = int(os.environ.get("ROMAN_DIFFERENCE_FIELDS", "3"))
EVENTS = MiniSurvey(
    seed=41, detectors=("WFI01",), days=3, visits_per_day=48, size_px=200, n_events=2, n_variables=10, faint_events=50
)
CONSTANT = replace(EVENTS, seed=61, visits_per_day=24, size_px=256, n_events=0, n_variables=20, faint_events=0)


def rows(data_folder: Path) -> list[Row]:
    """name, value, required, data_set, passed."""
    lensed = [judge_field(replace(EVENTS, seed=EVENTS.seed + k)) for k in range(FIELDS)]
    still = [judge_field(replace(CONSTANT, seed=CONSTANT.seed + k)) for k in range(FIELDS)]
    data_set = (
        f"simulated, {FIELDS} fields of {EVENTS.size_px} px, {EVENTS.days} d of {EVENTS.visits_per_day} exposures"
    )
    result = [*_efficiency(lensed, data_set), *_photometry(lensed, data_set), *_times(lensed, data_set)]
    result += [*_false(lensed, still), *_together(lensed, data_set)]
    scene = Path(data_folder) / "bulge_scene" / "wfi01"
    if not scene.is_dir():
        return [*result, _row("bulge scene", float("nan"), "the scene", str(scene), False)]
    return [*result, *bulge_scene_rows(scene)]


# --- simulated fields ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Field:
    """What a field came to.

    events: one row per faint event without an entry of its own: dchi2, found, distance to the nearest bright star [px],
    and of forced photometry at the true place the amplitude over truth with its error, by difference photometry and by
    the joint fit with one more star, with the share that the neighbours take where the star is not in the catalogue.
    sources: those that an event explains, with amplitude, error and scatter of pulls. false: sources that neither event
    nor variable explains; lenses: microlensing events of difference sources, with the error of t0 over its own.
    """

    events: pl.DataFrame
    sources: pl.DataFrame
    lenses: pl.DataFrame
    false: int
    false_lenses: int
    megapixels: float
    own_entry: int


def judge_field(config: MiniSurvey) -> Field:
    """Simulate a field, process it through the assets, and compare with its truth."""
    with tempfile.TemporaryDirectory(prefix="roman_validation_") as folder:
        survey = simulate_survey(config, Path(folder) / "survey", workers=1)
        workspace = _processed(list(survey.exposures), Path(folder) / "home")
        return _judge(workspace, config, survey.truth("events"), survey.truth("variables"))


def _processed(files: Sequence[Path], home: Path) -> Workspace:
    home.mkdir()
    write_calendar(calendar_for_files([read_header(p) for p in files], "validation"), home / "calendar.toml")
    workspace = Workspace(home)
    ingest(list(files), workspace.registry, workspace.quarantine, workspace.calendar, full=False)
    steps = [s for s in plan(workspace) if s.job != "measure_efficiency"]
    outcome = run_steps(workspace, steps, survey=False)
    if outcome.failed:
        raise RuntimeError(f"processing failed: {outcome.failed}")
    return workspace


def _judge(workspace: Workspace, config: MiniSurvey, events: pl.DataFrame, variables: pl.DataFrame) -> Field:
    products = workspace.products
    (curves_record,) = products.current("season_light_curves")
    (record,) = products.current("difference_sources")
    (light,) = products.current("difference_light_curves")
    (found_events,) = products.current("season_events")
    sources, curves = products.read_table(record), products.read_table(light)
    pointing = Pointing.of(workspace, curves_record)
    mjd = pointing.epochs["mjd"].to_numpy()
    stars = pointing.stars
    entry, _ = _nearest(events, stars)
    faint = events["source_id"].to_numpy() >= int(events["source_id"].max() or 0) - config.faint_events + 1
    chosen = events.filter(pl.Series(faint & (entry > OWN_ENTRY_PX))) if events.height else events
    zero_point = float(curves_record.attributes["zero_point"])
    forced = _forced(pointing, chosen, mjd, zero_point)
    season_events = products.read_table(found_events)
    table = _events_table(chosen, sources, stars, forced, season_events)
    distance, index = _nearest(sources, events)
    real = distance < SAME_PX
    measured = [
        _amplitude(_series(curves, s["object_id"]), _truth(events.row(int(e), named=True), mjd, zero_point))
        for s, e, r in zip(sources.iter_rows(named=True), index, real, strict=True)
        if r
    ]
    varying, _ = _nearest(sources, variables)
    lenses, false_lenses = _lenses(season_events, events)
    ny, nx = pointing.catalogue.attributes["shape"]
    return Field(
        table,
        pl.DataFrame(measured, schema=dict.fromkeys(("amplitude", "error", "pull"), pl.Float64), orient="row"),
        lenses,
        int((~real & (varying > 1.0)).sum()),
        false_lenses,
        ny * nx / 1e6,
        int((faint & (entry <= OWN_ENTRY_PX)).sum()),
    )


def _nearest(places: pl.DataFrame, others: pl.DataFrame) -> tuple[F64, NDArray[np.int64]]:
    """Distance [px] and row of the nearest of the others on the sky, (n,); infinite where there is none."""
    if not others.height or not places.height:
        return np.full(places.height, np.inf), np.zeros(places.height, dtype=np.int64)
    dec0 = float(others["dec"][0])

    def plane(table: pl.DataFrame) -> F64:
        return np.column_stack([table["ra"].to_numpy() * np.cos(np.deg2rad(dec0)), table["dec"].to_numpy()]) / PIXEL_DEG

    distance, index = cKDTree(plane(others)).query(plane(places))
    return np.asarray(distance), np.asarray(index)


def _truth(event: dict[str, Any], mjd: F64, zero_point: float) -> F64:
    """What the lens adds to the source's flux, (epochs,) [DN/s]."""
    flux = 10 ** (-0.4 * (event["mag_f146"] - zero_point))
    return np.asarray(flux * (magnification(mjd, event["t0_mjd"], event["u0"], event["te_days"]) - 1))


def _series(curves: pl.DataFrame, object_id: int) -> Series:
    row = curves.filter(pl.col("object_id") == object_id).row(0, named=True)
    flux, error, flag = (np.array(row[name]) for name in ("flux", "flux_err", "flag"))
    return Series(flux.astype(float), error.astype(float), np.ones(len(flux)), flag.astype(np.uint8))


def _amplitude(series: Series, truth: F64) -> tuple[float, float, float]:
    """Measured over true flux of an event, the baseline being free; its error; robust width of the points' pulls."""
    good = series.good
    flux, error, shape = series.flux[good], series.error[good], truth[good]
    design = np.column_stack([shape, np.ones(len(shape))]) / error[:, None]
    covariance = np.linalg.pinv(design.T @ design)
    solution = covariance @ (design.T @ (flux / error))
    pull = (flux / error) - design @ solution
    return float(solution[0]), float(np.sqrt(covariance[0, 0])), float(robust_scatter(pull))


def _forced(pointing: Pointing, events: pl.DataFrame, mjd: F64, zero_point: float) -> list[dict[str, float]]:
    """Forced photometry at true places, of residuals and by the joint fit with and without the events' stars."""
    if not events.height:
        return []
    sky = pointing.sky
    ra, dec = (events[name].to_numpy() for name in ("ra", "dec"))
    stamps = Stamps.empty(len(ra), len(mjd), None)
    joint = np.full((2, len(ra), len(mjd)), np.nan)
    taken = np.full((len(ra), len(mjd)), np.nan)
    near = cKDTree(np.column_stack([sky.x, sky.y])).query_ball_point(
        np.column_stack(_array_place(pointing, ra, dec)), 1.5
    )
    more = np.concatenate([sky.ra, ra]), np.concatenate([sky.dec, dec]), np.concatenate([sky.flux, np.zeros(len(ra))])
    for k in range(len(mjd)):
        frame, registration = pointing.load(k)
        stamps.cut(k, frame, residual_image(frame, sky, registration), registration, sky, ra, dec)
        fit = fit_exposure(frame, *more, sky.psf, sky.phase_map)
        own = slice(len(sky.ra), None)
        good = (fit.flag[own] & UNUSED_FLAGS) == 0
        joint[:, :, k] = (
            np.where(good, fit.flux[own], np.nan) / registration.scale,
            fit.flux_err[own] / registration.scale,
        )
        plain = fit_exposure(frame, sky.ra, sky.dec, sky.flux, sky.psf, sky.phase_map)
        excess = plain.flux / registration.scale - sky.flux
        taken[:, k] = [np.nansum(excess[rows]) for rows in near]
    result = []
    for k, event in enumerate(events.iter_rows(named=True)):
        truth = _truth(event, mjd, zero_point)
        series, *_ = Cutouts(stamps, k, sky.psf.first.spline).measure((0.0, 0.0), [])
        good = series.good
        weight = np.where(good, series.error, np.inf) ** -2.0
        weight[np.argmax(weight * truth**2)] = 0.0
        left = truth - (weight * truth).sum() / max(weight.sum(), 1e-30)
        flags = np.where(np.isfinite(joint[0, k]), 0, 1).astype(np.uint8)
        enough = (flags == 0).sum() > 3
        fitted = Series(joint[0, k], joint[1, k], series.chi2, flags)
        by_fit = _amplitude(fitted, truth) if enough else (np.nan, np.nan, np.nan)
        share = _amplitude(Series(taken[k], np.where(good, series.error, 1.0), series.chi2, series.flag), truth)
        amplitude, error, _ = _amplitude(series, truth)
        result.append(
            {
                "dchi2": float((weight * left**2).sum()),
                "amplitude": amplitude,
                "error": error,
                "fit_amplitude": by_fit[0],
                "fit_error": by_fit[1],
                "neighbours": share[0],
            }
        )
    return result


def _array_place(pointing: Pointing, ra: F64, dec: F64) -> tuple[F64, F64]:
    """Catalogue pixels of sky positions, from the catalogue's own stars: linear over a small field."""
    sky = pointing.sky
    terms = np.column_stack([np.ones(len(sky.ra)), sky.ra - sky.ra.mean(), sky.dec - sky.dec.mean()])
    solution = np.linalg.lstsq(terms, np.column_stack([sky.x, sky.y]), rcond=None)[0]
    place = np.column_stack([np.ones(len(ra)), ra - sky.ra.mean(), dec - sky.dec.mean()]) @ solution
    return place[:, 0], place[:, 1]


def _events_table(
    events: pl.DataFrame,
    sources: pl.DataFrame,
    stars: pl.DataFrame,
    forced: list[dict[str, float]],
    lenses: pl.DataFrame,
) -> pl.DataFrame:
    if not events.height:
        return pl.DataFrame()
    distance, _ = _nearest(events, sources)
    bright, _ = _nearest(events, stars.filter(pl.col("flux") > 100.0))
    blended = pl.Series([_in_a_blend(event, lenses) for event in events.iter_rows(named=True)])
    return pl.concat([events, pl.DataFrame(forced)], how="horizontal").with_columns(
        source=pl.Series(distance < SAME_PX), found=pl.Series(distance < SAME_PX) | blended, bright=pl.Series(bright)
    )


def _in_a_blend(event: dict[str, Any], lenses: pl.DataFrame) -> bool:
    """Whether the event catalogue has the event with the star beside it."""
    mine = lenses.filter(
        (pl.col("origin") == "catalogue")
        & pl.col("event_class").is_in(MICROLENSING)
        & ((pl.col("t0") - event["t0_mjd"]).abs() < event["te_days"])
    )
    distance, _ = _nearest(pl.DataFrame({"ra": [event["ra"]], "dec": [event["dec"]]}), mine)
    return bool(distance[0] < BLENDED_PX)


def _lenses(found: pl.DataFrame, events: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """t0 against truth of the microlensing events of difference sources, and how many of them are no event."""
    mine = found.filter(
        (pl.col("origin") == "difference") & pl.col("event_class").is_in(MICROLENSING) & (pl.col("degeneracy") == 0)
    )
    distance, index = _nearest(mine, events)
    real = distance < 2 * SAME_PX
    offset = [
        (row["t0"] - events["t0_mjd"][int(e)], row["t0_err"])
        for row, e, r in zip(mine.iter_rows(named=True), index, real, strict=True)
        if r and row["t0_err"]
    ]
    return pl.DataFrame(offset, schema={"offset": pl.Float64, "error": pl.Float64}, orient="row"), int((~real).sum())


# --- rows ----------------------------------------------------------------------------------------------


def _efficiency(fields: Sequence[Field], data_set: str) -> list[Row]:
    table = pl.concat([f.events for f in fields])
    own = sum(f.own_entry for f in fields)
    result = [_row("faint events with an entry of their own in the catalogue", own, "counted", data_set, True)]
    for low, high in itertools.pairwise(STEPS):
        some = table.filter(pl.col("dchi2").is_between(low, high))
        share = float(some["found"].mean() or 0.0) if some.height else float("nan")  # type: ignore[arg-type]
        name = f"uncatalogued events found, dchi2 {low:g} to {high:g} ({some.height})"
        result.append(_row(name, share, "counted", data_set, True))
    sure = table.filter(pl.col("dchi2") > SURE_DCHI2)
    alone = float(sure["source"].mean() or 0.0)  # type: ignore[arg-type]
    result.append(_row(f"the same above {SURE_DCHI2:g}, as sources of their own", alone, "counted", data_set, True))
    share = float(sure["found"].mean() or 0.0)  # type: ignore[arg-type]
    passed = share >= SURE_SHARE
    name = f"uncatalogued events found, dchi2 above {SURE_DCHI2:g} ({sure.height})"
    return [*result, _row(name, share, f">= {SURE_SHARE}", data_set, passed)]


def _photometry(fields: Sequence[Field], data_set: str) -> list[Row]:
    table = pl.concat([f.sources for f in fields])
    amplitude, error, pull = (table[name].to_numpy() for name in ("amplitude", "error", "pull"))
    weight = np.hypot(error, 0.01) ** -2.0
    bias = float((weight * (amplitude - 1)).sum() / weight.sum())
    width = float(robust_scatter((amplitude - 1) / np.hypot(error, 0.01)))
    points = float(np.median(pull))
    return [
        _row(f"flux bias of found sources ({len(table)})", bias, "within 0.02", data_set, abs(bias) <= 0.02),
        _row(
            "width of (flux - truth) / error, by source, 1 % in quadrature",
            width,
            "0.8 to 1.2",
            data_set,
            0.8 <= width <= 1.2,
        ),
        _row("width of (flux - truth) / error, by point", points, "0.9 to 1.2", data_set, 0.9 <= points <= 1.2),
    ]


def _times(fields: Sequence[Field], data_set: str) -> list[Row]:
    table = pl.concat([f.lenses for f in fields])
    pull = np.abs(table["offset"].to_numpy() / table["error"].to_numpy())
    share = float((pull < 3).mean()) if len(pull) else 0.0
    return [
        _row(f"t0 of their events within 3 errors ({len(pull)})", share, ">= 0.9", data_set, share >= 0.9),
        _row("width of (t0 - truth) / error", float(np.median(pull) * 1.4826), "counted", data_set, True),
        _row(
            "microlensing of difference sources that is none",
            sum(f.false_lenses for f in fields),
            "0",
            data_set,
            sum(f.false_lenses for f in fields) == 0,
        ),
    ]


def _false(lensed: Sequence[Field], still: Sequence[Field]) -> list[Row]:
    """Sources that nothing explains; a megapixel is a sixteenth of a detector."""
    result = []
    for name, fields in (("fields with events", lensed), ("fields without events", still)):
        area, count = sum(f.megapixels for f in fields), sum(f.false for f in fields)
        passed = count <= 1 + 4 * area
        text = f"sources that nothing explains, {name} ({area:.2f} megapixels)"
        result.append(_row(text, count, f"<= {1 + 4 * area:.1f}", "simulated", passed))
    return result


def _together(fields: Sequence[Field], data_set: str) -> list[Row]:
    """How the photometry was chosen: constant neighbours, or the joint fit with one more star, beside bright stars."""
    table = pl.concat([f.events for f in fields]).filter((pl.col("bright") < 2.5) & (pl.col("dchi2") > 100))
    residual, fit = table["error"].to_numpy(), table["fit_error"].to_numpy()
    name = f"sources within 2.5 px of a star of 100 DN/s ({table.height})"
    good = np.isfinite(fit) & (fit > 0)
    values = {
        "forced on residuals: median flux over truth": float(np.median(table["amplitude"].to_numpy())),
        "joint fit with one more star: median flux over truth": float(np.nanmedian(table["fit_amplitude"].to_numpy())),
        "joint fit with one more star: error over that on residuals": float(np.median(fit[good] / residual[good])),
        "joint fit without it: share that stars within 1.5 px take": float(np.median(table["neighbours"].to_numpy())),
    }
    return [_row(f"{name}, {what}", value, "counted", data_set, True) for what, value in values.items()]


# --- the bulge scene -----------------------------------------------------------------------------------


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
            _amplitude(curve, _truth(events.row(int(i), named=True), mjd, zero_point))
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
        _row(
            f"events found again (of {len(detectable)} with dchi2 above 300)", share, ">= 0.8", data_set, share >= 0.8
        ),
        _row("flux bias", bias, "within 0.02", data_set, abs(bias) <= 0.02),
        _row("width of (flux - truth) / error, by point", width, "0.7 to 1.4", data_set, 0.7 <= width <= 1.4),
        _row("largest error of a position [px]", place, "<= 0.1", data_set, place <= 0.1),
        _row("sources that nothing explains", false, "0", data_set, false == 0),
    ]


def _signal(event: dict[str, Any], mjd: F64, zero_point: float, verdicts: Verdicts) -> float:
    """dchi2 of an event over a constant, with the typical error of the curves found and its own photons."""
    errors = [float(np.median(c.error[c.good])) for c in verdicts.curves] or [1.0]
    truth = _truth(event, mjd, zero_point)
    return float(((truth - truth.mean()) ** 2).sum() / np.median(errors) ** 2)


def _row(name: str, value: float, required: str, data_set: str, passed: Any) -> Row:
    number = round(float(value), 4)
    return {"name": name, "value": number, "required": required, "data_set": data_set, "passed": bool(passed)}


if __name__ == "__main__":
    from benchmarks.collect import data_folder

    for row in rows(data_folder()):
        print(row)
