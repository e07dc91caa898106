"""The line between what a file is and what a moment is.

Whatever judging one file raises is a verdict on that file, with one exception: faults of storage, network,
memory and database say nothing about it and leave it to be judged another time.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from roman_assets.errors import RomanError, first_line
from roman_assets.exposures.rejection import Reason, Rejected
from roman_assets.storage.base import Unavailable
from roman_assets.text import printable

TRY_AGAIN = "try again later."
# OSErrors that speak of the name or of the bytes.  All others that carry a number come from the system; those
# without one are raised by decoders.
_OF_THE_FILE = frozenset({errno.ENAMETOOLONG, errno.EINVAL, errno.ELOOP, errno.EISDIR, errno.EFBIG, errno.EOVERFLOW})


def is_momentary(error: BaseException) -> bool:
    """True for a fault that is gone another time: storage, network, memory, database, or a file that is away."""
    if isinstance(error, MemoryError | ConnectionError | TimeoutError | PermissionError | FileNotFoundError):
        return True
    if isinstance(error, OSError):
        return error.errno is not None and error.errno not in _OF_THE_FILE
    package = type(error).__module__.partition(".")[0]  # not imported here: the header path stays light
    return package in ("sqlalchemy", "psycopg2", "sqlite3", "botocore", "urllib3")


@contextmanager
def judging(file: object) -> Iterator[None]:
    """Let every failure of what is done to one file be Rejected (unreadable), or Unavailable if it is momentary.

    Errors made on purpose pass as they are.
    """
    try:
        yield
    except RomanError:
        raise
    except Exception as error:
        what = printable(f"{type(error).__name__}: {first_line(error)}", 400)
        if is_momentary(error):
            raise Unavailable(f"the file cannot be read now: {what}", file=file, remedy=TRY_AGAIN) from error
        raise Rejected(Reason.UNREADABLE, f"the file cannot be read: {what}", file=file) from error
