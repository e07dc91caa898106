"""Alembic environment: runs the migrations on the connection that ``Registry`` hands over."""

from __future__ import annotations

from alembic import context

from roman_assets.exposures.tables import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
