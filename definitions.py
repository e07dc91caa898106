"""For `dg` and `dagster dev` in a checkout, which look for it here; everything else loads the module that it imports."""

from roman_assets.orchestration.code_location import defs as defs
