"""Fixtures of the exposure tests."""

from __future__ import annotations

import pytest

from tests.exposures.level2_files import NAME, Parts, make_valid, take_apart


@pytest.fixture(scope="session")
def valid_parts(tmp_path_factory) -> Parts:
    path = tmp_path_factory.mktemp("valid") / NAME
    make_valid(path)
    return take_apart(path.read_bytes())


@pytest.fixture
def parts(valid_parts) -> Parts:
    return valid_parts
