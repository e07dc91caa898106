"""The judge: products against the truth of a simulated survey. Only the judge ever opens a truth file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from roman_assets.errors import InputError
from roman_assets.products.products import Products
from roman_assets.systems.msos.events.classify import MICROLENSING

MATCH_MAS = 60.0


@dataclass(frozen=True)
class Verdict:
    """What the products recovered of the truth.

    bias and scatter_ratio (scatter over formal error) are medians over matched stars of 18 to 21 mag;
    completeness is that of true stars brighter than 21 inside the images; detectable events have delta chi2
    over a flat line above 300 with at least 4 points above 3 sigma.
    """

    stars: int
    completeness_21: float
    bias: float
    scatter_ratio: float
    detectable_events: int
    found_events: int
    false_events: int


def judge(products: Products, truth_folder: Path) -> Verdict:
    """Compare season objects and events with the truth tables in `truth_folder`."""
    tables = [products.read_table(r) for r in products.current("season_objects")]
    if not tables:
        raise InputError("there is no object catalogue to judge", remedy="see which runs failed, and why")
    objects = pl.concat(tables)
    events = [products.read_table(r) for r in products.current("season_events")]
    found = pl.concat(events, how="diagonal_relaxed") if events else pl.DataFrame()
    stars = pl.read_parquet(truth_folder / "stars.parquet")
    true_events = pl.read_parquet(truth_folder / "events.parquet")
    variables = pl.read_parquet(truth_folder / "variables.parquet")
    size = float(np.sqrt(products.current("reference_catalog")[0].attributes["shape"][0] ** 2))
    matched, complete = _match_stars(objects, stars, true_events, variables, size)
    good = matched.filter(pl.col("true_mag").is_between(18, 21) & ~pl.col("varies") & (pl.col("flag") == 0))
    bias = (10 ** (-0.4 * (good["mag"] - good["true_mag"])) - 1).median() if good.height else None
    ratio = (good["scatter"] / good["expected_scatter"]).median() if good.height else None
    detectable, recovered, false = _match_events(objects, found, true_events, stars)
    return Verdict(objects.height, complete, _number(bias), _number(ratio), detectable, recovered, false)


def _number(value: object) -> float:
    return float(value) if isinstance(value, float) else float("nan")


def _nearest(
    ra: np.ndarray, dec: np.ndarray, other_ra: np.ndarray, other_dec: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    from scipy.spatial import cKDTree

    from roman_assets.survey.sky import MAS_DEG, unit_vectors

    distance, index = cKDTree(unit_vectors(other_ra, other_dec)).query(unit_vectors(ra, dec))
    return np.rad2deg(2 * np.arcsin(distance / 2)) / MAS_DEG, index


def _match_stars(
    objects: pl.DataFrame, stars: pl.DataFrame, events: pl.DataFrame, variables: pl.DataFrame, size: float
) -> tuple[pl.DataFrame, float]:
    """Truth stars with their objects, and completeness to 21 mag."""
    varying = set(events["source_id"]) | set(variables["source_id"])
    frames, hit, total = [], 0, 0
    for (season, detector), truth in stars.group_by("season", "detector"):
        mine = objects.filter((pl.col("season") == season) & (pl.col("detector") == detector))
        if mine.is_empty():
            continue
        inside = truth.filter(pl.col("x").is_between(0, size - 1) & pl.col("y").is_between(0, size - 1))
        separation, index = _nearest(*(t[c].to_numpy() for t in (inside, mine) for c in ("ra", "dec")))
        pair = mine[index.tolist()].with_columns(
            true_mag=inside["mag_f146"], source_id=inside["source_id"], separation=pl.Series(separation)
        )
        same = pair.filter((pl.col("separation") < MATCH_MAS) & ((pl.col("mag") - pl.col("true_mag")).abs() < 0.75))
        hit += same.filter(pl.col("true_mag") < 21).height
        total += inside.filter(pl.col("mag_f146") < 21).height
        frames.append(same.with_columns(varies=pl.col("source_id").is_in(list(varying))))
    return pl.concat(frames), hit / max(total, 1)


def _match_events(
    objects: pl.DataFrame, found: pl.DataFrame, true_events: pl.DataFrame, stars: pl.DataFrame
) -> tuple[int, int, int]:
    """Detectable true events, those found as microlensing, and microlensing that no true event explains."""
    lenses = found.filter(pl.col("event_class").is_in(MICROLENSING)) if found.width else found
    separation, index = _nearest(*(t[c].to_numpy() for t in (true_events, objects) for c in ("ra", "dec")))
    seen = objects[index.tolist()].with_columns(separation=pl.Series(separation))
    # Detectable by what the light curve shows, whatever the search made of it.
    signal = seen["chi2_dof"].to_numpy() * (seen["n"].to_numpy() - 1)
    detectable = (separation < MATCH_MAS) & (signal > 300) & (seen["longest_high"].to_numpy() >= 4)
    if lenses.width == 0 or lenses.is_empty():
        return int(detectable.sum()), 0, 0
    distance, _ = _nearest(*(t[c].to_numpy() for t in (true_events, lenses) for c in ("ra", "dec")))
    back, _ = _nearest(*(t[c].to_numpy() for t in (lenses, true_events) for c in ("ra", "dec")))
    return (int(detectable.sum()), int((detectable & (distance < MATCH_MAS)).sum()), int((back >= MATCH_MAS).sum()))


def judge_redshifts(products: Products, truth: Path, tolerance: float = 0.003) -> tuple[int, int, int]:
    """Galaxies whose best redshift is right to `tolerance` (1 + z), galaxies, and wrong redshifts without a warning."""
    tables = [products.read_table(r, ["source_id", "z", "zwarn", "class"]) for r in products.current("redshifts")]
    true = pl.read_parquet(truth / "spectra.parquet").rename({"z": "z_true", "class": "true"})
    if not tables:
        return 0, true.filter(pl.col("true") == "galaxy").height, 0
    found = true.join(pl.concat(tables), left_on="id", right_on="source_id", how="left")
    off = (pl.col("z") - pl.col("z_true")).abs() / (1 + pl.col("z_true"))
    galaxies = found.filter(pl.col("true") == "galaxy")
    wrong = found.filter((pl.col("zwarn") == 0) & ~(off <= tolerance))
    return galaxies.filter(off <= tolerance).height, galaxies.height, wrong.height
