"""Alembic environment of the product index: runs inside the transaction that `database.migrate` opens."""

from __future__ import annotations

from alembic import context

from roman_assets.products.index_tables import TABLES

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=TABLES.metadata,
    version_table=TABLES.version_table,
    transactional_ddl=True,
)
context.run_migrations()
