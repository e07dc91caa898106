"""What the `dev` extra brings: a developer's machine may lack it, and a test then skips; in CI (CI=true) the test fails."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest


def needed(module: str, package: str = "") -> ModuleType:
    """A module of a package of the `dev` extra (`package`: where it has another name)."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        _absent(f"{package or module} is not installed: {error}")


def needed_program(name: str, package: str) -> Path:
    """A program that a package of the `dev` extra puts beside this Python."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        _absent(f"{name} is not installed ({package})")
    return path


def _absent(told: str) -> NoReturn:
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{told}; it is in the `dev` extra, and CI=true")
    pytest.skip(told)
