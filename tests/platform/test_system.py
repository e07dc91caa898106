"""Every asset stands in one row, and all that is derived from it agrees."""

from __future__ import annotations

from importlib import import_module

import dagster as dg
import pytest

from roman_assets.errors import RomanError
from roman_assets.orchestration.definitions import build_definitions
from roman_assets.platform.dagster_internals import PINNED
from roman_assets.platform.reporting import stage_result
from roman_assets.platform.stage import Check, StageResult
from roman_assets.platform.system import AssetFacts, Gate
from roman_assets.platform.workspace import Workspace
from roman_assets.systems.registry import ASSETS, SYSTEMS


@pytest.mark.parametrize("asset", ASSETS.values(), ids=lambda asset: asset.name)
def test_a_row_names_what_there_is(asset: AssetFacts) -> None:
    (system,) = [s for s in SYSTEMS if asset in s.assets]
    module, _, function = asset.stage.partition(":")
    assert callable(getattr(import_module(f"{system.package}.stages.{module}"), function))
    assert module in (asset.name, "spectra"), "a stage file bears its asset's name"
    assert set(asset.made_of) <= set(ASSETS)
    assert asset.job in {job.name for job in system.jobs}
    assert asset.closes is None or asset.closes in asset.products
    assert asset.code.isdigit()
    before = list(ASSETS)[: list(ASSETS).index(asset.name)]
    assert set(asset.made_of) <= set(before), "rows stand in the order of processing"


def test_definitions_are_those_of_the_rows(tmp_path) -> None:
    definitions = build_definitions(Workspace(tmp_path))
    keys = {key.to_user_string() for key in definitions.resolve_asset_graph().get_all_asset_keys()}
    assert keys == set(ASSETS)
    specs = {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}
    for name, asset in ASSETS.items():
        assert specs[name].code_version == asset.code
        assert {dep.asset_key.to_user_string() for dep in specs[name].deps} == set(asset.made_of)


def test_one_job_has_one_kind_of_partition() -> None:
    for system in SYSTEMS:
        for job in system.jobs:
            assert len({asset.partition for asset in system.of_job(job.name)}) == 1, job.name


def test_the_pinned_version_is_installed() -> None:
    """dagster_internals imports what is private of this version: with another one, look at it again."""
    assert dg.__version__ == PINNED
    from roman_assets.platform import dagster_internals as inside

    assert inside.event_log_schema().SqlEventLogStorageTable is not None
    with dg.DagsterInstance.ephemeral() as instance:
        assert inside.sql_event_log(instance.event_log_storage) is not None
        assert inside.is_local_compute_log(instance.compute_log_manager) in (True, False)


GATES = {"a": Gate("a is so"), "b": Gate("b is so", severe=True)}


def checks_of(stage: StageResult) -> dict[str, dg.AssetCheckResult]:
    found = stage_result("asset", stage, GATES).check_results
    assert found is not None
    return {str(c.check_name): c for c in found}


def test_a_gate_that_is_not_reported_is_not_green() -> None:
    made = checks_of(StageResult(checks=[Check("a", True, "a is so")]))
    assert made["a"].passed
    assert not made["b"].passed
    assert "did not report" in str(made["b"].description)


def test_not_judged_is_said_by_the_stage() -> None:
    stage = StageResult(checks=[Check("a", True, "a is so")])
    stage.not_judged("b")
    made = checks_of(stage)["b"]
    assert made.passed
    assert str(made.description).startswith("not judged")


def test_an_undeclared_gate_raises() -> None:
    with pytest.raises(RomanError, match="does not declare: c"):
        checks_of(StageResult(checks=[Check("a", True, ""), Check("b", True, ""), Check("c", True, "")]))
