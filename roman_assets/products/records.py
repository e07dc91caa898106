"""What the index says of one product."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from roman_assets.products.caveats import Caveat

Outcome = Literal["found", "new", "same", "conflict"]


class IdentityConflictWarning(UserWarning):
    """The same inputs, code, configuration and schema gave other bytes than the first time: an incident."""


@dataclass(frozen=True)
class ProductRecord:
    """One product.

    Attributes
    ----------
    partition, part
        `day=2027-03-01/detector=WFI01`; within it, "" or the name of a part such as an exposure id.
    identity
        `Identity.digest` of what it was made from, in `inputs`, `code_version`, `config`, `schema_version`.
    sha256, size, key, format
        The bytes: content hash, length, key in the store, `parquet`, `asdf` or `json`.
    rows
        Rows of a table, else None.
    sequence
        1 for the first product of this kind, partition and part, 2 for the one that superseded it..
    created_at
        UTC; the only clock in a product's record.
    ra, dec, s_region
        Where on the sky, degrees and `POLYGON ICRS`.
    archive_key
        Key of the archive metadata record beside the product.
    current
        Whether it is visible, that is not superseded.
    removed
        Whether its bytes are gone: retention took them, or they were found damaged.
    outcome
        What a `put` did: "new" wrote it, "same" found the same bytes, "conflict" found other bytes under the
        same identity and kept them; "found" for records of queries.
    """

    id: int
    kind: str
    partition: str
    part: str
    identity: str
    sha256: str
    size: int
    rows: int | None
    key: str
    format: str
    inputs: tuple[str, ...]
    code_version: str
    schema_version: str
    config: Mapping[str, Any]
    sequence: int
    created_at: datetime
    caveats: tuple[Caveat, ...]
    attributes: Mapping[str, Any]
    ra: float | None
    dec: float | None
    s_region: str | None
    archive_key: str | None
    current: bool
    removed: bool = False
    outcome: Outcome = field(default="found", compare=False)


@dataclass(frozen=True)
class NewProduct:
    """A product whose bytes are stored and that the index is to make visible."""

    kind: str
    partition: str
    part: str
    identity: str
    sha256: str
    size: int
    rows: int | None
    key: str
    format: str
    inputs: tuple[str, ...]
    code_version: str
    schema_version: str
    config: Mapping[str, Any]
    created_at: datetime
    caveats: tuple[Caveat, ...]
    attributes: Mapping[str, Any]
    ra: float | None
    dec: float | None
    s_region: str | None
    archive_key: str | None


@dataclass(frozen=True)
class KindSummary:
    """Visible products of a kind: how many, their rows and bytes, and how many caveats they have by code."""

    kind: str
    products: int
    rows: int
    size: int
    caveats: Mapping[str, int]


@dataclass(frozen=True)
class Incident:
    """The same identity gave other bytes; `first_sha256` stayed."""

    kind: str
    partition: str
    part: str
    identity: str
    first_sha256: str
    other_sha256: str
    other_size: int
    created_at: datetime


def partition_keys(partition: str) -> dict[str, str]:
    """`{"day": "2027-03-01", "detector": "WFI01"}` of `day=2027-03-01/detector=WFI01`."""
    return dict(item.split("=", 1) for item in partition.split("/") if "=" in item)
