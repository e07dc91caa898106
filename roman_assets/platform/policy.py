"""The policy of faults, for every stage: a verdict becomes a caveat, the moment raises.

What a file is (refused, impossible, without a solution) stays so however often one tries: it is left out, and a typed
caveat says so. What fails now (storage, network, database, memory, disk) is raised: Dagster tries the step again, and
nothing is stored by the attempt that failed. Between two exposures a stage can be told to stop.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import polars as pl

from roman_assets.errors import InputError, first_line, is_transient
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.exposures.rejection import Rejected
from roman_assets.kernels.call import KernelError
from roman_assets.platform.stopping import stop_here
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.storage.base import Absent

T = TypeVar("T")
#: Errors of arithmetic and shapes that one exposure's values can bring about. Others are of the code or of a service.
_OF_THE_VALUES = (ArithmeticError, ValueError, LookupError, TypeError, AssertionError, pl.exceptions.PolarsError)
_LOG = logging.getLogger(__name__)


def verdict(error: Exception, subject: str, what: str) -> Caveat:
    """The caveat that an error is; raises the error if it is none.

    Parameters
    ----------
    subject
        What the error is about: an exposure, a pointing.
    what
        What became of the subject, as in "left out of the stack".
    """
    if is_transient(error):
        raise error
    text = f"{what}: {error}"
    if isinstance(error, Absent):
        return Caveat(Code.GONE, subject, text)
    if isinstance(error, InputError):
        return Caveat(Code.REFUSED, subject, text)
    if isinstance(error, KernelError):
        return Caveat(Code.NOT_SOLVED, subject, text)
    if isinstance(error, _OF_THE_VALUES):
        _LOG.error("%s: %s", subject, what, exc_info=error)
        return Caveat(Code.UNFORESEEN, subject, f"{what}: {type(error).__name__}: {first_line(error)}")
    raise error


@contextmanager
def judged(caveats: list[Caveat], subject: str, what: str) -> Iterator[None]:
    """Work on one subject: a verdict ends it with a caveat, a transient fault is raised."""
    try:
        yield
    except Exception as error:
        caveats.append(verdict(error, subject, what))


def refused(workspace: Workspace, exposure: RegisteredExposure, error: Exception, what: str) -> Caveat:
    """The caveat for an exposure that could not be used; bytes that are not what was registered go to quarantine.

    Raises
    ------
    Exception
        The error itself if it is transient, and what the quarantine meets: a file that cannot be kept now is looked at
        again.
    """
    if not isinstance(error, Rejected):
        return verdict(error, exposure.exposure_id, what)
    from roman_assets.exposures.landing import local_exposure

    with local_exposure(exposure.uri) as path:
        workspace.quarantine.put(path, error, uri=exposure.uri)
    return Caveat(Code.QUARANTINED, exposure.exposure_id, f"quarantined and {what}: {error}")


def each_exposure(
    workspace: Workspace,
    exposures: Sequence[RegisteredExposure],
    caveats: list[Caveat],
    work: Callable[[RegisteredExposure], T],
    what: str = "left out",
) -> list[T]:
    """What `work` gives for every exposure that can be used, in order; the others become caveats.

    Raises
    ------
    Exception
        A transient fault of any exposure. An error that nobody foresaw, where it met every exposure: then it is of the
        code, not of the exposures.
    """
    done: list[T] = []
    unforeseen: list[Exception] = []
    for exposure in exposures:
        stop_here()
        try:
            done.append(work(exposure))
        except Exception as error:
            caveat = refused(workspace, exposure, error, what)
            caveats.append(caveat)
            if caveat.code is Code.UNFORESEEN:
                unforeseen.append(error)
    if unforeseen and not done and len(unforeseen) == len(exposures):
        raise unforeseen[0]
    return done
