"""Posting alerts to a server that is slow, busy, broken or unwilling; the address stays secret."""

from __future__ import annotations

import socket
import time

import pytest

from roman_assets.errors import InputError
from roman_assets.monitoring.webhook import WebhookError, check_webhook, post
from tests.monitoring.conftest import Channel


def test_a_payload_arrives_as_json(channel: Channel) -> None:
    assert post(channel.url, {"text": "größer", "count": 2}) == 1
    assert channel.received == [{"text": "größer", "count": 2}]


def test_busy_servers_are_tried_again_with_growing_pauses(channel: Channel) -> None:
    channel.answers = [503, 502, 200]
    pauses: list[float] = []
    assert post(channel.url, {"text": "x"}, pause=pauses.append) == 3
    assert len(channel.received) == 1
    assert 0.7 <= pauses[0] <= 1.3
    assert 1.4 <= pauses[1] <= 2.6


def test_the_pause_that_is_asked_for_is_kept_up_to_a_limit(channel: Channel) -> None:
    channel.answers, channel.headers = [429, 200], {"Retry-After": "7"}
    pauses: list[float] = []
    post(channel.url, {"text": "x"}, pause=pauses.append)
    channel.requests, channel.headers = 0, {"Retry-After": "86400"}
    post(channel.url, {"text": "x"}, pause=pauses.append)
    assert pauses == [7.0, 15.0]


@pytest.mark.parametrize("status", [400, 403, 404, 301])
def test_answers_that_will_not_change_end_it_at_once(channel: Channel, status: int) -> None:
    channel.answers, channel.headers = [status], {"Location": "http://127.0.0.1:1/elsewhere"}
    with pytest.raises(WebhookError, match=f"after 1 attempts: HTTP status {status}"):
        post(channel.url, {"text": "x"}, pause=lambda _: pytest.fail("a pause"))
    assert channel.requests == 1


def test_slow_and_dead_servers_end_in_time_and_the_secret_is_in_no_message(channel: Channel) -> None:
    channel.delay_s = 1.0
    begun = time.monotonic()
    with pytest.raises(WebhookError) as slow:
        post(channel.url, {"text": "x"}, attempts=2, timeout_s=0.2, pause=lambda _: None)
    assert time.monotonic() - begun < 3
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(WebhookError) as dead:
        post(f"http://127.0.0.1:{port}/services/T0KEN", {"text": "x"}, attempts=2, pause=lambda _: None)
    for error in (slow.value, dead.value):
        assert "T0KEN" not in str(error)
        assert "127.0.0.1" not in str(error)
        assert "after 2 attempts" in str(error)


@pytest.mark.parametrize("url", ["", "T0KEN", "file:///etc/passwd", "https://", "https://h:T0KEN/x", "ftp://h/T0KEN"])
def test_addresses_that_are_none_are_refused_without_showing_them(url: str) -> None:
    with pytest.raises(InputError, match="ROMAN_ALERT_WEBHOOK") as refused:
        check_webhook(url)
    assert "T0KEN" not in str(refused.value)
    assert refused.value.__cause__ is None
