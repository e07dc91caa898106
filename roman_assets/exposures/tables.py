"""Tables of the exposure registry.  ``migrations/`` creates them; a test compares the two."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from roman_assets.storage.database import Tables

METADATA = MetaData()
#: Version table and lock of their own, so that the product index may live in the same database.
TABLES = Tables(
    "exposure registry",
    "registry_url",
    METADATA,
    "exposures_version",
    "0001",
    Path(__file__).with_name("migrations"),
    0x524F4D41,
)

EXPOSURES = Table(
    "exposures",
    METADATA,
    Column("exposure_id", String(64), primary_key=True),
    # Grows by one with every row that is new or changed, in the order of commits: what sensors follow.
    Column("change", BigInteger, nullable=False, unique=True),
    Column("filename", String(128), nullable=False),
    Column("uri", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("visit_id", String(19), nullable=False),
    Column("exposure", Integer, nullable=False),
    Column("detector", String(8), nullable=False),
    Column("optical_element", String(16), nullable=False),
    Column("exposure_type", String(32), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("start_time", DateTime, nullable=False),  # UTC
    Column("mid_mjd", Float(53), nullable=False),
    Column("exptime_s", Float(53), nullable=False),
    Column("day", String(10), nullable=False),
    Column("survey", String(16)),
    Column("season", String(64)),
    Column("field", String(64)),
    Column("inside_calendar", Boolean, nullable=False),
    Column("ny", Integer, nullable=False),
    Column("nx", Integer, nullable=False),
    Column("ra_center", Float(53), nullable=False),
    Column("dec_center", Float(53), nullable=False),
    Column("s_region", Text, nullable=False),
    Column("conversion_megajanskys", Float(53)),
    Column("pixel_area_sr", Float(53)),
    Column("program", Integer, nullable=False),
    Column("caveats", Text, nullable=False),  # JSON list
    Column("schema_version", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("registered_at", DateTime, nullable=False),
    Index("exposures_by_day", "day", "detector"),
    Index("exposures_by_season", "season", "detector"),
)

DELIVERIES = Table(
    "deliveries",
    METADATA,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("uri", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("version", String(64), nullable=False),  # modification time or entity tag
    Column("name", Text, nullable=False),
    Column("sha256", String(64)),
    Column("outcome", String(16), nullable=False),
    Column("reason", String(64)),
    Column("message", Text),
    Column("exposure_id", String(64)),
    Column("count", Integer, nullable=False),
    Column("first_seen", DateTime, nullable=False),
    Column("last_seen", DateTime, nullable=False),
    UniqueConstraint("uri", "size", "version", name="deliveries_identity"),
    Index("deliveries_by_outcome", "outcome"),
)

COUNTERS = Table(
    "counters", METADATA, Column("name", String(32), primary_key=True), Column("value", BigInteger, nullable=False)
)
