"""Effective areas against published numbers, and the sensitivity by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.nominal import nominal_throughput
from roman_assets.systems.gdps.optics.throughput import Throughput, read_throughput
from roman_assets.systems.gdps.optics.traces import Origin

#: Effective areas [m2] of WFI01's first order at wavelengths [um] (roman-technical-information 1.5.0).
PUBLISHED = {1.2: 1.914, 1.502: 1.869, 1.8: 1.355}


def test_published_areas() -> None:
    throughput = nominal_throughput("grism", "WFI01")
    for wavelength, area in PUBLISHED.items():
        assert float(throughput.area("1", wavelength)) == pytest.approx(area, rel=3e-3)
    assert float(throughput.area("2", 1.2)) == 0
    assert float(throughput.area("1", 3.0)) == 0


def test_sensitivity_by_hand() -> None:
    """1 W m-2 at 1.5 um is 7.551e18 photons/s/m2."""
    throughput = Throughput({"1": (np.array([1.0, 2.0]), np.array([2.0, 2.0]))}, Origin("a", "b", "c"))
    assert float(throughput.sensitivity("1", 1.5)) == pytest.approx(2 * 7.5512e18, rel=1e-4)
    # 1 W m-2 nm-1 over the 100 nm from 1.45 to 1.55 um.
    assert float(throughput.rates("1", [1.45, 1.55])[0]) == pytest.approx(200 * 7.5512e18, rel=1e-4)


def test_band() -> None:
    low, high = nominal_throughput("grism", "WFI05").band("1", 0.5)
    assert (low, high) == pytest.approx((1.0, 1.92), abs=0.05)
    with pytest.raises(InputError, match="order 2"):
        nominal_throughput("grism", "WFI05").band("2")


def test_scene_file(shared_data: Path) -> None:
    throughput = read_throughput(shared_data / "grism_scene" / "sensitivity.parquet")
    assert set(throughput.curves) == {"0", "1", "2"}
    for wavelength, area in PUBLISHED.items():
        assert float(throughput.area("1", wavelength)) == pytest.approx(area, rel=2e-3)
    assert len(throughput.origin.sha256) == 64


def test_spoiled_files(tmp_path: Path) -> None:
    path = tmp_path / "areas.parquet"
    good = pl.DataFrame({"wavelength_um": [1.0, 1.5], "order": ["1", "1"], "effective_area_m2": [1.0, 1.0]})
    good.drop("order").write_parquet(path)
    with pytest.raises(InputError, match="order"):
        read_throughput(path)
    good.with_columns(effective_area_m2=pl.Series([1.0, -1.0])).write_parquet(path)
    with pytest.raises(InputError, match="positive"):
        read_throughput(path)
    good.with_columns(detector=pl.lit("WFI02")).write_parquet(path)
    with pytest.raises(InputError, match="WFI01"):
        read_throughput(path, "WFI01")
    path.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read as a throughput file"):
        read_throughput(path)
