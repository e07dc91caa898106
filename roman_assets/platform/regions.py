"""Which sky regions a product has sources in."""

from __future__ import annotations

import hashlib
from typing import Any

import polars as pl

from roman_assets.platform.workspace import Workspace
from roman_assets.products.records import ProductRecord
from roman_assets.survey.model import Calendar

#: Regions of products that had to be read, by digest of the calendar's regions and sha256: products never change.
_READ: dict[tuple[str, str], list[str]] = {}


def regions_attribute(calendar: Calendar, table: pl.DataFrame) -> dict[str, Any]:
    """Attribute `regions` of a product with columns ra, dec: names, and of which calendar's regions they are."""
    return {"of": _digest(calendar), "names": _names(calendar, table)}


def regions_of(workspace: Workspace, record: ProductRecord) -> list[str]:
    """Sky regions of the calendar in which a product with columns ra, dec has rows.

    Its attribute says so, unless it was made without one or under a calendar with other regions: then it is read.
    """
    if not record.rows:
        return []
    noted = record.attributes.get("regions")
    if noted is not None and noted["of"] == _digest(workspace.calendar):
        return list(noted["names"])
    known = (_digest(workspace.calendar), record.sha256)
    if known not in _READ:
        _READ[known] = _names(workspace.calendar, workspace.products.read_table(record, ["ra", "dec"]))
    return list(_READ[known])


def region_identity(calendar: Calendar, region: str) -> dict[str, Any]:
    """Configuration of a product's identity that says which part of the sky a region's name stood for."""
    of_name = [known for known in calendar.regions if known.name == region]
    return {"region": region, "sky": hashlib.sha256(repr(of_name).encode()).hexdigest()[:12]}


def _names(calendar: Calendar, table: pl.DataFrame) -> list[str]:
    found = calendar.regions_of(table["ra"].to_numpy(), table["dec"].to_numpy())
    return sorted({name for name in found if name})


def _digest(calendar: Calendar) -> str:
    return hashlib.sha256(repr(calendar.regions).encode()).hexdigest()[:12]
