"""Text that others wrote (names, header values, messages made of them), made harmless to print and to store."""

from __future__ import annotations


def printable(text: object, limit: int = 1000) -> str:
    """One line without control, bidirectional or undecodable characters: each becomes its backslash escape.

    What is longer than ``limit`` characters is cut, with an ellipsis.
    """
    given = str(text)
    cut = given[: limit + 1]
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in cut)
    return shown if len(given) <= limit and len(shown) <= limit else f"{shown[: limit - 3]}..."


def is_storable(text: str) -> bool:
    """True if every database and JSON reader can hold ``text``: UTF-8 has it, and there is no NUL in it.

    Python gives a file name that is not UTF-8 with surrogates, which UTF-8 does not have.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return "\0" not in text


def storable(text: str) -> str:
    """``text`` itself where it is storable, else its quoted escapes, which no path begins like."""
    return text if is_storable(text) else ascii(text)
