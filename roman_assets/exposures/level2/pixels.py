"""What the pixels of an exposure must look like: gates that refuse it, and caveats on what passes them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from roman_assets.bounds import ANY, SHARE, check_bounds
from roman_assets.exposures.rejection import Reason, Rejected

CONSTANT_IMAGE = "constant_image"
FEW_USABLE_PIXELS = "few_usable_pixels"
ERRORS_NOT_POSITIVE = "errors_not_positive"
MUCH_SATURATED = "much_saturated"
ABSURD_PIXELS = "absurd_pixels"
_DO_NOT_USE = np.uint32(1)
_SATURATED = np.uint32(2)


@dataclass(frozen=True)
class PixelGates:
    """What pixels must look like.

    Parameters
    ----------
    min_finite_fraction
        Share of the usable pixels (not flagged DO_NOT_USE) whose value is finite.
    min_sky, max_sky
        Median of these [DN/s].
    min_error_fraction
        Share of the usable, unsaturated pixels with positive, finite ``err`` and finite ``var_poisson`` >= 0.
        In simulated exposures of the bulge it is 0.99 and more.
    max_saturated_fraction
        Share of all pixels that are flagged SATURATED.
    max_absurd_fraction
        Share of the usable pixels further from zero than 50 times the limits of the sky: what no pixel can hold.
    caveat_fraction
        Share of bad errors, saturated or unusable pixels that is accepted silently.
    """

    min_finite_fraction: float = 0.5
    min_sky: float = -100.0
    max_sky: float = 20_000.0  # the WFI saturates near 1e5 electrons in a read of 3.16 s
    min_error_fraction: float = 0.5
    max_saturated_fraction: float = 0.5
    max_absurd_fraction: float = 0.01
    caveat_fraction: float = 0.2

    @property
    def absurd(self) -> float:
        """Value that no pixel has [DN/s]."""
        return min(50.0 * max(abs(self.min_sky), abs(self.max_sky)), float(np.finfo(np.float32).max))

    def __post_init__(self) -> None:
        check_bounds(
            self,
            min_finite_fraction=SHARE,
            min_sky=ANY,
            max_sky=ANY,
            min_error_fraction=SHARE,
            max_saturated_fraction=SHARE,
            max_absurd_fraction=SHARE,
            caveat_fraction=SHARE,
        )


class Planes(Protocol):
    """The planes of an exposure, all of one shape (ny, nx)."""

    data: NDArray[np.float32]
    err: NDArray[np.float32]
    var_poisson: NDArray[np.float32]
    dq: NDArray[np.uint32]


def judge_pixels(
    image: Planes, gates: PixelGates, path: str | Path, refuse: Callable[[Rejected], None]
) -> tuple[str, ...]:
    """Caveats of an image; ``refuse`` is called with what stands against it, and raises unless that is overruled."""
    usable = (image.dq & _DO_NOT_USE) == 0
    saturated = (image.dq & _SATURATED) != 0
    caveats = _values(image.data[usable], gates, path, refuse)
    caveats += _saturation(saturated, gates, path, refuse)
    caveats += _errors(image, usable & ~saturated, gates, path, refuse)
    if usable.any() and _fraction(usable) < gates.caveat_fraction:
        caveats.append(FEW_USABLE_PIXELS)
    return tuple(caveats)


def _fraction(flags: NDArray[Any]) -> float:
    return float(np.count_nonzero(flags)) / max(flags.size, 1)


def _values(
    values: NDArray[np.float32], gates: PixelGates, path: str | Path, refuse: Callable[[Rejected], None]
) -> list[str]:
    """Refuses values that are not finite, a sky that is absurd, and pixels that hold what none can."""
    finite = values[np.isfinite(values)]
    fraction = finite.size / max(values.size, 1)
    if fraction < gates.min_finite_fraction:
        problem = f"{fraction:.1%} of the usable pixels are finite, fewer than {gates.min_finite_fraction:.0%}"
        refuse(Rejected(Reason.FINITE_FRACTION, problem, file=path, field="data"))
    if finite.size == 0:
        return []
    sky = float(np.median(finite))
    if not gates.min_sky <= sky <= gates.max_sky:
        problem = f"the median is {sky:.6g} DN/s, not within {gates.min_sky:g} to {gates.max_sky:g}"
        refuse(Rejected(Reason.SKY_LEVEL, problem, file=path, field="data"))
        return [CONSTANT_IMAGE] if finite.min() == finite.max() else []
    absurd = _fraction(np.abs(finite) > gates.absurd)
    if absurd > gates.max_absurd_fraction:
        problem = f"{absurd:.1%} of the usable pixels are beyond {gates.absurd:g} DN/s, which no pixel can hold"
        refuse(Rejected(Reason.PIXEL_VALUES, problem, file=path, field="data"))
    caveats = [CONSTANT_IMAGE] if finite.min() == finite.max() else []
    return [*caveats, ABSURD_PIXELS] if absurd > 0 else caveats


def _saturation(
    saturated: NDArray[np.bool_], gates: PixelGates, path: str | Path, refuse: Callable[[Rejected], None]
) -> list[str]:
    fraction = _fraction(saturated)
    if fraction > gates.max_saturated_fraction:
        problem = f"{fraction:.1%} of the pixels are saturated, more than {gates.max_saturated_fraction:.0%}"
        refuse(Rejected(Reason.SATURATED, problem, file=path, field="dq"))
    return [MUCH_SATURATED] if fraction > gates.caveat_fraction else []


def _errors(
    image: Planes, wanted: NDArray[np.bool_], gates: PixelGates, path: str | Path, refuse: Callable[[Rejected], None]
) -> list[str]:
    """Refuses planes of errors that are none: everything that is fitted is weighted with them."""
    caveats = []
    for name, plane, lowest in (
        ("err", image.err, np.nextafter(0, 1, dtype=np.float32)),
        ("var_poisson", image.var_poisson, 0),
    ):
        values = plane[wanted]
        if values.size == 0:
            continue
        good = _fraction(np.isfinite(values) & (values >= lowest))
        if good < gates.min_error_fraction:
            problem = (
                f"{good:.1%} of the usable errors are positive and finite, fewer than {gates.min_error_fraction:.0%}"
            )
            refuse(Rejected(Reason.ERROR_PLANE, problem, file=path, field=name))
        if good < 1.0 - gates.caveat_fraction and ERRORS_NOT_POSITIVE not in caveats:
            caveats.append(ERRORS_NOT_POSITIVE)
    return caveats
