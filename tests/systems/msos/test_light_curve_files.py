"""Light-curve files of users: hostile ones are refused in one sentence that names the file."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.systems.msos.events.light_curve_files import read_light_curves
from tests.hostile import NOTHING, Bytes, damaged, parquet, refused

T = np.arange(6.0)
OWN: dict[str, tuple[str, Bytes]] = {
    "header only": ("x.csv", lambda: b"time,flux,flux_err\n"),
    "only comments": ("x.csv", lambda: b"# time flux err\n# nothing\n"),
    "one column": ("x.txt", lambda: b"1\n2\n3\n"),
    "ragged": ("x.csv", lambda: b"time,flux,flux_err\n1,2,3\n1,2\n"),
    "words": ("x.csv", lambda: b"time,flux,flux_err\n1,two,3\n"),
    "twice the same name": ("x.csv", lambda: b"time,time,flux,flux_err\n1,1,2,3\n"),
    "nothing usable": ("x.csv", lambda: b"time,flux,flux_err\nnan,2,3\n1,inf,3\n1,2,0\n1,2,-1\n"),
    "overflow": ("x.csv", lambda: b"time,flux,flux_err\n1e999,1e999,1e999\n"),
    "absurd magnitudes": ("x.csv", lambda: b"time,mag,mag_err\n1,1e300,0.1\n2,-1e300,0.1\n"),
    "ipac without columns": ("x.tbl", lambda: b"\\fixlen = T\n1 2 3\n"),
    "ipac of bars": ("x.tbl", lambda: b"|\n|\n|||\n1 2 3\n"),
    "ipac with names of nothing": ("x.tbl", lambda: b"||||\n1 2 3\n"),
    "ipac keyword": ("x.tbl", lambda: b"\\=\\=\n|time|flux|\n"),
    "empty parquet": ("x.parquet", lambda: parquet()),
    "no rows": ("x.parquet", lambda: parquet(time=[], flux=[], flux_err=[])),
    "nested lists": ("x.parquet", lambda: parquet(time=[[[1.0]]], flux=[[[1.0]]], flux_err=[[[1.0]]])),
    "structs": ("x.parquet", lambda: parquet(time=[{"a": 1}], flux=[{"a": 1}], flux_err=[{"a": 1}])),
    "list beside numbers": ("x.parquet", lambda: parquet(time=[[1.0, 2.0]], flux=[1.0], flux_err=[1.0])),
    "uneven lists": ("x.parquet", lambda: parquet(time=[[1.0, 2.0]], flux=[[1.0]], flux_err=[[1.0]])),
    "lists of text": ("x.parquet", lambda: parquet(time=[["a"]], flux=[["b"]], flux_err=[["c"]])),
    "empty lists": ("x.parquet", lambda: parquet(time=[[]], flux=[[]], flux_err=[[]])),
    "null lists": ("x.parquet", lambda: parquet(time=[None], flux=[None], flux_err=[None])),
    "binary": ("x.parquet", lambda: parquet(time=[b"\xff"], flux=[b"\xff"], flux_err=[b"\xff"])),
    "dates": ("x.parquet", lambda: parquet(time=[date(2027, 1, 1)], flux=[1.0], flux_err=[1.0])),
    "booleans": ("x.parquet", lambda: parquet(time=[True], flux=[True], flux_err=[False])),
    "cut": ("x.parquet", lambda: parquet(time=T, flux=T, flux_err=T + 1)[:-20]),
    "parquet called csv": ("x.csv", lambda: parquet(time=T, flux=T, flux_err=T + 1)),
    "csv called parquet": ("x.parquet", lambda: b"time,flux,flux_err\n1,2,3\n"),
}


@pytest.mark.parametrize("suffix", ["parquet", "csv", "dat", "tbl"])
@pytest.mark.parametrize("name", NOTHING)
def test_files_of_nothing_invalid(tmp_path: Path, name: str, suffix: str) -> None:
    file = tmp_path / f"curve.{suffix}"
    file.write_bytes(NOTHING[name]())
    assert refused(read_light_curves, file) is not None


@pytest.mark.parametrize("name", OWN)
def test_hostile_light_curves_invalid(tmp_path: Path, name: str) -> None:
    called, made = OWN[name]
    file = tmp_path / called
    file.write_bytes(made())
    assert refused(read_light_curves, file) is not None


@pytest.mark.parametrize("kind", ["folder", "absent", "inside a file", "long", "loop"])
def test_what_is_no_file_invalid(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("1 2 3\n")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "folder.csv").mkdir()
    places = {
        "folder": "folder.csv",
        "absent": "absent.csv",
        "inside a file": "file/curve.csv",
        "long": "x" * 300 + ".csv",
        "loop": "loop",
    }
    assert refused(read_light_curves, tmp_path / places[kind]) is not None


@pytest.mark.parametrize(
    "columns", [{"id": [[1], [2]]}, {"id": [{"a": 1}, {"a": 2}]}, {"band": [[1], [1]]}, {"id": [None, 1.5]}]
)
def test_unusual_ids_and_bands(tmp_path: Path, columns: dict[str, object]) -> None:
    """Read by their text, or refused; never another error."""
    file = tmp_path / "x.parquet"
    file.write_bytes(parquet(time=[1.0, 2.0], flux=[1.0, 2.0], flux_err=[1.0, 1.0], **columns))
    refused(read_light_curves, file)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), places=st.integers(1, 60))
def test_damaged_parquet_invalid(tmp_path_factory: pytest.TempPathFactory, seed: int, places: int) -> None:
    file = tmp_path_factory.mktemp("damaged") / "x.parquet"
    file.write_bytes(damaged(parquet(id=["a"] * 6, time=T, flux=T, flux_err=T + 1), seed, places))
    refused(read_light_curves, file)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    text=st.text(st.sampled_from("0123456789.eE+-,;#|\\ \t\n\rtimefluxag_nan\"'\0\u2028é"), max_size=80),
    ipac=st.booleans(),
)
def test_any_text_invalid(tmp_path_factory: pytest.TempPathFactory, text: str, ipac: bool) -> None:
    file = tmp_path_factory.mktemp("text") / ("x.tbl" if ipac else "x.csv")
    file.write_text(("|time|flux|flux_err|\n" if ipac else "time,flux,flux_err\n") + text, encoding="utf-8", newline="")
    refused(read_light_curves, file)


def test_a_page_of_more_values_than_there_can_be_invalid() -> None:
    """Found by fuzzing: polars ended the process."""
    file = Path(__file__).parents[1] / "fuzz" / "corpus" / "light_curves_parquet_abort.parquet"
    assert refused(read_light_curves, file) is not None


def test_names_given_by_the_user_invalid(tmp_path: Path) -> None:
    file = tmp_path / "x.csv"
    file.write_text("a,b,c\n1,2,3\n")
    for columns in ({"when": "a"}, {"time": "d"}, {"time": "a", "flux": "a", "flux_err": "a", "id": "zzz"}):
        with pytest.raises(InputError):
            read_light_curves(file, columns=columns)
    assert read_light_curves(file, columns={"time": "a", "flux": "b", "flux_err": "c"})
    assert pl.read_csv(file).height == 1
