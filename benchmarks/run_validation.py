"""Runs every ``*_validation.py`` on the external data, shows what passes, writes validation.json.

Arguments name parts (``python -m benchmarks.run_validation difference grism``): only those run, the rows of the
others stay.

Rows: name, value, required, data_set, passed. Exit status 1 if a requirement is not met or not measured.
"""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from benchmarks.collect import FOLDER, collect, number
from roman_assets.platform.arithmetic import pin_arithmetic


def main() -> int:
    """Run, show, write."""
    pin_arithmetic()  # as the pipeline has it; threads of BLAS beside the parts' own processes only wait for each other
    failed = {"name": "", "value": None, "required": ..., "data_set": "", "passed": False}
    rows = collect("validation", failed, FOLDER / "validation.json", sys.argv[1:])
    table = Table("requirement", "measured", "required", "data", "", title="Quality against external data")
    missed = 0
    for row in rows:
        passed = row.get("passed")
        missed += passed is False
        verdict = {True: "[green]pass[/]", False: "[red]FAIL[/]"}.get(passed, "")
        table.add_row(row["name"], number(row["value"]), str(row["required"]), row["data_set"], verdict)
    Console().print(table)
    print(f"{len(rows) - missed} of {len(rows)} met")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
