"""How a source's light is spread: its profile on the sky, the chromatic PSF, and both as the stamps that are dispersed.

Profiles are handled by their Fourier transforms, where the detector's local geometry (ellipse, pixel grid, and the
matrix that takes undispersed to dispersed offsets) is a change of argument. A galaxy is an exponential disc and a de
Vaucouleurs bulge of one half-light radius; the direct image says how much of each (bulge_fraction.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.dispersion import Stamps
from roman_assets.systems.gdps.sources.factors import factored, spline_matrix

F64 = NDArray[np.float64]
C128 = NDArray[np.complex128]
#: Samples per pixel of the stamps; the kernel interpolates between them by quintic splines.
OVER = 2
#: Samples per pixel of the PSF table and what its cores are counted in (simulate/spectral_psf.py).
PSF_OVERSAMPLE, PSF_UNIT = 4, 2e-6
#: To multiples of this are the elements of a matrix rounded for the PSF's sake.
MATRIX_STEP = 0.004
#: Half side [px] of the square whose centroid is a source's place.
CENTRE_HALF_PX = 3
#: Half sizes of stamps [px]: with the pixel in the middle they fill whole vectors.
HALVES = (7, 15, 23, 31)
#: h of an exponential exp(-r / h) and b of a de Vaucouleurs profile exp(-b r^(1/4)) of half-light radius 1.
_EXPONENTIAL, _VAUCOULEURS = 1 / 1.6783469900166605, 7.669249442500866


# --- profiles -------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _vaucouleurs_table() -> tuple[F64, F64]:
    """(log k, transform) of a de Vaucouleurs profile of unit flux and half-light radius, by Hankel's integral."""
    from scipy.special import j0

    log_k = np.linspace(np.log(1e-3), np.log(3e3), 400)
    # Uniform in log r, from where hardly any light is inside to where hardly any is outside.
    log_r = np.linspace(np.log(1e-6), np.log(300.0), 60001)
    r = np.exp(log_r)
    weight = np.exp(-_VAUCOULEURS * (r**0.25 - 1)) * r * r
    weight /= weight.sum()
    # Wiggles finer than the grid average out, and the light there is negligible.
    return log_k, np.array([weight @ j0(np.minimum(np.exp(q) * r, 1e7)) for q in log_k])


def exponential_transform(k: ArrayLike) -> F64:
    """Fourier transform at `k` [1 / half-light radius] of an exponential disc of unit flux."""
    square = 1 + (np.asarray(k) * _EXPONENTIAL) ** 2
    return np.asarray(1 / (square * np.sqrt(square)))


def vaucouleurs_transform(k: ArrayLike) -> F64:
    """Fourier transform at `k` [1 / half-light radius] of a de Vaucouleurs profile of unit flux."""
    log_k, table = _vaucouleurs_table()
    return np.interp(np.log(np.maximum(np.asarray(k), 1e-12)), log_k, table, left=1.0)


@dataclass(frozen=True)
class Shape:
    """A source's intrinsic profile on the undispersed image.

    Attributes
    ----------
    half_light
        Half-light radius of the major and minor axis' geometric mean [px]; 0 is a point.
    axis_ratio
        Minor over major axis.
    angle
        Of the major axis from x towards y [rad].
    bulge
        Share of the light in the de Vaucouleurs profile.
    """

    half_light: float = 0.0
    axis_ratio: float = 1.0
    angle: float = 0.0
    bulge: float = 0.0

    def __post_init__(self) -> None:
        if not (self.half_light >= 0 and 0 < self.axis_ratio <= 1 and 0 <= self.bulge <= 1 and np.isfinite(self.angle)):
            raise InputError(f"{self} is no profile", field="catalogue", remedy="see the bounds of Shape")

    @property
    def major(self) -> float:
        """Half-light radius along the major axis [px]."""
        return self.half_light / float(np.sqrt(self.axis_ratio))

    def transform(self, kx: F64, ky: F64) -> F64:
        """Fourier transform at the wave numbers (kx, ky) [rad/px], unit flux."""
        if self.half_light == 0:
            return np.ones_like(kx)
        c, s = np.cos(self.angle), np.sin(self.angle)
        major, minor = (kx * c + ky * s) * self.major, (ky * c - kx * s) * (self.major * self.axis_ratio)
        k = np.sqrt(major * major + minor * minor)
        disc = exponential_transform(k)
        return disc if self.bulge == 0 else (1 - self.bulge) * disc + self.bulge * vaucouleurs_transform(k)


# --- the PSF --------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def _psf_table() -> pl.DataFrame:
    with resources.as_file(resources.files("roman_assets.systems.gdps") / "data" / "psf.parquet") as path:
        return pl.read_parquet(path)


