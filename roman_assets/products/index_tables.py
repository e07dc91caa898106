"""Tables of the product index, in SQLAlchemy; `migrations/` brings a database to them."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa

from roman_assets.storage.database import Tables

metadata = sa.MetaData()
TABLES = Tables(
    "product index",
    "index_url",
    metadata,
    "products_alembic_version",
    "0002",
    Path(__file__).with_name("migrations"),
    0x524F4D50,
)

#: Attributes that have a column of their own, to be selected by.
PROMOTED = ("day", "season", "region", "field", "detector", "optical_element", "flip")

products = sa.Table(
    "products",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
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
    *(sa.Column(name, sa.String(64)) for name in PROMOTED),
    sa.Column("ra", sa.Float(53)),
    sa.Column("dec", sa.Float(53)),
    sa.Column("s_region", sa.Text()),
    sa.Column("archive_key", sa.String(1000)),
    sa.Column("current", sa.Boolean(), nullable=False),
    sa.Column("superseded_by", sa.BigInteger().with_variant(sa.Integer(), "sqlite")),
    sa.Column("superseded_at", sa.DateTime(timezone=True)),
    sa.Column("removed_at", sa.DateTime(timezone=True)),
    sa.UniqueConstraint("kind", "partition", "part", "identity", name="products_identity"),
)

# One visible product per kind, partition and part, whatever two workers do at once.
sa.Index(
    "products_current",
    products.c.kind,
    products.c.partition,
    products.c.part,
    unique=True,
    sqlite_where=products.c.current.is_(True),
    postgresql_where=products.c.current.is_(True),
)
sa.Index("products_day", products.c.kind, products.c.day, products.c.detector)
sa.Index("products_season", products.c.kind, products.c.season, products.c.detector)
sa.Index("products_sky", products.c.dec, products.c.ra)
for _name, _columns in (
    ("products_current_season", (products.c.season, products.c.detector, products.c.kind)),
    ("products_current_day", (products.c.day, products.c.detector, products.c.kind)),
    ("products_current_sky", (products.c.dec, products.c.ra)),
    # All that a summary asks for: it is read instead of the table.
    ("products_current_sizes", (products.c.kind, products.c.rows, products.c.size)),
):
    sa.Index(_name, *_columns, sqlite_where=products.c.current.is_(True), postgresql_where=products.c.current.is_(True))
sa.Index("products_sha256", products.c.sha256)

incidents = sa.Table(
    "product_incidents",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), primary_key=True, autoincrement=True),
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

#: How many caveats of each code a product has; products without any have no row.
caveats = sa.Table(
    "product_caveats",
    metadata,
    sa.Column(
        "product_id",
        sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
        sa.ForeignKey("products.id"),
        primary_key=True,
    ),
    sa.Column("code", sa.String(32), primary_key=True),
    sa.Column("count", sa.Integer(), nullable=False),
)
