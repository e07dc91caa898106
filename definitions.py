"""The Dagster code location of roman_assets."""

from roman_assets.orchestration.definitions import build_definitions

defs = build_definitions()
