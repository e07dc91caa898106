"""A reference catalogue against all stars of its scene: what is no star, what is missing, and whether its errors are true.

Counts from the truth: completeness by true magnitude, spurious entries by measured magnitude; a flux is compared with all true
light within 0.7 px of the entry, since nothing can tell it apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from roman_assets.platform.workspace import Workspace
from roman_assets.survey.instrument import PIXEL_DEG

F64 = NDArray[np.float64]
#: Magnitude bins; an entry is a star if true light of half its flux is within BLEND_PX; light that reaches the array [px].
BINS = (17.0, 18.0, 19.0, 20.0, 21.0, 22.0, 22.5, 23.0, 23.5, 24.0, 24.5, 25.0, 25.5)
BLEND_PX, INNER = 0.7, (6.0, 245.0)
#: Bins of fewer entries say nothing, and pulls are those of entries whose errors are judged.
LEAST_ENTRIES, JUDGED_MAG = 20, (18.0, 24.0)


@dataclass(frozen=True)
class CatalogueJudged:
    """spurious: largest share of entries that are no star, in bins down to 50 % completeness; limit: the faint edge of the
    last such bin [mag]; flux_pull, position_pull: by magnitude bin, robust width of (measured - true) / stated error; bias:
    largest difference of a bin's median flux over all true light from that at 19 to 21 mag.
    """

    spurious: float
    limit: float
    flux_pull: dict[float, float]
    position_pull: dict[float, float]
    bias: float


def judge_catalogue(workspace: Workspace, scene: Path) -> CatalogueJudged:
    """The catalogue of a processed scene against the table of all its stars."""
    (record,) = workspace.products.current("reference_catalog", None, detector=scene.name.upper())
    table = workspace.products.read_table(record)
    truth = pl.read_parquet(scene / "stars.parquet")
    origin = float(truth["ra"].mean()), float(truth["dec"].mean())  # type: ignore[arg-type]
    true, found = _plane(truth, origin), _plane(table, origin)
    true_flux = 10 ** (-0.4 * (truth["mag_f146"].to_numpy() - float(record.attributes["zero_point"])))
    flux = table["flux"].to_numpy().astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        mag = float(record.attributes["zero_point"]) - 2.5 * np.log10(flux)
    beside = cKDTree(true).query_ball_point(found, BLEND_PX)
    real = np.array([bool((true_flux[near] > 0.5 * f).any()) for near, f in zip(beside, flux, strict=True)])
    light = np.array([true_flux[near].sum() for near in beside])
    distance, entry = cKDTree(found).query(true)
    inner = np.all([truth[axis].is_between(*INNER).to_numpy() for axis in ("x", "y")], axis=0)
    blends = cKDTree(true).query_ball_point(true, BLEND_PX)
    brightest = np.array([true_flux[near].max() <= f for near, f in zip(blends, true_flux, strict=True)])
    true_mag = truth["mag_f146"].to_numpy()
    spurious, limit, pulls, places, medians = 0.0, BINS[0], {}, {}, {}
    complete = True
    for low, high in pairwise(BINS):
        there = inner & (true_mag >= low) & (true_mag < high)
        entries = (mag >= low) & (mag < high)
        complete &= not there.any() or float((distance[there] < BLEND_PX).mean()) >= 0.5
        if complete and entries.sum() >= LEAST_ENTRIES:
            spurious, limit = max(spurious, 1.0 - float(real[entries].mean())), high
        good = np.flatnonzero(there & brightest & (distance < 0.5))
        if len(good) < LEAST_ENTRIES or not JUDGED_MAG[0] <= low < JUDGED_MAG[1]:
            continue
        at = entry[good]
        pulls[low] = _width((flux[at] - light[at]) / table["flux_err"].to_numpy()[at])
        apart = found[at] - true[good]
        places[low] = _width((apart - np.median(apart, axis=0))[:, 0] / table["x_err"].to_numpy()[at])
        medians[low] = float(np.median(flux[at] / light[at]))
    usual = np.mean([medians[low] for low in (19.0, 20.0) if low in medians])
    bias = max(abs(value / usual - 1) for value in medians.values())
    return CatalogueJudged(spurious, limit, pulls, places, float(bias))


def rows(result: CatalogueJudged, data_set: str) -> list[dict[str, Any]]:
    """Rows of the validation table: name, value, required, data_set, passed."""

    def row(name: str, value: float, required: str, passed: bool) -> dict[str, Any]:
        return {"name": name, "value": round(value, 4), "required": required, "data_set": data_set, "passed": passed}

    def farthest(pulls: dict[float, float]) -> float:
        return max(pulls.values(), key=lambda pull: abs(np.log(pull)))

    flux, place = farthest(result.flux_pull), farthest(result.position_pull)
    spurious = f"entries that are no star, worst bin down to {result.limit:g} mag"
    return [
        row(spurious, result.spurious, "<= 0.1", result.spurious <= 0.1),
        row("pulls of catalogue fluxes, worst bin of 18 to 24 mag", flux, "0.9 to 1.1", 0.9 <= flux <= 1.1),
        row("pulls of catalogue positions, worst bin of 18 to 24 mag", place, "0.9 to 1.1", 0.9 <= place <= 1.1),
        row("bias of catalogue fluxes, worst bin of 18 to 24 mag", result.bias, "<= 0.001", result.bias <= 0.001),
    ]


def _plane(table: pl.DataFrame, origin: tuple[float, float]) -> F64:
    """Offsets (n, 2) from the origin along right ascension and declination [px]."""
    ra, dec = table["ra"].to_numpy(), table["dec"].to_numpy()
    return np.stack([(ra - origin[0]) * np.cos(np.deg2rad(origin[1])), dec - origin[1]], axis=1) / PIXEL_DEG


def _width(pulls: NDArray[Any]) -> float:
    return 1.4826 * float(np.median(np.abs(pulls - np.median(pulls))))
