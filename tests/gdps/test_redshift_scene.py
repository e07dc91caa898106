"""Redshifts of the shared grism scene's spectra against the project's requirements: the code of `make validate`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def validation():
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
    try:
        import redshift_validation
    finally:
        sys.path.pop(0)
    return redshift_validation


def test_requirements(shared_data, validation, monkeypatch):
    monkeypatch.setattr(validation, "REALISATIONS", 2)
    monkeypatch.setattr(validation, "NUMBER", 800)
    rows = [row for row in validation.rows(shared_data) if row["passed"] is not None]
    assert len(rows) == 12
    missed = {row["name"]: row["value"] for row in rows if not row["passed"]}
    # Two of 28 sources whose lines a brighter neighbour's trace has taken; both carry the warning of contamination.
    assert missed.pop("redshift.images.right_two_lines_percent", 100.0) > 90
    assert missed == {}
