"""Residual images: an exposure minus the constant sky that its catalogue describes.

The model is the reference catalogue on the exposure's zero point, not the fluxes measured in the exposure. A fit of
every exposure hands the light of an uncatalogued source to its catalogued neighbours, and each measured flux carries
noise of its own into the residual; the season's mean of the neighbours does neither.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.kernels.photometry import PaddedFrame, Stars
from roman_assets.systems.msos.photometry.calibration import PositionTerms
from roman_assets.systems.msos.photometry.exposure_fit import MODEL_FLOOR, cosmic_rays
from roman_assets.systems.msos.psf.grid import DetectorPsf
from roman_assets.systems.msos.psf.phase_map import NO_MAP, PhaseMap
from roman_assets.systems.msos.psf.stamps import sky_basis, stamp_halves

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
#: Residuals beyond this [sigma] have no say in the sky.
SKY_CLIP = 4.0


@dataclass(frozen=True)
class ConstantSky:
    """What a catalogue says of every exposure: positions, constant fluxes, ePSF and inter-pixel map.

    ra, dec (n,) ICRS [deg]; x, y (n,) on the array [px], where the sensitivity is taken; flux (n,) [DN/s].
    """

    ra: F64
    dec: F64
    x: F64
    y: F64
    flux: F64
    psf: DetectorPsf
    phase_map: PhaseMap = NO_MAP


@dataclass(frozen=True)
class Registration:
    """How an exposure was found to lie on its catalogue: shift (x, y) [px], zero point, variation over the array."""

    shift: tuple[float, float]
    scale: float
    terms: PositionTerms | None = None

    def sensitivity(self, x: F64, y: F64) -> F64:
        """Flux in this exposure over that on the reference zero point, at array positions x, y (n,) [px]."""
        if self.terms is None:
            return np.full(np.shape(x), self.scale)
        return self.scale * (1.0 + self.terms(x, y))


@dataclass
class Residual:
    """A padded residual image [DN/s on the reference zero point] and its weights [(DN/s)^-2], 0 where not usable.

    starlight: (ny, nx) [DN/s of the exposure] subtracted beside the sky; sky: (terms,) [DN/s]; cosmic_rays: (ny, nx).
    """

    geometry: PaddedFrame
    image: F32
    weight: F32
    starlight: F32
    sky: F64
    cosmic_rays: NDArray[np.bool_]


def residual_image(
    frame: Frame,
    sky: ConstantSky,
    registration: Registration,
    *,
    background: F64 | None = None,
    only: NDArray[np.bool_] | None = None,
) -> Residual:
    """An exposure minus the constant sky, on the reference zero point.

    Parameters
    ----------
    frame
        The exposure.
    sky
        What is subtracted.
    registration
        Shift and zero point that the photometry of this exposure found.
    background
        Terms of the smooth sky [DN/s] where they are known; else they are fitted below the stars.
    only
        (n,) the stars that are subtracted, where not the whole image is wanted; None: all.

    Raises
    ------
    InputError
        The zero point is not positive, or no pixel is usable.
    """
    if not registration.scale > 0 or not np.isfinite(registration.shift).all():
        raise InputError("shift or zero point are no numbers", file=frame.name, remedy="measure the exposure again")
    if not frame.good.any():
        raise InputError("no usable pixel", file=frame.name, remedy="the exposure is left out")
    geometry = PaddedFrame(*frame.shape)
    stars, inside = _placed(frame, sky, registration.shift, only)
    flux = np.where(np.isfinite(sky.flux[inside]), sky.flux[inside], 0.0)
    flux = flux * registration.sensitivity(sky.x[inside], sky.y[inside]) * (1.0 + sky.phase_map(stars.x, stars.y))
    starlight = sky.psf.render(geometry, stars, flux, np.zeros(geometry.shape, dtype=np.float32))[geometry.inner]
    level = max(float(np.percentile(frame.data[frame.good], 20)), 0.0)
    weight = frame.weight(starlight + np.float32(level), MODEL_FLOOR)
    basis = sky_basis(geometry)[(slice(None), *geometry.inner)]
    terms = _background(frame.data - starlight, weight, basis) if background is None else background
    image = frame.data - starlight - np.tensordot(terms.astype(np.float32), basis, axes=1)
    hit = cosmic_rays(image, weight)
    weight = np.where(hit, np.float32(0), weight)
    scale = np.float32(registration.scale)
    return Residual(
        geometry,
        geometry.padded(np.where(weight > 0, image / scale, 0)),
        geometry.padded(weight * scale**2),
        starlight,
        terms,
        hit,
    )


def _placed(
    frame: Frame, sky: ConstantSky, shift: tuple[float, float], only: NDArray[np.bool_] | None
) -> tuple[Stars, NDArray[np.int64]]:
    """The stars whose stamps reach the exposure, and their rows in the catalogue."""
    rows = np.arange(len(sky.ra)) if only is None else np.flatnonzero(only)
    x, y = frame.to_pixels(sky.ra[rows], sky.dec[rows])
    x, y = x + shift[0], y + shift[1]
    noise = frame.read_variance + frame.poisson_slope * max(float(np.median(frame.data)), 0.0)
    halves = stamp_halves(np.nan_to_num(sky.flux[rows]), float(np.sqrt(np.median(noise))), sky.psf.first)
    ny, nx = frame.shape
    # The padding holds the whole stamp of a star this far out.
    inside = (x > -halves) & (x < nx - 1 + halves) & (y > -halves) & (y < ny - 1 + halves)
    return Stars.of(x[inside], y[inside], halves[inside]), rows[inside]


def _background(image: F32, weight: F32, basis: F32) -> F64:
    """Terms of the smooth sky below the stars: weighted least squares, outliers clipped twice."""
    terms = basis.reshape(len(basis), -1).astype(np.float64)
    values, full = image.ravel().astype(np.float64), weight.ravel().astype(np.float64)
    use: F64 = full
    solution: F64 = np.zeros(len(terms))
    for _ in range(3):
        weighted = terms * use
        # A term that the usable pixels do not constrain stays at zero.
        solution = np.asarray(np.linalg.lstsq(weighted @ terms.T, weighted @ values, rcond=1e-9)[0])
        use = np.where(full * (values - solution @ terms) ** 2 < SKY_CLIP**2, full, 0.0)
    return solution
