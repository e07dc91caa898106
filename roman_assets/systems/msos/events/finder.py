"""Microlensing events in blocks of light curves: search, fit, classify."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from roman_assets.bounds import THRESHOLD, check_bounds
from roman_assets.errors import InputError
from roman_assets.systems.msos.events.classify import ANOMALOUS_LENS, MICROLENSING, classify
from roman_assets.systems.msos.events.classify_config import ClassifyConfig
from roman_assets.systems.msos.events.columns import EVENT_MODEL
from roman_assets.systems.msos.events.evidence import high_points, longest_run
from roman_assets.systems.msos.events.models import CLASS_OF, ModelConfig, choose, higher_models, model_columns, twins
from roman_assets.systems.msos.models.parallax import Observer
from roman_assets.systems.msos.models.point_lens import (
    MODEL_VERSION,
    Band,
    FitOptions,
    LightCurve,
    PointLensFit,
    fit_point_lenses,
)
from roman_assets.systems.msos.search.templates import FINDER_VERSION, SearchConfig, search

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class EventConfig:
    """Configuration of the event finder.

    A star gets a model if the templates of the search gain `min_dchi2_search` over a constant, and
    `min_dchi2_without` without the most significant point; it is a candidate if the model (or, where none can
    be fitted, the template) gains `min_dchi2`. Templates on a grid lose up to half of a short event's signal.
    """

    min_dchi2: float = 100.0
    min_dchi2_search: float = 40.0
    min_dchi2_without: float = 20.0
    search: SearchConfig = field(default_factory=SearchConfig)
    fit: FitOptions = field(default_factory=FitOptions)
    classify: ClassifyConfig = field(default_factory=ClassifyConfig)
    models: ModelConfig = field(default_factory=ModelConfig)

    def __post_init__(self) -> None:
        check_bounds(self, min_dchi2=THRESHOLD, min_dchi2_search=THRESHOLD, min_dchi2_without=THRESHOLD)


def find_events(
    mjd: Mapping[str, ArrayLike],
    flux: Mapping[str, ArrayLike],
    flux_err: Mapping[str, ArrayLike],
    config: EventConfig = EventConfig(),
    sky: tuple[ArrayLike, ArrayLike] | None = None,
) -> pl.DataFrame:
    """Candidates of a block of stars, one row per candidate.

    Parameters
    ----------
    mjd
        Per optical element, (epochs,) times [d]; elements may have different epochs.
    flux, flux_err
        Per optical element, (stars, epochs), the same stars in the same order; points that are not finite or
        whose error is not positive do not count. The element with most epochs is searched, all are fitted.
    sky
        ra, dec (stars,) ICRS [deg]; without them no parallax is fitted.

    Returns
    -------
    pl.DataFrame
        row (of the star in the block), reason, and the columns of a model in the table season_events.

    Raises
    ------
    InputError
        The elements or the shapes disagree.
    """
    blocks = _blocks(mjd, flux, flux_err)
    if not blocks:
        return empty_events()
    main = max(blocks, key=lambda name: len(blocks[name][0]))
    found = candidates(search(*blocks[main], config.search), config)
    curves = [
        LightCurve(tuple(Band(name, t, f[row], e[row]) for name, (t, f, e) in blocks.items())) for row in found["row"]
    ]
    observers: list[Observer | None] = [None] * len(curves)
    if sky is not None:
        ra, dec = (np.asarray(v, dtype=np.float64)[found["row"].to_numpy()] for v in sky)
        observers = [Observer(a, d) for a, d in zip(ra, dec, strict=True)]
    return _model(found, curves, config, observers)


def find_events_in_curves(
    curves: Mapping[Any, LightCurve],
    config: EventConfig = EventConfig(),
    sky: Mapping[Any, tuple[float, float]] | None = None,
) -> pl.DataFrame:
    """Candidates among separate light curves: as `find_events`, with `id` (text) before `row`.

    `sky` holds ra, dec (ICRS) [deg] of curves by the same keys; without it no parallax is fitted.

    `row` is the position of the curve in the mapping; each curve is searched in its band with most points.
    """
    ids, chosen, rows = list(curves), [], []
    observers: list[Observer | None] = []
    for row, (key, curve) in enumerate(curves.items()):
        main = max(curve.bands, key=len, default=None)
        if main is None or len(main) == 0:
            continue
        found = candidates(search(main.mjd, main.flux[None], main.flux_err[None], config.search), config)
        if found.height:
            rows.append(found.with_columns(pl.lit(row, dtype=pl.Int32).alias("row")))
            chosen.append(curve)
            observers.append(None if sky is None else Observer(*sky[key]))
    events = _model(pl.concat(rows), chosen, config, observers) if rows else empty_events()
    names = pl.Series("id", [str(ids[row]) for row in events["row"]], dtype=pl.String)
    return events.select(names, pl.all())


def candidates(found: pl.DataFrame, config: EventConfig = EventConfig()) -> pl.DataFrame:
    """The rows of a search worth a model."""
    return found.filter(
        (pl.col("dchi2") >= config.min_dchi2_search) & (pl.col("dchi2_without_best_point") >= config.min_dchi2_without)
    )


def microlensing(events: pl.DataFrame) -> pl.DataFrame:
    """The rows whose class is microlensing, of whatever kind."""
    return events.filter(pl.col("event_class").is_in(MICROLENSING))


def _blocks(
    mjd: Mapping[str, ArrayLike], flux: Mapping[str, ArrayLike], flux_err: Mapping[str, ArrayLike]
) -> dict[str, tuple[F64, NDArray[Any], NDArray[Any]]]:
    if set(mjd) != set(flux) or set(mjd) != set(flux_err):
        raise InputError(
            f"times of {sorted(mjd)}, fluxes of {sorted(flux)}, errors of {sorted(flux_err)}",
            field="optical_element",
            remedy="pass the same elements in all three",
        )
    blocks, stars = {}, None
    for name in mjd:
        t, f, e = np.asarray(mjd[name], dtype=np.float64), np.asarray(flux[name]), np.asarray(flux_err[name])
        if f.ndim != 2 or t.shape != f.shape[1:] or e.shape != f.shape or stars not in (None, len(f)):
            raise InputError(
                f"times {t.shape}, fluxes {f.shape}, errors {e.shape}",
                field=name,
                remedy="pass (epochs,), (stars, epochs), (stars, epochs) of the same stars",
            )
        stars = len(f)
        blocks[name] = (t, f, e)
    return blocks


def _model(
    found: pl.DataFrame, curves: Sequence[LightCurve], config: EventConfig, observers: Sequence[Observer | None]
) -> pl.DataFrame:
    if not curves:
        return empty_events()
    seeds = [[(row["t0"], row["teff"])] for row in found.iter_rows(named=True)]
    fits = fit_point_lenses(curves, seeds, config.fit)
    rows = [
        row
        for star, curve, fit, observer in zip(found.iter_rows(named=True), curves, fits, observers, strict=True)
        if (fit.dchi2 if fit.fitted else star["dchi2"]) >= config.min_dchi2
        for row in _with_models(_row(star, curve, fit, config.classify), curve, fit, observer, config.models)
    ]
    return pl.DataFrame(rows, schema=event_columns())


def event_columns() -> dict[str, Any]:
    """Names and types of the columns `find_events` returns: row, then those of the table season_events."""
    return {"row": pl.Int32(), **{column.name: column.dtype for column in EVENT_MODEL}}


def empty_events() -> pl.DataFrame:
    """No events, with all columns."""
    return pl.DataFrame(schema=event_columns())


def coverage(curve: LightCurve, t0: float, te: float, cells: int = 20) -> float:
    """Share of t0 +- te [d] that has points, in at most `cells` cells no shorter than the usual spacing."""
    main = max(curve.bands, key=len)
    inside = main.mjd[np.abs(main.mjd - t0) < te]
    if len(inside) == 0 or len(main) < 2:
        return 0.0
    spacing = 1.5 * float(np.median(np.diff(main.mjd)))
    n = int(np.clip(2.0 * te / max(spacing, 1e-9), 1, cells))
    cell = np.clip(((inside - t0 + te) / (2.0 * te) * n).astype(int), 0, n - 1)
    return len(np.unique(cell)) / n


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _row(star: dict[str, Any], curve: LightCurve, fit: PointLensFit, config: ClassifyConfig) -> dict[str, Any]:
    """One event; a curve that could not be fitted keeps the t0 and teff of the search."""
    t0, u0, te = (fit.t0, fit.u0, fit.te) if fit.fitted else (star["t0"], np.nan, np.nan)
    main = max(curve.bands, key=len)
    verdict, high = classify(curve, star, fit, config), high_points(main, star, fit, config)
    lists = {name: [float(v) for v in getattr(fit, name)] for name in ("fs", "fs_err", "fb", "fb_err")}
    return {
        "row": star["row"],
        "model": "PSPL",
        "t0": t0,
        "t0_err": _finite(fit.t0_err),
        "u0": u0,
        "u0_err": _finite(fit.u0_err),
        "te": te,
        "te_err": _finite(fit.te_err),
        "teff": fit.teff if fit.fitted else star["teff"],
        "parameters": list(fit.parameters),
        "covariance": fit.covariance.ravel().tolist(),
        "bands": list(fit.bands),
        **lists,
        "n_points": fit.n_points,
        "dof": fit.dof,
        "chi2": fit.chi2,
        "chi2_flat": fit.chi2_flat,
        "chi2_pspl": fit.chi2,
        "dchi2_flat": fit.dchi2,
        "n_over_3sigma": int(high.sum()),
        "longest_run": longest_run(high),
        "coverage": coverage(curve, t0, te) if fit.fitted else 0.0,
        "event_class": verdict.event_class,
        "probability": verdict.probability,
        "p_microlensing": verdict.p_microlensing,
        "reason": verdict.reason,
        "degeneracy": 0,
        "veto": verdict.veto,
        "finder_version": FINDER_VERSION,
        "model_version": MODEL_VERSION,
    }


def _with_models(
    row: dict[str, Any], curve: LightCurve, fit: PointLensFit, observer: Observer | None, config: ModelConfig
) -> list[dict[str, Any]]:
    """The row with what models beyond the point lens say of a lens, and a row for each degenerate solution."""
    if row["event_class"] not in MICROLENSING:
        return [row]
    models = higher_models(curve, fit, observer, config, anomalous=row["event_class"] == ANOMALOUS_LENS)
    chosen = choose(models, fit, config)
    if chosen is None:
        return [row | model_columns(models, None, fit)]
    gain = f"{chosen.name} gains {fit.chi2 - chosen.chi2:.0f} over it (chi2/dof {chosen.chi2 / chosen.dof:.2f})"
    row |= {"reason": f"{row['reason']}; {gain}"}
    solutions = [chosen, *twins(models, chosen, config)]
    return [
        row | model_columns(models, m, fit) | {"event_class": CLASS_OF[m.name], "degeneracy": k}
        for k, m in enumerate(solutions)
    ]
