"""Run configuration of the microlensing assets, as the UI offers it."""

# Dagster reads the annotations of these classes: no postponed evaluation here. What the stages take is imported when a
# step runs: every run and step pays the import path of this module.
from typing import TYPE_CHECKING

import dagster as dg
from pydantic import Field

if TYPE_CHECKING:
    from roman_assets.systems.msos.difference.search import DifferenceConfig
    from roman_assets.systems.msos.efficiency.injection import InjectionConfig
    from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig


class CatalogueSettings(dg.Config):
    """Run configuration of reference_catalog."""

    exposures: int = Field(12, ge=1, le=10_000)
    optical_element: str | None = None
    minimum_exposures: int = Field(1, ge=1, le=10_000)
    tile_px: int = Field(1024, ge=96, le=2**20)  # two margins of a tile
    reestablish: bool = False

    def for_stage(self) -> "CatalogueConfig":
        """As the stage takes it."""
        from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig

        return CatalogueConfig(**self.model_dump())


class DifferenceSettings(dg.Config):
    """Run configuration of difference_sources: length of a bin of time [d], and false sources let through."""

    bin_days: float = Field(0.25, gt=0, le=1000, allow_inf_nan=False)
    false_per_megapixel: float = Field(1.0, gt=0, le=1e6, allow_inf_nan=False)

    def for_stage(self) -> "DifferenceConfig":
        """As the stage takes it."""
        from roman_assets.systems.msos.difference.search import DifferenceConfig

        return DifferenceConfig(**self.model_dump())


class InjectionSettings(dg.Config):
    """Run configuration of detection_efficiency: injections per cell of the maps, curves without a signal, and signals
    injected into the images of a window of a pointing."""

    per_cell: int = Field(8, ge=1, le=100_000)
    planets_per_cell: int = Field(20, ge=0, le=100_000)
    controls: int = Field(1000, ge=0, le=10_000_000)
    image_injections: int = Field(24, ge=0, le=100_000)
    image_px: int = Field(512, ge=1, le=8192)

    def for_stage(self) -> "InjectionConfig":
        """As the stage takes it."""
        from roman_assets.systems.msos.efficiency.injection import InjectionConfig

        return InjectionConfig(**self.model_dump())
