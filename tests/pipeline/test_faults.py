"""Late, damaged and re-established inputs: what each costs, and that nothing is lost."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roman_assets.exposures.ingest import ingest
from roman_assets.orchestration.processing import dagster_instance
from roman_assets.platform.resource import WorkspaceResource
from roman_assets.platform.workspace import Workspace
from roman_assets.products.identity import Identity
from roman_assets.simulate.survey import SimulatedSurvey
from roman_assets.survey.model import Calendar, Season
from roman_assets.systems.msos.photometry.exposure_fit import ExposurePhotometry, fit_exposure
from roman_assets.systems.msos.stages.common import pointing_name, pointings
from roman_assets.systems.msos.stages.daily_light_curves import daily
from roman_assets.systems.msos.stages.exposures import collect
from roman_assets.systems.msos.stages.psf_photometry import measure
from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig, establish
from roman_assets.systems.msos.stages.season_light_curves import transpose_season
from tests.mini_survey import fresh_workspace, take_in

DAY, DETECTOR, SEASON = "2027-03-01", "WFI01", "s01"
SMALL = CatalogueConfig(exposures=4)


@pytest.fixture
def own_files(survey: SimulatedSurvey, tmp_path: Path) -> list[Path]:
    """The first day's exposures, copied so that they can be damaged."""
    folder = tmp_path / "landing"
    folder.mkdir()
    chosen = sorted(survey.exposures)[:8]
    return [Path(shutil.copy2(path, folder / path.name)) for path in chosen]


@pytest.fixture
def started(own_files: list[Path], survey: SimulatedSurvey, tmp_path: Path) -> Workspace:
    """A workspace with six of eight exposures measured."""
    workspace = fresh_workspace(tmp_path / "home", survey)
    take_in(workspace, own_files[:6])
    establish(workspace, SEASON, DETECTOR, SMALL)
    first = measure(workspace, DAY, DETECTOR)
    assert first.new == 7  # six parts and their manifest
    daily(workspace, DAY, DETECTOR)
    return workspace


def test_a_late_exposure_costs_that_exposure_only(started: Workspace, own_files: list[Path]) -> None:
    take_in(started, own_files[6:7])
    result = measure(started, DAY, DETECTOR)
    assert [r.part for r in result.records if r.outcome == "new" and r.kind == "psf_photometry_part"] == [
        own_files[6].name.removesuffix("_cal.asdf")
    ]
    curves = daily(started, DAY, DETECTOR)
    assert sum(r.outcome == "new" and r.kind == "daily_light_curves_part" for r in curves.records) == 1


def test_a_late_exposure_leaves_the_catalogue_alone(started: Workspace, own_files: list[Path]) -> None:
    before = started.products.current("reference_catalog")[0].sha256
    take_in(started, own_files[6:])
    assert establish(started, SEASON, DETECTOR, SMALL).new == 0
    assert started.products.current("reference_catalog")[0].sha256 == before


