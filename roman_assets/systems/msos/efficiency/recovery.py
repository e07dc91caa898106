"""Efficiency of the event finder: injected signals recovered by the search, fits and vetoes of the season's events."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.systems.msos.efficiency.injection import (
    CONTROL,
    PLANET,
    POINT_LENS,
    Curves,
    Injection,
    InjectionConfig,
    Targets,
    baseline,
    inject,
    main_element,
    noise_law,
    without_signal,
)
from roman_assets.systems.msos.events.classify import ANOMALOUS_LENS, MICROLENSING
from roman_assets.systems.msos.events.finder import find_events

F64 = NDArray[np.float64]
BATCH = 512
LIGHT_CURVE = "lightcurve"


@dataclass(frozen=True)
class Counts:
    """Injected signals found (tp) and missed (fn), curves without one called microlensing (fp) and not (tn)."""

    tp: int
    fp: int
    tn: int
    fn: int


def recover(
    curves: Curves,
    targets: Targets,
    injections: Sequence[Injection],
    config: InjectionConfig = InjectionConfig(),
    saturated: NDArray[np.bool_] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> pl.DataFrame:
    """What becomes of the injections (`injection.draw`), one row each: its parameters, class (null where nothing was
    found), detected.

    Signals go into the element with most epochs, which is the one that is searched.
    """
    element = main_element(curves)
    mjd, flux, error = curves[element]
    good = np.isfinite(flux) & (error > 0)
    law = noise_law(baseline(flux, good), baseline(error, good), saturated)
    base = dict(zip(targets.row.tolist(), targets.flux.tolist(), strict=True))
    rows: list[dict[str, Any]] = []
    for start in range(0, len(injections), BATCH):
        batch = injections[start : start + BATCH]
        made = [_curve(one, mjd, flux[one.row], error[one.row], base[one.row], law) for one in batch]
        block, errors = np.stack([m[0] for m in made]), np.stack([m[1] for m in made])
        events = find_events({element: mjd}, {element: block}, {element: errors}, config.events)
        best = {row["row"]: row for row in events.iter_rows(named=True)}
        rows += [judge(one, best.get(k), made[k][2], config) for k, one in enumerate(batch)]
        if progress is not None:
            progress(start + len(batch), len(injections))
    return pl.DataFrame(rows, schema=RECOVERED_COLUMNS)


RECOVERED_COLUMNS = {
    "serial": pl.Int32,
    "kind": pl.String,
    "row": pl.Int32,
    "source_mag": pl.Float64,
    "t0": pl.Float64,
    "u0": pl.Float64,
    "te": pl.Float64,
    "rho": pl.Float64,
    "s": pl.Float64,
    "q": pl.Float64,
    "alpha": pl.Float64,
    "event_class": pl.String,
    "detected": pl.Boolean,
}


def _curve(
    one: Injection, mjd: F64, flux: NDArray[np.float32], error: NDArray[np.float32], base: float, law: Any
) -> tuple[F64, F64, float]:
    """Flux, error and chi2 of the noise alone about the true model."""
    f, e = flux.astype(np.float64), error.astype(np.float64)
    if one.kind == CONTROL:
        f, e = without_signal(one.control, mjd, f, e, base, np.random.default_rng(one.seed))
        return f, e, float("nan")
    added = one.source_fraction * base * (one.magnification(mjd) - 1.0)
    f, e = inject(f, e, added, base, law)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = (f - base - added) / e
    return f, e, float(np.nansum(np.where(e > 0, z * z, 0.0)))


def judge(one: Injection, event: dict[str, Any] | None, chi2_true: float, config: InjectionConfig) -> dict[str, Any]:
    """The row of an injection: `event` is what was found of it, `chi2_true` that of the true model."""
    row = {name: getattr(one, name) for name in RECOVERED_COLUMNS if hasattr(one, name)}
    lens = event is not None and event["event_class"] in MICROLENSING
    if event is not None and one.kind != CONTROL:
        lens = lens and abs(event["t0"] - one.t0) < config.match_te * one.te
    if event is not None and one.kind == PLANET:
        flagged = event["event_class"] == ANOMALOUS_LENS
        lens = lens and flagged and event["chi2_pspl"] - chi2_true > config.planet_dchi2
    return row | {"event_class": None if event is None else event["event_class"], "detected": bool(lens)}


def agreement(light_curves: pl.DataFrame, images: pl.DataFrame) -> tuple[int, int, int]:
    """Of the signals injected into both: how many, found in both or neither, and found in the light curves alone."""
    both = light_curves.join(images.select("serial", in_images="detected"), on="serial", how="inner")
    same = int((both["detected"] == both["in_images"]).sum())
    return both.height, same, int((both["detected"] & ~both["in_images"]).sum())


def counts(recovered: pl.DataFrame) -> Counts:
    """True and false positives and negatives over all injections and controls."""
    control, found = recovered["kind"] == CONTROL, recovered["detected"]
    return Counts(
        tp=int((~control & found).sum()),
        fp=int((control & found).sum()),
        tn=int((control & ~found).sum()),
        fn=int((~control & ~found).sum()),
    )


def interval(found: int, of: int, confidence: float) -> tuple[float, float]:
    """Equal-tailed binomial interval with Jeffreys' prior (Brown, Cai & DasGupta 2001)."""
    from scipy.stats import beta

    if of == 0:
        return 0.0, 1.0
    tail = (1.0 - confidence) / 2.0
    low = 0.0 if found == 0 else float(beta.ppf(tail, found + 0.5, of - found + 0.5))
    high = 1.0 if found == of else float(beta.ppf(1.0 - tail, found + 0.5, of - found + 0.5))
    return low, high


