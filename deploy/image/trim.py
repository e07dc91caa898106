"""Takes out of the image's environment what nothing there runs: test suites and C headers.

Run by the Dockerfile as `python trim.py /opt/venv`; fails if a listed folder is not there any more, so that the
list cannot rot.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

#: Below site-packages; a star is one name. Only folders that the packages themselves never import.
UNUSED = ("pyarrow/tests", "pyarrow/include", "pyarrow/src", "scipy/*/tests", "numpy/*/tests", "matplotlib/tests")


def trim(prefix: Path) -> int:
    """Removes the unused folders of an environment; returns the number of bytes."""
    (packages,) = prefix.glob("lib/python3*/site-packages")
    freed = 0
    for pattern in UNUSED:
        found = sorted(packages.glob(pattern))
        if not found:
            raise SystemExit(f"trim.py: nothing matches {pattern} in {packages}; correct the list")
        for path in found:
            freed += sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
            shutil.rmtree(path)
    return freed


if __name__ == "__main__":
    print(f"{trim(Path(sys.argv[1])) / 1e6:.0f} MB removed")
