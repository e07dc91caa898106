"""What Dagster loads, by the name of this module: the definitions of the installation that the environment names."""

from roman_assets.orchestration.definitions import build_definitions

defs = build_definitions()
