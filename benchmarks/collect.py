"""Finding the parts of the benchmarks and validations, running them, and showing what they say."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import traceback
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FOLDER = Path(__file__).resolve().parent


def data_folder() -> Path:
    """The external test data: ROMAN_VALIDATION_DATA, or ../shared/data beside the repository."""
    return Path(os.environ.get("ROMAN_VALIDATION_DATA", FOLDER.parents[1] / "shared" / "data"))


def collect(suffix: str, failed: dict[str, Any]) -> list[Row]:
    """Rows of every ``*_<suffix>.py``; a part that cannot run is one row that says so, made from `failed`.

    A part's ``rows`` is given the data folder if it takes an argument.
    """
    sys.path.insert(0, str(FOLDER))
    result: list[Row] = []
    for path in sorted(FOLDER.glob(f"*_{suffix}.py")):
        if path.stem == f"run_{suffix}":
            continue
        print(f"==> {path.stem}", file=sys.stderr)
        try:
            rows = importlib.import_module(path.stem).rows
            result.extend(rows(data_folder()) if inspect.signature(rows).parameters else rows())
        except Exception as error:
            traceback.print_exc()
            text = f"could not run: {type(error).__name__}: {error}"
            result.append(
                {name: text if value is ... else value for name, value in failed.items()}
                | {"name": path.stem}
            )
    return result


def write(path: Path, rows: list[Row]) -> None:
    """The rows as JSON, numbers that are not finite as null."""
    path.write_text(json.dumps([_plain(row) for row in rows], indent=1) + "\n")


def _plain(row: Row) -> Row:
    def value(item: Any) -> Any:
        item = item.item() if hasattr(item, "item") else item
        return None if isinstance(item, float) and not abs(item) < float("inf") else item

    return {name: value(item) for name, item in row.items()}


def number(value: Any) -> str:
    """Four significant digits, thousands apart; a dash for nothing."""
    if value is None or isinstance(value, str) or value != value:
        return "-" if value is None or value != value else str(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
