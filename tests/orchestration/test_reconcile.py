"""Dagster's record can be lost or late: the index is the truth, and reconciling repairs from it."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from roman_assets.cli import app
from roman_assets.cli.common import console
from roman_assets.errors import InputError
from roman_assets.orchestration.backfill import launch, partition_keys
from roman_assets.orchestration.processing import dagster_instance, plan
from roman_assets.orchestration.reconcile import dagster_key, reconcile
from roman_assets.platform.workspace import Workspace
from roman_assets.products import Identity
from roman_assets.products.keys import ROW_SUFFIX
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


@pytest.fixture
def roman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command on an installation of its own; gives exit code and output."""
    monkeypatch.setenv("ROMAN_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.setattr(console, "_width", 200)

    def run(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
        return done.exit_code, done.output

    return run


def events(home: Path, season: str, version: str) -> None:
    """A product of season_events."""
    partition = f"season={season}/detector=WFI01"
    made_of = Identity(("a" * 64,), version, {}, "1")
    Workspace(home).products.put_json("season_events", partition, {"version": version}, made_of)


def test_verifying_without_doing_anything_marks_nothing(roman: Callable[..., Any], tmp_path: Path) -> None:
    """Once a dry run made what it found damaged invisible."""
    home = tmp_path / "home"
    for season in ("s01", "s02", "s03"):
        events(home, season, "1")
    products = Workspace(home).products
    before = products.index.all_records()
    missing, damaged, _ = (Path(products.store.location(record.key)) for record in before)
    missing.unlink()
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    files = sorted(file for file in (home / "products").rglob("*") if "index.sqlite" not in file.name)
    for _ in range(2):
        code, said = roman("reconcile", "--dry-run", "--verify")
        assert (code, "2 products are damaged" in said) == (2, True), said
        assert products.index.all_records() == before
        assert sorted(file for file in (home / "products").rglob("*") if "index.sqlite" not in file.name) == files
    assert roman("reconcile", "--verify")[0] == 2
    assert [record.removed for record in products.index.all_records()] == [True, True, False]
    assert roman("reconcile", "--verify")[0] == 0


def test_an_index_from_a_backup_is_completed_and_dagster_follows(roman: Callable[..., Any], tmp_path: Path) -> None:
    """Once such products were orphans, and retention deleted them after a day."""
    home = tmp_path / "home"
    events(home, "s01", "1")
    index = Workspace(home).products.store.root / "index.sqlite"  # type: ignore[attr-defined]
    with closing(sqlite3.connect(index)) as live, closing(sqlite3.connect(tmp_path / "backup.sqlite")) as copy:
        live.backup(copy)
    events(home, "s01", "2")
    events(home, "s02", "1")
    before = Workspace(home).products.current()
    for file in index.parent.glob("index.sqlite*"):
        file.unlink()
    shutil.copyfile(tmp_path / "backup.sqlite", index)

    code, said = roman("retention", "--apply", "--orphans", "0", "--superseded", "0")
    assert (code, "2 products are in the store and not in the index" in said) == (0, True), said
    code, said = roman("reconcile", "--dry-run")
    assert (code, "2 products that the index lacked would be adopted" in said) == (0, True), said
    assert len(Workspace(home).products.current()) == 1
    code, said = roman("reconcile")
    assert (code, "2 products that the index lacked were adopted" in said) == (0, True), said
    assert Workspace(home).products.current() == before
    with dagster_instance(Workspace(home)) as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("season_events")) == {"WFI01|s01", "WFI01|s02"}
    code, said = roman("reconcile", "--verify")
    assert (code, "adopted" in said, "0 were reported" in said) == (0, False, True), said
    assert Workspace(home).products.current() == before


def test_missing_row_files_are_written_and_told(roman: Callable[..., Any], tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        events(tmp_path / "home", "s01", version)
    files = list((tmp_path / "home").rglob(f"*{ROW_SUFFIX}"))
    for file in files:
        file.unlink()
    assert "3 row files would be written" in roman("reconcile", "--dry-run")[1]
    assert (
        "2 row files were written for products that had none, 1 still have none"
        in roman("reconcile", "--row-files", "2")[1]
    )
    assert "1 row files were written" in roman("reconcile")[1]
    assert all(file.exists() for file in files)
    assert len(files) == 3


def test_what_cannot_be_adopted_is_told(roman: Callable[..., Any], tmp_path: Path) -> None:
    events(tmp_path / "home", "s01", "1")
    for file in (tmp_path / "home" / "products").glob("index.sqlite*"):
        file.unlink()
    (file,) = (tmp_path / "home").rglob(f"*{ROW_SUFFIX}")
    file.write_text("[red]{")
    code, said = roman("reconcile")
    assert (code, "1 cannot be" in said, "no row of a product" in said) == (2, True, True), said


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
