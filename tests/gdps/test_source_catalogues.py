"""Folders of source catalogues, good and bad."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from roman_assets.errors import InputError
from roman_assets.gdps.source_catalogues import read_catalogues


def write(folder: Path, name: str, ids: list[int], ra: float = 10.0, **more: list[float]) -> None:
    count = len(ids)
    pl.DataFrame({"id": ids, "ra": [ra] * count, "dec": [1.0 + 0.01 * k for k in range(count)], **more}).write_parquet(
        folder / name
    )


def test_files_are_joined_and_near_sources_found(tmp_path: Path) -> None:
    write(tmp_path, "a.parquet", [3, 1], mag_f158=[20.0, 21.0])
    write(tmp_path, "b.parquet", [2], ra=359.999)
    found = read_catalogues(tmp_path)
    assert found.table["id"].to_list() == [1, 2, 3]
    assert found.near(10.0, 1.0, 0.005)["id"].to_list() == [3]
    assert found.near(0.001, 1.0, 0.005)["id"].to_list() == [2]
    assert read_catalogues(tmp_path / "a.parquet").digest != found.digest


def test_no_file_no_parquet_no_column_twice(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no source catalogue"):
        read_catalogues(tmp_path)
    (tmp_path / "bad.parquet").write_bytes(b"no parquet")
    with pytest.raises(InputError, match="not Parquet"):
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
