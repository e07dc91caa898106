"""The one boundary of readers of users' files: what passes, and what becomes an error that names the file."""

from __future__ import annotations

import errno
import zlib

import numpy as np
import polars as pl
import pytest
from astropy.io.fits.verify import VerifyError

from roman_assets.doors import reading
from roman_assets.errors import InputError
from roman_assets.exposures.rejection import Reason, Rejected


def fail(error: BaseException) -> None:
    with reading("some/file.x", "a table", "repair it"):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        ValueError("a\nb"),
        KeyError("k"),
        zlib.error("bad data"),
        EOFError(),
        VerifyError("no card"),
        pl.exceptions.ComputeError("cast"),
        pl.exceptions.SchemaError("list"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"),
        RecursionError("too deep"),
        OverflowError("too large"),
        AssertionError(),
        ZeroDivisionError("division"),
        OSError("No SIMPLE card found"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        IsADirectoryError(errno.EISDIR, "Is a directory"),
        OSError(errno.ENAMETOOLONG, "File name too long"),
        type("PanicException", (BaseException,), {})("rust"),
    ],
)
def test_every_fault_of_a_parser_is_the_files_invalid(error: BaseException) -> None:
    with pytest.raises(InputError) as caught:
        fail(error)
    assert caught.value.file == "some/file.x"
    assert caught.value.remedy == "repair it"
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EACCES, "Permission denied", "some/file.x"),
        OSError(errno.EIO, "Input/output error"),
        OSError(errno.EMFILE, "Too many open files"),
        MemoryError(),
        KeyboardInterrupt(),
        SystemExit(1),
        InputError("known", field="f", file="another.x"),
        Rejected(Reason.EMPTY, "nothing in it"),
    ],
)
def test_faults_of_the_machine_pass(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught:
        fail(error)
    assert caught.value is error


def test_an_error_without_a_file_gets_one() -> None:
    with pytest.raises(InputError) as caught:
        fail(InputError("known", field="f"))
    assert (caught.value.file, caught.value.field, caught.value.remedy) == ("some/file.x", "f", "repair it")


def test_control_characters_do_not_reach_a_terminal() -> None:
    with pytest.raises(InputError) as caught:
        fail(ValueError("\x1b[2Jgone" + "x" * 5000))
    assert "\x1b" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_more_than_the_machine_has_is_what_the_file_declares_invalid() -> None:
    """A state of the machine could never serve it; what it could serve stays a fault of memory."""
    with (
        pytest.raises(InputError, match="more than memory holds") as caught,
        reading("some/file.x", "a table", "repair it"),
    ):
        np.empty(2**50, np.uint8)
    assert caught.value.file == "some/file.x"
    for error in (MemoryError(), MemoryError("no room")):
        with pytest.raises(MemoryError):
            fail(error)
