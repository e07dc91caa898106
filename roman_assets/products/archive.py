"""Archive metadata: the flat record the Science Support Center sends with every product to the archive.

Records are checked against rad's SSC schemas, which rad does not register with asdf: their folder is registered here
for the moment of loading, and the compiled validators are kept. Which records there are, and what they say, is each
system's own matter (its `archive.py`).
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
#: What Roman's data model writes for a required number that has no value.
NO_NUMBER = -999999


@dataclass(frozen=True)
class RecordKind:
    """One kind of archive record: our name of it, its schema's file, the folder that this is in, and the archive's
    model type where its records carry one.
    """

    name: str
    schema: str
    folder: str
    model_type: str = ""


class ArchiveRecord(dict[str, Any]):
    """A record that knows its kind: not all of them have a key that tells."""

    def __init__(self, kind: RecordKind, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.kind = kind


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


def validate_record(record: Mapping[str, Any], kind: RecordKind | None = None) -> None:
    """InputError, naming file and key, where a complete record is not what its schema asks for.

    Keys that the schema does not know are refused as well: they are misspelt. `kind` is needed for a record that was
    read back, which is a plain dictionary.
    """
    wanted = kind if kind is not None else getattr(record, "kind", None)
    if wanted is None:
        raise InputError("the record does not say its kind", field="kind", remedy="give the kind")
    name = wanted.name
    validator, known = _validator(wanted.schema, wanted.folder)
    filename = record.get("filename")
    unknown = sorted(set(record) - known)
    if unknown:
        raise InputError(
            f"archive record of kind {name}: the schema has no key {', '.join(unknown)}",
            file=filename,
            field=unknown[0],
            remedy="correct its name or drop it",
        )
    if wanted.model_type and record.get("model_type", wanted.model_type) != wanted.model_type:
        raise InputError(
            f"archive record of kind {name}: model_type {record['model_type']!r} is not {wanted.model_type}",
            file=filename,
            field="model_type",
            remedy="build the record with its system's archive.py",
        )
    errors = sorted(validator.iter_errors(dict(record)), key=lambda error: (list(error.path), error.message))
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
        raise InputError(
            f"archive record of kind {name}: {first.message}{more}",
            file=filename,
            field=".".join(str(part) for part in first.path) or None,
            remedy=f"see {wanted.schema} in rad's SSC schemas",
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
