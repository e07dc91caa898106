"""Fixtures every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.optional import needed
from tests.postgresql import postgresql_server
from tests.services import KEY, SECRET, s3_server

#: Fixtures of several folders: the survey that is processed once, and a valid file in parts.
pytest_plugins = ["tests.mini_survey", "tests.exposures.fixtures"]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the external test data; tests that need it skip, saying so, where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ROMAN_VALIDATION_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"external test data not found at {folder} (set ROMAN_VALIDATION_DATA)")
    return folder


@pytest.fixture(scope="session")
def galsim() -> ModuleType:
    """The library that simulations draw with."""
    return needed("galsim")


@pytest.fixture(scope="session")
def s3_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of an S3 server: ROMAN_TEST_S3_ENDPOINT with the usual AWS variables, else one of its own."""
    given = os.environ.get("ROMAN_TEST_S3_ENDPOINT")
    if given:
        yield given
        return
    patch = pytest.MonkeyPatch()
    with s3_server(tmp_path_factory.mktemp("s3")) as url, patch.context() as environment:
        environment.setenv("AWS_ACCESS_KEY_ID", KEY)
        environment.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        yield url


@pytest.fixture(scope="session")
def postgresql_url() -> Iterator[str]:
    """URL of a PostgreSQL database: ROMAN_TEST_POSTGRES_URL, else one of a server of its own; skips without Debian's."""
    with postgresql_server() as url:
        yield url
