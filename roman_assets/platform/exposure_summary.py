"""What an operator sees of a day's exposures, of any instrument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from roman_assets.errors import InputError
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.exposures.rejection import Rejected
from roman_assets.platform.stage import StageResult


def describe(result: StageResult, exposures: Sequence[RegisteredExposure]) -> None:
    """What an operator sees of a day's exposures: counts, sizes, and the first of them."""
    elements = Counter(e.optical_element for e in exposures)
    result.figures = {
        "exposures": len(exposures),
        "optical_elements": ", ".join(f"{name} {count}" for name, count in sorted(elements.items())) or "none",
        "exposure_bytes": sum(e.size for e in exposures),
        "exposure_time_s": float(np.sum([e.exptime_s for e in exposures])),
    }
    for exposure in exposures:
        # A file that went bad since it was registered costs its picture, never the day.
        try:
            result.pictures["first_exposure"] = _picture(exposure)
            break
        except (Rejected, InputError, OSError) as error:
            result.caveats.append(f"{exposure.exposure_id} cannot be read: {error}")


def _picture(exposure: RegisteredExposure) -> bytes:
    from roman_assets.exposures.figures import image_figure
    from roman_assets.exposures.landing import local_exposure
    from roman_assets.exposures.level2.reader import read_image

    with local_exposure(exposure.uri) as path:
        image = read_image(path, sha256=exposure.sha256)
    return image_figure(image.data, f"{exposure.exposure_id}  [DN/s]")
