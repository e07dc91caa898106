"""The dispersed exposures of a day of a detector: a manifest of what the registry holds, with a picture."""

from __future__ import annotations

from roman_assets.platform.exposure_summary import describe
from roman_assets.platform.stage import Progress, StageResult, day_partition, silent
from roman_assets.platform.workspace import Workspace
from roman_assets.products.identity import Identity
from roman_assets.systems.gdps.stages.common import CODE


def collect(workspace: Workspace, day: str, detector: str, progress: Progress = silent) -> StageResult:
    """The manifest of the validated grism and prism exposures of a day of a detector."""
    exposures = workspace.registry.exposures(day=day, detector=detector, kind="spectral")
    partition = day_partition(day, detector)
    document = [
        {
            "exposure_id": e.exposure_id,
            "sha256": e.sha256,
            "size": e.size,
            "mid_mjd": e.mid_mjd,
            "exptime_s": e.exptime_s,
            "optical_element": e.optical_element,
            "caveats": list(e.caveats),
        }
        for e in exposures
    ]
    identity = Identity(
        tuple(e.sha256 for e in exposures), CODE["dispersed_exposures"], {"day": day, "detector": detector}
    )
    record = workspace.products.lookup("dispersed_exposures", partition, identity=identity)
    if record is None:
        record = workspace.products.put_json(
            "dispersed_exposures",
            partition,
            {"exposures": document},
            identity,
            attributes={"day": day, "detector": detector},
        )
    progress(f"{len(exposures)} dispersed exposures")
    result = StageResult([record])
    describe(result, exposures)
    return result
