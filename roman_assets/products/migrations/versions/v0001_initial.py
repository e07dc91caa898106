"""The product index: products and incidents.

A migration is history: it spells its tables out instead of importing them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_PROMOTED = ("day", "season", "region", "field", "detector", "optical_element", "flip")


def upgrade() -> None:
    """Create both tables and their indexes."""
    op.create_table(
        "products",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("partition", sa.String(200), nullable=False),
        sa.Column("part", sa.String(200), nullable=False),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.BigInteger()),
        sa.Column("key", sa.String(1000), nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("inputs", sa.JSON(), nullable=False),
        sa.Column("code_version", sa.String(64), nullable=False),
        sa.Column("schema_version", sa.String(64), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("caveats", sa.JSON(), nullable=False),
        sa.Column("attributes", sa.JSON(), nullable=False),
        *(sa.Column(name, sa.String(64)) for name in _PROMOTED),
        sa.Column("ra", sa.Float(53)),
        sa.Column("dec", sa.Float(53)),
        sa.Column("s_region", sa.Text()),
        sa.Column("archive_key", sa.String(1000)),
        sa.Column("current", sa.Boolean(), nullable=False),
        sa.Column("superseded_by", _ID),
        sa.Column("superseded_at", sa.DateTime(timezone=True)),
        sa.Column("removed_at", sa.DateTime(timezone=True)),
        sa.UniqueConstraint("kind", "partition", "part", "identity", name="products_identity"),
    )
    op.create_index(
        "products_current",
        "products",
        ["kind", "partition", "part"],
        unique=True,
        sqlite_where=sa.text("current IS 1"),
        postgresql_where=sa.text("current IS true"),
    )
    op.create_index("products_day", "products", ["kind", "day", "detector"])
    op.create_index("products_season", "products", ["kind", "season", "detector"])
    op.create_index("products_sky", "products", ["dec", "ra"])
    op.create_index("products_sha256", "products", ["sha256"])
    op.create_table(
        "product_incidents",
        sa.Column("id", _ID, primary_key=True, autoincrement=True),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("partition", sa.String(200), nullable=False),
        sa.Column("part", sa.String(200), nullable=False),
        sa.Column("identity", sa.String(64), nullable=False),
        sa.Column("first_sha256", sa.String(64), nullable=False),
        sa.Column("other_sha256", sa.String(64), nullable=False),
        sa.Column("other_size", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.UniqueConstraint("kind", "partition", "part", "identity", "other_sha256", name="product_incidents_once"),
    )


def downgrade() -> None:
    """Drop both tables."""
    op.drop_table("product_incidents")
    op.drop_table("products")
