"""The products of one test."""

from __future__ import annotations

import pytest

from roman_assets.products import Products


@pytest.fixture
def products(tmp_path) -> Products:
    return Products(str(tmp_path / "products"))
