"""From Level 2 files to an event catalogue through the Dagster assets, judged against the simulated truth."""

from __future__ import annotations

import dagster as dg
import numpy as np
import polars as pl
import pytest

from roman_assets.orchestration.processing import dagster_instance, plan, run_steps
from roman_assets.orchestration.reconcile import reconcile
from roman_assets.products.archive import NO_NUMBER, validate_record
from roman_assets.simulate.judge import judge
from roman_assets.systems.msos.archive import record_kind
from tests.mini_survey import Processed
from tests.optional import needed

ASSETS = (
    "exposures",
    "reference_catalog",
    "psf_photometry",
    "daily_light_curves",
    "season_light_curves",
    "difference_sources",
    "season_objects",
    "season_events",
    "survey_objects",
    "survey_events",
)

#: One worker, so that the survey is processed once.
pytestmark = pytest.mark.xdist_group("processed")


def test_every_run_succeeds(processed: Processed) -> None:
    assert processed.outcome.failed == {}
    assert processed.outcome.failed_checks == []


def test_every_asset_is_materialized(processed: Processed) -> None:
    with dagster_instance(processed.workspace) as instance:
        for name in ASSETS:
            assert instance.get_materialized_partitions(dg.AssetKey(name)), name


def test_against_truth(processed: Processed) -> None:
    verdict = judge(processed.workspace.products, processed.survey.folder / "truth")
    assert verdict.completeness_21 > 0.95
    assert abs(verdict.bias) < 0.005
    assert verdict.scatter_ratio < 1.25
    assert verdict.false_events == 0
    assert verdict.found_events == verdict.detectable_events


def test_catalogue_positions_are_good_to_hundredths_of_a_pixel(processed: Processed) -> None:
    products = processed.workspace.products
    catalogue = products.read_table(products.current("reference_catalog")[0])
    truth = processed.survey.truth("stars").filter(pl.col("mag_f146") < 21)
    dx = catalogue["x"].to_numpy()[:, None] - truth["x"].to_numpy()[None, :]
    dy = catalogue["y"].to_numpy()[:, None] - truth["y"].to_numpy()[None, :]
    nearest = np.hypot(dx, dy).min(axis=0)
    assert np.median(nearest[nearest < 0.5]) < 0.03


def test_processing_again_is_a_no_op(processed: Processed) -> None:
    """Unchanged inputs: every product is found, none is made, and the data versions stay."""
    workspace = processed.workspace
    before = {(r.kind, r.partition, r.part): (r.id, r.sha256) for r in workspace.products.current()}
    with dagster_instance(workspace) as instance:
        versions = _versions(instance)
    outcome = run_steps(workspace, plan(workspace))
    assert outcome.failed == {}
    after = {(r.kind, r.partition, r.part): (r.id, r.sha256) for r in workspace.products.current()}
    assert after == before
    assert workspace.products.incidents() == []
    with dagster_instance(workspace) as instance:
        assert _versions(instance) == versions


def _versions(instance: dg.DagsterInstance) -> dict[str, str]:
    found = {}
    for name in ASSETS:
        for key in instance.get_materialized_partitions(dg.AssetKey(name)):
            records = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=dg.AssetKey(name), asset_partitions=[key]), limit=1
            )
            materialization = records.records[0].asset_materialization
            assert materialization is not None
            assert materialization.tags is not None
            found[f"{name} {key}"] = materialization.tags["dagster/data_version"]
    return found


def test_index_and_dagster_agree(processed: Processed) -> None:
    found = reconcile(processed.workspace, dry_run=True, verify=True)
    assert found.compared > 0
    assert (found.reported, found.unbacked, found.damaged) == ([], [], [])


def test_archive_records_are_valid(processed: Processed) -> None:
    """Every MSOS product kind that the archive knows carries a record valid against rad's schema."""
    products = processed.workspace.products
    kinds = set()
    for record in products.current():
        archived = products.read_archive(record)
        if archived is not None:
            validate_record(archived, record_kind(archived))
            kinds.add(record.kind)
            # Ingested without opening the WCS (`full=False`), these exposures do not say how they are turned.
            assert archived.get("flip", NO_NUMBER) == NO_NUMBER
            assert archived.get("msos_processing_id", "r01") == "r01"
    assert kinds >= {
        "reference_catalog",
        "psf_photometry",
        "season_light_curves",
        "season_objects",
        "season_events",
        "survey_objects",
        "survey_events",
    }


def test_metadata_shows_figures_and_pictures(processed: Processed) -> None:
    wanted = {
        "exposures": "first_exposure",
        "psf_photometry": "photometry_picture",
        "daily_light_curves": "zero_points",
        "season_objects": "scatter",
    }
    with dagster_instance(processed.workspace) as instance:
        for name, picture in wanted.items():
            event = instance.get_latest_materialization_event(dg.AssetKey(name))
            assert event is not None
            materialization = event.asset_materialization
            assert materialization is not None
            text = str(materialization.metadata[picture].value)
            assert text.startswith("![picture](data:image/png;base64,")
            assert len(text) < 250_000
            assert "dagster/row_count" in materialization.metadata
            assert "size_bytes" in materialization.metadata


def test_events_have_models_and_reasons(processed: Processed) -> None:
    products = processed.workspace.products
    events = pl.concat([products.read_table(r) for r in products.current("season_events")])
    assert events.height > 0
    assert events["reason"].str.len_chars().min() > 5  # type: ignore[operator]
    lenses = events.filter(pl.col("event_class") == "single_lens")
    assert lenses.height > 0
    assert lenses["t0_err"].null_count() == 0
    truth = processed.survey.truth("events")
    for row in lenses.iter_rows(named=True):
        offset = np.abs(truth["t0_mjd"].to_numpy() - row["t0"]).min()
        assert offset < 5 * row["t0_err"] + 1e-3


def test_hats_export_opens_with_lsdb(processed: Processed, tmp_path) -> None:  # type: ignore[no-untyped-def]
    lsdb = needed("lsdb")
    from roman_assets.systems.msos.export import export_catalogues

    written = {name: (rows, folder) for name, rows, folder in export_catalogues(processed.workspace, tmp_path / "hats")}
    for name in ("season_objects", "season_events", "survey_objects", "survey_events"):
        rows, folder = written[name]
        assert len(lsdb.open_catalog(folder).compute()) == rows
