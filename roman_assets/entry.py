"""The `roman` program: what must be settled before any of its modules loads numpy, and then the commands."""

from __future__ import annotations

from roman_assets.platform.arithmetic import pin_arithmetic


def main() -> None:
    """Entry point of the console script."""
    pin_arithmetic()
    from roman_assets.cli import main as run

    run()
