"""Faults that once were frozen into products: each must raise, heal, and leave nothing wrong behind."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roman_assets.errors import Damaged
from roman_assets.exposures.level2 import reader
from roman_assets.exposures.level2.reader import read_header
from roman_assets.orchestration.processing import plan, run_steps
from roman_assets.platform.making import withdraw_strays
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import SimulatedSurvey, simulate_survey
from roman_assets.storage.base import Unavailable
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.survey.calendar_file import write_calendar
from roman_assets.systems.msos.difference.search import DifferenceConfig
from roman_assets.systems.msos.stages.daily_light_curves import daily
from roman_assets.systems.msos.stages.difference_sources import difference_sources
from roman_assets.systems.msos.stages.exposures import collect
from roman_assets.systems.msos.stages.psf_photometry import measure
from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig, establish
from roman_assets.systems.msos.stages.season_light_curves import transpose_season
from roman_assets.systems.msos.stages.season_objects import objects
from tests.mini_survey import fresh_workspace, take_in

DAY, DETECTOR, SEASON = "2027-03-01", "WFI01", "s01"
CATALOGUE = CatalogueConfig(exposures=4)
DIFFERENCE = DifferenceConfig(bin_days=0.05)


@pytest.fixture(scope="module")
def two_seasons(tmp_path_factory: pytest.TempPathFactory) -> SimulatedSurvey:
    config = MiniSurvey(
        seed=5, detectors=(DETECTOR,), days=2, seasons=2, visits_per_day=4, size_px=64, n_events=1, n_variables=1
    )
    return simulate_survey(config, tmp_path_factory.mktemp("two_seasons"), workers=2)


@pytest.fixture
def own(survey: SimulatedSurvey, tmp_path: Path) -> Workspace:
    """An installation with copies of the first day's exposures."""
    folder = tmp_path / "landing"
    folder.mkdir()
    paths = [Path(shutil.copy2(path, folder / path.name)) for path in sorted(survey.exposures)]
    workspace = fresh_workspace(tmp_path / "home", survey)
    take_in(workspace, paths)
    return workspace


def outage(monkeypatch: pytest.MonkeyPatch, number: int = 0) -> None:
    """Reading of exposures fails from the `number`-th on."""
    real, seen = reader.opened, []

    def opened(path: Any, *arguments: Any) -> Any:
        seen.append(path)
        if len(seen) > number:
            raise Unavailable("the storage is away", file=path)
        return real(path, *arguments)

    monkeypatch.setattr(reader, "opened", opened)


def damage(path: Path) -> bytes:
    good = path.read_bytes()
    data = bytearray(good)
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    return good


