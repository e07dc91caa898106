"""A product index of a million rows: how long what users and stages ask of it takes, on SQLite and PostgreSQL.

    python -m benchmarks.index_scale [ROWS] [URL ...]     (make bench-index)

Writes benchmarks/index_scale.json. Rows are put in directly, as many as a season of four detectors makes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from roman_assets.products.index import Index
from roman_assets.products.index_tables import products

FOLDER = Path(__file__).resolve().parent
BATCH = 20_000
KINDS = ("psf_photometry_part", "daily_light_curves_part", "daily_sums", "season_objects")


def rows(count: int) -> Iterator[dict[str, Any]]:
    """Rows of days and detectors, on the sky within four degrees, each superseded by nothing."""
    now = datetime.now(UTC)
    for n in range(count):
        kind, detector = KINDS[n % 4], f"WFI{1 + n // 4 % 4:02d}"
        day, season = f"2027-{2 + n % 2:02d}-{1 + n // 16 % 28:02d}", f"s{1 + n % 6:02d}"
        digest = f"{n:064x}"
        yield {
            "kind": kind,
            "partition": f"day={day}/detector={detector}",
            "part": f"r{n:019d}",
            "identity": digest,
            "sha256": digest,
            "size": 1_000_000,
            "rows": 1000,
            "key": f"{kind}/{day}/{detector}/{n}.parquet",
            "format": "parquet",
            "inputs": [digest, digest[::-1]],
            "code_version": "1",
            "schema_version": "1",
            "config": {},
            "sequence": 1,
            "created_at": now,
            "caveats": [],
            "attributes": {"day": day, "detector": detector, "season": season, "exposure_id": f"r{n:019d}"},
            "day": day,
            "season": season,
            "detector": detector,
            "ra": 266.0 + (n * 0.6180339887) % 4.0,
            "dec": -31.0 + (n * 0.7548776662) % 4.0,
            "current": True,
        }


def fill(index: Index, count: int) -> None:
    """Put rows in, batch by batch."""
    batch: list[dict[str, Any]] = []
    for row in rows(count):
        batch.append(row)
        if len(batch) == BATCH:
            _insert(index, batch)
            batch = []
    if batch:
        _insert(index, batch)


def _insert(index: Index, batch: list[dict[str, Any]]) -> None:
    index.database.write(lambda connection: connection.execute(sa.insert(products), batch))


def timed(work: Callable[[], Any], times: int) -> float:
    """Shortest of several runs [s]."""
    best = float("inf")
    for _ in range(times):
        begun = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begun)
    return best


def measure(url: str, count: int) -> dict[str, float]:
    """Milliseconds of each question."""
    index = Index(url)
    begun = time.perf_counter()
    fill(index, count)
    print(f"{count} rows in {time.perf_counter() - begun:.0f} s", file=sys.stderr)
    middle = count // 2
    one = next(row for n, row in enumerate(rows(count)) if n == middle)
    slot = one["kind"], one["partition"], one["part"]
    asked: dict[str, tuple[Callable[[], Any], int]] = {
        "lookup": (lambda: index.find(*slot, one["identity"]), 20),
        "current_of_a_day": (lambda: index.current(one["kind"], one["partition"]), 3),
        "current_season_detector_100": (
            lambda: index.current(attributes={"season": "s01", "detector": "WFI01"}, limit=100),
            5,
        ),
        "near_0.02_deg": (lambda: index.near(268.0, -29.0, 0.02), 3),
        "roman_products": (lambda: index.summary(), 3),
        "roman_products_kind": (lambda: (index.current(KINDS[0], limit=40), index.count(KINDS[0])), 3),
        "caveats": (lambda: index.count_caveats(), 3),
    }
    return {name: round(1e3 * timed(work, times), 3) for name, (work, times) in asked.items()}


def main() -> None:
    """Measure and write."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    found: dict[str, Any] = {"rows": count, "made": date.today().isoformat(), "commit": commit, "unit": "ms"}
    with tempfile.TemporaryDirectory() as folder:
        found["sqlite"] = measure(f"sqlite:///{folder}/index.sqlite", count)
    for url in sys.argv[2:]:
        found["postgresql"] = measure(url, count)
    (FOLDER / "index_scale.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
