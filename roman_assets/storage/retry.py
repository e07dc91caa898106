"""The one way in which storage is asked again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
#: How often work is tried, and the first pause between [s]; each pause is twice the last.
ATTEMPTS = 6
FIRST_PAUSE_S = 0.1


def again(work: Callable[[], T], passing: Callable[[Exception], bool]) -> T:
    """Does `work`, anew where `passing` says of its error that trying again may help; raises the last error.

    Work must be harmless to repeat: an answer may be lost after the work was done.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return work()
        except Exception as error:
            if attempt == ATTEMPTS or not passing(error):
                raise
        # Jitter: what failed for many at once is not asked by all of them at once.
        time.sleep(FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
    raise AssertionError("unreachable")
