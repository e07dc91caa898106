"""Archive metadata: the flat record the Science Support Center sends with every product to the archive.
 The records are checked against rad's SSC schemas, which rad does not register with asdf: their folder is
registered here for the moment of loading, and the compiled validators are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from roman_assets.errors import InputError

SCHEMA_PREFIX = "asdf://stsci.edu/datamodels/roman/schemas/SSC/"
INSTRUMENT = "WFI"
ORIGIN = "IPAC/SSC"
MJD_UNIX = 40587.0


@dataclass(frozen=True)
class RecordKind:
    """One kind of archive record: schema file, archive's model and product types, groups of keys it
    carries, folder of the schema.
    """

    schema: str
    model_type: str
    product_type: str
    groups: tuple[str, ...]
    workflow: str | None = None
    folder: str = "MSOS"


class ArchiveRecord(dict[str, Any]):
    """A record that knows its kind: those of GDPS have no key that tells."""

    def __init__(self, kind: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.kind = kind


_FULL = ("common", "pointing", "observation", "exposure", "region")

#: By our short name; `product_type` follows the schema's name, for want of a public list of file suffixes.
RECORD_KINDS: dict[str, RecordKind] = {
    "reference_frame": RecordKind(
        "wfi_microlensing_reference_frame_level_3", "MicrolensingReferenceFrameSchema", "reference_frame", _FULL
    ),
    "light_curve": RecordKind(
        "wfi_microlensing_light_curve_catalog_level_4", "MicrolensingLightCurveCatalogSchema", "light_curve", _FULL
    ),
    "object_fiducial": RecordKind(
        "wfi_microlensing_object_fiducial_catalog_level_4",
        "MicrolensingObjectFiducialCatalogSchema",
        "object_fiducial",
        _FULL,
    ),
    "object_periodic": RecordKind(
        "wfi_microlensing_object_periodic_catalog_level_4",
        "MicrolensingObjectPeriodicCatalogSchema",
        "object_periodic",
        _FULL,
    ),
    "variability": RecordKind(
        "wfi_microlensing_variability_catalog_level_4",
        "MicrolensingVariabilityCatalogSchema",
        "variability",
        ("common", "region"),
    ),
    "event": RecordKind(
        "wfi_microlensing_event_catalog_level_4", "MicrolensingEventCatalogSchema", "event", ("common", "region")
    ),
    "detection_efficiency": RecordKind(
        "wfi_microlensing_detection_efficiency_catalog_level_4",
        "MicrolensingDetectionEfficiencyCatalogSchema",
        "detection_efficiency",
        ("common", "detection_efficiency"),
    ),
    "dqa_photometry_periodic": RecordKind(
        "wfi_microlensing_dqa_photometry_level_3", "MicrolensingDqaPhotometryL3Schema", "dqa", ("dqa",), "periodic"
    ),
    "dqa_photometry_longterm": RecordKind(
        "wfi_microlensing_dqa_photometry_level_4", "MicrolensingDqaPhotometryL4Schema", "dqa", ("dqa",), "longterm"
    ),
    "dqa_events": RecordKind(
        "wfi_microlensing_dqa_events_level_4", "MicrolensingDqaEventsSchema", "dqa", ("dqa",), "events"
    ),
    # Their records are built in gdps_archive.py.
    **{
        f"spec_{name}": RecordKind(f"wfi_spec_{name}_level_4", "", "", (), folder="GDPS")
        for name in (
            "location_table",
            "decontam_2d",
            "individual_1d",
            "combined_1d",
            "catalog",
            "catalog_dqa",
            "dqa_2d",
        )
    },
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
    flip
        Position angle of the field's footprint, whole degrees.
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
    processing_id: str = "r01"
    flip: int = 0
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


def archive_metadata(kind: str, facts: ArchiveFacts) -> dict[str, Any]:
    """The record of a kind (a key of RECORD_KINDS), without the file's name and date, which storing adds.

    InputError names a fact that the kind needs and that is not given.
    """
    if kind not in RECORD_KINDS or not RECORD_KINDS[kind].groups:
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
    return record


def _common(facts: ArchiveFacts, _kind: RecordKind) -> dict[str, Any]:
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


def _pointing(facts: ArchiveFacts, _kind: RecordKind) -> dict[str, Any]:
    place = {"ra_field_cen": facts.ra_field, "dec_field_cen": facts.dec_field}
    return {**place, "ref_frame": "ICRS", "equinox": 2000.0}


def _observation(facts: ArchiveFacts, _kind: RecordKind) -> dict[str, Any]:
    return {
        "field": facts.field,
        "detector": facts.detector,
        "optical_element": facts.optical_element,
        "sequence": facts.sequence,
    }


def _exposure(facts: ArchiveFacts, _kind: RecordKind) -> dict[str, Any]:
    record: dict[str, Any] = {"exptime": facts.exptime}
    for name, when in (("expstart", facts.start), ("expend", facts.end)):
        record[name] = None if when is None else iso_time(when)
        record[f"{name}_mjd"] = None if when is None else when.timestamp() / 86400 + MJD_UNIX
    return record


def _region(facts: ArchiveFacts, _kind: RecordKind) -> dict[str, Any]:
    return {"s_region": facts.s_region}


def _efficiency(facts: ArchiveFacts, _kind: RecordKind) -> dict[str, Any]:
    counts = facts.counts or {}
    record: dict[str, Any] = {f"{name}_count": counts.get(name) for name in ("tp", "fp", "tn", "fn")}
    return {"inject_medium": facts.inject_medium, **record}


def _dqa(facts: ArchiveFacts, kind: RecordKind) -> dict[str, Any]:
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


def iso_time(when: datetime) -> str:
    """UTC as the schemas write it, `2027-03-01T02:00:42.479`; InputError for a time without a zone."""
    if when.tzinfo is None:
        raise InputError("a time without a time zone", field="start", remedy="use datetime with tzinfo=UTC")
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]


def complete_record(record: Mapping[str, Any], *, filename: str, file_date: datetime) -> dict[str, Any]:
    """A record with the keys that only the stored file can give."""
    basic = {"filename": filename, "file_date": iso_time(file_date), "instrument": INSTRUMENT, "origin": ORIGIN}
    whole = {**basic, **record}
    return ArchiveRecord(record.kind, whole) if isinstance(record, ArchiveRecord) else whole


def record_kind(record: Mapping[str, Any]) -> str:
    """Our name of a record's kind, by what it knows or its `model_type`; InputError if there is none."""
    if isinstance(record, ArchiveRecord):
        return record.kind
    for name, kind in RECORD_KINDS.items():
        if kind.model_type and kind.model_type == record.get("model_type"):
            return name
    raise InputError(
        f"no archive schema for model_type {record.get('model_type')!r}",
        field="model_type",
        remedy="build the record with archive_metadata()",
    )


