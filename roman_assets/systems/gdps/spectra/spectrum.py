"""An extracted one-dimensional spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """One source's spectrum, on its own pixels.

    wavelength: (n,) f64, vacuum [nm], increasing. flux: (n,) f64 [W m-2 nm-1]. variance: (n,) f64
    [(W m-2 nm-1)2]. contamination: (n,) f64, contaminating flux that has been subtracted [W m-2 nm-1].
    flags: (n,) u32, 0 where good. lsf_sigma: (n,) f64, Gaussian sigma of an unresolved line as the pixels
    sample it (source, PSF and pixel together) [nm]. point_source: whether the source is one; None where that is not known.

    A pixel that is flagged, or whose flux or variance is not finite, or whose variance is not positive,
    carries no information: see `good`.

    Raises
    ------
    InputError
        Lengths differ or are 0, wavelengths are not finite and increasing, or the LSF is not positive.
    """

    wavelength: F64
    flux: F64
    variance: F64
    contamination: F64
    flags: NDArray[np.uint32]
    lsf_sigma: F64
    point_source: bool | None = None

    def __post_init__(self) -> None:
        for name in ("wavelength", "flux", "variance", "contamination", "flags", "lsf_sigma"):
            dtype = np.uint32 if name == "flags" else np.float64
            values = np.ascontiguousarray(getattr(self, name), dtype=dtype)
            if values.ndim != 1 or values.shape != np.shape(self.wavelength) or not values.size:
                raise InputError(
                    f"shape {values.shape} beside {np.shape(self.wavelength)} of the wavelengths",
                    field=name,
                    remedy="give every array one value per pixel, and at least one pixel",
                )
            object.__setattr__(self, name, values)
        if not np.isfinite(self.wavelength).all() or self.wavelength[0] <= 0 or (np.diff(self.wavelength) <= 0).any():
            raise InputError(
                "wavelengths are not positive and increasing",
                field="wavelength",
                remedy="sort the pixels by wavelength and drop repeated ones",
            )
        if not np.isfinite(self.lsf_sigma).all() or (self.lsf_sigma <= 0).any():
            raise InputError(
                "the line-spread function has no positive width",
                field="lsf_sigma",
                remedy="give its Gaussian sigma in nm at every pixel",
            )

    @property
    def good(self) -> NDArray[np.bool_]:
        """Pixels that carry information."""
        finite = np.isfinite(self.flux) & np.isfinite(self.variance)
        return np.asarray((self.flags == 0) & finite & (np.where(finite, self.variance, 0) > 0))

    def __len__(self) -> int:
        return len(self.wavelength)
