"""What the whole survey costs, from the measured figures of benchmarks/results.json.

    python -m benchmarks.extrapolation docs/extrapolation.md

Every line is a measured cost times a number of the survey; prices are inputs, named in the page.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent

STARS, SEASONS, DAYS = 200e6, 6, 62
EXPOSURES_A_DAY = 119  # of each star's field (reference: 275,000 star measurements a second)
EPOCHS = 41_000  # of a field in six seasons
EVENTS = 30_000  # expected of the survey with a fit worth making, of order 27,000 (Penny et al. 2019)
ANOMALOUS_SHARE, BINARY_MINUTES = 0.1, 1.5
INJECTIONS = 2_100  # a season and detector
DETECTORS = 18
HEADROOM = 2.0  # reprocessing, retries, reading and writing beside the kernels
#: Spectroscopy: bytes a day and of one Level 2 exposure of a detector, sources on it (of extraction_bench.py), exposures
#: of a source that are combined.
SPECTRAL_BYTES, EXPOSURE_BYTES, SOURCES, COMBINED = 1.5e12, 2.7e8, 1_060, 4
VCPU_HOUR, GB_MONTH = 0.02, 0.023  # US$: an order of magnitude for spot vCPU and for S3 standard storage


@dataclass(frozen=True)
class Cost:
    """A line of the page: what, how it was computed, core-hours in all."""

    what: str
    how: str
    core_hours: float


def costs(figures: dict[str, float]) -> list[Cost]:
    """Core-hours of the survey by stage."""
    stars = figures["photometry.stars_per_s"]
    measurements = STARS * EPOCHS
    search, daily = figures["search.season_curve_ms"], figures["search.daily_update_us_per_curve"]
    transpose, encode = figures["storage.transpose_mb_per_s"], figures["storage.encode_mb_per_s"]
    megabytes = measurements * 9 / 1e6  # flux, error, flag in memory
    curves, updates = STARS * SEASONS, STARS * SEASONS * DAYS
    binaries = EVENTS * ANOMALOUS_SHARE
    return [
        Cost(
            "PSF photometry", f"{measurements:.1e} measurements at {stars:,.0f} a second", measurements / stars / 3600
        ),
        Cost("daily search", f"{updates:.1e} updates of {daily:.0f} us", updates * daily * 1e-6 / 3600),
        Cost(
            "transpose to objects", f"{megabytes / 1e6:.0f} TB at {transpose:,.0f} MB/s", megabytes / transpose / 3600
        ),
        Cost("encoding of Parquet, twice", f"days and seasons at {encode:,.0f} MB/s", 2 * megabytes / encode / 3600),
        Cost("search of the seasons", f"{curves:.1e} curves of {search:.2f} ms", curves * search * 1e-3 / 3600),
        Cost("binary lenses", f"{binaries:.0f} events of {BINARY_MINUTES} min", binaries * BINARY_MINUTES / 60),
        Cost(
            "injections",
            f"{SEASONS * DETECTORS} maps of {INJECTIONS} curves, 50 ms each",
            SEASONS * DETECTORS * INJECTIONS * 0.05 / 3600,
        ),
    ]


def document(figures: dict[str, float]) -> str:
    """The page."""
    lines = costs(figures)
    total = sum(c.core_hours for c in lines)
    points, per_point = STARS * EPOCHS, figures["storage.bytes_per_point"]
    terabytes = points * per_point / 1e12
    photometry = lines[0].core_hours
    # Photometry must keep up with the sky: what a day brings must be done within a day.
    cores = HEADROOM * STARS * EXPOSURES_A_DAY / figures["photometry.stars_per_s"] / 86400
    nightly = HEADROOM * STARS * figures["search.daily_update_us_per_curve"] * 1e-6 / 3600
    rows = [f"| {c.what} | {c.how} | {c.core_hours:,.0f} |" for c in lines]
    return "\n".join(
        [
            "# What the survey costs",
            "",
            "Made by `python -m benchmarks.extrapolation docs/extrapolation.md` from `benchmarks/results.json`: costs measured "
            "on one core of the machine that ran the bench, times the survey's numbers: "
            f"{STARS:.0e} objects, {SEASONS} seasons of {DAYS} days, {EPOCHS:,} epochs of a field, {points:.1e} points.",
            "",
            "| stage | how | core-hours |",
            "|---|---|---|",
            *rows,
            f"| all | | {total:,.0f} |",
            "",
            f"Photometry is {100 * photometry / total:.0f} % of it. A season of {STARS:.0e} curves is searched in "
            f"{STARS * figures['search.season_curve_ms'] * 1e-3 / 3600:,.0f} core-hours.",
            "",
            f"**Storage.** {per_point:.2f} bytes a point: {terabytes:.0f} TB of season light curves, and about as much of daily "
            "parts while a season is open (they can be dropped once it is closed and archived).",
            "",
            f"**Nodes.** To keep up, photometry needs {cores:.1f} cores with a factor {HEADROOM:g} for reading, writing and "
            f"retries, and the daily search {nightly:.1f} core-hours a day: one node of 8 vCPU and 32 GB for the days, one of "
            "16 vCPU and 64 GB at the end of a season, scaled to zero between. A full frame takes 2.2 GB beside its images, so "
            "memory is not what decides.",
            "",
            f"**Money.** With {VCPU_HOUR} US$ a vCPU-hour (spot) and {GB_MONTH} US$ a GB-month, prices that stand in for your "
            f"own: {HEADROOM * total * VCPU_HOUR:,.0f} US$ of computing for the whole survey (factor {HEADROOM:g} included) and "
            f"{terabytes * 1e3 * GB_MONTH:,.0f} US$ a month to keep the season light curves.",
            "",
            "What is extrapolated and not measured: crowding of the densest fields (iterations grow), reading from S3, the "
            "cost of exposures that are processed again. Binary lenses and injections are timed on the data challenge and in "
            f"the tests, {BINARY_MINUTES} minutes an event and 50 ms a curve.",
            "",
            *_spectroscopy(figures),
        ]
    )


def _spectroscopy(figures: dict[str, float]) -> list[str]:
    """What 1.5 TB of dispersed exposures a day cost."""
    exposures = SPECTRAL_BYTES / EXPOSURE_BYTES
    seconds, gigabytes = figures["extraction.detector_s"], figures["extraction.detector_gb"]
    extraction = exposures * seconds / 3600
    spectra = exposures * SOURCES / COMBINED
    redshifts = spectra / figures["redshift.measured_per_s"] / 3600
    cores = HEADROOM * (extraction + redshifts) / 24
    return [
        "## Spectroscopy, a day of 1.5 TB",
        "",
        "| stage | how | core-hours a day |",
        "|---|---|---|",
        f"| models, 2D and 1D spectra | {exposures:,.0f} detector exposures of {seconds:.0f} s, {SOURCES:,} sources | "
        f"{extraction:,.0f} |",
        f"| redshifts, lines | {spectra:.1e} combined spectra ({COMBINED} exposures each) at "
        f"{figures['redshift.measured_per_s']:.0f} a second | {redshifts:,.0f} |",
        "",
        f"To keep up: {cores:.0f} cores with a factor {HEADROOM:g}, {gigabytes:.1f} GB a core, "
        f"{HEADROOM * (extraction + redshifts) * VCPU_HOUR:,.0f} US$ a day. The extraction was timed on a simulated full "
        "detector; fields denser than 1,060 sources cost in proportion, and order 2 is not in the nominal model.",
        "",
    ]


if __name__ == "__main__":
    measured = {row["name"]: row["ours"] for row in json.loads((FOLDER / "results.json").read_text())}
    Path(sys.argv[1]).write_text(document(measured))