def test_a_damaged_exposure_is_a_caveat_and_goes_to_quarantine(started: Workspace, own_files: list[Path]) -> None:
    """Bytes that changed after registration: the day succeeds, the file is kept with its reason."""
    take_in(started, own_files[6:7])
    data = bytearray(own_files[6].read_bytes())
    data[len(data) // 2] ^= 0xFF
    own_files[6].write_bytes(data)
    result = measure(started, DAY, DETECTOR)
    name = own_files[6].name.removesuffix("_cal.asdf")
    assert any("quarantined" in caveat and name in caveat for caveat in result.caveats)
    kept = started.quarantine.list()
    assert [record.name for record in kept] == [own_files[6].name]
    assert started.quarantine.read(kept[0].sha256) == bytes(data)
    manifest = started.products.read_json(started.products.current("psf_photometry")[0])
    assert manifest["missing"] == [own_files[6].name.removesuffix("_cal.asdf")]
    checks = {check.name: check for check in result.checks}
    assert checks["completeness"].passed  # six of seven


def test_a_vanished_exposure_is_a_caveat(started: Workspace, own_files: list[Path]) -> None:
    take_in(started, own_files[6:7])
    own_files[6].unlink()
    result = measure(started, DAY, DETECTOR)
    assert any(own_files[6].name.removesuffix("_cal.asdf") in caveat for caveat in result.caveats)
    assert sum(r.kind == "psf_photometry_part" for r in result.records) == 6


def test_a_fit_that_does_not_end_is_a_caveat_and_no_product(
    started: Workspace, own_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fluxes that are no solution must reach no light curve: once they were 1e9 times too large."""
    take_in(started, own_files[6:7])

    def astray(*arguments: Any, **options: Any) -> ExposurePhotometry:
        return replace(fit_exposure(*arguments, **options), unsolved=900, on_image=1000, converged=False)

    monkeypatch.setattr("roman_assets.systems.msos.stages.psf_photometry.fit_exposure", astray)
    result = measure(started, DAY, DETECTOR)
    assert any("no solution for 900 of 1000 stars" in caveat for caveat in result.caveats)
    assert sum(r.kind == "psf_photometry_part" for r in result.records) == 6


def test_a_reestablished_catalogue_has_the_next_sequence_and_repeats_photometry(started: Workspace) -> None:
    first = started.products.current("reference_catalog")[0]
    establish(started, SEASON, DETECTOR, CatalogueConfig(exposures=6, reestablish=True))
    second = started.products.current("reference_catalog")[0]
    assert (first.attributes["sequence"], second.attributes["sequence"]) == (1, 2)
    stale = daily(started, DAY, DETECTOR)
    assert any("superseded catalogue" in caveat for caveat in stale.caveats)
    assert measure(started, DAY, DETECTOR).new == 7
    assert daily(started, DAY, DETECTOR).caveats == []
    # Nothing was deleted: the first catalogue can still be read.
    assert started.products.read_table(first).height > 0


def test_a_day_without_a_catalogue_waits(own_files: list[Path], survey: SimulatedSurvey, tmp_path: Path) -> None:
    workspace = fresh_workspace(tmp_path / "home", survey)
    take_in(workspace, own_files[:2])
    result = measure(workspace, DAY, DETECTOR)
    assert len(result.caveats) == 2
    assert all("waits for a reference catalogue" in caveat for caveat in result.caveats)


def test_a_season_without_some_days_says_what_is_missing(started: Workspace, survey: SimulatedSurvey) -> None:
    """The season is made with what is there, and names the days that have no light curves."""
    take_in(started, sorted(survey.exposures)[8:10])
    result = transpose_season(started, SEASON, DETECTOR)
    assert any("2027-03-02: 2 registered exposures" in caveat for caveat in result.caveats)
    completeness = next(check for check in result.checks if check.name == "completeness")
    assert not completeness.passed
    assert result.figures["epochs"] == 6


def test_an_exposure_of_another_day_is_not_a_partition_of_this_one(started: Workspace, survey: SimulatedSurvey) -> None:
    take_in(started, sorted(survey.exposures)[8:9])
    assert measure(started, DAY, DETECTOR).new == 0


def test_ingesting_twice_registers_once(started: Workspace, own_files: list[Path]) -> None:
    report = ingest(own_files[:6], started.registry, started.quarantine, started.calendar, full=False)
    assert report.registered == []
    assert len(report.duplicates) == 6


def test_the_last_manifest_is_the_fullest(
    started: Workspace, own_files: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two runs of one day: the one that began before a late exposure arrived may end after the other."""
    earlier = started.registry.exposures(day=DAY, detector=DETECTOR, survey="bulge")
    take_in(started, own_files[6:7])
    assert measure(started, DAY, DETECTOR).figures["measured_exposures"] == 7
    monkeypatch.setattr(started.registry, "exposures", lambda **_: earlier)
    measure(started, DAY, DETECTOR)
    manifest = started.products.read_json(started.products.current("psf_photometry")[0])
    assert len(manifest["parts"]) == 7


def test_a_damaged_file_costs_the_exposures_asset_its_picture_only(started: Workspace, own_files: list[Path]) -> None:
    data = bytearray(own_files[0].read_bytes())
    data[len(data) // 2] ^= 0xFF
    own_files[0].write_bytes(data)
    result = collect(started, DAY, DETECTOR)
    assert [caveat.code for caveat in result.caveats if "not read for a picture" in caveat] == ["refused"]
    assert "first_exposure" in result.pictures  # of the next exposure


def test_photometry_uses_the_epsf_that_its_catalogue_names(started: Workspace) -> None:
    """Killed between the two products of a new catalogue: the old catalogue still goes with its own ePSF."""
    catalogue = started.products.current("reference_catalog")[0]
    other = Identity(("0" * 64,), "1")
    started.products.put_asdf("epsf", catalogue.partition, {"coefficients": [0.0]}, other, part=catalogue.part)
    assert measure(started, DAY, DETECTOR).new == 0


def test_pointings_of_small_images_have_names_of_their_own(started: Workspace) -> None:
    exposure = started.registry.exposures()[0]
    near = replace(exposure, ra_center=exposure.ra_center + 10 / 3600)
    larger = replace(exposure, shape=(128, 128))
    assert len({pointing_name(e) for e in (exposure, near, larger)}) == 3
    assert len(pointings([exposure, near, larger])) == 3


def test_a_given_workspace_ignores_the_environment(started: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo in a shell that is set up for production must not write there."""
    monkeypatch.setenv("ROMAN_PRODUCTS", "/nowhere/production")
    monkeypatch.setenv("ROMAN_REGISTRY_URL", "sqlite:////nowhere/registry.sqlite")
    seen = WorkspaceResource.of(started).get()
    assert seen.products.root == started.products.root
    assert seen.registry.counts()["exposures"] == 6
    with dagster_instance(started):
        assert "ROMAN_PRODUCTS" not in os.environ
    assert os.environ["ROMAN_PRODUCTS"] == "/nowhere/production"


def test_exposures_outside_the_calendar_are_taken_up_by_a_new_one(survey: SimulatedSurvey, tmp_path: Path) -> None:
    workspace = fresh_workspace(tmp_path / "home", survey)
    other = Calendar("other", (Season("s01", ("2031-01-01",)),), ("WFI01",))
    take_in(replace_calendar(workspace, other), sorted(survey.exposures)[:2])
    assert workspace.registry.exposures(season="s01") == []
    assert workspace.registry.apply_calendar(workspace.calendar) == 2
    assert len(workspace.registry.exposures(season="s01")) == 2


def replace_calendar(workspace: Workspace, calendar: Calendar) -> Workspace:
    """The same installation seen with another calendar."""
    seen = replace(workspace)
    seen.__dict__["calendar"] = calendar
    return seen
