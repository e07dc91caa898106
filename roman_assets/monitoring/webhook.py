"""Posting alerts to a webhook (Slack, Mattermost, Teams gateways, Alertmanager bridges): JSON with a `text`.

The address is a secret, since whoever has it can post: it appears in no message, log or exception.
"""

from __future__ import annotations

import http.client
import json
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

from roman_assets.errors import InputError, RomanError

WEBHOOK = "ROMAN_ALERT_WEBHOOK"
ATTEMPTS = 4
TIMEOUT_S = 10.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 15.0
#: Answers after which trying again may help.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_REMEDY = "set it to the https:// address that the alerts' channel gives"


class WebhookError(RomanError):
    """The alert was not taken; the message never holds the webhook's address."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected post would hand the alert, and perhaps the secret, to another host."""

    def redirect_request(self, *_: Any) -> None:
        """None: the redirect becomes an error."""
        return None


def check_webhook(url: str) -> str:
    """The address, if it is one.

    Raises
    ------
    InputError
        It is not an http(s) address.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable:
        # Without its cause: that would show the address.
        raise InputError("not an address that can be posted to", field=WEBHOOK, remedy=_REMEDY) from None
    return url


def post(
    url: str,
    payload: Mapping[str, Any],
    *,
    attempts: int = ATTEMPTS,
    timeout_s: float = TIMEOUT_S,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Post a payload as JSON; returns the number of attempts it took.

    Lost connections, time-outs and answers that may pass (429, 5xx) are tried again after a growing pause, or after
    the Retry-After that was asked for, up to 15 s.

    Raises
    ------
    WebhookError
        All attempts failed, or the answer will not change.
    """
    body = json.dumps(payload, ensure_ascii=False).encode()
    opener = urllib.request.build_opener(_NoRedirect)
    reason = ""
    for attempt in range(1, attempts + 1):
        request = urllib.request.Request(check_webhook(url), body, {"Content-Type": "application/json"}, method="POST")
        wait: float | None = None
        try:
            with opener.open(request, timeout=timeout_s):
                return attempt
        except urllib.error.HTTPError as error:
            reason = f"HTTP status {error.code}"
            asked = error.headers.get("Retry-After", "") if error.headers else ""
            wait = float(asked) if asked.isdigit() else None
            error.close()
            if error.code not in _PASSING:
                break
        except (OSError, http.client.HTTPException) as error:
            reason = type(error).__name__
        if attempt < attempts:
            growing = FIRST_PAUSE_S * 2 ** (attempt - 1) * random.uniform(0.75, 1.25)
            pause(min(growing if wait is None else wait, LONGEST_PAUSE_S))
    raise WebhookError(f"the webhook of {WEBHOOK} did not take the alert after {attempt} attempts: {reason}")
