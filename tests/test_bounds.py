"""Configurations that make no sense are refused where they are made, by field: the science's and Dagster's."""

from dataclasses import fields, is_dataclass
from typing import Any

import dagster as dg
import pytest
from pydantic import ValidationError

from roman_assets.bounds import Bound, check_bounds, whole
from roman_assets.errors import InputError
from roman_assets.exposures.level2.reader import PixelGates
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.dispersed import DispersedField
from roman_assets.systems.gdps.extraction.contamination import ContaminationConfig
from roman_assets.systems.gdps.extraction.exposure import ExtractionConfig
from roman_assets.systems.gdps.extraction.joint_fit import JointConfig
from roman_assets.systems.gdps.redshift.posterior import RedshiftConfig
from roman_assets.systems.msos.difference.search import DifferenceConfig
from roman_assets.systems.msos.efficiency.injection import InjectionConfig
from roman_assets.systems.msos.events.classify_config import ClassifyConfig
from roman_assets.systems.msos.events.finder import EventConfig
from roman_assets.systems.msos.events.models import ModelConfig
from roman_assets.systems.msos.models.binary_magnification import BinaryLensConfig
from roman_assets.systems.msos.models.point_lens import FitOptions
from roman_assets.systems.msos.search.daily import DailyConfig
from roman_assets.systems.msos.search.templates import SearchConfig
from roman_assets.systems.msos.settings import CatalogueSettings, DifferenceSettings, InjectionSettings
from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig

CONFIGS: list[type] = [
    BinaryLensConfig,
    CatalogueConfig,
    ClassifyConfig,
    ContaminationConfig,
    DailyConfig,
    DifferenceConfig,
    DispersedField,
    EventConfig,
    ExtractionConfig,
    FitOptions,
    InjectionConfig,
    JointConfig,
    MiniSurvey,
    ModelConfig,
    PixelGates,
    RedshiftConfig,
    SearchConfig,
]


def numbers_of(config: type) -> list[str]:
    """Fields that hold a number or some."""
    default = config()
    values = {f.name: getattr(default, f.name) for f in fields(config)}
    return [n for n, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)] + [
        n for n, v in values.items() if isinstance(v, tuple) and v and isinstance(v[0], (int, float))
    ]


NUMBERS = [(config, name) for config in CONFIGS for name in numbers_of(config)]


@pytest.mark.parametrize(("config", "name"), NUMBERS)
@pytest.mark.parametrize("bad", [float("nan"), float("-inf"), "text", None, 1j])
def test_what_is_no_number_invalid(config: type, name: str, bad: Any) -> None:
    """Every number of every configuration is checked: a new field without a bound fails here."""
    value = getattr(config(), name)
    with pytest.raises(InputError) as caught:
        config(**{name: (bad, *value[1:]) if isinstance(value, tuple) else bad})
    assert name in (caught.value.field or "")


