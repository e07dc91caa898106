"""The Dagster code location of roman_assets."""

from roman_assets.platform.definitions import build_definitions

defs = build_definitions()
