"""Archive metadata: every kind is valid against rad's schema, and what is wrong is refused by name."""

from datetime import UTC, datetime

import pytest

from roman_assets.errors import InputError
from roman_assets.products.archive import complete_record, iso_time, validate_record
from roman_assets.systems.msos.archive import RECORD_KINDS, ArchiveFacts, archive_metadata

FACTS = ArchiveFacts(
    season="s01",
    field="f03",
    detector="WFI05",
    optical_element="F146",
    sequence="e08",
    program=2,
    processing_id="r03",
    flip=90,
    exptime=4780.8,
    start=datetime(2027, 3, 1, 2, 0, 42, 479000, tzinfo=UTC),
    end=datetime(2027, 5, 1, tzinfo=UTC),
    ra_field=268.0,
    dec_field=-29.2,
    s_region="POLYGON ICRS 270.3 65.9 270.3 66.0 270.0 66.0 270.0 65.9",
    versions={"photometry": "3", "events": "2", "dqa": "1"},
    counts={"tp": 3, "fp": 0, "tn": 5, "fn": 1},
    inject_medium="images",
)

MSOS_KINDS = list(RECORD_KINDS)


def record_of(kind, **change):
    record = complete_record(
        archive_metadata(kind, FACTS), filename="x.parquet", file_date=datetime(2027, 6, 1, tzinfo=UTC)
    )
    record.update(change)
    return record


@pytest.mark.parametrize("kind", MSOS_KINDS)
def test_every_kind_is_valid(kind):
    validate_record(record_of(kind))
    validate_record(dict(record_of(kind)), RECORD_KINDS[kind])


def test_all_msos_schemas_of_rad_have_a_kind():
    from pathlib import Path

    import rad

    folder = Path(next(iter(rad.__path__))) / "resources" / "schemas" / "SSC" / "MSOS"
    schemas = {path.stem.removesuffix("-1.0.0") for path in folder.glob("*.yaml")}
    assert schemas == {RECORD_KINDS[name].schema for name in MSOS_KINDS}


@pytest.mark.parametrize(
    ("kind", "change", "field"),
    [
        ("light_curve", {"detector": "WFI19"}, "detector"),
        ("light_curve", {"optical_element": "f146"}, "optical_element"),
        ("light_curve", {"season": "season01"}, "season"),
        ("light_curve", {"flip": "90"}, "flip"),
        ("light_curve", {"expstart": "yesterday"}, "expstart"),
        ("reference_frame", {"exptime": "long"}, "exptime"),
        ("detection_efficiency", {"tp_count": -1}, "tp_count"),
        ("detection_efficiency", {"inject_medium": "catalogue"}, "inject_medium"),
        ("dqa_events", {"dqa_workflow": "periodic"}, "dqa_workflow"),
        ("event", {"gal_cen_flag": 1}, "gal_cen_flag"),
        ("event", {"sesaon": "s01"}, "sesaon"),
        ("event", {"model_type": "Nonsense"}, "model_type"),
    ],
)
def test_wrong_value_is_refused_by_name(kind, change, field):
    with pytest.raises(InputError) as caught:
        validate_record(record_of(kind, **change))
    assert caught.value.field == field
    assert caught.value.remedy


@pytest.mark.parametrize("kind", MSOS_KINDS)
def test_missing_key_is_refused(kind):
    record = record_of(kind)
    del record["product_type"]
    with pytest.raises(InputError, match="'product_type' is a required property"):
        validate_record(record)


@pytest.mark.parametrize(
    ("kind", "missing"), [("light_curve", "exptime"), ("event", "s_region"), ("detection_efficiency", "inject_medium")]
)
def test_missing_fact_is_named(kind, missing):
    with pytest.raises(InputError, match=missing):
        archive_metadata(kind, ArchiveFacts(season="s01"))


def test_unknown_kind_is_refused():
    with pytest.raises(InputError, match="reference_frame"):
        archive_metadata("spectra", FACTS)


def test_times_are_utc_and_need_a_zone():
    from datetime import timedelta, timezone

    east = timezone(timedelta(hours=2))
    assert iso_time(datetime(2027, 3, 1, 4, tzinfo=east)) == "2027-03-01T02:00:00.000"
    with pytest.raises(InputError, match="time zone"):
        iso_time(datetime(2027, 3, 1))


def test_mjd_of_the_exposure_times():
    record = archive_metadata("light_curve", FACTS)
    assert record["expstart_mjd"] == pytest.approx(61465.083825, abs=1e-6)
    assert record["expend_mjd"] == 61526.0


def test_dqa_record_writes_detector_and_element_in_lower_case():
    record = archive_metadata("dqa_photometry_periodic", FACTS)
    assert (record["detector"], record["optical_element"]) == ("wfi05", "f146")
