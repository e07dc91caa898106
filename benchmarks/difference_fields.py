"""Simulated fields of difference photometry, processed by the assets and judged: for difference_validation.py."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from benchmarks.matching import robust_scatter
from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.level2.reader import read_header
from roman_assets.orchestration.processing import plan, run_steps
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.survey.calendar_file import write_calendar
from roman_assets.systems.msos.difference.photometry import Cutouts, Series, Stamps
from roman_assets.systems.msos.difference.residual import residual_image
from roman_assets.systems.msos.events.classify import MICROLENSING
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS
from roman_assets.systems.msos.models.point_lens import magnification
from roman_assets.systems.msos.photometry.exposure_fit import fit_exposure
from roman_assets.systems.msos.stages.difference_inputs import Pointing

Row = dict[str, Any]
F64 = NDArray[np.float64]
#: A source found within this of an event is it; an entry of the catalogue within it is the event's star [px]. A lens
#: event of an entry within the third is the event, where its t0 is within an Einstein time of the truth: the joint fit
#: gives a star's light to its neighbour in the catalogue.
SAME_PX, OWN_ENTRY_PX, BLENDED_PX = 0.5, 0.5, 1.0
PIXEL_DEG = 0.11 / 3600


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
        fitted_amplitude(_series(curves, s["object_id"]), true_flux(events.row(int(e), named=True), mjd, zero_point))
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


def true_flux(event: dict[str, Any], mjd: F64, zero_point: float) -> F64:
    """What the lens adds to the source's flux, (epochs,) [DN/s]."""
    flux = 10 ** (-0.4 * (event["mag_f146"] - zero_point))
    return np.asarray(flux * (magnification(mjd, event["t0_mjd"], event["u0"], event["te_days"]) - 1))


def _series(curves: pl.DataFrame, object_id: int) -> Series:
    row = curves.filter(pl.col("object_id") == object_id).row(0, named=True)
    flux, error, flag = (np.array(row[name]) for name in ("flux", "flux_err", "flag"))
    return Series(flux.astype(float), error.astype(float), np.ones(len(flux)), flag.astype(np.uint8))


def fitted_amplitude(series: Series, truth: F64) -> tuple[float, float, float]:
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
        truth = true_flux(event, mjd, zero_point)
        series, *_ = Cutouts(stamps, k, sky.psf.first.spline).measure((0.0, 0.0), [])
        good = series.good
        weight = np.where(good, series.error, np.inf) ** -2.0
        weight[np.argmax(weight * truth**2)] = 0.0
        left = truth - (weight * truth).sum() / max(weight.sum(), 1e-30)
        flags = np.where(np.isfinite(joint[0, k]), 0, 1).astype(np.uint8)
        enough = (flags == 0).sum() > 3
        fitted = Series(joint[0, k], joint[1, k], series.chi2, flags)
        by_fit = fitted_amplitude(fitted, truth) if enough else (np.nan, np.nan, np.nan)
        share = fitted_amplitude(Series(taken[k], np.where(good, series.error, 1.0), series.chi2, series.flag), truth)
        amplitude, error, _ = fitted_amplitude(series, truth)
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
