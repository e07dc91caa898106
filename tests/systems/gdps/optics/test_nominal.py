"""Built-in references agree with what is published, and are told from files."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.nominal import REFERENCE_VARIABLE, nominal_optical_model, references


def test_nominal_grism_disperses_as_published() -> None:
    """R = 461 lambda[um] for two pixels: 1.085 nm/px; order 2 twice as much, order 0 a fiftieth."""
    trace = nominal_optical_model("grism").on("WFI09")
    step = trace.dispersion(2000.0, 2000.0, np.array([1.1, 1.5, 1.9]), "1") * 1e3
    assert np.allclose(step, 1.085, rtol=0.02)
    two = trace.dispersion(2000.0, 2000.0, 1.5, "2") * 1e3
    assert float(two) == pytest.approx(0.56, rel=0.05)
    low, high = (trace.trace(2000.0, 2000.0, w, "0")[1] for w in (1.0, 1.9))
    assert 25 < abs(float(high - low)) < 45


def test_nominal_prism_disperses_as_published() -> None:
    """2.4 nm/px at 0.79 um and 4.5 at 1.0 (roman-technical-information)."""
    trace = nominal_optical_model("prism").on("WFI01")
    step = np.abs(trace.dispersion(2000.0, 2000.0, np.array([0.79, 1.0]), "1")) * 1e3
    assert np.allclose(step, [2.42, 4.53], rtol=0.1)


def test_nominal_is_near_the_file(shared_data: Path) -> None:
    from roman_assets.systems.gdps.optics.optical_model import read_optical_model

    real = read_optical_model(shared_data / "optical_model" / "Roman_grism_OpticalModel_v0.8.yaml").on("WFI01")
    nominal = nominal_optical_model("grism").on("WFI01")
    wave = np.linspace(1.0, 1.9, 7)
    for order in ("1", "0", "2"):
        lengths = [np.ptp(t.trace(2044.5, 2044.5, wave, order)[1]) for t in (real, nominal)]
        assert lengths[1] == pytest.approx(lengths[0], rel=0.06)
    assert nominal.trace(1234.5, 2000.0, 1.3, "1")[0] == pytest.approx(1234.5, abs=1e-9)


def test_references_say_which(shared_data: Path, tmp_path: Path) -> None:
    model, throughput = references("grism", "WFI01", {})
    assert model.origin.name == "nominal grism"
    assert "technical" in throughput.origin.source
    file = shared_data / "optical_model" / "Roman_grism_OpticalModel_v0.8.yaml"
    shutil.copy(file, tmp_path)
    model, throughput = references("grism", "WFI01", {REFERENCE_VARIABLE: str(tmp_path)})
    assert model.origin.name == file.name
    assert throughput.origin.source != "reference file"
    shutil.copy(shared_data / "grism_scene" / "sensitivity.parquet", tmp_path)
    _, throughput = references("grism", "WFI01", {REFERENCE_VARIABLE: str(tmp_path)})
    assert throughput.origin.record("throughput")["throughput_source"] == "reference file"
    shutil.copy(file, tmp_path / "Roman_grism_OpticalModel_v0.9.yaml")
    with pytest.raises(InputError, match="2 optical models"):
        references("grism", "WFI01", {REFERENCE_VARIABLE: str(tmp_path)})


def test_bad_references(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="grism or prism"):
        nominal_optical_model("mirror")
    with pytest.raises(InputError, match=REFERENCE_VARIABLE):
        references("grism", "WFI01", {REFERENCE_VARIABLE: str(tmp_path / "absent")})
