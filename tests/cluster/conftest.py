"""A platform in the cluster of KUBECONFIG, and the survey that is dropped into its landing bucket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import SimulatedSurvey, simulate_survey
from tests.cluster.platform import Platform, installed

#: Two days of two detectors in the shipped calendar's first season and third field.
SURVEY = MiniSurvey(
    seed=11,
    detectors=("WFI01", "WFI02"),
    days=2,
    visits_per_day=8,
    size_px=96,
    n_events=3,
    n_variables=2,
    ra=267.81729,
    dec=-29.21266,
)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A line per test for tests/cluster/run and .ci/cluster, which learn from it what failed when their time was over."""
    place = os.environ.get("ROMAN_CLUSTER_OUTCOMES")
    if place and (report.failed or (report.when == "call" and report.passed)):
        with Path(place).open("a") as stream:
            stream.write(f"{report.outcome} {report.nodeid}\n")


@pytest.fixture(scope="session")
def survey(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSurvey:
    """32 exposures: two detectors, two days, eight visits a day."""
    return simulate_survey(SURVEY, tmp_path_factory.mktemp("survey"), workers=2)


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """The platform, installed from deploy/; skips where no cluster is given."""
    if not os.environ.get("KUBECONFIG"):
        pytest.skip("no KUBECONFIG: `make test-cluster` starts a cluster where it can")
    import kubernetes

    kubernetes.config.load_kube_config()
    kept = os.environ.get("ROMAN_TEST_FOLDER")
    with installed(Path(kept) if kept else tmp_path_factory.mktemp("platform")) as place:
        yield place
