"""The errors of all systems, of two kinds that are never mixed: what a thing is, and what a moment is.

An `InputError` is a verdict: the file, the value or the option stays as it is, and trying again changes nothing. A
`Transient` says nothing of any input: storage, network, database, memory or disk failed now. Verdicts may become
caveats of a product; transient faults are raised, retried, and leave nothing behind.
"""

from __future__ import annotations

import errno


class RomanError(Exception):
    """Base of all errors that roman_assets raises on purpose."""


class _Placed(RomanError):
    """An error that names where, what and what to do.

    Parameters
    ----------
    problem
        What is wrong, in one sentence.
    file
        The file or object at fault, if there is one.
    field
        The header key, column or option at fault, if there is one.
    remedy
        What the user can do about it.
    """

    def __init__(
        self, problem: str, *, file: object = None, field: str | None = None, remedy: str | None = None
    ) -> None:
        self.problem = problem
        self.file = None if file is None else str(file)
        self.field = field
        self.remedy = remedy
        where = ", ".join(part for part in (self.file, f"field {field}" if field else None) if part)
        text = f"{where}: {problem}" if where else problem
        super().__init__(f"{text} Remedy: {remedy}" if remedy else text)


class InputError(_Placed):
    """An input cannot be used."""


class Transient(_Placed):
    """Storage, network, database, memory or disk failed now: try again, judge nothing by it."""


class Damaged(RomanError):
    """Stored bytes are missing or are not those that were written: they must be made again."""


#: What an operating system says of a path rather than of the moment.
_OF_THE_PATH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL})


def is_transient(error: BaseException) -> bool:
    """Whether an error belongs to the moment: it must be raised and retried, and never kept as a verdict.

    Databases' and S3's own errors never get here: the storage layer turns them into `Transient`. A missing path is a
    verdict only where the storage layer says so (`InputError`); met anywhere else it is taken for the moment, since a
    mount that is away looks the same.
    """
    return isinstance(error, Transient | Damaged | MemoryError | OSError)


def of_the_path(error: OSError) -> bool:
    """Whether an OSError is about the path itself (absent, no file, too long) and not about disk or network."""
    return error.errno in _OF_THE_PATH


def first_line(error: BaseException, most: int = 300) -> str:
    """An error in one line for a report: its text's first line, or its type where it has none."""
    text = str(error).strip()
    return text.splitlines()[0][:most] if text else type(error).__name__
