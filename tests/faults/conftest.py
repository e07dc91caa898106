"""Figures of the campaigns: `make test-faults` writes them down with date and commit."""

from __future__ import annotations

import datetime as dt
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

_FIGURES: dict[str, Any] = {}


@pytest.fixture(scope="session")
def figure() -> Callable[[str, int], None]:
    """Adds to a figure of the campaign."""

    def add(name: str, count: int) -> None:
        _FIGURES[name] = _FIGURES.get(name, 0) + count

    return add


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Writes the figures to the file that ROMAN_FAULTS_RESULTS names, if all tests passed."""
    target = os.environ.get("ROMAN_FAULTS_RESULTS")
    if not target or not _FIGURES or exitstatus != 0:
        return
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    facts = {"made": dt.date.today().isoformat(), "commit": commit, "products_lost_doubled_or_different": 0}
    Path(target).write_text(json.dumps(facts | dict(sorted(_FIGURES.items())), indent=1) + "\n")
