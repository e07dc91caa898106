"""The exposures of a day of a detector: a manifest of what the registry holds, with a picture."""

from __future__ import annotations

from roman_assets.platform.exposure_summary import describe
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.identity import Identity
from roman_assets.systems.msos.stages.common import CODE, Check, Progress, StageResult, day_partition, silent


def collect(workspace: Workspace, day: str, detector: str, progress: Progress = silent) -> StageResult:
    """The manifest of the validated imaging exposures of a day of a detector."""
    exposures = workspace.registry.exposures(day=day, detector=detector, kind="imaging", survey="bulge")
    partition = day_partition(day, detector)
    document = [
        {
            "exposure_id": e.exposure_id,
            "sha256": e.sha256,
            "size": e.size,
            "mid_mjd": e.mid_mjd,
            "exptime_s": e.exptime_s,
            "optical_element": e.optical_element,
            "field": e.field,
            "season": e.season,
            "caveats": list(e.caveats),
        }
        for e in exposures
    ]
    identity = Identity(
        tuple(e.sha256 for e in exposures),
        CODE["exposures"],
        {"day": day, "detector": detector, "places": sorted({f"{e.season} {e.field}" for e in exposures})},
    )
    caveats = [Caveat(Code.HEADER, e.exposure_id, ", ".join(e.caveats)) for e in exposures if e.caveats]
    record = workspace.products.lookup("exposures", partition, identity=identity)
    if record is None:
        record = workspace.products.put_json(
            "exposures",
            partition,
            {"exposures": document},
            identity,
            attributes={"day": day, "detector": detector, "season": workspace.calendar.season_of(day)},
            caveats=caveats,
        )
    progress(f"{len(exposures)} exposures")
    result = StageResult([record], caveats=caveats)
    describe(result, exposures)
    result.checks.append(
        Check(
            "photometry_keywords",
            not any("photometry_missing" in e.caveats for e in exposures) if exposures else None,
            "every exposure says how DN/s relate to flux densities",
            {"exposures_with_caveats": len(caveats)},
        )
    )
    return result
