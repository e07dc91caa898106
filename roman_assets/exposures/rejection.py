"""Why a file is not trusted: typed reasons, the error that carries one, and the limits of what is read."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from roman_assets.errors import InputError


class Reason(StrEnum):
    """Reason codes of quarantine records and reports; the value is stable."""

    EMPTY = "empty"
    TRUNCATED = "truncated"
    SIZE_MISMATCH = "size_mismatch"
    SHA256_MISMATCH = "sha256_mismatch"
    TOO_LARGE = "too_large"
    NOT_ASDF = "not_asdf"
    BAD_BLOCK = "bad_block"
    BLOCK_CHECKSUM = "block_checksum"
    TRAILING_BYTES = "trailing_bytes"
    COMPRESSION = "unsupported_compression"
    EXPANSION = "expansion"
    YAML_INVALID = "yaml_invalid"
    YAML_TOO_LARGE = "yaml_too_large"
    YAML_TOO_DEEP = "yaml_too_deep"
    ALIAS_BOMB = "alias_bomb"
    UNKNOWN_TAG = "unknown_tag"
    EXTERNAL_REFERENCE = "external_reference"
    ARRAY_OUTSIDE_BLOCK = "array_outside_block"
    NOT_LEVEL_2 = "not_level_2"
    BAD_NAME = "bad_name"
    NAME_HEADER_MISMATCH = "name_header_mismatch"
    HEADER_MISSING = "header_missing"
    HEADER_INVALID = "header_invalid"
    SCHEMA = "schema"
    WCS = "wcs_degenerate"
    FINITE_FRACTION = "finite_fraction"
    SKY_LEVEL = "sky_level"
    ERROR_PLANE = "error_plane"
    SATURATED = "saturated"
    PIXEL_VALUES = "pixel_values"
    CONFLICT = "conflict"
    UNREADABLE = "unreadable"


# What a reviewer may overrule: judgements about pixels and identity.  Structural faults may not be waived.
WAIVABLE = frozenset(
    {
        Reason.FINITE_FRACTION,
        Reason.SKY_LEVEL,
        Reason.ERROR_PLANE,
        Reason.SATURATED,
        Reason.PIXEL_VALUES,
        Reason.SCHEMA,
        Reason.CONFLICT,
    }
)


class Rejected(InputError):
    """A file that must not be used, with the typed ``reason``."""

    def __init__(
        self, reason: Reason, problem: str, *, file: object = None, field: str | None = None, remedy: str | None = None
    ) -> None:
        super().__init__(problem, file=file, field=field, remedy=remedy or _REMEDIES.get(reason, _RESEND))
        self.reason = reason


_RESEND = "ask for the file to be delivered again."
_REVIEW = "look at the file; if it is right after all, release it from quarantine."
_REMEDIES = {
    Reason.UNKNOWN_TAG: "write the file with the public Roman, ASDF, astropy and gwcs schemas only.",
    Reason.EXTERNAL_REFERENCE: "write all arrays into the file itself (no external source, no $ref).",
    Reason.BAD_NAME: "rename the file to its Level 2 name.",
    Reason.NAME_HEADER_MISMATCH: "find out which of name and header is right, and deliver the file again.",
    Reason.EXPANSION: "write the file with less compressible or uncompressed blocks.",
    Reason.CONFLICT: "find out which of the two files is right; the first one stays in use.",
    Reason.SCHEMA: "write the file with roman_datamodels.",
    Reason.FINITE_FRACTION: _REVIEW,
    Reason.SKY_LEVEL: _REVIEW,
    Reason.ERROR_PLANE: _REVIEW,
    Reason.SATURATED: _REVIEW,
    Reason.PIXEL_VALUES: _REVIEW,
}


@dataclass(frozen=True)
class Limits:
    """Caps on what is read of an untrusted file, all generous for a full 4088 x 4088 exposure.

    A plane of 4096 x 4096 pixels of 4 bytes is 64 MiB: up to that size any compression ratio is believed
    (an empty ``dq`` plane compresses a thousandfold); beyond it the ratio is capped.  A tree has 1,000 to 2,000
    nodes, 20 transforms and 80 objects (tags that the reader makes something of), polynomials of degree 5.
    """

    file_bytes: int = 2 << 30
    yaml_bytes: int = 4 << 20
    yaml_depth: int = 64
    yaml_nodes: int = 50_000
    yaml_aliases: int = 64
    yaml_directives: int = 32
    number_characters: int = 64
    objects: int = 1_000
    transforms: int = 256
    polynomial_terms: int = 17 * 17
    object_array_bytes: int = 16 << 20
    padding_bytes: int = 4 << 20
    blocks: int = 512
    block_bytes: int = 256 << 20
    total_bytes: int = 1 << 30
    free_expansion_bytes: int = 64 << 20
    expansion_ratio: float = 100.0


DEFAULT_LIMITS = Limits()