def test_a_day_measured_in_an_outage_is_not_made(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    establish(own, SEASON, DETECTOR, CATALOGUE)
    with monkeypatch.context() as patch:
        outage(patch)
        with pytest.raises(Unavailable):
            measure(own, DAY, DETECTOR)
    assert own.products.current("psf_photometry") == []
    assert {caveat.code for caveat in measure(own, DAY, DETECTOR).caveats} == {"header"}


def test_a_catalogue_is_not_stacked_in_an_outage(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be frozen for the season, of the two exposures that could be read."""
    with monkeypatch.context() as patch:
        outage(patch, 2)
        with pytest.raises(Unavailable):
            establish(own, SEASON, DETECTOR, CATALOGUE)
    assert own.products.current("reference_catalog") == []
    establish(own, SEASON, DETECTOR, CATALOGUE)
    (record,) = own.products.current("reference_catalog")
    assert record.attributes["exposures"] == 4


def season_of(workspace: Workspace) -> None:
    establish(workspace, SEASON, DETECTOR, CATALOGUE)
    for day in (DAY, "2027-03-02"):
        measure(workspace, day, DETECTOR)
        daily(workspace, day, DETECTOR)
    transpose_season(workspace, SEASON, DETECTOR)


def test_difference_photometry_heals_after_an_outage_and_after_damage(
    own: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    season_of(own)
    with monkeypatch.context() as patch:
        outage(patch, 4)
        with pytest.raises(Unavailable):
            difference_sources(own, SEASON, DETECTOR, DIFFERENCE)
    assert own.products.current("difference_sources") == []

    # A file that is not what was registered is a verdict: the product is made without it, and its identity says so.
    path = Path(own.registry.exposures()[5].uri)
    good = damage(path)
    without = difference_sources(own, SEASON, DETECTOR, DIFFERENCE)
    name = path.name.removesuffix("_cal.asdf")
    assert [(c.code, c.subject) for c in without.caveats] == [("quarantined", name)]
    assert without.records[0].attributes["left_out"] == [name]
    assert difference_sources(own, SEASON, DETECTOR, DIFFERENCE).new == 0, "nothing has changed"

    # And when the file is whole again, the product that lacks it is no longer the one to be found.
    path.write_bytes(good)
    healed = difference_sources(own, SEASON, DETECTOR, DIFFERENCE)
    assert healed.new == 2
    assert healed.caveats == []
    assert "left_out" not in healed.records[0].attributes


def test_a_flipped_bit_in_a_product_is_found_and_made_again(own: Workspace) -> None:
    season_of(own)
    (record,) = own.products.current("season_light_curves")
    damage(Path(own.products.store.location(record.key)))
    with pytest.raises(Damaged, match="materialize"):
        objects(own, SEASON, DETECTOR)
    assert own.products.current("season_light_curves") == []
    again = transpose_season(own, SEASON, DETECTOR)
    assert [r.sha256 for r in again.records if r.kind == "season_light_curves"] == [record.sha256]
    assert objects(own, SEASON, DETECTOR).new == 1
    assert own.products.incidents() == []


def test_part_readers_notice_a_flipped_bit(own: Workspace) -> None:
    season_of(own)
    (record,) = own.products.current("season_light_curves")
    path = Path(own.products.store.location(record.key))
    good = path.read_bytes()
    found = 0
    for place in range(8, len(good) - 8, max(len(good) // 40, 1)):
        data = bytearray(good)
        data[place] ^= 0x10
        path.write_bytes(data)
        own.products.index.revive(record.id)
        try:
            table = own.products.read_rows(record, ["object_id", "flux"])
        except Damaged:
            found += 1
        else:  # the bit is in another column: what was read is right
            path.write_bytes(good)
            assert table.equals(own.products.read_rows(record, ["object_id", "flux"]))
    assert found > 5


@pytest.mark.slow
def test_the_processing_mends_damaged_products(two_seasons: SimulatedSurvey, tmp_path: Path) -> None:
    workspace = fresh_workspace(tmp_path / "home", two_seasons)
    take_in(workspace, sorted(two_seasons.exposures)[:8])
    assert run_steps(workspace, plan(workspace)).failed == {}
    before = {r.sha256 for r in workspace.products.current()}
    (record,) = workspace.products.current("season_light_curves")
    damage(Path(workspace.products.store.location(record.key)))
    (epsf,) = workspace.products.current("epsf")
    damage(Path(workspace.products.store.location(epsf.key)))
    # What is damaged is met when something has to be made of it.
    for kind in ("season_objects", "psf_photometry_part"):
        workspace.products.index.mark_damaged(workspace.products.current(kind)[0].id)
    outcome = run_steps(workspace, plan(workspace))
    assert outcome.failed == {}
    assert len(outcome.damaged) >= 1
    assert {r.sha256 for r in workspace.products.current()} == before


def hashes(workspace: Workspace) -> dict[tuple[str, str, str], str]:
    return {(r.kind, r.partition, r.part): r.sha256 for r in workspace.products.current()}


def process(workspace: Workspace, paths: list[Path], calendar_of: list[Path]) -> Workspace:
    """As `calendar init --force`, `ingest` and `process` do."""
    calendar = calendar_for_files([read_header(path) for path in calendar_of], "test")
    write_calendar(calendar, workspace.home / "calendar.toml")
    fresh = replace(workspace)
    fresh.registry.apply_calendar(fresh.calendar)
    take_in(fresh, paths)
    assert run_steps(fresh, plan(fresh)).failed == {}
    return fresh


@pytest.mark.slow
def test_a_calendar_that_loses_a_day(two_seasons: SimulatedSurvey, tmp_path: Path) -> None:
    paths = sorted(two_seasons.exposures)[:8]
    (tmp_path / "home").mkdir()
    (tmp_path / "fresh").mkdir()
    process(Workspace(tmp_path / "home"), paths, paths)
    less = process(Workspace(tmp_path / "home"), paths[:4], paths[:4])
    fresh = process(Workspace(tmp_path / "fresh"), paths[:4], paths[:4])
    assert hashes(less) == hashes(fresh)
    assert withdraw_strays(less) == []


@pytest.mark.slow
def test_a_calendar_that_renumbers_its_seasons(two_seasons: SimulatedSurvey, tmp_path: Path) -> None:
    paths = sorted(two_seasons.exposures)
    (tmp_path / "home").mkdir()
    (tmp_path / "fresh").mkdir()
    process(Workspace(tmp_path / "home"), paths[8:], paths[8:])
    both = process(Workspace(tmp_path / "home"), paths, paths)
    fresh = process(Workspace(tmp_path / "fresh"), paths, paths)
    assert hashes(both) == hashes(fresh)


def test_a_bad_picture_costs_no_table(own: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_arguments: Any, **_options: Any) -> bytes:
        raise ValueError("no canvas")

    monkeypatch.setattr("roman_assets.platform.exposure_summary.image_figure", broken)
    result = collect(own, DAY, DETECTOR)
    assert result.new == 1
    assert [c.code for c in result.caveats if c.code != "header"] == ["picture"]
