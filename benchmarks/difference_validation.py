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
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from benchmarks.difference_fields import Field, Row, judge_field
from benchmarks.difference_scene import bulge_scene_rows, measured_row
from benchmarks.matching import robust_scatter
from roman_assets.simulate.config import MiniSurvey

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
        return [*result, measured_row("bulge scene", float("nan"), "the scene", str(scene), False)]
    return [*result, *bulge_scene_rows(scene)]


# --- rows ----------------------------------------------------------------------------------------------


def _efficiency(fields: Sequence[Field], data_set: str) -> list[Row]:
    table = pl.concat([f.events for f in fields])
    own = sum(f.own_entry for f in fields)
    result = [measured_row("faint events with an entry of their own in the catalogue", own, "counted", data_set, True)]
    for low, high in itertools.pairwise(STEPS):
        some = table.filter(pl.col("dchi2").is_between(low, high))
        share = float(some["found"].mean() or 0.0) if some.height else float("nan")  # type: ignore[arg-type]
        name = f"uncatalogued events found, dchi2 {low:g} to {high:g} ({some.height})"
        result.append(measured_row(name, share, "counted", data_set, True))
    sure = table.filter(pl.col("dchi2") > SURE_DCHI2)
    alone = float(sure["source"].mean() or 0.0)  # type: ignore[arg-type]
    result.append(
        measured_row(f"the same above {SURE_DCHI2:g}, as sources of their own", alone, "counted", data_set, True)
    )
    share = float(sure["found"].mean() or 0.0)  # type: ignore[arg-type]
    passed = share >= SURE_SHARE
    name = f"uncatalogued events found, dchi2 above {SURE_DCHI2:g} ({sure.height})"
    return [*result, measured_row(name, share, f">= {SURE_SHARE}", data_set, passed)]


def _photometry(fields: Sequence[Field], data_set: str) -> list[Row]:
    table = pl.concat([f.sources for f in fields])
    amplitude, error, pull = (table[name].to_numpy() for name in ("amplitude", "error", "pull"))
    weight = np.hypot(error, 0.01) ** -2.0
    bias = float((weight * (amplitude - 1)).sum() / weight.sum())
    width = float(robust_scatter((amplitude - 1) / np.hypot(error, 0.01)))
    points = float(np.median(pull))
    return [
        measured_row(f"flux bias of found sources ({len(table)})", bias, "within 0.02", data_set, abs(bias) <= 0.02),
        measured_row(
            "width of (flux - truth) / error, by source, 1 % in quadrature",
            width,
            "0.8 to 1.2",
            data_set,
            0.8 <= width <= 1.2,
        ),
        measured_row("width of (flux - truth) / error, by point", points, "0.9 to 1.2", data_set, 0.9 <= points <= 1.2),
    ]


def _times(fields: Sequence[Field], data_set: str) -> list[Row]:
    table = pl.concat([f.lenses for f in fields])
    pull = np.abs(table["offset"].to_numpy() / table["error"].to_numpy())
    share = float((pull < 3).mean()) if len(pull) else 0.0
    return [
        measured_row(f"t0 of their events within 3 errors ({len(pull)})", share, ">= 0.9", data_set, share >= 0.9),
        measured_row("width of (t0 - truth) / error", float(np.median(pull) * 1.4826), "counted", data_set, True),
        measured_row(
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
        result.append(measured_row(text, count, f"<= {1 + 4 * area:.1f}", "simulated", passed))
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
    return [measured_row(f"{name}, {what}", value, "counted", data_set, True) for what, value in values.items()]


if __name__ == "__main__":
    from benchmarks.collect import data_folder

    for row in rows(data_folder()):
        print(row)
