"""Products that an index has lost, and what there is of them."""

from __future__ import annotations

import sqlalchemy as sa

from roman_assets.products.index_tables import caveats, incidents
from roman_assets.products.index_tables import products as table
from roman_assets.systems.msos.archive import ArchiveFacts, archive_metadata
from tests.products.product_frames import identity, part_frame

DAY = "day=2027-03-01/detector=WFI01"
FACTS = ArchiveFacts(season="s01", processing_id="r01", s_region="POLYGON ICRS 268 -29 268.1 -29 268.1 -29.1")


def put(products, version, *, part="", caveats=()):
    return products.put_table(
        "psf_photometry_part",
        DAY,
        part_frame(seed=int(version)),
        identity(code_version=version),
        part=part,
        attributes={"field": "f01", "optical_element": "F146", "sky": 2.5, "left_out": ["a", "b"]},
        caveats=caveats,
        sky=(268.0, -29.2),
        s_region=FACTS.s_region,
        archive=archive_metadata("event", FACTS),
    )


def note(products, version, document, *, part=""):
    return products.put_json("note", "region=a", document, identity(code_version=version), part=part)


def backup(products):
    """All rows of the index."""
    with products.index.database.engine.connect() as connection:
        return [
            (t, [dict(r) for r in connection.execute(sa.select(t)).mappings()]) for t in (table, caveats, incidents)
        ]


def restore(products, rows):
    with products.index.database.engine.begin() as connection:
        for one in (caveats, incidents, table):
            connection.execute(sa.delete(one))
        for one, held in rows:
            if held:
                connection.execute(sa.insert(one), held)
        if connection.dialect.name == "postgresql":
            highest = max((row["id"] for row in rows[0][1]), default=1)
            connection.execute(sa.text("SELECT setval('products_id_seq', :n)"), {"n": highest})


def state(products):
    """Every row without the numbers that the database gave it, and the caveats that are counted."""
    rows = backup(products)[0][1]
    names = {row["id"]: (row["part"], row["identity"]) for row in rows}
    found = {}
    for row in rows:
        row = {**row, "superseded_by": names.get(row["superseded_by"])}
        found[row["kind"], row["partition"], row["part"], row.pop("identity")] = {**row, "id": None}
    return found, products.index.count_caveats()


def forget(products, *records):
    """Takes products out of the index, as if it had been restored from before them; what they superseded is visible."""
    visible = {record.id: record.current for record in products.index.all_records()}
    with products.index.database.engine.begin() as connection:
        for record in records:
            connection.execute(sa.delete(caveats).where(caveats.c.product_id == record.id))
            connection.execute(sa.delete(table).where(table.c.id == record.id))
            if visible.get(record.id):
                again = {"current": True, "superseded_by": None, "superseded_at": None}
                connection.execute(sa.update(table).where(table.c.superseded_by == record.id).values(**again))


def keys(products):
    return sorted(item.key for item in products.store.list() if "index.sqlite" not in item.key)
