"""Prints the run-time requirements of a pyproject.toml, one a line: `python dependencies.py pyproject.toml`."""

import sys
import tomllib
from pathlib import Path

print("\n".join(tomllib.loads(Path(sys.argv[1]).read_text())["project"]["dependencies"]))
