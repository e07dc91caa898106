"""What each asset of the spectroscopic wing does, without Dagster."""
