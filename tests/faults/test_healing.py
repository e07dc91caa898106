"""Healing as a property: whatever fails for a moment, running again gives the products of an undisturbed run.

Every call of a stage to blobs, index, registry and files fails once, attempt after attempt, until an attempt has none
left to fail; then random subsets of them; then the process is killed at them. Not only what is visible in the end must
agree: every product that was ever made must be one of the undisturbed run, so that nothing wrong was stored on the way.

`make test-faults` does it at every call and with 50 subsets; elsewhere a sample of the calls is enough.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from roman_assets.platform.workspace import Workspace
from tests.faults.injection import Faults, Killed, injected
from tests.faults.stages import Step, Survey, everything_made, regions_with_products, steps

pytestmark = [pytest.mark.faults, pytest.mark.xdist_group("healing")]
Made = set[tuple[str, str, str, str, str]]
Figure = Callable[[str, int], None]
CAMPAIGN = bool(os.environ.get("ROMAN_CAMPAIGN"))
#: Of how many calls one fails, and how many random subsets are tried.
STRIDE, SUBSETS = (1, 50) if CAMPAIGN else (9, 2)
#: No stage makes more calls than this.
MOST_CALLS = 1000


@pytest.fixture(scope="module")
def survey(tmp_path_factory: pytest.TempPathFactory) -> Survey:
    return Survey.simulate(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def undisturbed(survey: Survey, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """What a run without faults makes."""
    workspace = survey.workspace(tmp_path_factory.mktemp("undisturbed") / "home")
    for _, work in steps(workspace, survey):
        work(workspace)
    made = everything_made(workspace)
    kinds = {kind for kind, *_ in made}
    assert {"reference_catalog", "difference_sources", "survey_events", "detection_efficiency", "redshifts"} <= kinds
    assert len(regions_with_products(workspace)) >= 2
    return made


def run_with(
    survey: Survey, home: Path, faults: Faults, choose: Callable[[int, int], Callable[[int, str], bool]]
) -> Workspace:
    """All steps, each again and again while faults meet it; `choose` gives the calls that fail, by step and attempt."""
    workspace = survey.workspace(home)
    with injected([home, survey.folder], faults):
        for number, (name, work) in enumerate(steps(workspace, survey)):
            _until_done(workspace, faults, number, name, work, choose)
    return workspace


def _until_done(
    workspace: Workspace,
    faults: Faults,
    number: int,
    name: str,
    work: Step | Callable[[Workspace], object],
    choose: Callable[[int, int], Callable[[int, str], bool]],
) -> None:
    for attempt in range(MOST_CALLS):
        faults.chosen, met = choose(number, attempt), faults.met
        faults.begin()
        try:
            work(workspace)  # type: ignore[operator]
        except (Exception, Killed):
            assert faults.met > met, f"{name} fails although nothing was put in its way"
            continue
        if faults.met == met:
            return
        # A fault that the stage took in its stride: it may heal by itself, but must not have changed anything.
    raise AssertionError(f"{name} never ends")


def one_after_another(offset: int = 0) -> Callable[[int, int], Callable[[int, str], bool]]:
    """Attempt k fails at its call k STRIDE + offset."""
    return lambda _step, attempt: lambda number, _name: number == attempt * STRIDE + offset


def compare(workspace: Workspace, undisturbed: Made) -> None:
    made = everything_made(workspace)
    assert sorted(made - undisturbed) == [], "products that the undisturbed run does not make"
    assert sorted(undisturbed - made) == [], "products that only the undisturbed run makes"
    for record in workspace.products.current():
        workspace.products.verify(record)


def test_every_call_fails_once(survey: Survey, undisturbed: Made, tmp_path: Path, figure: Figure) -> None:
    faults = Faults()
    workspace = run_with(survey, tmp_path / "home", faults, one_after_another())
    assert faults.met > 100
    compare(workspace, undisturbed)
    figure("faults_one_by_one", faults.met)


def test_killed_at_every_call(survey: Survey, undisturbed: Made, tmp_path: Path, figure: Figure) -> None:
    faults = Faults(kind="kill")
    workspace = run_with(survey, tmp_path / "home", faults, one_after_another(STRIDE // 2))
    assert faults.met > 100
    compare(workspace, undisturbed)
    figure("kills_at_calls", faults.met)


@pytest.mark.parametrize("seed", range(SUBSETS))
def test_random_calls_fail(seed: int, survey: Survey, undisturbed: Made, tmp_path: Path, figure: Figure) -> None:
    chance = random.Random(seed)

    def choose(_step: int, attempt: int) -> Callable[[int, str], bool]:
        # Less and less often, so that an attempt comes through.
        rate = 0.2 / (1 + attempt)
        return lambda _number, _name: attempt < 20 and chance.random() < rate

    faults = Faults()
    workspace = run_with(survey, tmp_path / "home", faults, choose)
    assert faults.met > 20
    compare(workspace, undisturbed)
    figure("faults_at_random", faults.met)
