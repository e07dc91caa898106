"""Files of spectra, source catalogues and references that no reader can use: refused in one sentence each."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.optical_model import read_optical_model
from roman_assets.systems.gdps.optics.throughput import read_throughput
from roman_assets.systems.gdps.optics.trace_configs import read_axe, read_grismconf
from roman_assets.systems.gdps.optics.user_traces import read_traces
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
    "traces of either kind": ("x.conf", read_traces),
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
