"""A test that lacks what the `dev` extra brings skips on a developer's machine, and fails in CI."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.optional import needed, needed_program

ABSENT = [lambda: needed("no_such_module"), lambda: needed_program("no-such-program", "no-such-package")]


def test_what_is_there_is_given() -> None:
    assert needed("json") is json
    assert needed_program("python", "python").exists()


@pytest.mark.parametrize("ask", ABSENT)
@pytest.mark.parametrize(
    ("value", "outcome"), [("true", pytest.fail.Exception), ("1", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_absence(ask: Callable[[], Any], value: str, outcome: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", value)
    with pytest.raises(outcome, match=r"no.such"):
        ask()