@pytest.mark.parametrize(
    ("config", "change"),
    [
        (CatalogueConfig, {"exposures": 0}),
        (CatalogueConfig, {"exposures": 2.5}),
        (CatalogueConfig, {"minimum_exposures": 0}),
        (CatalogueConfig, {"tile_px": 0}),
        (CatalogueConfig, {"tile_px": -1024}),
        (DifferenceConfig, {"bin_days": 0.0}),
        (DifferenceConfig, {"bin_days": -1.0}),
        (DifferenceConfig, {"false_per_megapixel": -1.0}),
        (DifferenceConfig, {"false_per_megapixel": 0.0}),
        (DifferenceConfig, {"tile_px": 0}),
        (DifferenceConfig, {"most": -1}),
        (InjectionConfig, {"per_cell": 0}),
        (InjectionConfig, {"per_cell": 10**9}),
        (InjectionConfig, {"controls": -1}),
        (InjectionConfig, {"image_px": 0}),
        (InjectionConfig, {"image_px": 10**9}),
        (InjectionConfig, {"confidence": 1.0}),
        (InjectionConfig, {"source_fraction": (0.5, 1.5)}),
        (InjectionConfig, {"planet_te": (50.0, 5.0)}),
        (DailyConfig, {"days": 0}),
        (DailyConfig, {"parts": 0}),
        (SearchConfig, {"teff_min": 0.0}),
        (SearchConfig, {"teff_ratio": 1.0}),
        (SearchConfig, {"teff_min": 2.0, "teff_max": 1.0}),
        (SearchConfig, {"reach": 0.0}),
        (FitOptions, {"u0_starts": ()}),
        (FitOptions, {"u0_starts": (0.0,)}),
        (FitOptions, {"te_range": (10.0, 1.0)}),
        (FitOptions, {"tolerance": 0.0}),
        (RedshiftConfig, {"max_solutions": 0}),
        (RedshiftConfig, {"band": (1900.0, 1000.0)}),
        (RedshiftConfig, {"z_range": {"galaxy": (4.0, 0.0)}}),
        (RedshiftConfig, {"z_range": {"galaxy": (0.0, float("inf"))}}),
        (RedshiftConfig, {"class_prior": {"galaxy": -1.0}}),
        (RedshiftConfig, {"class_prior": {"galaxy": float("nan")}}),
        (RedshiftConfig, {"class_prior": {"galaxy": 0.0}}),
        (ContaminationConfig, {"iterations": -1}),
        (ContaminationConfig, {"background_degree": 1000}),
        (ExtractionConfig, {"gain": 0.0}),
        (JointConfig, {"expected": 0.0}),
        (BinaryLensConfig, {"walkers": 0}),
        (BinaryLensConfig, {"rho_range": (0.3, 1e-5)}),
        (MiniSurvey, {"visits_per_day": 0}),
        (MiniSurvey, {"visits_per_day": -3}),
        (MiniSurvey, {"days": -1}),
        (MiniSurvey, {"days": 10**9}),
        (MiniSurvey, {"seasons": 0}),
        (MiniSurvey, {"size_px": 0}),
        (MiniSurvey, {"size_px": 10**6}),
        (MiniSurvey, {"seed": -1}),
        (MiniSurvey, {"density": -0.1}),
        (MiniSurvey, {"n_events": -1}),
        (MiniSurvey, {"exposure_time_s": 0.0}),
        (MiniSurvey, {"mag_bright": 26.0, "mag_faint": 20.0}),
        (MiniSurvey, {"dec": 91.0}),
        (DispersedField, {"rolls": ()}),
        (DispersedField, {"days": ()}),
        (DispersedField, {"galaxies": 0, "stars": 0}),
        (DispersedField, {"element": "F158"}),
        (DispersedField, {"width": 0}),
        (DispersedField, {"redshifts": (2.0, 1.0)}),
    ],
)
def test_values_without_sense_invalid(config: type, change: dict[str, Any]) -> None:
    with pytest.raises(InputError) as caught:
        config(**change)
    assert any(name in (caught.value.field or "") for name in change)
    assert is_dataclass(config)


@pytest.mark.parametrize(
    ("settings", "change"),
    [
        (CatalogueSettings, {"exposures": 0}),
        (CatalogueSettings, {"minimum_exposures": -1}),
        (CatalogueSettings, {"tile_px": 0}),
        (DifferenceSettings, {"bin_days": 0.0}),
        (DifferenceSettings, {"bin_days": float("nan")}),
        (DifferenceSettings, {"bin_days": float("inf")}),
        (DifferenceSettings, {"false_per_megapixel": -1.0}),
        (InjectionSettings, {"per_cell": 0}),
        (InjectionSettings, {"planets_per_cell": -1}),
        (InjectionSettings, {"controls": -1}),
        (InjectionSettings, {"image_injections": -1}),
        (InjectionSettings, {"image_px": 10**9}),
    ],
)
def test_run_configuration_invalid(settings: type[dg.Config], change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        settings(**change)
    assert next(iter(change)) in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        (CatalogueSettings, CatalogueConfig),
        (DifferenceSettings, DifferenceConfig),
        (InjectionSettings, InjectionConfig),
    ],
)
def test_run_configuration_is_the_sciences(settings: type[dg.Config], config: type) -> None:
    """The same defaults, and the ends of its bounds are allowed by both: what Dagster takes never fails in the step."""
    assert vars(config()).items() >= settings().model_dump().items()
    for name, info in settings.model_fields.items():
        for limit in info.metadata:
            for end in ("ge", "le"):
                value = getattr(limit, end, None)
                if value is not None:
                    config(**settings(**{name: value}).model_dump())


def test_a_run_with_bad_configuration_fails_before_it_begins() -> None:
    ran = []

    @dg.asset
    def catalogue(config: CatalogueSettings) -> None:
        ran.append(config)

    def run(**change: int) -> dg.ExecuteInProcessResult:
        return dg.materialize([catalogue], run_config={"ops": {"catalogue": {"config": change}}}, raise_on_error=False)

    assert run(tile_px=512).success
    assert not run(tile_px=0).success
    assert len(ran) == 1


def test_bounds() -> None:
    assert Bound(ge=0).holds(0)
    assert not Bound(gt=0).holds(0)
    assert not Bound(ge=0).holds(float("inf"))
    assert Bound(ge=0, le=float("inf")).holds(float("inf"))
    assert not whole(0, 5).holds(1.5)
    assert not whole(0, 5).holds(True)
    with pytest.raises(InputError, match="a whole number from 0 up to 5"):
        check_bounds(MiniSurvey(), days=whole(0, 5), density=whole(0, 5))
