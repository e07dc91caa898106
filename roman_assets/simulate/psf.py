"""Pixel-integrated point-spread functions of the Wide Field Instrument, from GalSim's Roman module.

The effective PSF (ePSF) of this module is the fraction of a star's *total* flux that falls on a pixel whose
centre lies at an offset (dx, dy) from the star, sampled `oversample` times per pixel (Anderson & King
2000). Its stars are drawn here by cubic B-splines in numpy: nothing is shared with the C kernels, which are
tested against these images.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.survey.instrument import PIXEL_ARCSEC

FINE = 8

#: GalSim still carries the pre-2020 names of the filters.
GALSIM_BANDPASSES = {
    "F062": "R062",
    "F087": "Z087",
    "F106": "Y106",
    "F129": "J129",
    "F158": "H158",
    "F184": "F184",
    "F146": "W146",
    "F213": "K213",
}


def galsim_bandpass(optical_element: str) -> str:
    """GalSim's name of a WFI imaging element; InputError if there is none."""
    try:
        return GALSIM_BANDPASSES[optical_element]
    except KeyError:
        raise InputError(
            f"no GalSim bandpass for optical element {optical_element!r}",
            field="optical_element",
            remedy=f"use one of {', '.join(sorted(GALSIM_BANDPASSES))}",
        ) from None


def detector_number(detector: str) -> int:
    """1..18 of `WFI01`..`WFI18`; InputError otherwise."""
    number = detector[3:]
    if not (detector.startswith("WFI") and number.isdigit() and len(number) == 2 and 1 <= int(number) <= 18):
        raise InputError(f"no detector {detector!r}", field="detector", remedy="use WFI01 to WFI18")
    return int(number)


def photon_quantile_wavelengths(optical_element: str, count: int) -> NDArray[np.float64]:
    """Wavelengths [nm] that stand for `count` equal shares of the photons of a source flat in F_nu."""
    import galsim.roman as roman

    bandpass = roman.getBandpasses(AB_zeropoint=False)[galsim_bandpass(optical_element)]
    wave = np.linspace(bandpass.blue_limit, bandpass.red_limit, 4001)
    photons = np.cumsum(np.asarray(bandpass(wave)) / wave)
    shares = (np.arange(count) + 0.5) / count
    return np.interp(shares, photons / photons[-1], wave)


