"""Workers: what is dear to make is made by one of them."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def dear() -> int:
    return 1


@pytest.mark.usefixtures("dear")
def test_tests_that_share_a_fixture_run_on_one_worker(request: pytest.FixtureRequest, worker_id: str) -> None:
    """xdist keeps a group together by the end of its tests' ids, which a release of pytest made private."""
    if worker_id == "master":
        pytest.skip("there are no workers")
    assert request.node.nodeid.endswith("@test_workers")