@dataclass(frozen=True)
class SpectralPsf:
    """Monochromatic PSFs of one detector, integrated over the pixel.

    Attributes
    ----------
    detector
        WFI01 to WFI18.
    wavelengths
        (m,) nodes [um]; between them PSFs are interpolated.
    values
        (m, N, N) share of the flux per px, PSF_OVERSAMPLE samples a px, the source on the middle one.
    blur
        Sigma [px] of a Gaussian by which the PSF is wider than the table's.
    """

    detector: str
    wavelengths: F64
    values: F64
    blur: float = 0.0
    _cache: dict[tuple[object, ...], Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, detector: str) -> SpectralPsf:
        """The optical model's, from the package's data; InputError for an unknown detector."""
        rows = _psf_table().filter(pl.col("detector") == detector).sort("wavelength_um")
        if rows.is_empty():
            raise InputError(f"no PSF of detector {detector!r}", field="detector", remedy="use WFI01 to WFI18")
        values = np.stack(
            [_centred(_with_wings(core, wing)) for core, wing in zip(rows["core"], rows["wings"], strict=True)]
        )
        return cls(detector, rows["wavelength_um"].to_numpy(), values)

    def samples(self, wavelength: float, half: int, matrix: F64) -> F64:
        """Samples (4 (2 half + 1), same) of the PSF of a place whose offsets go through `matrix` (2, 2).

        Sample a is (a - 2 (2 half + 1)) / 4 px from the source.
        """
        return self._kept("samples", wavelength, half, matrix, np.asarray)

    def transform(self, wavelength: float, half: int, matrix: F64) -> C128:
        """Fourier transform, by `numpy.fft.rfft2`, of `samples`."""
        return self._kept("transform", wavelength, half, matrix, np.fft.rfft2)

    def _kept(self, kind: str, wavelength: float, half: int, matrix: F64, make: Callable[[F64], Any]) -> Any:
        # The PSF is a few pixels wide: neighbours on the detector share it.
        near = np.round(matrix / MATRIX_STEP) * MATRIX_STEP
        key = (kind, round(wavelength, 4), half, *near.ravel())
        if key not in self._cache:
            self._cache[key] = make(self._sampled(wavelength, half, near))
        return self._cache[key]

    def _sampled(self, wavelength: float, half: int, matrix: F64) -> F64:
        from scipy.ndimage import gaussian_filter, map_coordinates

        place = float(np.interp(wavelength, self.wavelengths, np.arange(len(self.wavelengths))))
        low = min(int(place), len(self.wavelengths) - 2)
        plane = self.values[low] + (place - low) * (self.values[low + 1] - self.values[low])
        if self.blur:
            plane = gaussian_filter(plane, self.blur * PSF_OVERSAMPLE)
        count = PSF_OVERSAMPLE * (2 * half + 1)
        axis = np.arange(count) - count // 2
        inverse = np.linalg.inv(matrix)
        y, x = np.meshgrid(axis, axis, indexing="ij")
        centre = plane.shape[0] // 2
        at = [centre + inverse[1, 0] * x + inverse[1, 1] * y, centre + inverse[0, 0] * x + inverse[0, 1] * y]
        return np.asarray(map_coordinates(plane, at, order=3, mode="constant")) * abs(np.linalg.det(inverse))


