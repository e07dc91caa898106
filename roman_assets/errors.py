"""The errors every wing raises: a bad input names its file, its field and the remedy."""

from __future__ import annotations


class RomanError(Exception):
    """Base of all errors that roman_assets raises on purpose."""


class InputError(RomanError):
    """An input cannot be used.

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
