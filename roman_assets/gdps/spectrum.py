"""A spectrum as extraction hands it on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """One source's spectrum.

    Attributes
    ----------
    wavelength
        (n,) float64 [nm], vacuum, increasing.
    flux
        (n,) float64 [W m-2 nm-1].
    variance
        (n,) float64 of the flux.
    contamination
        (n,) float64 [W m-2 nm-1]: contaminating flux that was subtracted.
    flags
        (n,) uint32, 0 where good.
    lsf_sigma
        (n,) float64 [nm] of the line-spread function, taken to be Gaussian.

    Raises
    ------
    InputError
        Shapes or types do not agree, wavelengths do not increase, or a good pixel has no finite flux and error.
    """

    wavelength: F64
    flux: F64
    variance: F64
    contamination: F64
    flags: NDArray[np.uint32]
    lsf_sigma: F64

    def __post_init__(self) -> None:
        for name in ("wavelength", "flux", "variance", "contamination", "lsf_sigma"):
            values = getattr(self, name)
            if values.dtype != np.float64 or values.shape != (len(self.wavelength),):
                raise InputError(
                    f"{values.dtype} array of shape {values.shape}", field=name,
                    remedy="give float64 arrays of one length",
                )  # fmt: skip
        if self.flags.dtype != np.uint32 or self.flags.shape != self.wavelength.shape:
            raise InputError(f"{self.flags.dtype} array of shape {self.flags.shape}", field="flags", remedy="give uint32")
        if not np.isfinite(self.wavelength).all() or not (np.diff(self.wavelength) > 0).all():
            raise InputError("wavelengths do not increase", field="wavelength", remedy="sort the spectrum")
        good = self.flags == 0
        for name in ("flux", "variance", "contamination", "lsf_sigma"):
            if not np.isfinite(getattr(self, name)[good]).all():
                raise InputError("a good pixel is not finite", field=name, remedy="flag such pixels")
        if not (self.variance[good] > 0).all() or not (self.lsf_sigma[good] > 0).all():
            raise InputError(
                "a good pixel has no positive variance or LSF", field="variance, lsf_sigma", remedy="flag such pixels"
            )

    def __len__(self) -> int:
        return len(self.wavelength)
