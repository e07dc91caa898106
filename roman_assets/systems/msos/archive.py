"""Archive records of the microlensing products, by rad's MSOS schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from roman_assets.errors import InputError
from roman_assets.products.archive import NO_NUMBER, ArchiveRecord, RecordKind, iso_time

FOLDER = "MSOS"
MJD_UNIX = 40587.0


@dataclass(frozen=True)
class MsosRecordKind(RecordKind):
    """A kind with the archive's product type and the groups of keys it carries; `workflow` of a quality report."""

    product_type: str = ""
    groups: tuple[str, ...] = ()
    workflow: str | None = None


def _kind(
    name: str, schema: str, model: str, *groups: str, product: str | None = None, workflow: str | None = None
) -> MsosRecordKind:
    # `product_type` follows the schema's name, for want of a public list of file suffixes.
    file, model = f"wfi_microlensing_{schema}", f"Microlensing{model}Schema"
    return MsosRecordKind(name, file, FOLDER, model, product or name, groups, workflow)


_FULL = ("common", "pointing", "observation", "exposure", "region")
#: By our short name.
RECORD_KINDS: dict[str, MsosRecordKind] = {
    kind.name: kind
    for kind in (
        _kind("reference_frame", "reference_frame_level_3", "ReferenceFrame", *_FULL),
        _kind("light_curve", "light_curve_catalog_level_4", "LightCurveCatalog", *_FULL),
        _kind("object_fiducial", "object_fiducial_catalog_level_4", "ObjectFiducialCatalog", *_FULL),
        _kind("object_periodic", "object_periodic_catalog_level_4", "ObjectPeriodicCatalog", *_FULL),
        _kind("variability", "variability_catalog_level_4", "VariabilityCatalog", "common", "region"),
        _kind("event", "event_catalog_level_4", "EventCatalog", "common", "region"),
        _kind(
            "detection_efficiency",
            "detection_efficiency_catalog_level_4",
            "DetectionEfficiencyCatalog",
            "common",
            "detection_efficiency",
        ),
        _kind(
            "dqa_photometry_periodic",
            "dqa_photometry_level_3",
            "DqaPhotometryL3",
            "dqa",
            product="dqa",
            workflow="periodic",
        ),
        _kind(
            "dqa_photometry_longterm",
            "dqa_photometry_level_4",
            "DqaPhotometryL4",
            "dqa",
            product="dqa",
            workflow="longterm",
        ),
        _kind("dqa_events", "dqa_events_level_4", "DqaEvents", "dqa", product="dqa", workflow="events"),
    )
}


@dataclass(frozen=True)
class ArchiveFacts:
    """What an archive record says of a product; only what its kind asks for is needed.

    Attributes
    ----------
    season, field, detector, optical_element
        `s01`, `f03`, `WFI05`, `F146`.
    sequence
        Processing epoch, `e08` (three characters at most).
    processing_id
        Processing release, `r03`.
    flip
        Orientation of the footprint: position angle of the detector's +y, east of north, whole degrees; the
        telescope rolls by 180 between spring and autumn seasons. NO_NUMBER where there is no one orientation.
    gal_cen_flag
        Whether the Galactic centre field is in the product.
    start, end
        First and last mid-exposure, UTC with a time zone; `exptime` is the total exposure time, s.
    ra_field, dec_field
        Centre of the field, degrees ICRS.
    s_region
        Footprint, `POLYGON ICRS ..`.
    versions
        Software versions by `photometry`, `events`, `detection_efficiency`, `dqa`; `0` where one had no part.
    counts
        tp, fp, tn, fn of a detection-efficiency table, with `inject_medium`.
    artifact
        `report` or `catalog`, of a quality report.
    """

    season: str
    field: str | None = None
    detector: str | None = None
    optical_element: str | None = None
    sequence: str = "e01"
    program: int = 1
    category: str = "CCS"
    subcategory: str = "GBTD"
    processing_id: str | None = None
    flip: int = NO_NUMBER
    gal_cen_flag: bool = False
    exptime: float | None = None
    start: datetime | None = None
    end: datetime | None = None
    ra_field: float | None = None
    dec_field: float | None = None
    s_region: str | None = None
    versions: Mapping[str, str] | None = None
    counts: Mapping[str, int] | None = None
    inject_medium: str | None = None
    artifact: str = "report"
    object_id: str | None = None
    event_class: str | None = None
    ra: float | None = None
    dec: float | None = None
    dqa_flag: int | None = None


