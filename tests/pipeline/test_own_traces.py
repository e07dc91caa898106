"""`roman extract --traces`: exposures extracted with a configuration that a user brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from roman_assets.cli import app
from roman_assets.simulate.dispersed import DispersedField, simulate_dispersed
from roman_assets.systems.gdps.optics.nominal import nominal_optical_model
from tests.systems.gdps.grismconf_files import as_grismconf

FIELD = DispersedField(galaxies=4, stars=1, width=128, rolls=(20.0, 35.0), line_flux=1.5e-18)
NOMINAL = nominal_optical_model("grism").on(FIELD.detector)


@dataclass
class Exposures:
    folder: Path
    paths: list[Path]

    def extract(self, out: str, *options: str) -> Result:
        catalogue = self.folder / "sources" / "catalogue.parquet"
        arguments = ["extract", *map(str, self.paths), "--catalogue", str(catalogue), "--out", str(self.folder / out)]
        return CliRunner(env={"COLUMNS": "300"}).invoke(app, [*arguments, *options])

    def combined(self, out: str) -> pl.DataFrame:
        return pl.read_parquet(self.folder / out / "combined_spectra.parquet").sort("source_id")


@pytest.fixture(scope="module")
def exposures(tmp_path_factory: pytest.TempPathFactory) -> Exposures:
    folder = tmp_path_factory.mktemp("traces")
    made = Exposures(folder, simulate_dispersed(FIELD, folder))
    assert made.extract("reference").exit_code == 0
    return made


def configuration(exposures: Exposures, name: str, text: str) -> Path:
    path = exposures.folder / name
    path.write_text(text)
    return path


def test_the_reference_as_a_configuration_gives_its_spectra(exposures: Exposures) -> None:
    path = configuration(exposures, "own.conf", as_grismconf(NOMINAL, {"1": "+1", "0": "0", "2": "+2"}))
    result = exposures.extract("own", "--traces", str(path))
    assert result.exit_code == 0, result.output
    first, second = exposures.combined("reference"), exposures.combined("own")
    assert first.height == second.height > 0
    for one, other in zip(first.iter_rows(named=True), second.iter_rows(named=True), strict=True):
        assert one["source_id"] == other["source_id"]
        np.testing.assert_allclose(one["wavelength"], other["wavelength"], atol=1e-3)
        flux, error = np.array(one["flux"], dtype=float), np.array(one["flux_err"], dtype=float)
        known = np.isfinite(flux) & np.isfinite(error)
        off = np.abs(np.array(other["flux"], dtype=float) - flux)[known] / error[known]
        assert off.max() < 0.02


def test_the_file_is_named_in_output_and_tables(exposures: Exposures) -> None:
    path = configuration(exposures, "named.conf", as_grismconf(NOMINAL, {"1": "+1", "0": "0"}))
    result = exposures.extract("named", "--traces", str(path))
    assert "named.conf (GRISMCONF configuration)" in result.output
    assert "order 1 from 0.900 to 2.000 um" in result.output
    assert "effective_areas.parquet" in result.output
    for out, name in (("named", b"named.conf"), ("reference", b"nominal grism")):
        for table in ("spectra_1d", "combined_spectra"):
            metadata = pq.read_schema(exposures.folder / out / f"{table}.parquet").metadata
            assert metadata[b"optical_model"] == name
            assert len(metadata[b"optical_model_sha256"]) == 64
            assert metadata[b"throughput"] == b"effective_areas.parquet"


def test_the_configuration_is_what_is_used(exposures: Exposures) -> None:
    """A dispersion that is larger by a fiftieth: so are the steps of the wavelengths from row to row."""
    low, high = NOMINAL.band("1")
    text = as_grismconf(NOMINAL, {"1": "+1", "0": "0"})
    text = text.replace(f"DISPL_+1_1 {high - low!r}", f"DISPL_+1_1 {1.02 * (high - low)!r}")
    assert exposures.extract("other", "--traces", str(configuration(exposures, "other.conf", text))).exit_code == 0
    first, second = (
        np.median(np.diff(exposures.combined(out)["wavelength"][0].to_numpy())) for out in ("reference", "other")
    )
    assert second / first == pytest.approx(1.02, abs=1e-3)


@pytest.mark.parametrize(
    ("text", "words"), [("nothing\n", "neither"), (as_grismconf(NOMINAL, {"0": "0"}), "first order")]
)
def test_an_unusable_configuration_ends_the_command_by_name(exposures: Exposures, text: str, words: str) -> None:
    path = configuration(exposures, "bad.conf", text)
    result = exposures.extract("bad", "--traces", str(path))
    assert result.exit_code != 0
    assert words in str(result.exception)
    assert "bad.conf" in str(result.exception)
    assert not (exposures.folder / "bad").exists()