def validate_record(record: Mapping[str, Any], kind: str | None = None) -> None:
    """InputError, naming file and key, where a complete record is not what its schema asks for.

    Keys that the schema does not know are refused as well: they are misspelt.
    """
    name = kind if kind is not None else record_kind(record)
    validator, known = _validator(RECORD_KINDS[name].schema, RECORD_KINDS[name].folder)
    filename = record.get("filename")
    unknown = sorted(set(record) - known)
    if unknown:
        raise InputError(
            f"archive record of kind {name}: the schema has no key {', '.join(unknown)}",
            file=filename,
            field=unknown[0],
            remedy="correct its name or drop it",
        )
    errors = sorted(validator.iter_errors(dict(record)), key=lambda error: (list(error.path), error.message))
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InputError(
            f"archive record of kind {name}: {first.message}{more}",
            file=filename,
            field=".".join(str(part) for part in first.path) or None,
            remedy=f"see {RECORD_KINDS[name].schema} in rad's SSC schemas",
        )


@cache
def _validator(schema: str, folder_name: str) -> tuple[Any, frozenset[str]]:
    """Compiled validator of a schema and the keys it knows."""
    import asdf
    import jsonschema
    import rad

    folder = Path(next(iter(rad.__path__))) / "resources" / "schemas" / "SSC"
    with asdf.config_context() as config:
        mapping = asdf.resource.DirectoryResourceMapping(
            folder, SCHEMA_PREFIX, recursive=True, filename_pattern="*.yaml", stem_filename=True
        )
        config.add_resource_mapping(mapping)
        resolved = asdf.schema.load_schema(f"{SCHEMA_PREFIX}{folder_name}/{schema}-1.0.0", resolve_references=True)
    plain = _without_metaschema(resolved)
    return jsonschema.Draft4Validator(plain), frozenset(_property_names(plain))


def _without_metaschema(node: Any) -> Any:
    """A resolved schema without `$schema`, `id` and asdf's own keys, which jsonschema would try to follow."""
    if isinstance(node, dict):
        dropped = ("$schema", "id", "tag", "archive_catalog", "archive_meta", "extName")
        return {key: _without_metaschema(value) for key, value in node.items() if key not in dropped}
    if isinstance(node, list):
        return [_without_metaschema(item) for item in node]
    return node


def _property_names(schema: Any) -> Iterator[str]:
    """Top-level keys of a schema, those of its `allOf` parts included."""
    yield from schema.get("properties", {})
    for part in schema.get("allOf", []):
        yield from _property_names(part)
