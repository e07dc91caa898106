"""What an operator sees of a materialization: counts, sizes, quality figures, caveats and pictures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import dagster as dg

from roman_assets.errors import RomanError
from roman_assets.platform.stage import StageResult
from roman_assets.platform.system import Gate
from roman_assets.products.caveats import counted
from roman_assets.products.records import ProductRecord

#: Caveats shown in full; the product index keeps all of them.
SHOWN_CAVEATS = 20


def picture(png: bytes) -> dg.MarkdownMetadataValue:
    """A PNG shown inline: it goes into the event log, so keep it to tens of kB."""
    return dg.MetadataValue.md(f"![picture](data:image/png;base64,{base64.b64encode(png).decode()})")


def content_version(records: Sequence[ProductRecord]) -> str:
    """Data version of a partition: the hash of the contents of its products, in any order."""
    return hashlib.sha256("".join(sorted(record.sha256 for record in records)).encode()).hexdigest()


def new_rows(records: Sequence[ProductRecord]) -> dict[str, int]:
    """Rows by kind of the products that were made rather than found: what the step's time went into."""
    counted: dict[str, int] = {}
    for record in records:
        if record.outcome == "new" and record.rows is not None:
            counted[record.kind] = counted.get(record.kind, 0) + record.rows
    return counted


def result(
    records: Sequence[ProductRecord],
    *,
    figures: Mapping[str, Any],
    pictures: Mapping[str, bytes] | None = None,
    caveats: Sequence[str] = (),
    checks: Sequence[dg.AssetCheckResult] = (),
) -> dg.MaterializeResult:
    """The event of one partition's products; its data version is the hash of their contents.

    A product that had been made before gives the same event again: making it twice changes nothing.
    """
    metadata: dict[str, Any] = {
        "dagster/row_count": sum(record.rows or 0 for record in records),
        "size_bytes": sum(record.size for record in records),
        "products": len(records),
        "new_products": sum(record.outcome == "new" for record in records),
        "new_rows": dg.MetadataValue.json(new_rows(records)),
        "status": "succeeded with caveats" if caveats else "succeeded",
        **{name: _metadata(value) for name, value in figures.items()},
    }
    if caveats:
        more = f"\n- … and {len(caveats) - SHOWN_CAVEATS} more" if len(caveats) > SHOWN_CAVEATS else ""
        metadata["caveat_counts"] = dg.MetadataValue.json(counted(caveats))
        metadata["caveats"] = dg.MetadataValue.md("\n".join(f"- {c}" for c in caveats[:SHOWN_CAVEATS]) + more)
    for name, png in (pictures or {}).items():
        metadata[name] = picture(png)
    return dg.MaterializeResult(
        metadata=metadata, data_version=dg.DataVersion(content_version(records)), check_results=list(checks) or None
    )


def stage_result(asset: str, stage: StageResult, gates: Mapping[str, Gate]) -> dg.MaterializeResult:
    """A stage's outcome as the materialization of an asset, with an outcome for each of its quality gates."""
    outcomes = {c.name: c for c in stage.checks}
    if undeclared := sorted(set(outcomes) - set(gates)):
        raise RomanError(f"{asset} reports gates that it does not declare: {', '.join(undeclared)}")
    reported = []
    for name, gate in gates.items():
        description, severe = gate.description, gate.severe
        found = outcomes.get(name)
        if found is None:
            judged = check(name, False, f"{description}: the stage did not report it", status="not reported")
        elif found.passed is None:
            judged = check(name, True, f"not judged: {found.description}", status="not judged")
        else:
            judged = check(name, found.passed, found.description, severe=severe, **found.figures)
        reported.append(judged._replace(asset_key=dg.AssetKey(asset)))
    made = result(stage.records, figures=stage.figures, pictures=stage.pictures, caveats=stage.caveats, checks=reported)
    return made._replace(asset_key=dg.AssetKey(asset))


def check_specs(asset: str, gates: Mapping[str, Gate]) -> list[dg.AssetCheckSpec]:
    """The quality gates of an asset."""
    return [
        dg.AssetCheckSpec(name, asset=asset, description=gate.description, blocking=gate.severe)
        for name, gate in gates.items()
    ]


def check(name: str, passed: bool, description: str, *, severe: bool = False, **figures: Any) -> dg.AssetCheckResult:
    """Outcome of an asset check with its figures; `severe` stops what is downstream in the same run."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=bool(passed),
        severity=dg.AssetCheckSeverity.ERROR if severe else dg.AssetCheckSeverity.WARN,
        description=description,
        metadata={key: _metadata(value) for key, value in figures.items()},
    )


def _metadata(value: Any) -> Any:
    """Numbers of numpy as numbers of Python; NaN as text, which the event log can hold."""
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float) and value != value:
        return "not measured"
    return value
