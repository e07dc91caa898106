"""The dispersed exposures of a day of a detector: a manifest of what the registry holds, with a picture."""

from __future__ import annotations

from collections import Counter

from roman_assets.errors import InputError
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.exposures.rejection import Rejected
from roman_assets.gdps.stages.common import CODE
from roman_assets.platform.stage import Check, Progress, StageResult, day_partition, silent
from roman_assets.platform.workspace import Workspace
from roman_assets.products.identity import Identity


def collect(workspace: Workspace, day: str, detector: str, progress: Progress = silent) -> StageResult:
    """The manifest of the validated grism and prism exposures of a day of a detector."""
    exposures = workspace.registry.exposures(day=day, detector=detector, kind="spectral")
    partition = day_partition(day, detector)
    document = [
        {
            "exposure_id": e.exposure_id, "sha256": e.sha256, "size": e.size, "mid_mjd": e.mid_mjd,
            "exptime_s": e.exptime_s, "optical_element": e.optical_element, "caveats": list(e.caveats),
        }
        for e in exposures
    ]  # fmt: skip
    identity = Identity(
        tuple(e.sha256 for e in exposures), CODE["dispersed_exposures"], {"day": day, "detector": detector}
    )
    record = workspace.products.lookup("dispersed_exposures", partition, identity=identity)
    if record is None:
        record = workspace.products.put_json(
            "dispersed_exposures", partition, {"exposures": document}, identity,
            attributes={"day": day, "detector": detector},
        )  # fmt: skip
    progress(f"{len(exposures)} dispersed exposures")
    result = StageResult([record])
    elements = Counter(e.optical_element for e in exposures)
    result.figures = {
        "exposures": len(exposures),
        "optical_elements": ", ".join(f"{name} {count}" for name, count in sorted(elements.items())) or "none",
        "exposure_bytes": sum(e.size for e in exposures),
        "exposure_time_s": float(sum(e.exptime_s for e in exposures)),
    }
    result.checks.append(
        Check("dispersed", bool(exposures), "the day has dispersed exposures", {"exposures": len(exposures)})
    )
    for exposure in exposures:
        # A file that went bad since it was registered costs its picture, never the day.
        try:
            result.pictures["first_exposure"] = _picture(exposure)
            break
        except (Rejected, InputError, OSError) as error:
            result.caveats.append(f"{exposure.exposure_id} cannot be read: {error}")
    return result


def _picture(exposure: RegisteredExposure) -> bytes:
    from roman_assets.exposures.landing import local_exposure
    from roman_assets.exposures.reader import read_image
    from roman_assets.msos.plots import image_figure

    with local_exposure(exposure.uri) as path:
        image = read_image(path, sha256=exposure.sha256)
    return image_figure(image.data, f"{exposure.exposure_id}  [DN/s]")