def archive_metadata(kind: str, facts: ArchiveFacts) -> ArchiveRecord:
    """The record of a kind (a key of RECORD_KINDS), without the file's name and date, which storing adds.

    InputError names a fact that the kind needs and that is not given.
    """
    if kind not in RECORD_KINDS:
        raise InputError(
            f"no archive record of kind {kind!r}", field="kind", remedy=f"use one of {', '.join(RECORD_KINDS)}"
        )
    wanted = RECORD_KINDS[kind]
    record: dict[str, Any] = {"model_type": wanted.model_type, "product_type": wanted.product_type}
    for group in wanted.groups:
        record.update(_GROUPS[group](facts, wanted))
    missing = [name for name, value in record.items() if value is None]
    if missing:
        raise InputError(
            f"an archive record of kind {kind} lacks {', '.join(missing)}",
            field=missing[0],
            remedy="give it in ArchiveFacts",
        )
    return ArchiveRecord(wanted, record)


def _common(facts: ArchiveFacts, _kind: MsosRecordKind) -> dict[str, Any]:
    versions = facts.versions or {}
    return {
        "program": facts.program,
        "category": facts.category,
        "subcategory": facts.subcategory,
        "msos_photometry_version": versions.get("photometry", "0"),
        "msos_events_version": versions.get("events", "0"),
        "msos_detection_efficiency_version": versions.get("detection_efficiency", "0"),
        "msos_processing_id": facts.processing_id,
        "season": facts.season,
        "flip": facts.flip,
        "gal_cen_flag": facts.gal_cen_flag,
    }


def _pointing(facts: ArchiveFacts, _kind: MsosRecordKind) -> dict[str, Any]:
    place = {"ra_field_cen": facts.ra_field, "dec_field_cen": facts.dec_field}
    return {**place, "ref_frame": "ICRS", "equinox": 2000.0}


def _observation(facts: ArchiveFacts, _kind: MsosRecordKind) -> dict[str, Any]:
    return {
        "field": facts.field,
        "detector": facts.detector,
        "optical_element": facts.optical_element,
        "sequence": facts.sequence,
    }


def _exposure(facts: ArchiveFacts, _kind: MsosRecordKind) -> dict[str, Any]:
    record: dict[str, Any] = {"exptime": facts.exptime}
    for name, when in (("expstart", facts.start), ("expend", facts.end)):
        record[name] = None if when is None else iso_time(when)
        record[f"{name}_mjd"] = None if when is None else when.timestamp() / 86400 + MJD_UNIX
    return record


def _region(facts: ArchiveFacts, _kind: MsosRecordKind) -> dict[str, Any]:
    return {"s_region": facts.s_region}


def _efficiency(facts: ArchiveFacts, _kind: MsosRecordKind) -> dict[str, Any]:
    counts = facts.counts or {}
    record: dict[str, Any] = {f"{name}_count": counts.get(name) for name in ("tp", "fp", "tn", "fn")}
    return {"inject_medium": facts.inject_medium, **record}


def _dqa(facts: ArchiveFacts, kind: MsosRecordKind) -> dict[str, Any]:
    optional = {
        "field": facts.field,
        "detector": None if facts.detector is None else facts.detector.lower(),
        "optical_element": None if facts.optical_element is None else facts.optical_element.lower(),
        "object_id": facts.object_id,
        "classification": facts.event_class,
        "ra": facts.ra,
        "dec": facts.dec,
        "dqa_flag": facts.dqa_flag,
    }
    return {
        "program": facts.program,
        "msos_dqa_version": (facts.versions or {}).get("dqa", "0"),
        "dqa_workflow": kind.workflow,
        "dqa_artifact_type": facts.artifact,
        "season": facts.season,
        "sequence": facts.sequence,
        **{name: value for name, value in optional.items() if value is not None},
    }


_GROUPS = {
    "common": _common,
    "pointing": _pointing,
    "observation": _observation,
    "exposure": _exposure,
    "region": _region,
    "detection_efficiency": _efficiency,
    "dqa": _dqa,
}


def record_kind(record: Mapping[str, Any]) -> MsosRecordKind:
    """The kind of a record that was read back, by its `model_type`; InputError if there is none."""
    for kind in RECORD_KINDS.values():
        if kind.model_type == record.get("model_type"):
            return kind
    raise InputError(
        f"no archive schema for model_type {record.get('model_type')!r}",
        field="model_type",
        remedy="build the record with archive_metadata()",
    )
