"""Folders of source catalogues, good and bad."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.sources.catalogues import read_catalogues, sources_near


def write(folder: Path, name: str, ids: list[int], ra: float = 10.0, **more: list[float]) -> None:
    count = len(ids)
    pl.DataFrame({"id": ids, "ra": [ra] * count, "dec": [1.0 + 0.01 * k for k in range(count)], **more}).write_parquet(
        folder / name
    )


def at(ra: float, dec: float) -> Any:
    return SimpleNamespace(ra_center=ra, dec_center=dec, shape=(100, 100), filename="grism.asdf")


def test_files_are_joined_and_near_sources_found(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", [3, 1], mag_f158=[20.0, 21.0])
    write(tmp_path, "b.parquet", [2], ra=359.999)
    table = read_catalogues(tmp_path)
    assert table["id"].to_list() == [1, 2, 3]
    near, _ = sources_near(table, at(10.0, 1.0))
    assert near["id"].to_list() == [1, 3]
    assert sources_near(table, at(0.001, 1.0))[0]["id"].to_list() == [2]
    with pytest.raises(InputError, match=r"grism\.asdf.*no source"):
        sources_near(table, at(50.0, 1.0))


def test_another_field_does_not_change_the_hash_and_this_one_does(tmp_path: Path) -> None:
    """Otherwise a catalogue that grows would make every spectrum of the survey anew."""
    write(tmp_path, "a.parquet", [1, 2])
    before = sources_near(read_catalogues(tmp_path), at(10.0, 1.0))[1]
    write(tmp_path, "b.parquet", [7], ra=200.0, mag_f158=[20.0])
    assert sources_near(read_catalogues(tmp_path), at(10.0, 1.0))[1] == before
    write(tmp_path, "c.parquet", [8])
    assert sources_near(read_catalogues(tmp_path), at(10.0, 1.0))[1] != before


def test_no_file_no_parquet_no_column_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no source catalogue"):
        read_catalogues(tmp_path)
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="cannot be read as a source catalogue"):
        read_catalogues(tmp_path)
    (tmp_path / "bad.parquet").unlink()
    pl.DataFrame({"id": [1], "ra": [1.0]}).write_parquet(tmp_path / "short.parquet")
    with pytest.raises(InputError, match="dec"):
        read_catalogues(tmp_path)
    (tmp_path / "short.parquet").unlink()
    write(tmp_path, "a.parquet", [1])
    write(tmp_path, "b.parquet", [1])
    with pytest.raises(InputError, match="occurs twice"):
        read_catalogues(tmp_path)
