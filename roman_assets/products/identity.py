"""What a product is made of: the hash that says whether it has been made before."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from roman_assets.errors import InputError


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: the same text for equal values, in any process.

    InputError for what has no such text: NaN, infinities, objects, keys that are no strings.
    """
    try:
        return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"a configuration value cannot be hashed: {error}",
            field="config",
            remedy="use strings, finite numbers, booleans, lists and mappings with string keys",
        ) from error


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"key {key!r} is no string")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


@dataclass(frozen=True)
class Identity:
    """Inputs, code version, configuration and schema version of a product.

    Attributes
    ----------
    inputs
        Content hashes of what it is made from; their order does not matter, exposures arrive in any.
    code_version
        Version string of the asset's code: neither the package's version nor a commit.
    config
        Every setting that changes the result; JSON values only.
    schema_version
        Version of the product's schema.
    """

    inputs: tuple[str, ...]
    code_version: str
    config: Mapping[str, Any] = field(default_factory=dict)
    schema_version: str = "1"

    @cached_property
    def digest(self) -> str:
        """sha256, 64 hex digits."""
        text = canonical_json(
            {
                "inputs": sorted(self.inputs),
                "code_version": self.code_version,
                "config": self.config,
                "schema_version": self.schema_version,
            }
        )
        return hashlib.sha256(text.encode()).hexdigest()
