"""From dispersed exposures to redshifts through the Dagster assets, judged against the simulated truth."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from typer.testing import CliRunner

from roman_assets.errors import InputError
from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.level2.reader import read_header
from roman_assets.orchestration.processing import Outcome, dagster_instance, plan, run_steps
from roman_assets.orchestration.reconcile import reconcile
from roman_assets.platform.regions import regions_of
from roman_assets.platform.workspace import Workspace
from roman_assets.products.archive import NO_NUMBER, validate_record
from roman_assets.simulate.dispersed import DispersedField, simulate_dispersed
from roman_assets.simulate.judge import judge_redshifts
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.survey.calendar_file import write_calendar
from roman_assets.systems.gdps.archive import RECORD_KINDS
from roman_assets.systems.gdps.sensors import build_region_sensor
from roman_assets.systems.gdps.stages.combined_spectra import combine_region
from roman_assets.systems.gdps.stages.common import CODE
from roman_assets.systems.gdps.stages.spectra import extract_day

#: One worker, so that the field is processed once.
pytestmark = pytest.mark.xdist_group("grism")
FIELD = DispersedField(galaxies=6, stars=1, width=160, rolls=(20.0, 35.0), line_flux=1.5e-18)
GOLDEN = Path(__file__).with_name("golden_spectra.json")
ASSETS = (
    "dispersed_exposures",
    "contamination_models",
    "spectra_2d",
    "spectra_1d",
    "combined_spectra",
    "spectral_series",
    "redshifts",
)


@dataclass
class Spectroscopy:
    """The simulated field and what was made of it."""

    folder: Path
    exposures: list[Path]
    workspace: Workspace
    outcome: Outcome


def workspace_of(home: Path, exposures: list[Path], sources: Path | None) -> Workspace:
    home.mkdir(parents=True)
    write_calendar(calendar_for_files([read_header(p) for p in exposures], "grism"), home / "calendar.toml")
    place = Workspace(home, sources=None if sources is None else str(sources))
    ingest(exposures, place.registry, place.quarantine, place.calendar)
    return place


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Spectroscopy:
    folder = tmp_path_factory.mktemp("grism")
    exposures = simulate_dispersed(FIELD, folder)
    place = workspace_of(folder / "home", exposures, folder / "sources")
    return Spectroscopy(folder, exposures, place, run_steps(place, plan(place)))


def test_every_asset_is_materialized(done: Spectroscopy) -> None:
    assert done.outcome.failed == {}
    assert done.outcome.failed_checks == []
    assert done.outcome.caveats == {}
    with dagster_instance(done.workspace) as instance:
        for name in ASSETS:
            assert instance.get_materialized_partitions(dg.AssetKey(name)), name


def test_redshifts_are_those_of_the_simulation(done: Spectroscopy) -> None:
    right, galaxies, wrong = judge_redshifts(done.workspace.products, done.folder / "truth")
    assert galaxies == FIELD.galaxies
    assert right >= galaxies - 1
    assert wrong == 0


def test_spectra_have_the_flux_of_the_catalogue(done: Spectroscopy) -> None:
    """The star's continuum at 1.577 um is its F158 magnitude."""
    products = done.workspace.products
    (record,) = products.current("combined_spectra")
    catalogue = pl.read_parquet(done.folder / "sources" / "catalogue.parquet")
    star = catalogue.filter(pl.col("star_flag")).row(0, named=True)
    row = products.read_table(record).filter(pl.col("source_id") == star["id"]).row(0, named=True)
    assert row["n_exposures"] == len(FIELD.rolls)
    wave, flux = np.array(row["wavelength"]), np.array(row["flux"], dtype=float)
    near = (np.abs(wave - 1577) < 40) & np.isfinite(flux)
    expected = 10 ** (-0.4 * (star["mag_f158"] + 56.1)) * 2.99792458e8 / 1.577e-6**2 * 1e-9
    assert float(np.median(flux[near])) == pytest.approx(expected, rel=0.03)


def test_models_explain_the_exposures_and_say_with_what(done: Spectroscopy) -> None:
    products = done.workspace.products
    models, cutouts = products.current("contamination_models"), products.current("spectra_2d")
    assert len(models) == len(cutouts) > 0
    for record in models:
        assert record.attributes["residual"] == pytest.approx(1.0, abs=0.05)
        assert record.attributes["optical_model"] == "nominal grism"
        assert min(abs(record.attributes["position_angle"] - roll) for roll in FIELD.rolls) < 1e-3
        tree = products.read_asdf(record)
        assert tree["sources"].shape == (FIELD.height, FIELD.width)
        assert len(tree["source_id"]) == len(tree["spectra"])
    for record in cutouts:
        sources = products.read_asdf(record)["sources"]
        assert sources
        for cutout in sources.values():
            assert {c.shape for k, c in cutout.items() if k not in ("row", "column")} == {cutout["science"].shape}


