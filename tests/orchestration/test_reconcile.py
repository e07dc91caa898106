"""Dagster's record can be lost or late: the index is the truth, and reconciling repairs from it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from roman_assets.errors import InputError
from roman_assets.orchestration.backfill import launch, partition_keys
from roman_assets.orchestration.processing import dagster_instance, plan
from roman_assets.orchestration.reconcile import dagster_key, reconcile
from roman_assets.platform.workspace import Workspace
from tests.mini_survey import Processed


@pytest.fixture
def copied(processed: Processed, tmp_path: Path) -> Workspace:
    """A copy of the processed installation whose Dagster storage was lost."""
    home = tmp_path / "home"
    shutil.copytree(processed.workspace.home, home)
    shutil.rmtree(home / "dagster")
    return replace(processed.workspace, home=home)


def test_lost_events_are_reported_from_the_index(copied: Workspace) -> None:
    found = reconcile(copied)
    assert len(found.reported) == found.compared > 8
    again = reconcile(copied)
    assert again.reported == []
    with dagster_instance(copied) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("season_events")) == {"WFI01|s01"}


def test_a_materialization_without_a_product_is_named(copied: Workspace) -> None:
    reconcile(copied)
    with dagster_instance(copied) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("season_events", partition="WFI01|s02"))
    assert any("WFI01|s02" in line for line in reconcile(copied).unbacked)


def test_damaged_bytes_are_found(copied: Workspace) -> None:
    record = copied.products.current("season_objects")[0]
    path = Path(copied.products.store.location(record.key))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(data)
    found = reconcile(copied, dry_run=True, verify=True)
    assert len(found.damaged) == 1
    assert path.name in found.damaged[0]


def test_dagster_keys_of_partitions() -> None:
    assert dagster_key("day=2027-03-01/detector=WFI01") == "2027-03-01|WFI01"
    assert dagster_key("season=s01/detector=WFI01") == "WFI01|s01"
    assert dagster_key("region=b06_1") == "b06_1"


def test_backfill_keys_of_each_kind_of_asset(processed: Processed) -> None:
    calendar = processed.workspace.calendar
    assert partition_keys(calendar, ["exposures"], days=["2027-03-01"]) == ["2027-03-01|WFI01"]
    assert partition_keys(calendar, ["season_events"]) == ["WFI01|s01"]
    assert partition_keys(calendar, ["survey_events"])
    with pytest.raises(InputError, match="do not share"):
        partition_keys(calendar, ["exposures", "season_events"])
    with pytest.raises(InputError, match="only day assets have days"):
        partition_keys(calendar, ["season_events"], days=["2027-03-01"])


def test_a_backfill_without_an_instance_says_so() -> None:
    with pytest.raises(InputError, match="roman ui"):
        launch("http://127.0.0.1:9", ["exposures"], ["2027-03-01|WFI01"])


def test_planning_refuses_unknown_names(processed: Processed) -> None:
    with pytest.raises(InputError):
        plan(processed.workspace, seasons=["s99"])
    with pytest.raises(InputError, match="not a day"):
        plan(processed.workspace, days=["1999-01-01"])
    with pytest.raises(InputError, match="unknown detector"):
        plan(processed.workspace, detectors=["WFI99"])
    assert len(plan(processed.workspace, days=["2027-03-01"])) == 5
