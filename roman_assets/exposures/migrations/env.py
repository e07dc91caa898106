"""Alembic environment: runs the migrations on the connection that ``Registry`` hands over."""

from __future__ import annotations

from alembic import context

from roman_assets.exposures.tables import TABLES

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=TABLES.metadata,
    version_table=TABLES.version_table,
    transactional_ddl=True,
)
context.run_migrations()
