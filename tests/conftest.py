"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the external test data; tests that need it skip, saying so, where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ROMAN_VALIDATION_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"external test data not found at {folder} (set ROMAN_VALIDATION_DATA)")
    return folder
