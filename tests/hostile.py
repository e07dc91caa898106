"""Files that no reader of users' files can use, made by code; each reader's tests add those of its own format."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from astropy.io import fits

from roman_assets.errors import InputError

Bytes = Callable[[], bytes]


def parquet(**columns: object) -> bytes:
    """A table of the given columns as Parquet."""
    buffer = io.BytesIO()
    pl.DataFrame(columns, strict=False).write_parquet(buffer)
    return buffer.getvalue()


def fits_table(**columns: object) -> bytes:
    """A FITS file with one table."""
    made = [
        fits.Column(name, "J" if np.asarray(v).dtype.kind == "i" else "D", array=np.asarray(v))
        for name, v in columns.items()
    ]
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(made)]).writeto(buffer)
    return buffer.getvalue()


def damaged(data: bytes, seed: int, places: int = 40) -> bytes:
    """`data` with some bytes replaced."""
    rng = np.random.default_rng(seed)
    result = bytearray(data)
    for at in rng.integers(0, len(result), places):
        result[at] = rng.integers(0, 256)
    return bytes(result)


#: Bytes that are of no format: whatever a file is called, every reader must refuse them in one sentence.
NOTHING: dict[str, Bytes] = {
    "empty": lambda: b"",
    "blank lines": lambda: b"\n \n\t\n",
    "a nul": lambda: b"\0",
    "nuls": lambda: bytes(4096),
    "random": lambda: np.random.default_rng(1).bytes(5000),
    "not utf-8": lambda: b"\xff\xfe\x00\x80 1 2 3\n\xc3\x28 4 5 6\n",
    "utf-16": lambda: "time,flux,flux_err\n1,2,x\n".encode("utf-16"),
    "cut gzip": lambda: gzip.compress(np.random.default_rng(2).bytes(9000))[:700],
    "gzip of garbage": lambda: b"\x1f\x8b\x08\x00" + bytes(range(256)),
    "gzip with a wrong checksum": lambda: gzip.compress(b"1 2 3\n" * 9)[:-8] + b"\x01" * 8,
    "parquet magic only": lambda: b"PAR1PAR1",
    "parquet without a footer": lambda: b"PAR1" + bytes(200) + b"\xff\xff\xff\x7fPAR1",
    "fits header only": lambda: b"SIMPLE  =                    T".ljust(80) + b"END".ljust(2800),
    "fits without an end": lambda: b"SIMPLE  =                    T".ljust(2880),
    "asdf header only": lambda: b"#ASDF 1.0.0\n",
    "html": lambda: b"<html><body>404 Not Found</body></html>\n",
    "json": lambda: b'{"time": [1, 2], "flux": [3, 4]}\n',
    "one long line": lambda: b"x" * 200_000,
    "many brackets": lambda: b"[" * 20_000,
    "a zip": lambda: b"PK\x03\x04" + bytes(100),
}


def refused(read: Callable[[Path], object], file: Path) -> InputError | None:
    """The error that names the file, None where it was read; any other exception is the test's failure."""
    caught: InputError | None = None
    try:
        read(file)
    except InputError as error:
        caught = error
    if caught is None:
        return None
    assert caught.file is not None, f"no file is named: {caught}"
    assert file.name in caught.file or str(file.parent) in caught.file
    assert "\n" not in str(caught)
    assert caught.remedy
    return caught
