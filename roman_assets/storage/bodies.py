"""Reading an S3 object's body again where it breaks off: boto3 retries requests, not bodies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
#: How often a body is asked for, and the first pause between [s]; each pause is twice the last.
READS = 5
FIRST_PAUSE_S = 0.2


def read_body(open_body: Callable[[], Any], work: Callable[[Any], T]) -> T:
    """Does `work` with the body that `open_body` gives, anew with another if that breaks off.

    Raises
    ------
    HTTPClientError, IncompleteReadError
        Of botocore: the last of READS bodies broke off, too. What `open_body` raises is not tried again.
    """
    from botocore.exceptions import HTTPClientError, IncompleteReadError

    for attempt in range(READS):
        body = open_body()
        try:
            return work(body)
        except (HTTPClientError, IncompleteReadError):
            if attempt + 1 == READS:
                raise
        # Jitter: a server that broke off many readers is not asked by all of them at once.
        time.sleep(FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))
    raise AssertionError("unreachable")
