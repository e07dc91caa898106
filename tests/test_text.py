"""Text of others made harmless."""

from __future__ import annotations

import json
import sqlite3

import pytest

from roman_assets.text import is_storable, printable, storable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("r0001_wfi01_cal.asdf", "r0001_wfi01_cal.asdf"),
        ("é, 日本, Δχ²", "é, 日本, Δχ²"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("\u202efdsa", r"\u202efdsa"),
        ("\udcff", r"\udcff"),
        ("\0", r"\x00"),
        (12, "12"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown
    assert printable(text).isprintable()
    printable(text).encode()


def test_printable_is_cut():
    assert printable("x" * 1000) == "x" * 1000
    assert printable("x" * 1001) == "x" * 997 + "..."
    assert len(printable("\n" * 1000)) == 1000
    assert printable("abcdef", 5) == "ab..."


@pytest.mark.parametrize("text", ["plain", "é\u202e\n", "/a\udcff/b", "a\0b", ""])
def test_storable_text_goes_into_a_database_and_json(text):
    kept = storable(text)
    assert is_storable(kept)
    assert (kept == text) == is_storable(text)
    connection = sqlite3.connect(":memory:")
    assert connection.execute("SELECT ?", (kept,)).fetchone() == (kept,)
    assert json.loads(json.dumps(kept, ensure_ascii=False).encode()) == kept


def test_what_is_escaped_meets_no_path():
    assert storable("/a\udcff") != storable("/a\\udcff")
