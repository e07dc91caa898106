"""Files of optical models, throughputs and traces that are not what they should be: one error that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from roman_assets.systems.gdps.optics.optical_model import read_optical_model
from roman_assets.systems.gdps.optics.throughput import read_throughput
from roman_assets.systems.gdps.optics.trace_configs import read_axe, read_grismconf
from roman_assets.systems.gdps.optics.user_traces import read_traces
from tests.hostile import Bytes, parquet, refused

THROUGHPUTS: dict[str, Bytes] = {
    "text": lambda: parquet(wavelength_um=["a", "b"], order=["1", "1"], effective_area_m2=["c", "d"]),
    "lists": lambda: parquet(wavelength_um=[[1.0]], order=["1"], effective_area_m2=[[1.0]]),
    "one point": lambda: parquet(wavelength_um=[1.0], order=["1"], effective_area_m2=[1.0]),
    "nan": lambda: parquet(wavelength_um=[1.0, np.nan], order=["1", "1"], effective_area_m2=[1.0, 1.0]),
    "infinite": lambda: parquet(wavelength_um=[1.0, np.inf], order=["1", "1"], effective_area_m2=[1.0, 1.0]),
    "negative": lambda: parquet(wavelength_um=[1.0, 2.0], order=["1", "1"], effective_area_m2=[1.0, -1.0]),
    "nulls": lambda: parquet(wavelength_um=[1.0, None], order=["1", "1"], effective_area_m2=[1.0, 1.0]),
    "detector of numbers": lambda: parquet(
        wavelength_um=[1.0, 2.0], order=["1", "1"], effective_area_m2=[1.0, 1.0], detector=[1, 1]
    ),
}


@pytest.mark.parametrize("name", THROUGHPUTS)
def test_hostile_throughputs_invalid(tmp_path: Path, name: str) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(THROUGHPUTS[name]())
    assert refused(lambda path: read_throughput(path, "WFI01"), file) is not None


def model(**change: Any) -> dict[str, Any]:
    """A small optical model, some of whose entries (by path with dots) are others."""
    ones = lambda *shape: np.ones(shape).tolist()  # noqa: E731
    tree: dict[str, Any] = {
        "meta": {"product_type": "wfi_calibration_optical_model", "optical_element": "grism", "unit_wl": "micron"},
        "detector_model": {
            "naxis1": 4088,
            "naxis2": 4088,
            "crpix1": 2044.5,
            "crpix2": 2044.5,
            "plate_scale": 100.0,
            "pixel_scale": 0.11,
            "pos_angle_detector": 0,
            "xy_centers": {1: [0.0, 0.0]},
        },
        "optical_model": {
            "wl_min": 1.0,
            "wl_max": 1.9,
            "wl_reference": 1.5,
            "wl_transform": "linear",
            "dimen_map": {"i": 2, "j": 2},
            "dimen_crv": {"i": 2, "j": 2, "k": 2},
            "dimen_ids": {"i": 2, "j": 2, "k": 2},
            "orders_defined": ["1"],
            "orders": {
                "1": {
                    "xmap_ij_coeff": ones(2, 2),
                    "ymap_ij_coeff": ones(2, 2),
                    "crv_ijk_coeff": ones(2, 2, 2),
                    "ids_ijk_coeff": ones(2, 2, 2),
                }
            },
        },
    }
    for path, value in change.items():
        *where, last = path.split("__")
        inside = tree
        for key in where:
            inside = inside[key]
        inside[last] = value
    return tree


@pytest.mark.parametrize(
    "change",
    [
        {"optical_model__wl_min": 10**400},
        {"optical_model__wl_min": "x"},
        {"optical_model__wl_max": float("inf")},
        {"optical_model__orders_defined": [[1]]},
        {"optical_model__orders_defined": [None]},
        {"optical_model__orders": []},
        {"optical_model__orders__1": [1, 2]},
        {"optical_model__orders__1__xmap_ij_coeff": [[1, 2], [3]]},
        {"optical_model__orders__1__xmap_ij_coeff": "text"},
        {"optical_model__orders__1__ids_ijk_coeff": [[[10**400] * 2] * 2] * 2},
        {"optical_model__dimen_map": {"i": 10**9, "j": 10**9}},
        {"optical_model__dimen_map__i": 1e308},
        {"optical_model__dimen_map__i": 10**400},
        {"optical_model__dimen_map": None},
        {"optical_model__dimen_ids": "abc"},
        {"detector_model__naxis1": 1e300},
        {"detector_model__naxis1": 0},
        {"detector_model__naxis1": True},
        {"detector_model__xy_centers": {1: [1]}},
        {"detector_model__xy_centers": {99: [1, 2]}},
        {"detector_model__xy_centers": {}},
        {"detector_model": None},
        {"meta": []},
    ],
)
def test_hostile_optical_models_invalid(tmp_path: Path, change: dict[str, Any]) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(yaml.safe_dump(model()))
    read_optical_model(file)
    file.write_text(yaml.safe_dump(model(**change)))
    assert refused(read_optical_model, file) is not None


@pytest.mark.parametrize(
    "text",
    [
        "a: 2001-99-99\n",
        "a: !!python/object/apply:os.system [ls]\n",
        "a: &a [*a]\n",
        "a: *missing\n",
        "? [1]\n: 2\n",
        "a: !!binary '****'\n",
        "a: !!int abc\n",
        "{" * 3000,
        "- " * 3000,
        "a: \x00\n",
        "%YAML 9.9\n---\n",
        "meta: {<<: 1}\n",
    ],
)
def test_hostile_yaml_invalid(tmp_path: Path, text: str) -> None:
    file = tmp_path / "x.yaml"
    file.write_text(text)
    assert refused(read_optical_model, file) is not None


AXE = {
    "BEAMA": "-50 50",
    "DISP_ORDER_A": "1",
    "DLDP_A_0": "14000",
    "DLDP_A_1": "46",
    "DYDX_ORDER_A": "1",
    "DYDX_A_0": "0",
    "DYDX_A_1": "0.01",
}
GRISMCONF = {
    "DISPX_+1_0": "0",
    "DISPX_+1_1": "10",
    "DISPY_+1_0": "0",
    "DISPY_+1_1": "900",
    "DISPL_+1_0": "10000",
    "DISPL_+1_1": "9000",
}


def lines(given: dict[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in given.items())


@pytest.mark.parametrize(
    "change",
    [
        {"DYDX_ORDER_A": "1e9"},
        {"DYDX_ORDER_A": "-1"},
        {"DYDX_ORDER_A": "0.5"},
        {"DYDX_ORDER_A": "nan"},
        {"DYDX_ORDER_A": ""},
        {"DISP_ORDER_A": "1e18"},
        {"DISP_ORDER_A": "inf"},
        {"DISP_ORDER_A": "-2"},
        {"BEAMA": "1"},
        {"BEAMA": "5 5"},
        {"BEAMA": "1 2 3"},
        {"BEAMA": "1e300 -1e300"},
        {"DLDP_A_1": "0"},
        {"DLDP_A_1": "1e308"},
        {"DLDP_A_0": "1 2"},
        {"DLDP_A_0": "1 2 3 4 5 6 7"},
        {"XOFF_A": "x"},
        {"REFX": "1 2 3"},
        {"REFX": "x", "REFY": "1"},
        {"REFX": "512"},
    ],
)
def test_hostile_axe_invalid(tmp_path: Path, change: dict[str, str]) -> None:
    file = tmp_path / "x.conf"
    file.write_text(lines(AXE))
    read_axe(file)
    file.write_text(lines(AXE | change))
    assert refused(read_axe, file) is not None
    assert refused(read_traces, file) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"DISPL_+1_1": "0"},
        {"DISPL_+1_1": "nan"},
        {"DISPL_+1_0": "-1e9"},
        {"DISPL_+1_0": "1e308 1e308 1e308"},
        {"DISPX_+1_0": "1 2"},
        {"DISPY_+1_0": "words"},
        {"DISPL_-1_0": "1"},
    ],
)
def test_hostile_grismconf_invalid(tmp_path: Path, change: dict[str, str]) -> None:
    file = tmp_path / "x.conf"
    file.write_text(lines(GRISMCONF))
    read_grismconf(file)
    file.write_text(lines(GRISMCONF | change))
    assert refused(read_grismconf, file) is not None
    assert refused(read_traces, file) is not None
