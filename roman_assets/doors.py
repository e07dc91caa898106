"""Where files of users come in: whatever a parser makes of them, what comes out is one error that names the file."""

from __future__ import annotations

import errno
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from roman_assets.errors import InputError, RomanError, first_line
from roman_assets.text import printable

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

#: Faults of a path itself. An error of the system with another number is one of the machine: the file may be good.
_OF_THE_PATH = {
    errno.ENOENT: "no such file",
    errno.ENOTDIR: "no such file",
    errno.EISDIR: "a folder, not a file",
    errno.ENAMETOOLONG: "no such file",
    errno.ELOOP: "its links lead in a circle",
    errno.ENXIO: "not a regular file",
    errno.EINVAL: "not a regular file",
}


@contextmanager
def reading(file: object, what: str, remedy: str) -> Iterator[None]:
    """Everything that fails inside is the file's fault, unless memory or the machine ran out.

    Parameters
    ----------
    file
        The file (or what else is read), which the error names.
    what
        What it should be, such as "a light curve".
    remedy
        What the user can do.

    Raises
    ------
    InputError
        For every exception of a parser: names the file, what it should be, and the parser's reason.
    RomanError, MemoryError, OSError
        Errors made on purpose (with the file, if they name none), and faults of memory and machine (no permission, a
        failing disk), pass.
    """
    try:
        yield
    except InputError as error:
        if error.file is not None or type(error) is not InputError:
            raise
        raise InputError(error.problem, file=file, field=error.field, remedy=error.remedy or remedy) from error
    except RomanError:
        raise
    except MemoryError as error:
        if _asked_bytes(error) <= _machine_bytes():
            raise
        problem = f"cannot be read as {what}: it declares more than memory holds ({_reason(error)})"
        raise InputError(problem, file=file, remedy=remedy) from error
    except OSError as error:
        # Parsers raise OSError for bytes that they cannot read, too; those have no number.
        if error.errno is not None and error.errno not in _OF_THE_PATH:
            raise
        problem = _OF_THE_PATH.get(error.errno or 0) or f"cannot be read as {what} ({_reason(error)})"
        raise InputError(problem, file=file, remedy=remedy) from error
    except Exception as error:
        raise InputError(f"cannot be read as {what} ({_reason(error)})", file=file, remedy=remedy) from error
    except BaseException as error:
        # A panic of a library in Rust (polars) is no Exception, but is of the same kind.
        if type(error).__name__ != "PanicException":
            raise
        raise InputError(f"cannot be read as {what} ({_reason(error)})", file=file, remedy=remedy) from error


def _asked_bytes(error: MemoryError) -> int:
    """What numpy was asked for, 0 where the error does not say: no state of the machine could give more than it has."""
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    return math.prod(shape) * int(dtype.itemsize) if shape is not None and dtype is not None else 0


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def users_arrow(source: Path | bytes) -> pa.Table:
    """The Arrow table of a Parquet file of a user's (or of its bytes); anything at all is raised if it is none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(pa.BufferReader(source) if isinstance(source, bytes) else source).read()
    except pa.ArrowMemoryError as error:  # sizes of a damaged page, not those of the machine
        raise ValueError(f"declares more than memory holds: {error}") from error


def users_parquet(source: Path | bytes) -> pl.DataFrame:
    """The same as a table of polars, whose own reader ends the process where a damaged page declares too many values."""
    import polars as pl

    result = pl.from_arrow(users_arrow(source))
    assert isinstance(result, pl.DataFrame)
    return result


def _reason(error: BaseException) -> str:
    """The kind of an error and the first line of its text, without what a terminal would obey."""
    text = printable(first_line(error)) if str(error).strip() else ""
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
