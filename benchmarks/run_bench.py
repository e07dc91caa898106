"""Runs every ``*_bench.py``, shows ours beside the peer, writes results.json.

Arguments name parts (``python -m benchmarks.run_bench photometry``): only those run, and the rows of the others stay.

Rows: name, ours, peer, unit, ratio (how many times better we are; none without a peer), setup.
"""

from __future__ import annotations

import os
import sys

# One core for everybody; BLAS, OpenMP and numba read these when they are imported, which is later.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_variable, "1")

from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks.collect import FOLDER, collect, number  # noqa: E402 - after the threads are limited


def main() -> None:
    """Run, show, write."""
    failed = {"name": "", "ours": None, "peer": None, "unit": "", "ratio": None, "setup": ...}
    rows = collect("bench", failed, FOLDER / "results.json", sys.argv[1:])
    table = Table("what", "ours", "peer", "unit", "ratio", "setup", title="roman_assets beside its peers")
    for row in rows:
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.2f}x"
        table.add_row(row["name"], number(row["ours"]), number(row["peer"]), row["unit"], ratio, row["setup"])
    Console().print(table)


if __name__ == "__main__":
    main()