def test_archive_records_are_valid(done: Spectroscopy) -> None:
    products, seen = done.workspace.products, set()
    for kind, schema in (
        ("location_table", "spec_location_table"),
        ("contamination_models", "spec_dqa_2d"),
        ("spectra_2d", "spec_decontam_2d"),
        ("spectra_1d_part", "spec_individual_1d"),
        ("combined_spectra", "spec_combined_1d"),
        ("redshifts", "spec_catalog"),
        ("emission_lines", "spec_catalog"),
        ("redshift_quality", "spec_catalog_dqa"),
    ):
        records = products.current(kind)
        assert records, kind
        for record in records:
            stored = products.read_archive(record)
            assert stored is not None
            validate_record(stored, RECORD_KINDS[schema])
            seen.add(schema)
            assert stored.get("g2dp_run_id", "r01") == "r01"
            # The simulation writes no v3yangle, and the position angle of +y is another thing.
            assert stored.get("v3yangle", NO_NUMBER) == NO_NUMBER
    assert len(seen) == 7
    with pytest.raises(InputError, match="kind"):
        validate_record(stored)


def test_densities_integrate_to_one(done: Spectroscopy) -> None:
    (record,) = done.workspace.products.current("redshifts")
    table = done.workspace.products.read_table(record)
    assert table.height > 0
    for row in table.iter_rows(named=True):
        assert sum(row["solution_probability"]) <= 1 + 1e-6
        assert float(np.trapezoid(row["pdf"], row["pdf_z"])) == pytest.approx(1.0, abs=0.01)
        assert row["p_galaxy"] + row["p_qso"] + row["p_star"] == pytest.approx(1.0, abs=1e-3)


def test_flagged_pixels_keep_what_was_measured(done: Spectroscopy) -> None:
    """Combining falls back on contaminated pixels where there is nothing better: a table must not lose them."""
    products = done.workspace.products
    kept = 0
    for record in products.current("spectra_1d_part"):
        for row in products.read_table(record).iter_rows(named=True):
            flags, error = np.array(row["flags"]), np.array(row["flux_err"], dtype=float)
            kept += int((np.isfinite(error) & (flags != 0)).sum())
            assert np.isfinite(error[flags == 0]).all()
    assert kept > 0


def test_pictures_are_the_same_again(done: Spectroscopy) -> None:
    first, second = (extract_day(done.workspace, FIELD.days[0], FIELD.detector) for _ in range(2))
    assert set(first.models.pictures) == {"dispersed exposure", "model", "residual"}
    assert first.models.pictures == second.models.pictures
    assert first.cutouts.pictures == second.cutouts.pictures != {}


def test_code_versions_guard_the_results(done: Spectroscopy) -> None:
    """After a deliberate change raise the version in gdps/versions.py and write the file anew: ROMAN_WRITE_GOLDEN=1."""
    products = done.workspace.products
    redshifts = products.read_table(products.current("redshifts")[0])
    combined = products.read_table(products.current("combined_spectra")[0])
    figures = {
        "spectra_1d": {"spectra": sum(r.rows or 0 for r in products.current("spectra_1d_part"))},
        "combined_spectra": {"snr": float(combined["snr"].sum()), "coverage": float(combined["coverage"].sum())},
        "redshifts": {"z": float(redshifts.filter(pl.col("class") == "galaxy").sort("source_id")["z"].head(6).sum())},
    }
    written = {asset: {"code": CODE[asset], **values} for asset, values in figures.items()}
    if os.environ.get("ROMAN_WRITE_GOLDEN"):
        GOLDEN.write_text(json.dumps(written, indent=1) + "\n")
    for asset, expected in json.loads(GOLDEN.read_text()).items():
        assert CODE[asset] == expected.pop("code"), f"{asset} has a new code version: write the golden file anew"
        assert figures[asset] == pytest.approx(expected, rel=0.02), asset


def test_regions_are_those_of_the_calendar_that_is_there_now(done: Spectroscopy) -> None:
    """What was noted when the spectra were made holds for that calendar's regions only."""
    (record, *_) = done.workspace.products.current("spectra_1d_part")
    names = regions_of(done.workspace, record)
    assert names == record.attributes["regions"]["names"] != []
    moved = replace(record, attributes={"regions": {"of": "another calendar", "names": ["elsewhere"]}})
    assert regions_of(done.workspace, moved) == names