def pixel_integrated_psf(
    detector: str,
    optical_element: str,
    *,
    oversample: int = 8,
    half_width_px: int = 64,
    position: tuple[float, float] | None = None,
    wavelengths: int = 1,
    pupil_bin: int = 8,
) -> NDArray[np.float64]:
    """The ePSF of one place of one detector.

    Parameters
    ----------
    position
        0-based detector pixel (x, y); None is the centre.
    wavelengths
        Number of monochromatic PSFs averaged over the band; 1 takes the effective wavelength, as romanisim
        does.
    pupil_bin
        Coarsening of GalSim's pupil image: 8 is quick, 4 carries the far wings better.

    Returns
    -------
    float64 (n, n), n = 2 * half_width_px * oversample + 1, rows along y, the star on the central sample.
    Values are the fraction of the total flux per native pixel: the sum over one phase of the sampling is
    the encircled fraction of the stamp, a little below 1.
    """
    import galsim
    import galsim.roman as roman

    number = detector_number(detector)
    band = galsim_bandpass(optical_element)
    if wavelengths > 1:
        waves = photon_quantile_wavelengths(optical_element, wavelengths)
    else:
        waves = np.array([roman.getBandpasses(AB_zeropoint=False)[band].effective_wavelength])
    place = None if position is None else galsim.PositionD(position[0] + 1.0, position[1] + 1.0)
    # GalSim's drawing errs by 1 % of the peak on native pixels and by 3e-5 on eighths of them.
    step = -(-FINE // oversample)
    fine = oversample * step
    size = 2 * half_width_px * fine + 1
    total = np.zeros((size, size))
    pixel = galsim.Pixel(PIXEL_ARCSEC)
    for wave in waves:
        optics = roman.getPSF(number, band, SCA_pos=place, wavelength=float(wave), pupil_bin=pupil_bin)
        drawn = galsim.Convolve(optics, pixel).drawImage(
            nx=size, ny=size, scale=PIXEL_ARCSEC / fine, method="no_pixel", dtype=float
        )
        total += drawn.array
    return np.ascontiguousarray(total[::step, ::step]) * (fine**2 / len(waves))


@dataclass(frozen=True)
class EpsfSpline:
    """Cubic B-spline of an oversampled ePSF, laid out by sampling phase.

    `planes[py, px]` (float64, rows x columns) holds the spline coefficients whose oversampled index is
    `oversample * (row, column) + (py, px)`: a star's stamp is then 16 shifted planes with constant weights.
    """

    planes: NDArray[np.float64]
    oversample: int
    half_width_px: int

    @classmethod
    def from_samples(cls, samples: NDArray[np.float64], oversample: int) -> EpsfSpline:
        """From `pixel_integrated_psf`; the outermost pixel is given up to the spline's support."""
        from scipy.ndimage import spline_filter

        half = (samples.shape[0] - 1) // (2 * oversample)
        coefficients = spline_filter(samples, order=3, mode="mirror")
        n = 2 * half
        cut = coefficients[: n * oversample, : n * oversample].reshape(n, oversample, n, oversample)
        return cls(np.ascontiguousarray(cut.transpose(1, 3, 0, 2)), oversample, half - 2)

    def stamp(self, dx: float, dy: float, half: int) -> NDArray[np.float64]:
        """ePSF on the pixels within `half` of a star's nearest pixel, (2 half + 1) squared.

        `dx`, `dy` in [-0.5, 0.5] is the star's offset from the centre of that pixel, px.
        """
        centre = self.half_width_px + 2
        rows, row_weights = _taps(dy, half, centre, self.oversample)
        columns, column_weights = _taps(dx, half, centre, self.oversample)
        size = 2 * half + 1
        out = np.zeros((size, size))
        for (py, y0), wy in zip(rows, row_weights, strict=True):
            line = np.zeros((size, size))
            for (px, x0), wx in zip(columns, column_weights, strict=True):
                line += wx * self.planes[py, px, y0 : y0 + size, x0 : x0 + size]
            out += wy * line
        return out


def _taps(offset: float, half: int, centre: int, oversample: int) -> tuple[list[tuple[int, int]], list[float]]:
    """Phases, first rows and cubic B-spline weights of the four samples around a stamp's first pixel."""
    start = (centre - half - offset) * oversample
    index = int(np.floor(start))
    t = start - index
    weights = [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6]
    places = [(k % oversample, k // oversample) for k in range(index - 1, index + 3)]
    return places, weights


def wings_kernel(spline: EpsfSpline, core_half: int, half: int) -> NDArray[np.float64]:
    """What a stamp of `core_half` leaves out: the ePSF of a centred star between the two half-widths."""
    kernel = spline.stamp(0.0, 0.0, half)
    inner = slice(half - core_half, half + core_half + 1)
    kernel[inner, inner] = 0.0
    return kernel


def draw_stars(
    shape: tuple[int, int],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    flux: NDArray[np.float64],
    spline: EpsfSpline,
    *,
    core_half: int = 15,
    bright: float = 80.0,
) -> NDArray[np.float64]:
    """Image [units of flux per px] of point sources; x, y are 0-based pixel centres, stars off the image
    count.

    Stars above `bright` are drawn out to the ePSF's full half-width. The others are drawn exactly out to
    `core_half`, and their wings, smooth there and a twentieth of the light, by one convolution of the pixel
    grid.
    """
    from scipy.signal import fftconvolve

    half = spline.half_width_px
    margin = half + 2
    ny, nx = shape
    canvas = np.zeros((ny + 2 * margin, nx + 2 * margin))
    faint = np.zeros_like(canvas)
    column = np.floor(x + 0.5).astype(np.int64)
    row = np.floor(y + 0.5).astype(np.int64)
    near = (column > -half) & (column < nx + half) & (row > -half) & (row < ny + half)
    for k in np.flatnonzero(near & (flux != 0.0)):
        reach = half if flux[k] > bright else core_half
        _add(canvas, spline, x[k], y[k], int(column[k]) + margin, int(row[k]) + margin, flux[k], reach)
        if reach < half:
            faint[row[k] + margin, column[k] + margin] += flux[k]
    if faint.any() and half > core_half:
        canvas += fftconvolve(faint, wings_kernel(spline, core_half, half), mode="same")
    return canvas[margin : margin + ny, margin : margin + nx]


def _add(canvas: Any, spline: EpsfSpline, x: float, y: float, i: int, j: int, flux: float, half: int) -> None:
    """Adds one star to the canvas, its stamp cut at the canvas's edges."""
    stamp = spline.stamp(x - np.floor(x + 0.5), y - np.floor(y + 0.5), half)
    rows = slice(max(j - half, 0), min(j + half + 1, canvas.shape[0]))
    columns = slice(max(i - half, 0), min(i + half + 1, canvas.shape[1]))
    cut = stamp[
        rows.start - (j - half) : rows.stop - (j - half), columns.start - (i - half) : columns.stop - (i - half)
    ]
    canvas[rows, columns] += flux * cut
