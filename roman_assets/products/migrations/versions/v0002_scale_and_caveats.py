"""A million products: indexes for what is asked most, and caveats that can be counted without reading the products.

A migration is history: it spells its tables out instead of importing them.
"""

from __future__ import annotations

import json
from collections import Counter

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_CHUNK = 1000


def upgrade() -> None:
    """Create the indexes of visible products and the table of caveats, and count the caveats there are."""
    for name, columns in (
        ("products_current_season", ["season", "detector", "kind"]),
        ("products_current_day", ["day", "detector", "kind"]),
        ("products_current_sky", ["dec", "ra"]),
        ("products_current_sizes", ["kind", "rows", "size"]),
    ):
        op.create_index(
            name, "products", columns, sqlite_where=sa.text("current IS 1"), postgresql_where=sa.text("current IS true")
        )
    op.create_table(
        "product_caveats",
        sa.Column("product_id", _ID, sa.ForeignKey("products.id"), primary_key=True),
        sa.Column("code", sa.String(32), primary_key=True),
        sa.Column("count", sa.Integer(), nullable=False),
    )
    connection = op.get_bind()
    products = sa.table("products", sa.column("id", sa.BigInteger), sa.column("caveats", sa.JSON))
    caveats = sa.table("product_caveats", sa.column("product_id"), sa.column("code"), sa.column("count"))
    last = 0
    while True:
        query = sa.select(products).where(products.c.id > last).order_by(products.c.id).limit(_CHUNK)
        rows = connection.execute(query).all()
        if not rows:
            return
        last = rows[-1].id
        counted = []
        for row in rows:
            stored = json.loads(row.caveats) if isinstance(row.caveats, str) else row.caveats
            codes = Counter(item["code"] if isinstance(item, dict) else "other" for item in stored)
            counted += [{"product_id": row.id, "code": code, "count": n} for code, n in codes.items()]
        if counted:
            connection.execute(sa.insert(caveats), counted)


def downgrade() -> None:
    """Drop what was added."""
    op.drop_table("product_caveats")
    for name in ("season", "day", "sky", "sizes"):
        op.drop_index(f"products_current_{name}", "products")
