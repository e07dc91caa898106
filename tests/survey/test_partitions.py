"""Partition mappings, called directly in both directions: a wrong direction loads without error."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roman_assets.survey.calendar import SHIPPED, Calendar, load_calendar
from roman_assets.survey.partitions import build_partitions, day_detector_key, season_detector_key


@pytest.fixture(scope="module")
def calendar():
    return load_calendar(SHIPPED)


@pytest.fixture(scope="module")
def partitions(calendar):
    return build_partitions(calendar)


def upstream(mapping, definition, keys, upstream_definition):
    result = mapping.get_upstream_mapped_partitions_result_for_partitions(
        definition.subset_with_partition_keys(keys), definition, upstream_definition
    )
    assert not result.required_but_nonexistent_partition_keys
    return set(result.partitions_subset.get_partition_keys())


def downstream(mapping, definition, keys, downstream_definition):
    subset = mapping.get_downstream_partitions_for_partitions(
        definition.subset_with_partition_keys(keys), definition, downstream_definition
    )
    return set(subset.get_partition_keys())


def test_sizes_and_key_texts(partitions, calendar):
    assert len(partitions.day_detector.get_partition_keys()) == 372 * 18
    assert len(partitions.season_detector.get_partition_keys()) == 6 * 18
    assert len(partitions.spectroscopic_day_detector.get_partition_keys()) <= 10_000
    assert partitions.region.get_partition_keys() == list(calendar.region_names())
    both = partitions.bulge_region.get_partition_keys() + partitions.spectroscopic_region.get_partition_keys()
    assert both == partitions.region.get_partition_keys()
    assert str(day_detector_key("2027-03-01", "WFI01")) == "2027-03-01|WFI01"
    assert str(season_detector_key("s01", "WFI01")) == "WFI01|s01"
    assert day_detector_key("2027-03-01", "WFI01") in partitions.day_detector.get_partition_keys()


def test_season_asset_on_day_asset(partitions, calendar):
    days, seasons = partitions.day_detector, partitions.season_detector
    mapping = partitions.day_to_season
    wanted = {str(day_detector_key(day, "WFI07")) for day in calendar.season("s02").days}
    assert upstream(mapping, seasons, [season_detector_key("s02", "WFI07")], days) == wanted
    key = day_detector_key("2027-03-01", "WFI07")
    assert downstream(mapping, days, [key], seasons) == {str(season_detector_key("s01", "WFI07"))}


def test_day_asset_on_season_asset(partitions, calendar):
    days, seasons = partitions.day_detector, partitions.season_detector
    mapping = partitions.season_to_day
    key = day_detector_key("2031-08-19", "WFI18")
    assert upstream(mapping, days, [key], seasons) == {str(season_detector_key("s06", "WFI18"))}
    wanted = {str(day_detector_key(day, "WFI18")) for day in calendar.season("s06").days}
    assert downstream(mapping, seasons, [season_detector_key("s06", "WFI18")], days) == wanted


def test_calendar_without_seasons_or_regions_still_builds():
    partitions = build_partitions(Calendar("spectra", (), ("WFI01",), spectroscopic_days=("2027-10-01",)))
    assert partitions.day_detector.get_partition_keys() == []
    assert partitions.region.get_partition_keys() == []
    assert partitions.spectroscopic_day_detector.get_partition_keys() == ["2027-10-01|WFI01"]


def test_loading_the_calendar_imports_no_astronomy():
    """Every run pays the import path of the code location: the calendar must not pull in astropy."""
    code = (
        "import sys; from roman_assets.survey.calendar import load_calendar as load, SHIPPED; load(SHIPPED); "
        "print([m for m in ('astropy', 'cdshealpix', 'dagster', 'asdf') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
