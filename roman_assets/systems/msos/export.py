"""Export of the object and event catalogues as HATS collections."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from roman_assets.platform.workspace import Workspace
from roman_assets.products.hats import export_hats
from roman_assets.products.schemas import find_schema

#: Product kind and name of its collection.
COLLECTIONS = {
    "season_objects": "season_objects",
    "season_events": "season_events",
    "survey_objects": "survey_objects",
    "survey_events": "survey_events",
}


def export_catalogues(workspace: Workspace, folder: Path, *, replace: bool = False) -> list[tuple[str, int, Path]]:
    """Write every catalogue that exists as a HATS collection; returns (name, rows, folder) of each.

    A catalogue without rows has no place on the sky and is left out.
    """
    written = []
    for kind, name in COLLECTIONS.items():
        tables = [workspace.products.read_table(r) for r in workspace.products.current(kind) if r.rows]
        if not tables:
            continue
        table = pl.concat(tables, how="diagonal_relaxed")
        target = folder / name
        folder.mkdir(parents=True, exist_ok=True)
        export_hats(table, target, name, schema=find_schema(kind), replace=replace)
        written.append((name, table.height, target))
    return written
