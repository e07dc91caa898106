"""Tests of roman_assets.systems.gdps."""
