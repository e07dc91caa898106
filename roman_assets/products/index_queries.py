"""Pieces of the index's queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import sqlalchemy as sa

from roman_assets.products.index_tables import PROMOTED, caveats, products


def slot_of(kind: str, partition: str, part: str) -> tuple[sa.ColumnElement[bool], ...]:
    return products.c.kind == kind, products.c.partition == partition, products.c.part == part


def as_values(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def visible(
    query: sa.Select[Any],
    kind: str | None,
    partition: str | None,
    part: str | None,
    attributes: Mapping[str, Any] | None,
) -> tuple[sa.Select[Any], dict[str, Sequence[Any]]]:
    """A query limited to visible products of these keys, and the attributes that no column holds."""
    query = query.where(products.c.current.is_(True))
    for column, value in ((products.c.kind, kind), (products.c.partition, partition), (products.c.part, part)):
        if value is not None:
            query = query.where(column == value)
    rest = {}
    for name, value in (attributes or {}).items():
        values = as_values(value)
        if name in PROMOTED:
            query = query.where(products.c[name].in_([str(v) for v in values]))
        else:
            rest[name] = values
    return query, rest


def caveats_by_code(attributes: Mapping[str, Any] | None) -> sa.Select[Any]:
    columns = (products.c.kind, caveats.c.code, sa.func.sum(caveats.c.count))
    joined = sa.select(*columns).join(caveats, caveats.c.product_id == products.c.id)
    query, _ = visible(joined, None, None, None, attributes)
    return query.group_by(products.c.kind, caveats.c.code)


def right_ascensions(ra: float, dec: float, radius_deg: float) -> sa.ColumnElement[bool]:
    """Right ascensions that a circle reaches; all of them near a pole."""
    highest = abs(dec) + radius_deg
    if highest >= 89.0:
        return sa.true()
    half = float(np.degrees(np.arcsin(min(1.0, np.sin(np.radians(radius_deg)) / np.cos(np.radians(abs(dec)))))))
    low, high = (ra - half) % 360.0, (ra + half) % 360.0
    if low <= high:
        return products.c.ra.between(low, high)
    return sa.or_(products.c.ra >= low, products.c.ra <= high)
