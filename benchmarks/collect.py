"""Finding the parts of the benchmarks and validations, running them, and showing what they say."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import traceback
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

Row = dict[str, Any]
FOLDER = Path(__file__).resolve().parent


def data_folder() -> Path:
    """The external test data: ROMAN_VALIDATION_DATA, or ../shared/data beside the repository."""
    return Path(os.environ.get("ROMAN_VALIDATION_DATA", FOLDER.parents[1] / "shared" / "data"))


def collect(suffix: str, failed: dict[str, Any], output: Path, wanted: Sequence[str] = ()) -> list[Row]:
    """Rows of every ``*_<suffix>.py``, written to `output` after each; returns those made now.

    A part that cannot run is one row that says so, made from `failed`. A part's ``rows`` is given the data folder if it
    takes an argument. `wanted` names parts (``difference``, say): the rows of the others stay as `output` has them.
    """
    parts = [p.stem for p in sorted(FOLDER.glob(f"*_{suffix}.py")) if p.stem != f"run_{suffix}"]
    unknown = {name for name in wanted if f"{name}_{suffix}" not in parts}
    if unknown:
        names = ", ".join(part.removesuffix(f"_{suffix}") for part in parts)
        raise SystemExit(f"no part {', '.join(sorted(unknown))}: use some of {names}")
    kept = json.loads(output.read_text()) if output.exists() else []
    made: list[Row] = []
    for part in parts:
        name = part.removesuffix(f"_{suffix}")
        if wanted and name not in wanted:
            continue
        print(f"==> {part}", file=sys.stderr)
        rows = [{"part": name, "made": date.today().isoformat()} | row for row in _rows_of(part, failed)]
        kept = [row for row in kept if row["part"] != name] + rows
        made += rows
        write(output, sorted(kept, key=lambda row: str(row["part"])))
    return made


def _rows_of(part: str, failed: dict[str, Any]) -> list[Row]:
    try:
        rows = importlib.import_module(f"benchmarks.{part}").rows
        return list(rows(data_folder()) if inspect.signature(rows).parameters else rows())
    except Exception as error:
        traceback.print_exc()
        text = f"could not run: {type(error).__name__}: {error}"
        return [{name: text if value is ... else value for name, value in failed.items()} | {"name": part}]


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
