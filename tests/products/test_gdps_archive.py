"""Records of spectroscopic products against rad's own schemas."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from roman_assets.errors import InputError
from roman_assets.products.archive import NO_NUMBER, complete_record, validate_record
from roman_assets.systems.gdps.archive import RECORD_KINDS, SpectralFacts, spectral_metadata

KINDS = list(RECORD_KINDS)


def exposure(**changes: Any) -> Any:
    values = {
        "exposure_id": "r0000201001002003016_0001_wfi01_grism",
        "visit_id": "0000201001002003016",
        "exposure": 1,
        "detector": "WFI01",
        "optical_element": "GRISM",
        "mid_mjd": 61500.5,
        "exptime_s": 400.0,
        "program": 2,
        "s_region": "POLYGON ICRS 1 1 1 2 2 2",
        "ra_center": 150.0,
        "dec_center": 2.0,
    }
    return SimpleNamespace(**(values | changes))


LAST = "0000201001002003017"
FACTS = SpectralFacts([exposure(), exposure(mid_mjd=61500.6, visit_id=LAST)], "r04", sources=12, v3yangle=-60.0)


def complete(kind: str, facts: SpectralFacts = FACTS) -> dict[str, Any]:
    return complete_record(
        spectral_metadata(kind, facts), filename="a.parquet", file_date=datetime(2027, 3, 1, tzinfo=UTC)
    )


def test_there_are_the_seven_of_the_archive() -> None:
    assert len(KINDS) == 7


@pytest.mark.parametrize("kind", KINDS)
def test_records_are_valid(kind: str) -> None:
    record = complete(kind)
    validate_record(record)
    assert record["optical_element"] == "grism"
    if "segment" in record:
        assert (record["segment"], record["visit"], record["exptime"]) == (2, 16, 800.0)
        assert record["observation_id"] == LAST, "that of the last image"
    if "g2dp_run_id" in record:
        assert record["g2dp_run_id"] == "r04"
    if "v3yangle" in record:
        assert record["v3yangle"] == -60.0


def test_an_angle_that_the_header_lacks_is_the_value_that_means_none() -> None:
    record = complete("spec_location_table", SpectralFacts([exposure()], "r01"))
    validate_record(record)
    assert record["v3yangle"] == NO_NUMBER


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_key_is_named(kind: str) -> None:
    record = complete(kind)
    del record["s_region"]
    with pytest.raises(InputError, match="s_region"):
        validate_record(record)


def test_a_misspelt_key_is_refused() -> None:
    record = complete("spec_catalog")
    record["catalogue_id"] = 3
    with pytest.raises(InputError, match="catalogue_id"):
        validate_record(record)


def test_unknown_kind_and_no_exposure_are_refused() -> None:
    with pytest.raises(InputError, match="light_curve"):
        spectral_metadata("light_curve", FACTS)
    with pytest.raises(InputError, match="exposures"):
        spectral_metadata("spec_catalog", replace(FACTS, exposures=[]))
