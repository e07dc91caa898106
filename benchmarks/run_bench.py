"""Runs every ``*_bench.py``, shows ours beside the peer, writes results.json.

Rows: name, ours, peer, unit, ratio (how many times better we are; none without a peer), setup.
"""

from __future__ import annotations

import os

# One core for everybody; BLAS, OpenMP and numba read these when they are imported, which is later.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_variable, "1")

from collect import FOLDER, collect, number, write  # noqa: E402 - after the threads are limited
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402


def main() -> None:
    """Run, show, write."""
    rows = collect("bench", {"name": "", "ours": None, "peer": None, "unit": "", "ratio": None, "setup": ...})
    table = Table("what", "ours", "peer", "unit", "ratio", "setup", title="roman_assets beside its peers")
    for row in rows:
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}x"
        table.add_row(row["name"], number(row["ours"]), number(row["peer"]), row["unit"], ratio, row["setup"])
    Console().print(table)
    write(FOLDER / "results.json", rows)


if __name__ == "__main__":
    main()
