"""What the event finder finds of a season at the survey's cadence: curves over tE, u0 and magnitude, and planets.

    python -m benchmarks.efficiency_figure docs/efficiency.md docs/images/efficiency.png

Injects point lenses and planets into simulated constant stars (6,400 epochs, photon and read noise and a floor of
0.5 % of the flux), with the code of the detection_efficiency asset, and writes the page and its figure.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import polars as pl

from roman_assets.systems.msos.efficiency.injection import (
    CONTROL,
    PLANET,
    POINT_LENS,
    InjectionConfig,
    draw,
    find_targets,
)
from roman_assets.systems.msos.efficiency.recovery import counts, efficiency_map, recover
from roman_assets.systems.msos.plots import efficiency_figure

EPOCHS, PER_DAY, STARS, ZERO_POINT = 6400, 96, 400, 26.79
CONFIG = InjectionConfig(per_cell=20, planets_per_cell=20, controls=1000)


def measure() -> pl.DataFrame:
    """The injections and what became of them."""
    rng = np.random.default_rng(20270500)
    mjd = 61465.0 + np.arange(EPOCHS) / PER_DAY
    base = 10 ** (-0.4 * (rng.uniform(17, 25, (STARS, 1)) - ZERO_POINT))
    error = np.repeat(np.sqrt(0.4 * base + 4 + (0.005 * base) ** 2), EPOCHS, axis=1)
    flux = base + error * rng.standard_normal(error.shape)
    curves = {"F146": (mjd, flux.astype(np.float32), error.astype(np.float32))}
    targets = find_targets(curves, np.arange(STARS), ZERO_POINT, CONFIG)
    injections = draw(targets, (mjd[0], mjd[-1]), "s01", "WFI01", CONFIG)
    return recover(curves, targets, injections, CONFIG, progress=lambda done, of: print(f"{done} of {of}", end="\r"))


def document(table: pl.DataFrame, recovered: pl.DataFrame) -> str:
    """The page."""
    found = counts(recovered)
    lines = [
        "# Detection efficiency at the thresholds of the pipeline",
        "",
        "Made by `python -m benchmarks.efficiency_figure docs/efficiency.md docs/images/efficiency.png`: point lenses and "
        f"planets injected into {STARS} simulated stars of a season of {EPOCHS:,} epochs, peaks uniform over the season, "
        "sources of 30 to 100 % of the star's light; searched, fitted and classified as the pipeline does. Errors are "
        "binomial (68 %, Jeffreys). At these thresholds 2 of 100,000 stars without an event are called microlensing "
        "(`make validate`).",
        "",
        f"Found {found.tp:,} of {found.tp + found.fn:,} injected signals; {found.fp} of {found.fp + found.tn} controls "
        "were called microlensing.",
        "",
        "![efficiency](images/efficiency.png)",
        "",
        "## Point lenses: share found [%] by tE and magnitude of the source, u0 from 0 to 1",
        "",
    ]
    lenses = table.filter(pl.col("kind") == POINT_LENS)
    mags = lenses["mag_low"].unique().sort().to_list()
    lines += ["| tE [d] | " + " | ".join(f"{m:g} mag and fainter" for m in mags) + " |", "|" + "---|" * (len(mags) + 1)]
    for te in lenses["te_low"].unique().sort():
        cells = []
        for mag in mags:
            some = lenses.filter((pl.col("te_low") == te) & (pl.col("mag_low") == mag))
            cells.append(
                f"{100 * some['detected'].sum() / max(some['injected'].sum(), 1):.0f} ({some['injected'].sum()})"
            )
        high = lenses.filter(pl.col("te_low") == te)["te_high"][0]
        lines.append(f"| {te:g} to {high:g} | " + " | ".join(cells) + " |")
    lines += ["", "In brackets: injected.", ""]
    planets = table.filter(pl.col("kind") == PLANET)
    steps = planets["log_s"].unique().sort().to_list()
    lines += [
        "## Planets: share flagged with dchi2 above 160 [%], host tE 5 to 50 d, u0 to 1, sources of 17 to 23 mag",
        "",
        "| log q | " + " | ".join(f"log s {s:g}" for s in steps) + " |",
        "|" + "---|" * (len(steps) + 1),
    ]
    for q in planets["log_q"].unique().sort(descending=True):
        row = planets.filter(pl.col("log_q") == q).sort("log_s")
        cells = [
            f"{100 * r['efficiency']:.0f} ({100 * r['low']:.0f} to {100 * r['high']:.0f})"
            for r in row.iter_rows(named=True)
        ]
        lines.append(f"| {q:g} | " + " | ".join(cells) + " |")
    control = table.filter(pl.col("kind") == CONTROL).row(0, named=True)
    lines += ["", f"Controls: {control['detected']} of {control['injected']}, below {control['high']:.4f}.", ""]
    return "\n".join(lines)


if __name__ == "__main__":
    judged = measure()
    mapped = efficiency_map(judged, CONFIG)
    Path(sys.argv[2]).write_bytes(efficiency_figure(mapped, "a season of 6,400 epochs"))
    Path(sys.argv[1]).write_text(document(mapped, judged))
