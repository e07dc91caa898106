"""Export of the object and event catalogues as HATS collections."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from roman_assets.platform.workspace import Workspace
from roman_assets.products.hats import export_hats
from roman_assets.products.schemas import TableSchema
from roman_assets.systems.msos.tables import SEASON_EVENTS, SEASON_OBJECTS, SURVEY_EVENTS, SURVEY_OBJECTS

#: Tables that become collections, each under the name of its kind.
COLLECTIONS: tuple[TableSchema, ...] = (SEASON_OBJECTS, SEASON_EVENTS, SURVEY_OBJECTS, SURVEY_EVENTS)


def export_catalogues(workspace: Workspace, folder: Path, *, replace: bool = False) -> list[tuple[str, int, Path]]:
    """Write every catalogue that exists as a HATS collection; returns (name, rows, folder) of each.

    A catalogue without rows has no place on the sky and is left out.
    """
    written = []
    for schema in COLLECTIONS:
        tables = [workspace.products.read_table(r) for r in workspace.products.current(schema.kind) if r.rows]
        if not tables:
            continue
        table = pl.concat(tables, how="diagonal_relaxed")
        target = folder / schema.kind
        folder.mkdir(parents=True, exist_ok=True)
        export_hats(table, target, schema.kind, schema=schema, replace=replace)
        written.append((schema.kind, table.height, target))
    return written