def efficiency_map(recovered: pl.DataFrame, config: InjectionConfig = InjectionConfig()) -> pl.DataFrame:
    """Efficiency by cell: point lenses over (tE, u0, magnitude), planets over (log s, log q), controls as one.

    Columns: kind, the cell's edges (null where the kind has none), injected, detected, efficiency and its binomial
    interval (low, high).
    """
    cells: list[dict[str, Any]] = []
    lenses = recovered.filter(pl.col("kind") == POINT_LENS)
    for te in _pairs(config.te_edges):
        for u0 in _pairs(config.u0_edges):
            for mag in _pairs(config.mag_edges):
                inside = lenses.filter(
                    pl.col("te").is_between(*te, closed="left")
                    & pl.col("u0").is_between(*u0, closed="left")
                    & pl.col("source_mag").is_between(*mag, closed="left")
                )
                edges = {
                    "te_low": te[0],
                    "te_high": te[1],
                    "u0_low": u0[0],
                    "u0_high": u0[1],
                    "mag_low": mag[0],
                    "mag_high": mag[1],
                }
                cells.append(_cell(POINT_LENS, inside, edges, config))
    planets = recovered.filter(pl.col("kind") == PLANET)
    for log_s in config.log_s:
        for log_q in config.log_q:
            near = (pl.col("s").log10() - log_s).abs() < 1e-6
            inside = planets.filter(near & ((pl.col("q").log10() - log_q).abs() < 1e-6))
            cells.append(_cell(PLANET, inside, {"log_s": log_s, "log_q": log_q}, config))
    cells.append(_cell(CONTROL, recovered.filter(pl.col("kind") == CONTROL), {}, config))
    return pl.DataFrame(
        cells,
        schema={
            "kind": pl.String,
            **dict.fromkeys(_EDGES, pl.Float64),
            "injected": pl.Int32,
            "detected": pl.Int32,
            "efficiency": pl.Float64,
            "low": pl.Float64,
            "high": pl.Float64,
        },
    )


def _pairs(edges: Sequence[float]) -> list[tuple[float, float]]:
    return list(pairwise(edges))


_EDGES = ("te_low", "te_high", "u0_low", "u0_high", "mag_low", "mag_high", "log_s", "log_q")


def _cell(kind: str, inside: pl.DataFrame, edges: dict[str, float], config: InjectionConfig) -> dict[str, Any]:
    injected, detected = inside.height, int(inside["detected"].sum())
    low, high = interval(detected, injected, config.confidence)
    share = detected / injected if injected else float("nan")
    place = dict.fromkeys(_EDGES) | edges
    return {
        "kind": kind,
        **place,
        "injected": injected,
        "detected": detected,
        "efficiency": share,
        "low": low,
        "high": high,
    }