def _with_wings(core: ArrayLike, wings: ArrayLike) -> F64:
    """The core's samples with the azimuthal mean around it, joined without a step over its outermost two pixels."""
    inner = np.asarray(core, dtype=np.float64) * PSF_UNIT
    side, profile = round(inner.size**0.5), np.asarray(wings, dtype=np.float64)
    radii = np.arange(len(profile)) / 2
    half = int(radii[-1]) * PSF_OVERSAMPLE
    axis = np.arange(-half, half + 1) / PSF_OVERSAMPLE
    radius = np.hypot(*np.meshgrid(axis, axis))
    # Light beyond the table is left out: interp would go on with its last value.
    result = np.where(radius <= radii[-1], np.interp(radius, radii, profile), 0)
    cut = (slice(half - side // 2, half + side // 2 + 1),) * 2
    share = np.clip((side / 2 / PSF_OVERSAMPLE - radius[cut]) / 2.0, 0, 1)
    result[cut] = share * inner.reshape(side, side) + (1 - share) * result[cut]
    return np.asarray(result)


def _centred(values: F64) -> F64:
    """The PSF with the centroid of its core on the middle sample: catalogues give centroids."""
    from scipy.ndimage import shift

    middle, reach = values.shape[0] // 2, CENTRE_HALF_PX * PSF_OVERSAMPLE
    axis = np.arange(-reach, reach + 1)
    moved = values
    total = np.zeros(2)
    for _ in range(3):
        core = moved[middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
        total -= (core.sum(axis=1) @ axis / core.sum(), core.sum(axis=0) @ axis / core.sum())
        moved = shift(values, total, order=3, mode="nearest")
    return np.asarray(moved)


# --- stamps ---------------------------------------------------------------------------------------------


def half_size(shape: Shape, brightness: float) -> int:
    """Half size [px] of a stamp, of HALVES.

    Parameters
    ----------
    brightness
        Electrons of the source in the brightest pixel row of its trace, over that row's noise in one pixel.
    """
    # Summed along the dispersion, the PSF has 0.5 % of the light per px at 5 px, and falls by r^-2.
    wings = max(5 * np.sqrt(max(0.1 * brightness, 0.0)), 4.0) + 3.0 * shape.major
    return next((h for h in HALVES if h >= wings), HALVES[-1])


def stamps_of_samples(planes: Sequence[F64], half: int, slopes: ArrayLike | None = None) -> Stamps:
    """Stamps from fine samples of pixel-integrated profiles.

    Parameters
    ----------
    planes
        Each (4 (2 half + 1), same), sample a being (a - 2 (2 half + 1)) / 4 px from the source.
    slopes
        By which they are sheared, if they are (`Stamps`).
    """
    step = PSF_OVERSAMPLE // OVER
    return _stamps(np.asarray(planes, dtype=np.float64)[:, ::step, ::step], half, slopes)


def _stamps(values: F64, half: int, slopes: ArrayLike | None) -> Stamps:
    """Stamps from (planes, OVER (2 half + 1), same) values of a profile, the source half a stamp from the first.

    The kernel wants coefficients of a quintic B-spline, by which it interpolates between the samples: the first of them
    is that of the place row - 1 + 1 / OVER, with row = -half.
    """
    kept = np.ascontiguousarray(values)
    factors = None if slopes is None else factored(kept, OVER)
    matrix = spline_matrix(values.shape[1])
    return Stamps(matrix @ kept @ matrix.T if factors is None else factors, (OVER, OVER), -half, -half, slopes)


def source_stamps(
    psf: SpectralPsf,
    shape: Shape,
    wavelengths: ArrayLike,
    matrices: ArrayLike,
    half: int,
    slopes: ArrayLike | None = None,
) -> Stamps:
    """A source's stamps on the dispersed image, one plane for each wavelength.

    Parameters
    ----------
    wavelengths
        (m,) [um].
    matrices
        (m, 2, 2) from undispersed to dispersed offsets at those wavelengths (`TraceModel.jacobian`).
    half
        Half size of the stamps [px].
    slopes
        (m,) slopes of the trace at those wavelengths, for stamps that are sheared by them (`straight_slopes`).
    """
    local = np.asarray(matrices, dtype=np.float64)
    if slopes is not None:
        local = shears(slopes) @ local
    places = list(zip(np.atleast_1d(wavelengths), local, strict=True))
    if shape.half_light == 0:
        return stamps_of_samples([psf.samples(float(w), half, matrix) for w, matrix in places], half, slopes)
    count = PSF_OVERSAMPLE * (2 * half + 1)
    ky = 2 * np.pi * np.fft.fftfreq(count, 1 / PSF_OVERSAMPLE)[:, None]
    kx = 2 * np.pi * np.fft.rfftfreq(count, 1 / PSF_OVERSAMPLE)[None, :]
    spectra = np.empty((len(places), count, count // 2 + 1), dtype=np.complex128)
    for spectrum, (wavelength, m) in zip(spectra, places, strict=True):
        # An image whose offsets go through A has its transform at A^T k.
        profile = shape.transform(m[0, 0] * kx + m[1, 0] * ky, m[0, 1] * kx + m[1, 1] * ky)
        np.multiply(psf.transform(float(wavelength), half, m), profile, out=spectrum)
    return _stamps(_values(spectra), half, slopes)


def _values(spectra: C128) -> F64:
    """Every second sample (planes, n / 2, n / 2) of what has the transforms (planes, n, n / 2 + 1), n / 2 being even.

    Of every second sample, the transform is the sum of the frequencies that the others tell apart.
    """
    assert PSF_OVERSAMPLE == 2 * OVER
    half = spectra.shape[1] // 2
    rows = np.fft.ifft(spectra[:, :half] + spectra[:, half:], axis=1) / 2
    folded = rows[:, :, : half // 2 + 1] + rows[:, :, half : half - half // 2 - 1 : -1].conj()
    return np.asarray(np.fft.irfft(folded, n=half, axis=2) / 2)


def shears(slopes: ArrayLike) -> F64:
    """Matrices (m, 2, 2) by which offsets from a source are sheared for a trace of these slopes dx/dy, (m,)."""
    result = np.broadcast_to(np.eye(2), (np.size(slopes), 2, 2)).copy()
    result[:, 0, 1] = -np.asarray(slopes, dtype=np.float64)
    return result
