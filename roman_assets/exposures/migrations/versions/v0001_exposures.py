"""Exposures, deliveries and the change counter."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "exposures",
        sa.Column("exposure_id", sa.String(64), primary_key=True),
        sa.Column("change", sa.BigInteger, nullable=False, unique=True),
        sa.Column("filename", sa.String(128), nullable=False),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("visit_id", sa.String(19), nullable=False),
        sa.Column("exposure", sa.Integer, nullable=False),
        sa.Column("detector", sa.String(8), nullable=False),
        sa.Column("optical_element", sa.String(16), nullable=False),
        sa.Column("exposure_type", sa.String(32), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("start_time", sa.DateTime, nullable=False),
        sa.Column("mid_mjd", sa.Float(53), nullable=False),
        sa.Column("exptime_s", sa.Float(53), nullable=False),
        sa.Column("day", sa.String(10), nullable=False),
        sa.Column("survey", sa.String(16)),
        sa.Column("season", sa.String(64)),
        sa.Column("field", sa.String(64)),
        sa.Column("inside_calendar", sa.Boolean, nullable=False),
        sa.Column("ny", sa.Integer, nullable=False),
        sa.Column("nx", sa.Integer, nullable=False),
        sa.Column("ra_center", sa.Float(53), nullable=False),
        sa.Column("dec_center", sa.Float(53), nullable=False),
        sa.Column("s_region", sa.Text, nullable=False),
        sa.Column("conversion_megajanskys", sa.Float(53)),
        sa.Column("pixel_area_sr", sa.Float(53)),
        sa.Column("program", sa.Integer, nullable=False),
        sa.Column("caveats", sa.Text, nullable=False),
        sa.Column("schema_version", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("registered_at", sa.DateTime, nullable=False),
    )
    op.create_index("exposures_by_day", "exposures", ["day", "detector"])
    op.create_index("exposures_by_season", "exposures", ["season", "detector"])
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=True),
        sa.Column("uri", sa.Text, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("version", sa.String(64), nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("sha256", sa.String(64)),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(64)),
        sa.Column("message", sa.Text),
        sa.Column("exposure_id", sa.String(64)),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("first_seen", sa.DateTime, nullable=False),
        sa.Column("last_seen", sa.DateTime, nullable=False),
        sa.UniqueConstraint("uri", "size", "version", name="deliveries_identity"),
    )
    op.create_index("deliveries_by_outcome", "deliveries", ["outcome"])
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(32), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(counters, [{"name": "exposures", "value": 0}])


def downgrade() -> None:
    op.drop_table("counters")
    op.drop_table("deliveries")
    op.drop_table("exposures")
