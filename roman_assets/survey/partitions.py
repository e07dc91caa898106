"""Dagster partitions of the survey: static keys from the calendar, built-in mappings between them.

Static keys make mappings exact and independent of the clock (time-window partitions in the future have no
keys).  A ``MultiPartitionMapping`` is keyed by the dimensions of the *upstream* asset.
"""

from __future__ import annotations

from dataclasses import dataclass

from dagster import (
    DimensionPartitionMapping,
    IdentityPartitionMapping,
    MultiPartitionKey,
    MultiPartitionMapping,
    MultiPartitionsDefinition,
    PartitionMapping,
    StaticPartitionMapping,
    StaticPartitionsDefinition,
)

from roman_assets.survey.model import BULGE, SPECTROSCOPIC, Calendar


@dataclass(frozen=True)
class Partitions:
    """Partition definitions of every kind of asset, and the mappings between seasons and days."""

    day_detector: MultiPartitionsDefinition
    season_detector: MultiPartitionsDefinition
    region: StaticPartitionsDefinition
    bulge_region: StaticPartitionsDefinition
    spectroscopic_region: StaticPartitionsDefinition
    spectroscopic_day_detector: MultiPartitionsDefinition
    day_to_season: PartitionMapping
    season_to_day: PartitionMapping


def build_partitions(calendar: Calendar) -> Partitions:
    """All partition definitions and mappings of a calendar.

    ``day_to_season`` is for an asset on (season, detector) that depends on one on (day, detector);
    ``season_to_day`` for an asset on (day, detector) that depends on one on (season, detector).
    """
    detector = StaticPartitionsDefinition(list(calendar.detectors))
    seasons = StaticPartitionsDefinition([season.name for season in calendar.seasons])

    def by_detector(dimension: str, keys: StaticPartitionsDefinition) -> MultiPartitionsDefinition:
        return MultiPartitionsDefinition({dimension: keys, "detector": detector})

    same_detector = DimensionPartitionMapping("detector", IdentityPartitionMapping())
    day_season = {day: season.name for season in calendar.seasons for day in season.days}
    season_days = {season.name: list(season.days) for season in calendar.seasons}
    return Partitions(
        day_detector=by_detector("day", StaticPartitionsDefinition(list(calendar.days))),
        season_detector=by_detector("season", seasons),
        region=StaticPartitionsDefinition(list(calendar.region_names())),
        bulge_region=StaticPartitionsDefinition(list(calendar.region_names(BULGE))),
        spectroscopic_region=StaticPartitionsDefinition(list(calendar.region_names(SPECTROSCOPIC))),
        spectroscopic_day_detector=by_detector("day", StaticPartitionsDefinition(list(calendar.spectroscopic_days))),
        day_to_season=MultiPartitionMapping(
            {"day": DimensionPartitionMapping("season", StaticPartitionMapping(day_season)), "detector": same_detector}
        ),
        season_to_day=MultiPartitionMapping(
            {"season": DimensionPartitionMapping("day", StaticPartitionMapping(season_days)), "detector": same_detector}
        ),
    )


def day_detector_key(day: str, detector: str) -> MultiPartitionKey:
    """Key of one day of one detector; its text is ``2027-03-01|WFI01``."""
    return MultiPartitionKey({"day": day, "detector": detector})


def season_detector_key(season: str, detector: str) -> MultiPartitionKey:
    """Key of one season of one detector; its text is ``WFI01|s01`` (Dagster sorts the dimensions)."""
    return MultiPartitionKey({"season": season, "detector": detector})
