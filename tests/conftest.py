"""Fixtures every test may use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from roman_assets.platform.arithmetic import pin_arithmetic
from tests.optional import needed
from tests.postgresql import postgresql_server
from tests.services import KEY, SECRET, s3_server

# Before the plugins below load numpy: products of this process are compared with those of `roman` and of its servers.
pin_arithmetic()

#: Fixtures of several folders: the survey that is processed once, and a valid file in parts.
pytest_plugins = ["tests.mini_survey", "tests.exposures.fixtures"]


#: What takes long to make and is shared by modules.
DEAR = ("processed", "postgresql_url", "s3_endpoint")


@pytest.hookimpl(tryfirst=True)  # before xdist, which reads the marks of groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share something made once run on one worker: each worker would make it anew."""
    for item in items:
        if isinstance(item, pytest.Function) and not any(item.iter_markers("xdist_group")):
            shared = [name for name in DEAR if name in item.fixturenames]
            of_module = any(
                found[-1].scope == "module"
                for name, found in item._fixtureinfo.name2fixturedefs.items()
                if name in item.fixturenames
            )
            if shared or of_module:
                item.add_marker(pytest.mark.xdist_group(shared[0] if shared else item.path.stem))


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
