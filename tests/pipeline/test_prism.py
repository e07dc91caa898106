"""A time-domain field seen through the prism on several days, from files to the series of its sources' spectra."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.level2.reader import read_header
from roman_assets.orchestration.processing import Outcome, plan, run_steps
from roman_assets.platform.workspace import Workspace
from roman_assets.products.archive import validate_record
from roman_assets.simulate.dispersed import DispersedField, simulate_dispersed
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.survey.calendar_file import write_calendar
from roman_assets.systems.gdps.archive import RECORD_KINDS
from roman_assets.systems.gdps.stages.spectral_series import series_of_region

pytestmark = pytest.mark.xdist_group("prism")
FIELD = DispersedField(
    element="PRISM",
    galaxies=5,
    stars=4,
    width=170,
    height=560,
    rolls=(20.0, 35.0),
    change=-0.4,
    days=("2027-10-01", "2027-10-06", "2027-10-11"),
)
VARIABLE = FIELD.galaxies + 1


@dataclass
class Prism:
    """The simulated field and what was made of it."""

    folder: Path
    workspace: Workspace
    outcome: Outcome

    def table(self, kind: str) -> pl.DataFrame:
        (record,) = self.workspace.products.current(kind)
        return self.workspace.products.read_table(record)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Prism:
    folder = tmp_path_factory.mktemp("prism")
    exposures = simulate_dispersed(FIELD, folder)
    home = folder / "home"
    home.mkdir()
    write_calendar(calendar_for_files([read_header(p) for p in exposures], "prism"), home / "calendar.toml")
    place = Workspace(home, sources=str(folder / "sources"))
    ingest(exposures, place.registry, place.quarantine, place.calendar)
    return Prism(folder, place, run_steps(place, plan(place)))


def test_all_steps_succeed(done: Prism) -> None:
    assert done.outcome.failed == {}
    assert done.outcome.failed_checks == []
    assert done.outcome.caveats == {}
    records = done.workspace.products.current("contamination_models")
    assert records
    for record in records:
        assert record.attributes["residual"] == pytest.approx(1.0, abs=0.05)
        assert record.attributes["optical_model"] == "nominal prism"


def test_a_source_has_a_spectrum_for_every_visit(done: Prism) -> None:
    series = done.table("spectral_series")
    (record,) = done.workspace.products.current("spectral_series")
    stored = done.workspace.products.read_archive(record)
    assert stored is not None
    validate_record(stored, RECORD_KINDS["spec_combined_1d"])
    assert series["source_id"].n_unique() > 1
    for _, rows in series.group_by("source_id"):
        assert rows["visit"].to_list() == [0, 1, 2]
        assert rows["n_exposures"].to_list() == [len(FIELD.rolls)] * 3
        assert len({tuple(w) for w in rows["wavelength"].to_list()}) == 1


def test_the_star_that_fades_is_found_and_by_how_much(done: Prism) -> None:
    found = done.table("spectral_variability").sort("chance")
    assert found["source_id"][0] == VARIABLE
    assert found["chance"][0] < 1e-6
    assert (found["chance"][1:] > 1e-4).all()
    mine = done.table("spectral_series").filter(pl.col("source_id") == VARIABLE).sort("visit")
    ratio = mine["brightness"].to_numpy() / mine["brightness"][0]
    assert ratio == pytest.approx([FIELD.brightness(k) for k in range(3)], abs=0.02)


def test_spectra_have_the_flux_of_the_catalogue(done: Prism) -> None:
    """A constant star's continuum at 1.577 um is its F158 magnitude, in every visit."""
    star = pl.read_parquet(done.folder / "sources" / "catalogue.parquet").filter(pl.col("id") == VARIABLE + 1)
    expected = 10 ** (-0.4 * (star["mag_f158"][0] + 56.1)) * 2.99792458e8 / 1.577e-6**2 * 1e-9
    mine = done.table("spectral_series").filter(pl.col("source_id") == VARIABLE + 1)
    assert mine.height == 3
    for row in mine.iter_rows(named=True):
        wave, flux = np.array(row["wavelength"]), np.array(row["flux"], dtype=float)
        near = (np.abs(wave - 1577) < 60) & np.isfinite(flux)
        assert float(np.median(flux[near])) == pytest.approx(expected, rel=0.03)


def test_again_is_a_no_op_with_the_same_pictures(done: Prism) -> None:
    (region,) = {r.partition for r in done.workspace.products.current("spectral_series")}
    before = {r.sha256 for r in done.workspace.products.current()}
    first, second = (series_of_region(done.workspace, region.split("=")[-1]) for _ in range(2))
    assert first.new == second.new == 0
    assert first.pictures == second.pictures != {}
    assert all(5_000 < len(p) < 120_000 for p in first.pictures.values())
    assert {r.sha256 for r in done.workspace.products.current()} == before
