"""Tests of roman_assets.gdps."""
