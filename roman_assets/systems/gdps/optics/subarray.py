"""Where an exposure's array lies on its detector."""

from __future__ import annotations

from pathlib import Path

from roman_assets.errors import InputError
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.survey.instrument import SIDE_PX
from roman_assets.systems.gdps.optics.dispersion import Window


def window_of(exposure: RegisteredExposure) -> tuple[Window, float]:
    """`window_of_file` of a registered exposure."""
    from roman_assets.exposures.landing import local_exposure

    with local_exposure(exposure.uri) as path:
        return window_of_file(path, exposure.shape)


def window_of_file(path: str | Path, shape: tuple[int, int]) -> tuple[Window, float]:
    """The window of an exposure of a shape (ny, nx), first pixel 1 as in the optical model, and the gain [electrons/DN].

    A whole detector needs no entry in the file; a smaller array says its place in `meta.subarray` (xstart, ystart).

    Raises
    ------
    InputError
        A smaller array does not say where it lies.
    """
    from roman_assets.exposures.level2.asdf_tree import child, plain
    from roman_assets.exposures.level2.guards import load_tree

    entry = plain(child(load_tree(path), "roman", "meta", "subarray"))
    ny, nx = shape
    if isinstance(entry, dict) and {"xstart", "ystart"} <= set(entry):
        gain = float(entry.get("gain", 1.0))
        if not gain > 0:
            raise InputError(f"gain {gain}", file=path, field="meta.subarray.gain", remedy="give electrons/DN")
        return Window(int(entry["xstart"]), int(entry["ystart"]), nx, ny), gain
    if (ny, nx) == (SIDE_PX, SIDE_PX):
        return Window(1, 1, nx, ny), 1.0
    raise InputError(
        f"an array of {nx} x {ny} does not say where it lies on the detector",
        file=path,
        field="meta.subarray",
        remedy="give xstart and ystart, first pixel 1",
    )
