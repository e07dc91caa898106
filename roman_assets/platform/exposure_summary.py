"""What an operator sees of a day's exposures, of any instrument."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from roman_assets.exposures.figures import image_figure
from roman_assets.exposures.landing import local_exposure
from roman_assets.exposures.level2.reader import Image, read_image
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.policy import judged
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
        with judged(result.caveats, exposure.exposure_id, "not read for a picture"):
            image = _image(exposure)
            result.picture("first_exposure", image_figure, image.data, f"{exposure.exposure_id}  [DN/s]")
            break


def _image(exposure: RegisteredExposure) -> Image:
    with local_exposure(exposure.uri) as path:
        return read_image(path, sha256=exposure.sha256)
