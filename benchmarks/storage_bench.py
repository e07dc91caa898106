"""What a season's light curves take on disk, how long one object takes to read, and how fast parts are transposed.

Fluxes have photon and read noise and the resolution of float32; one core, CPU time, best of several.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.products.parquet import encode_table
from roman_assets.systems.msos.curve_tables import SEASON_LIGHT_CURVES
from roman_assets.systems.msos.light_curves.series import list_column, rounded_errors, transpose

Row = dict[str, Any]
STARS, EPOCHS = 27_000, 7_000


def rows() -> list[Row]:
    """name, ours, peer, unit, ratio, setup."""
    with tempfile.TemporaryDirectory() as folder:
        return [*_season_file(Path(folder) / "season.parquet"), *_transpose_rows()]


def _season_file(path: Path) -> list[Row]:
    flux, error, flag = _block(STARS, EPOCHS)
    plain = encode_table(season_table(flux[:2000], error[:2000], flag[:2000]), SEASON_LIGHT_CURVES, {})
    table = season_table(flux, rounded_errors(error), flag)
    raw = flux.nbytes + error.nbytes + flag.nbytes
    start = time.process_time()
    content = encode_table(table, SEASON_LIGHT_CURVES, {})
    encoded = time.process_time() - start
    path.write_bytes(content)
    points, size = STARS * EPOCHS, len(content)
    rng = np.random.default_rng(2)
    chosen = [int(i) for i in table["object_id"].gather(rng.integers(0, STARS, 9))]
    del table, flux, error, flag, content
    pl.scan_parquet(path).filter(pl.col("object_id") == chosen[0]).collect()
    reads = []
    for identifier in chosen[1:]:
        start = time.perf_counter()
        found = pl.scan_parquet(path).filter(pl.col("object_id") == identifier).collect()
        reads.append(time.perf_counter() - start)
        assert found.height == 1, "every object is in the file once"
    return [
        _row(
            "storage.bytes_per_point",
            size / points,
            "bytes",
            f"flux (exact), error (to 1/16384, as the product holds it), flag; {STARS} x {EPOCHS}",
        ),
        _row(
            "storage.bytes_per_point_plain",
            len(plain) / (2000 * EPOCHS),
            "bytes",
            "the same, errors with every bit of float32",
        ),
        _row(
            "storage.object_read_ms",
            1e3 * float(np.median(reads)),
            "ms",
            f"one object's season by its identifier from a file of {size / 1e9:.2f} GB, wall clock, median of 8, file cached",
        ),
        _row("storage.encode_mb_per_s", raw / encoded / 1e6, "MB/s", "of flux, error and flag, one core, CPU time"),
    ]


def season_table(flux: NDArray[Any], error: NDArray[Any], flag: NDArray[Any]) -> pl.DataFrame:
    """The columns of season_light_curves."""
    n = len(flux)
    return pl.DataFrame(
        {
            "object_id": np.arange(n, dtype=np.int64) * 7919 + 10**12,
            "star": np.arange(n, dtype=np.int32),
            "ra": np.full(n, 268.0),
            "dec": np.full(n, -29.0),
            "field": ["f1"] * n,
            "detector": ["WFI01"] * n,
            "optical_element": ["F146"] * n,
            "n_good": np.full(n, EPOCHS, dtype=np.int32),
            "flux": list_column(flux, pl.Float32),
            "flux_err": list_column(error, pl.Float32),
            "flag": list_column(flag, pl.UInt8),
        }
    )


def _block(stars: int, epochs: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    rng = np.random.default_rng(3)
    base = (10 ** rng.uniform(0.5, 3.5, (stars, 1))).astype(np.float32)
    error = np.sqrt(base / 66 + 0.02).astype(np.float32) * (
        1 + 0.02 * rng.standard_normal((stars, epochs), dtype=np.float32)
    )
    flux = base + error * rng.standard_normal((stars, epochs), dtype=np.float32)
    flag = np.where(rng.random((stars, epochs), dtype=np.float32) < 0.02, 4, 0).astype(np.uint8)
    return flux, error, flag


def _transpose_rows(stars: int = 100_000, epochs: int = 300) -> list[Row]:
    flux, error, flag = _block(stars, epochs)
    star = np.arange(stars, dtype=np.int32)
    parts = [
        pl.DataFrame(
            {"star": star, "flux": flux[:, e].copy(), "flux_err": error[:, e].copy(), "flag": flag[:, e].copy()}
        )
        for e in range(epochs)
    ]
    mjd = [61000 + 0.01 * e for e in range(epochs)]
    seconds = _best(lambda: transpose(parts, mjd, stars))
    output = flux.nbytes + error.nbytes + flag.nbytes
    setup = f"{epochs} parts of {stars} stars in memory to one block, one core, CPU time"
    return [_row("storage.transpose_mb_per_s", output / seconds / 1e6, "MB/s", setup)]


def _best(call: Callable[[], Any], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def _row(name: str, ours: float, unit: str, setup: str) -> Row:
    return {"name": name, "ours": ours, "peer": None, "unit": unit, "ratio": None, "setup": setup}


if __name__ == "__main__":
    for row in rows():
        print(row)