def test_a_region_is_asked_for_when_its_spectra_have_come_to_rest(done: Spectroscopy, tmp_path: Path) -> None:
    place = workspace_of(tmp_path / "home", done.exposures, done.folder / "sources")

    def asked(settled: timedelta) -> list[dg.RunRequest]:
        sensor = build_region_sensor(place, dg.define_asset_job("measure_redshifts"), settled)
        with dg.DagsterInstance.ephemeral() as instance:
            found = sensor(dg.build_sensor_context(instance=instance))
        return list(found.run_requests or []) if isinstance(found, dg.SensorResult) else []

    assert asked(timedelta(0)) == []  # no spectra
    extract_day(place, FIELD.days[0], FIELD.detector)
    assert asked(timedelta(hours=1)) == []  # still arriving
    (request,) = asked(timedelta(0))
    assert asked(timedelta(0))[0].run_key == request.run_key
    assert request.partition_key is not None
    combine_region(place, request.partition_key)
    assert asked(timedelta(0)) == []


def test_again_is_a_no_op(done: Spectroscopy) -> None:
    before = {r.sha256 for r in done.workspace.products.current()}
    outcome = run_steps(done.workspace, plan(done.workspace))
    assert outcome.failed == {}
    assert {r.sha256 for r in done.workspace.products.current()} == before
    assert done.workspace.products.incidents() == []


def test_reconciling_finds_nothing_amiss_and_repairs(done: Spectroscopy, tmp_path: Path) -> None:
    assert reconcile(done.workspace, verify=True).reported == []
    lost = replace(done.workspace, home=tmp_path / "home", products_root=str(done.workspace.home / "products"))
    shutil.copytree(done.workspace.home, tmp_path / "home", ignore=shutil.ignore_patterns("dagster", "products"))
    found = reconcile(lost)
    assert {text.split(" ")[0] for text in found.reported} == set(ASSETS)


def test_without_a_catalogue_the_day_says_so(done: Spectroscopy, tmp_path: Path) -> None:
    place = workspace_of(tmp_path / "home", done.exposures, None)
    result = extract_day(place, FIELD.days[0], FIELD.detector)
    assert "ROMAN_SOURCES" in result.spectra.caveats[0]
    assert result.spectra.records == []
    assert not result.spectra.checks[0].passed


def test_a_catalogue_of_another_field_is_named(done: Spectroscopy, tmp_path: Path) -> None:
    other = pl.read_parquet(done.folder / "sources" / "catalogue.parquet").with_columns(dec=pl.col("dec") + 5)
    (tmp_path / "sources").mkdir()
    other.write_parquet(tmp_path / "sources" / "other.parquet")
    place = workspace_of(tmp_path / "home", done.exposures, tmp_path / "sources")
    result = extract_day(place, FIELD.days[0], FIELD.detector)
    assert len(result.models.caveats) == len(FIELD.rolls)
    assert "no source of the catalogue is near" in result.models.caveats[0]


@pytest.mark.parametrize("more", [[], ["--jointly"]])
def test_own_files_by_command(
    done: Spectroscopy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: list[str]
) -> None:
    """extract, redshift and the export that specutils reads, without an installation."""
    from astropy.table import QTable

    from roman_assets.cli import app

    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    made = run.invoke(
        app,
        [
            "extract",
            *map(str, done.exposures),
            "--catalogue",
            str(done.folder / "sources"),
            "--out",
            str(tmp_path / "own"),
            *more,
        ],
    )
    assert made.exit_code == 0, made.output
    assert ("exposures together" in made.output) == bool(more)
    measured = run.invoke(
        app,
        [
            "redshift",
            str(tmp_path / "own" / "combined_spectra.parquet"),
            "--out",
            str(tmp_path / "z.parquet"),
            "--plot",
            str(tmp_path / "plots"),
            "--id",
            "1",
            "--id",
            "2",
        ],
    )
    assert measured.exit_code == 0, measured.output
    truth = pl.read_parquet(done.folder / "truth" / "spectra.parquet")
    table = pl.read_parquet(tmp_path / "z.parquet")
    assert set(table["id"]) == {"1", "2"}
    for name, z in table.select("id", "z").iter_rows():
        assert z == pytest.approx(truth.filter(pl.col("id") == int(name))["z"][0], abs=0.006)
        assert (tmp_path / "plots" / f"{name}.png").stat().st_size > 5000
    home = str(done.workspace.home)
    written = run.invoke(app, ["--home", home, "export-spectrum", "1", "--out", str(tmp_path / "one.fits")])
    assert written.exit_code == 0, written.output
    again = QTable.read(tmp_path / "one.fits")
    assert str(again["flux"].unit) == "W / (nm m2)"
    assert again.meta["SOURCE"] == 1
