"""Alembic migrations of the exposure registry, run by ``Registry`` when it opens a database."""
