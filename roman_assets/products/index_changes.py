"""Changes of the index, each within one transaction of its caller."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy import Connection

from roman_assets.products.caveats import counted
from roman_assets.products.index_queries import slot_of
from roman_assets.products.index_tables import PROMOTED, caveats, incidents, products
from roman_assets.products.records import NewProduct, partition_keys

#: What becomes of a stored product whose row may be missing: it gets one; has one; has one of other bytes under the same
#: identity; or was removed, and is only not deleted yet.
Verdict = Literal["adopted", "same", "conflict", "removed"]


def make_current(connection: Connection, slot: Any, product_id: int, when: datetime) -> None:
    others = sa.update(products).where(*slot, products.c.current.is_(True), products.c.id != product_id)
    connection.execute(others.values(current=False, superseded_by=product_id, superseded_at=when))
    own = sa.update(products).where(products.c.id == product_id)
    connection.execute(own.values(current=True, superseded_by=None, superseded_at=None))


def lock_slot(connection: Connection, new: NewProduct) -> None:
    """Changes of a kind, partition and part come one after the other; SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        lock = f"{new.kind}|{new.partition}|{new.part}"
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(hashtext(:slot))"), {"slot": lock})


def insert(connection: Connection, new: NewProduct, sequence: int, removed_id: int | None) -> int:
    """Writes the row, not yet visible: the unique index must never see two visible ones. Returns its number."""
    known = {**partition_keys(new.partition), **new.attributes}
    values = {
        "kind": new.kind,
        "partition": new.partition,
        "part": new.part,
        "identity": new.identity,
        "sha256": new.sha256,
        "size": new.size,
        "rows": new.rows,
        "key": new.key,
        "format": new.format,
        "inputs": list(new.inputs),
        "code_version": new.code_version,
        "schema_version": new.schema_version,
        "config": dict(new.config),
        "sequence": sequence,
        "created_at": new.created_at,
        "caveats": [caveat.stored() for caveat in new.caveats],
        "attributes": dict(new.attributes),
        "ra": new.ra,
        "dec": new.dec,
        "s_region": new.s_region,
        "archive_key": new.archive_key,
        "current": False,
        "removed_at": None,
        **{name: None if known.get(name) is None else str(known[name]) for name in PROMOTED},
    }
    if removed_id is not None:
        connection.execute(sa.delete(caveats).where(caveats.c.product_id == removed_id))
    if removed_id is None:
        inserted = connection.execute(sa.insert(products).values(values)).inserted_primary_key
        assert inserted is not None
        product_id = int(inserted[0])
    else:
        connection.execute(sa.update(products).where(products.c.id == removed_id).values(values))
        product_id = removed_id
    codes = [{"product_id": product_id, "code": c, "count": n} for c, n in counted(new.caveats).items()]
    if codes:
        connection.execute(sa.insert(caveats), codes)
    return product_id


def judge(connection: Connection, new: NewProduct) -> tuple[Verdict, list[Any]]:
    """What adopting a stored product would come to, and the rows of its kind, partition and part in order of time."""
    columns = ("id", "identity", "sha256", "sequence", "created_at", "removed_at")
    query = sa.select(*(products.c[name] for name in columns)).where(*slot_of(new.kind, new.partition, new.part))
    rows = sorted(connection.execute(query).all(), key=lambda row: (utc(row.created_at), row.identity))
    own = next((row for row in rows if row.identity == new.identity), None)
    if own is not None and own.removed_at is None:
        return ("same" if own.sha256 == new.sha256 else "conflict"), rows
    # One that was made again after its row had been marked as removed was indexed again: that is what was lost.
    return ("adopted" if own is None or utc(own.created_at) < new.created_at else "removed"), rows


def adopt(connection: Connection, new: NewProduct) -> Verdict:
    """Gives a stored product its row, at its place in time among those of its kind, partition and part.

    It becomes visible if it is the newest of them, whatever is visible: where a newer one was withdrawn or found
    damaged, this one had been superseded before.
    """
    lock_slot(connection, new)
    verdict, rows = judge(connection, new)
    if verdict != "adopted":
        return verdict
    at = (new.created_at, new.identity)
    earlier = [row for row in rows if (utc(row.created_at), row.identity) < at]
    later = [row for row in rows if (utc(row.created_at), row.identity) > at]
    sequence = max((row.sequence for row in earlier), default=0) + 1
    if any(row.sequence <= sequence for row in later):
        moved = sa.update(products).where(products.c.id.in_([row.id for row in later]))
        connection.execute(moved.values(sequence=products.c.sequence + 1))
    own = next((row.id for row in rows if row.identity == new.identity), None)
    product_id = insert(connection, new, sequence, own)
    if later:
        row = sa.update(products).where(products.c.id == product_id)
        connection.execute(row.values(superseded_by=later[0].id, superseded_at=later[0].created_at))
    else:
        make_current(connection, slot_of(new.kind, new.partition, new.part), product_id, new.created_at)
    return verdict


def record_incident(connection: Connection, new: NewProduct, first_sha256: str) -> None:
    key = {
        "kind": new.kind,
        "partition": new.partition,
        "part": new.part,
        "identity": new.identity,
        "other_sha256": new.sha256,
    }
    known = sa.select(incidents.c.id).where(*(incidents.c[name] == value for name, value in key.items()))
    if connection.execute(known).first() is None:
        row = {**key, "first_sha256": first_sha256, "other_size": new.size, "created_at": new.created_at}
        connection.execute(sa.insert(incidents).values(row))


def utc(when: datetime) -> datetime:
    """SQLite returns naive times; all of ours are UTC."""
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
