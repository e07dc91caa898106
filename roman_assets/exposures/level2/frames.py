"""Exposures prepared for fitting: which pixels count, their noise model, and where the sky falls on them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.ramps import JUMP_DET, judge_ramps
from roman_assets.exposures.level2.reader import Image

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


@dataclass(frozen=True)
class PixelMap:
    """Sky to pixel of one exposure: a polynomial fitted to the exposure's own gWCS.

    gWCS transforms forward only (its inversion fails on these files); sampling it on a grid of pixels and
    fitting pixel positions as polynomials of tangent-plane coordinates gives the inverse, to `accuracy`.
    """

    ra0: float
    dec0: float
    scale: float  # tangent plane [rad] to about unit range
    exponents: NDArray[np.int64]
    coefficients: F64  # (terms, 2)
    accuracy: float  # largest error on an independent grid [px]

    def __call__(self, ra: F64, dec: F64) -> tuple[F64, F64]:
        """Pixel coordinates x, y [0-based px] of ICRS positions [deg]."""
        xi, eta = tangent_plane(ra, dec, self.ra0, self.dec0)
        u, v = xi / self.scale, eta / self.scale
        degree = int(self.exponents.max())
        grid = np.zeros((degree + 1, degree + 1, 2))
        grid[self.exponents[:, 0], self.exponents[:, 1]] = self.coefficients
        pixels = []
        for axis in range(2):
            total = np.zeros_like(u)
            for i in range(degree, -1, -1):  # Horner in u, with coefficients that are polynomials in v
                inner = np.full_like(v, grid[i, degree - i, axis])
                for j in range(degree - i - 1, -1, -1):
                    inner = inner * v + grid[i, j, axis]
                total = total * u + inner
            pixels.append(total)
        return pixels[0], pixels[1]


def tangent_plane(ra: F64, dec: F64, ra0: float, dec0: float) -> tuple[F64, F64]:
    """Gnomonic projection (xi, eta) [rad] of positions [deg] about (ra0, dec0) [deg]."""
    da, d, d0 = np.deg2rad(ra - ra0), np.deg2rad(dec), np.deg2rad(dec0)
    cos_c = np.sin(d0) * np.sin(d) + np.cos(d0) * np.cos(d) * np.cos(da)
    xi = np.cos(d) * np.sin(da) / cos_c
    eta = (np.cos(d0) * np.sin(d) - np.sin(d0) * np.cos(d) * np.cos(da)) / cos_c
    return xi, eta


def _terms(u: F64, v: F64, exponents: NDArray[np.int64]) -> F64:
    degree = int(exponents.max())
    pu = np.stack([u**k for k in range(degree + 1)])
    pv = np.stack([v**k for k in range(degree + 1)])
    return (pu[exponents[:, 0]] * pv[exponents[:, 1]]).T


def sky_of(wcs: Any, x: F64, y: F64) -> tuple[F64, F64]:
    """ICRS position [deg] of pixels through a gWCS."""
    ra, dec = wcs(x, y)
    return np.asarray(ra, dtype=np.float64), np.asarray(dec, dtype=np.float64)


def pixel_map(wcs: Any, shape: tuple[int, int], *, margin: float = 40.0, degree: int = 5) -> PixelMap:
    """Fit the sky-to-pixel polynomial of a gWCS over an image (ny, nx) and `margin` pixels around it.

    Raises
    ------
    InputError
        The WCS is degenerate, or no polynomial reproduces it to 0.001 px.
    """
    ny, nx = shape

    def grid(count: int) -> tuple[F64, F64]:
        gx, gy = np.meshgrid(np.linspace(-margin, nx + margin, count), np.linspace(-margin, ny + margin, count))
        return gx.ravel(), gy.ravel()

    ra0, dec0 = (float(v[0]) for v in sky_of(wcs, np.array([nx / 2.0]), np.array([ny / 2.0])))
    x, y = grid(16)
    xi, eta = tangent_plane(*sky_of(wcs, x, y), ra0, dec0)
    if not np.isfinite([ra0, dec0]).all() or not (np.isfinite(xi).all() and np.ptp(xi) > 0 and np.ptp(eta) > 0):
        raise InputError("the WCS is degenerate", field="meta.wcs", remedy="ask for the exposure to be reprocessed")
    scale = float(max(np.abs(xi).max(), np.abs(eta).max()))
    exponents = np.array([(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)])
    terms = _terms(xi / scale, eta / scale, exponents)
    solution, *_ = np.linalg.lstsq(terms, np.stack([x, y], axis=1), rcond=None)
    coefficients = np.asarray(solution, dtype=np.float64)
    trial = PixelMap(ra0, dec0, scale, exponents, coefficients, 0.0)
    x, y = grid(11)
    px, py = trial(*sky_of(wcs, x, y))
    accuracy = float(np.max(np.hypot(px - x, py - y)))
    if not accuracy < 1e-3:
        raise InputError(
            f"the WCS cannot be inverted to better than {accuracy:.2g} px",
            field="meta.wcs",
            remedy="ask for the exposure to be reprocessed",
        )
    return PixelMap(ra0, dec0, scale, exponents, coefficients, accuracy)


@dataclass(frozen=True)
class _Moved:
    """A gWCS whose pixel (0, 0) is (x0, y0) of `wcs`."""

    wcs: Any
    x0: int
    y0: int

    def __call__(self, x: F64, y: F64) -> Any:
        return self.wcs(np.asarray(x) + self.x0, np.asarray(y) + self.y0)


@dataclass
class Frame:
    """One exposure ready to be fitted.

    data (ny, nx) float32 [DN/s], 0 where unusable; good (ny, nx) bool; read_variance and
    poisson_slope (ny, nx) float32: variance [(DN/s)^2] = read_variance + poisson_slope * model [DN/s]. saturated: pixels
    whose light is lost; those that saturated late are good, with the noise of what is left of their ramps.
    v3yangle [deg] as the header says, None without. saturation_unclear: whether pixels were left out because they are
    flagged SATURATED and nothing in the file tells which of their slopes are right.
    """

    name: str
    mjd: float
    detector: str
    optical_element: str
    data: F32
    good: NDArray[np.bool_]
    read_variance: F32
    poisson_slope: F32
    to_pixels: PixelMap
    wcs: Any = field(repr=False)
    saturated: NDArray[np.bool_] = field(repr=False)
    jacobian: F64 = field(default_factory=lambda: np.eye(2))  # d(this frame) / d(reference frame)
    v3yangle: float | None = None
    saturation_unclear: bool = False

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.data.shape[0], self.data.shape[1]

    def weight(self, model: NDArray[Any], floor: float) -> F32:
        """1 / variance of each usable pixel given the model image [DN/s]; 0 elsewhere.

        The Poisson part follows the model, not the data: weights from noisy data bias fluxes low.
        `floor` is the relative error of the model itself (an imperfect ePSF), added in quadrature.
        """
        positive = np.maximum(model, 0)
        variance = self.read_variance + self.poisson_slope * positive + (floor * positive) ** 2
        return np.where(self.good, 1.0 / variance, 0).astype(np.float32)

    def cut(self, x0: int, y0: int, nx: int, ny: int) -> Frame:
        """A window of (ny, nx) px whose first pixel is (x0, y0) here; what lies outside the array is not good."""
        height, width = self.shape
        inside = (slice(max(y0, 0), min(y0 + ny, height)), slice(max(x0, 0), min(x0 + nx, width)))
        into = tuple(slice(s.start - o, s.stop - o) for s, o in zip(inside, (y0, x0), strict=True))

        def part(image: NDArray[Any], empty: float) -> NDArray[Any]:
            result = np.full((ny, nx), empty, dtype=image.dtype)
            if all(s.start < s.stop for s in inside):
                result[into] = image[inside]
            return result

        moved = self.to_pixels.coefficients.copy()
        moved[(self.to_pixels.exponents == 0).all(axis=1)] -= (x0, y0)
        return replace(
            self,
            data=part(self.data, 0),
            good=part(self.good, False),
            read_variance=part(self.read_variance, 1),
            poisson_slope=part(self.poisson_slope, 0),
            saturated=part(self.saturated, False),
            to_pixels=replace(self.to_pixels, coefficients=moved),
            wcs=_Moved(self.wcs, x0, y0),
        )


def prepare(image: Image) -> Frame:
    """A `Frame` from a Level 2 image: mask, noise model by pixel class, sky-to-pixel map.

    Raises
    ------
    InputError
        Too few usable pixels, or an unusable WCS or error array.
    """
    header = image.header
    ramps = judge_ramps(image.data, image.var_poisson, image.dq, image.resultants)
    good = ~ramps.unusable & np.isfinite(image.data) & np.isfinite(image.err) & (image.err > 0)
    if good.mean() < 0.05:
        raise InputError(
            f"only {100 * good.mean():.1f} % of the pixels are usable",
            file=header.filename,
            field="dq, err",
            remedy="the exposure cannot be measured; it is left out",
        )
    read_variance = np.empty(image.data.shape, dtype=np.float32)
    slope = np.empty(image.data.shape, dtype=np.float32)
    # The ramp fit has repaired pixels with a jump (a third of a crowded frame): only their noise is larger.
    jump = (image.dq & JUMP_DET) != 0
    for members in (~jump, jump):
        read_variance[members], slope[members] = _noise_of(image, good, members)
    own = ramps.partial & good
    slope[own] = image.var_poisson[own] / image.data[own]
    read_variance[own] = np.maximum(image.err[own] ** 2 - image.var_poisson[own], read_variance[own])
    return Frame(
        header.exposure_id,
        header.mid_mjd,
        header.detector,
        header.optical_element,
        np.where(good, image.data, 0).astype(np.float32),
        good,
        read_variance,
        slope,
        pixel_map(image.wcs, image.data.shape),
        image.wcs,
        ramps.lost,
        v3yangle=image.v3yangle,
        saturation_unclear=ramps.unclear,
    )


def _noise_of(image: Image, good: NDArray[np.bool_], members: NDArray[np.bool_]) -> tuple[float, float]:
    """Median read variance and Poisson slope of one class of pixels (with or without a jump)."""
    use = good & members
    bright = use & (image.data > 1.0)
    if bright.sum() < 50:
        use, bright = good, good & (image.data > 0)
    poisson = image.var_poisson
    slope = float(np.median(poisson[bright] / image.data[bright])) if bright.any() else 0.0
    read = image.err[use] ** 2 - poisson[use]
    positive = read[read > 0]
    return (float(np.median(positive)) if positive.size else float(np.median(image.err[use] ** 2))), max(slope, 0.0)
