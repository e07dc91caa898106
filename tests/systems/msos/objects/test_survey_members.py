"""What a sky region's catalogue is matched in."""

from __future__ import annotations

from itertools import permutations

import polars as pl

from roman_assets.systems.msos.stages.survey_members import main_element


def test_of_equally_frequent_filters_the_first_by_name_is_the_main_one() -> None:
    """Counting has no order of its own: another choice would be another product of the same identity."""
    for elements in permutations(["F146", "F213", "F087", "F087", "F213"]):
        assert main_element(pl.DataFrame({"optical_element": elements})) == "F087"
    assert main_element(pl.DataFrame({"optical_element": ["F146", "F213", "F213"]})) == "F213"
