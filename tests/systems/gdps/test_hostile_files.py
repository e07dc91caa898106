"""Files of spectra, source catalogues and references that no reader can use: refused in one sentence each."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.optical_model import read_optical_model
from roman_assets.systems.gdps.optics.throughput import read_throughput
from roman_assets.systems.gdps.optics.trace_configs import read_axe, read_grismconf
from roman_assets.systems.gdps.sources.catalogues import read_catalogues
from roman_assets.systems.gdps.sources.source_list import SourceList
from roman_assets.systems.gdps.spectra.files import read_spectra
from tests.hostile import NOTHING, Bytes, damaged, fits_table, parquet, refused

WAVE = np.linspace(1000.0, 1900.0, 30)
UNITS = {"wavelength": "nm", "flux": "W m-2 nm-1"}


def spectra(path: Path) -> object:
    return read_spectra(path, units=UNITS)


def fits_image() -> bytes:
    buffer = io.BytesIO()
    fits.PrimaryHDU(np.zeros((5, 5))).writeto(buffer)
    return buffer.getvalue()


def patched(data: bytes, old: bytes, new: bytes) -> bytes:
    assert old in data
    return data.replace(old, new.ljust(len(old)))


def good_fits(**change: Any) -> bytes:
    return fits_table(**({"wavelength": WAVE, "flux": WAVE, "error": WAVE} | change))


SPECTRA: dict[str, tuple[str, Bytes]] = {
    "an image": ("x.fits", fits_image),
    "no wavelength": ("x.fits", lambda: fits_table(flux=WAVE, error=WAVE)),
    "no uncertainty": ("x.fits", lambda: fits_table(wavelength=WAVE, flux=WAVE)),
    "no rows": ("x.fits", lambda: good_fits(wavelength=WAVE[:0], flux=WAVE[:0], error=WAVE[:0])),
    "falling": ("x.fits", lambda: good_fits(wavelength=WAVE[::-1])),
    "not finite": ("x.fits", lambda: good_fits(wavelength=WAVE * np.nan)),
    "negative": ("x.fits", lambda: good_fits(wavelength=-WAVE)),
    "cut": ("x.fits", lambda: good_fits()[:6000]),
    "cut gzip": ("x.fits.gz", lambda: gzip.compress(good_fits())[:400]),
    "bad BITPIX": (
        "x.fits",
        lambda: patched(good_fits(), b"BITPIX  =                    8", b"BITPIX  =                  abc"),
    ),
    "huge NAXIS2": (
        "x.fits",
        lambda: patched(good_fits(), b"NAXIS2  =                   30", b"NAXIS2  =    99999999999999999"),
    ),
    "negative NAXIS1": (
        "x.fits",
        lambda: patched(good_fits(), b"NAXIS1  =                   24", b"NAXIS1  =                  -24"),
    ),
    "bad TFORM": ("x.fits", lambda: patched(good_fits(), b"TFORM1  = 'D       '", b"TFORM1  = '9Z      '")),
    "many TFIELDS": (
        "x.fits",
        lambda: patched(good_fits(), b"TFIELDS =                    3", b"TFIELDS =                  999"),
    ),
    "bad card": ("x.fits", lambda: patched(good_fits(), b"TTYPE2  = 'flux", b"TTYPE2  ? \xffflux")),
    "duplicate ids": (
        "x.parquet",
        lambda: parquet(id=["a", "a"], wavelength=[[1.0, 2.0]] * 2, flux=[[1.0, 2.0]] * 2, error=[[1.0, 1.0]] * 2),
    ),
    "nested lists": (
        "x.parquet",
        lambda: parquet(wavelength=[[[1.0, 2.0]]], flux=[[[1.0, 2.0]]], error=[[[1.0, 2.0]]]),
    ),
    "text": ("x.parquet", lambda: parquet(wavelength=["a", "b"], flux=["a", "b"], error=["a", "b"])),
    "structs": ("x.parquet", lambda: parquet(wavelength=[{"a": 1}], flux=[{"a": 1}], error=[{"a": 1}])),
    "binary": ("x.parquet", lambda: parquet(wavelength=[b"\xff"], flux=[b"\xff"], error=[b"\xff"])),
    "null lists": ("x.parquet", lambda: parquet(wavelength=[None, [1.0, 2.0]], flux=[None, None], error=[None, None])),
    "uneven lists": ("x.parquet", lambda: parquet(wavelength=[[1.0, 2.0]], flux=[[1.0]], error=[[1.0, 2.0]])),
    "lists of text": ("x.parquet", lambda: parquet(wavelength=[["a"]], flux=[["b"]], error=[["c"]])),
    "wide lsf": ("x.parquet", lambda: parquet(wavelength=WAVE, flux=WAVE, error=WAVE, lsf=WAVE * 1e6)),
    "negative lsf": ("x.parquet", lambda: parquet(wavelength=WAVE, flux=WAVE, error=WAVE, lsf=-WAVE)),
    "no columns": ("x.parquet", lambda: parquet()),
    "fits called parquet": ("x.parquet", good_fits),
    "parquet called fits": ("x.fits", lambda: parquet(wavelength=WAVE, flux=WAVE, error=WAVE)),
}


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.filterwarnings("ignore")
def test_hostile_spectra_invalid(tmp_path: Path, name: str) -> None:
    called, made = SPECTRA[name]
    file = tmp_path / called
    file.write_bytes(made())
    assert refused(spectra, file) is not None


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "spectra in FITS": ("x.fits", spectra),
    "spectra in gzipped FITS": ("x.fits.gz", spectra),
    "spectra in Parquet": ("x.parquet", spectra),
    "catalogue": ("x.parquet", read_catalogues),
    "throughput": ("x.parquet", read_throughput),
    "optical model": ("x.yaml", read_optical_model),
    "aXe": ("x.conf", read_axe),
    "GRISMCONF": ("x.conf", read_grismconf),
}


@pytest.mark.parametrize("name", NOTHING)
@pytest.mark.parametrize("reader", READERS)
@pytest.mark.filterwarnings("ignore")
def test_files_of_nothing_invalid(tmp_path: Path, reader: str, name: str) -> None:
    called, read = READERS[reader]
    file = tmp_path / called
    file.write_bytes(NOTHING[name]())
    assert refused(read, file) is not None


@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_invalid(tmp_path: Path, reader: str) -> None:
    called, read = READERS[reader]
    (tmp_path / called).mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in (tmp_path / called, tmp_path / "absent" / called, tmp_path / ("x" * 300), tmp_path / "loop"):
        assert refused(read, place) is not None


def damage(
    seed: int, places: int, tmp_path_factory: pytest.TempPathFactory, called: str, data: bytes, read: Any
) -> None:
    file = tmp_path_factory.mktemp("damaged") / called
    file.write_bytes(damaged(data, seed, places))
    refused(read, file)


fuzz = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@fuzz
@given(seed=st.integers(0, 2**32 - 1), places=st.integers(1, 60), kind=st.sampled_from(["fits", "gz", "parquet"]))
@pytest.mark.filterwarnings("ignore")
def test_damaged_spectra_invalid(tmp_path_factory: pytest.TempPathFactory, seed: int, places: int, kind: str) -> None:
    made = {
        "fits": ("x.fits", good_fits()),
        "gz": ("x.fits.gz", gzip.compress(good_fits())),
        "parquet": ("x.parquet", parquet(wavelength=WAVE, flux=WAVE, error=WAVE)),
    }
    damage(seed, places, tmp_path_factory, *made[kind], spectra)


@fuzz
@given(seed=st.integers(0, 2**32 - 1), places=st.integers(1, 60))
def test_damaged_catalogues_invalid(tmp_path_factory: pytest.TempPathFactory, seed: int, places: int) -> None:
    data = parquet(id=[1, 2, 3], ra=[1.0, 2.0, 3.0], dec=[1.0, 2.0, 3.0], mag_f158=[20.0, 21.0, None])
    damage(seed, places, tmp_path_factory, "x.parquet", data, read_catalogues)
    curve = parquet(wavelength_um=[1.0, 1.5], order=["1", "1"], effective_area_m2=[0.1, 0.2])
    damage(seed, places, tmp_path_factory, "x.parquet", curve, read_throughput)


CATALOGUES: dict[str, Bytes] = {
    "no ra": lambda: parquet(id=[1], dec=[2.0]),
    "text": lambda: parquet(id=["a"], ra=["b"], dec=["c"]),
    "lists": lambda: parquet(id=[[1]], ra=[[1.0]], dec=[[1.0]]),
    "nulls": lambda: parquet(id=[1, None], ra=[1.0, 2.0], dec=[1.0, 2.0]),
    "null places": lambda: parquet(id=[1, 2], ra=[1.0, None], dec=[1.0, 2.0]),
    "fractions of ids": lambda: parquet(id=[1.5], ra=[1.0], dec=[1.0]),
    "ids that are nan": lambda: parquet(id=[float("nan")], ra=[1.0], dec=[1.0]),
    "ids beyond 64 bits": lambda: parquet(id=np.array([2**64 - 1], dtype=np.uint64), ra=[1.0], dec=[1.0]),
    "twice": lambda: parquet(id=[1, 1], ra=[1.0, 2.0], dec=[1.0, 2.0]),
}


@pytest.mark.parametrize("name", CATALOGUES)
def test_hostile_catalogues_invalid(tmp_path: Path, name: str) -> None:
    file = tmp_path / "x.parquet"
    file.write_bytes(CATALOGUES[name]())
    assert refused(read_catalogues, file) is not None


def test_catalogues_that_do_not_fit_together_invalid(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(parquet(id=[1], ra=[1.0], dec=[1.0], name=["x"]))
    (tmp_path / "b.parquet").write_bytes(parquet(id=[2], ra=[1.0], dec=[1.0], name=[[1.0]]))
    assert refused(read_catalogues, tmp_path) is not None


@pytest.mark.parametrize("column", ["hlr_arcsec", "ellipticity", "pa_deg", "mag_f158", "bulge", "star_flag"])
@pytest.mark.parametrize("value", [["text"], [[1.0]], [{"a": 1}], [b"\xff"]])
def test_columns_of_sources_invalid(tmp_path: Path, column: str, value: list[Any]) -> None:
    columns: dict[str, Any] = {
        "id": [1],
        "ra": [1.0],
        "dec": [1.0],
        "hlr_arcsec": [0.1],
        "ellipticity": [0.1],
        "pa_deg": [0.0],
        "mag_f158": [20.0],
    }
    file = tmp_path / "x.parquet"
    file.write_bytes(parquet(**(columns | {column: value})))
    table = read_catalogues(file)
    with pytest.raises(InputError, match="cannot be read as a source catalogue"):
        SourceList.of(table)


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
    ],
)
def test_hostile_axe_invalid(tmp_path: Path, change: dict[str, str]) -> None:
    file = tmp_path / "x.conf"
    file.write_text(lines(AXE))
    read_axe(file)
    file.write_text(lines(AXE | change))
    assert refused(read_axe, file) is not None


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


@pytest.mark.parametrize("lsf", [1e6, 0.0, -1.0, float("nan"), float("inf")])
def test_widths_of_the_line_spread_function_invalid(tmp_path: Path, lsf: float) -> None:
    file = tmp_path / "x.fits"
    file.write_bytes(good_fits())
    with pytest.raises(InputError, match="lsf_sigma"):
        read_spectra(file, units=UNITS, lsf_sigma=lsf)


@pytest.mark.parametrize("unit", ["mag", "deg_C", "parsecs per fortnight", "K", "Jy", "dex(nm)", "", "1e400 nm"])
def test_units_invalid(tmp_path: Path, unit: str) -> None:
    file = tmp_path / "x.fits"
    file.write_bytes(good_fits())
    for role in UNITS:
        if (role, unit) == ("flux", "Jy"):
            continue
        assert refused(lambda path, r=role: read_spectra(path, units=UNITS | {r: unit}), file) is not None


def test_flags_that_are_no_flags_are_bad(tmp_path: Path) -> None:
    file = tmp_path / "x.parquet"
    flags = [0.0, 1.0, float("nan"), -1.0, 1e300, 0.5]
    file.write_bytes(parquet(wavelength=WAVE[:6], flux=WAVE[:6], error=WAVE[:6], flags=flags))
    (spectrum,) = read_spectra(file, units=UNITS).values()
    assert (spectrum.flags != 0).tolist() == [False, True, True, True, True, True]
