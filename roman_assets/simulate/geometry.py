"""Pointing and distortion of the simulated detectors, in numpy, and the gWCS that says the same in a file.

A detector maps a pixel to the tangent plane of its own reference point: centre, rotate and scale, then a
cubic distortion of a few tenths of a pixel. gwcs 1.0.3 cannot invert such a transform, so the inverse is
Newton's here. Pixels are 0-based with integers at the centres, angles in degrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.survey.instrument import PIXEL_ARCSEC

Array = NDArray[np.float64]

#: Distortion in pixels at one thousand pixels from the reference pixel, per monomial (power of u, power of
#: v).
DISTORTION_X = {(2, 0): 0.31, (1, 1): -0.22, (0, 2): 0.12, (3, 0): 0.06, (1, 2): -0.05}
DISTORTION_Y = {(2, 0): -0.15, (1, 1): 0.27, (0, 2): -0.18, (2, 1): 0.05, (0, 3): -0.04}
_UNIT_PX = 1000.0


@dataclass(frozen=True)
class DetectorFrame:
    """Where one exposure of one detector looks.

    Attributes
    ----------
    ra, dec
        Sky position of the reference pixel, degrees ICRS.
    x_ref, y_ref
        Reference pixel, dither included.
    roll
        Position angle of the detector's +y axis, degrees east of north.
    """

    ra: float
    dec: float
    x_ref: float
    y_ref: float
    roll: float

    def _linear(self) -> Array:
        """Degrees (xi east, eta north) per pixel (x, y); east is on the left when north is up."""
        angle = np.radians(self.roll)
        scale = PIXEL_ARCSEC / 3600.0
        c, s = np.cos(angle), np.sin(angle)
        return scale * np.array([[-c, s], [s, c]])

    def polynomial(self) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
        """Coefficients of xi and eta [degrees] over monomials of (x - x_ref, y - y_ref)."""
        linear = self._linear()
        xi: dict[tuple[int, int], float] = {(1, 0): linear[0, 0], (0, 1): linear[0, 1]}
        eta: dict[tuple[int, int], float] = {(1, 0): linear[1, 0], (0, 1): linear[1, 1]}
        for column, terms in ((0, DISTORTION_X), (1, DISTORTION_Y)):
            for power, value in terms.items():
                pixels = value / _UNIT_PX ** sum(power)
                xi[power] = xi.get(power, 0.0) + linear[0, column] * pixels
                eta[power] = eta.get(power, 0.0) + linear[1, column] * pixels
        return xi, eta

    def to_plane(self, x: Array, y: Array) -> tuple[Array, Array]:
        """Tangent-plane coordinates (xi, eta), degrees, of pixels."""
        u, v = np.asarray(x, float) - self.x_ref, np.asarray(y, float) - self.y_ref
        xi, eta = self.polynomial()
        return _evaluate(xi, u, v), _evaluate(eta, u, v)

    def to_sky(self, x: Array, y: Array) -> tuple[Array, Array]:
        """ICRS right ascension and declination, degrees, of pixels."""
        return plane_to_sky(*self.to_plane(x, y), self.ra, self.dec)

    def to_pixel(self, ra: Array, dec: Array) -> tuple[Array, Array]:
        """Pixels of ICRS positions, by Newton's method to 1e-10 px; RuntimeError if it does not converge."""
        xi, eta = sky_to_plane(np.asarray(ra, float), np.asarray(dec, float), self.ra, self.dec)
        inverse = np.linalg.inv(self._linear())
        u = inverse[0, 0] * xi + inverse[0, 1] * eta
        v = inverse[1, 0] * xi + inverse[1, 1] * eta
        for _ in range(20):
            now_xi, now_eta = self.to_plane(u + self.x_ref, v + self.y_ref)
            du = inverse[0, 0] * (xi - now_xi) + inverse[0, 1] * (eta - now_eta)
            dv = inverse[1, 0] * (xi - now_xi) + inverse[1, 1] * (eta - now_eta)
            u, v = u + du, v + dv
            if max(np.max(np.abs(du), initial=0.0), np.max(np.abs(dv), initial=0.0)) < 1e-10:
                return u + self.x_ref, v + self.y_ref
        raise RuntimeError("the distortion could not be inverted: positions too far off the detector")

    def footprint(self, shape: tuple[int, int]) -> str:
        """`POLYGON ICRS` region of an image's outer pixel edges, counter-clockwise seen from inside the
        sphere.
        """
        ny, nx = shape
        x = np.array([-0.5, nx - 0.5, nx - 0.5, -0.5])
        y = np.array([-0.5, -0.5, ny - 0.5, ny - 0.5])
        ra, dec = self.to_sky(x, y)
        numbers = " ".join(f"{a:.9f} {d:.9f}" for a, d in zip(ra, dec, strict=True))
        return f"POLYGON ICRS {numbers}"


def _evaluate(terms: dict[tuple[int, int], float], u: Array, v: Array) -> Array:
    total = np.zeros(np.broadcast(u, v).shape)
    for (p, q), value in terms.items():
        total = total + value * u**p * v**q
    return total


def plane_to_sky(xi: Array, eta: Array, ra0: float, dec0: float) -> tuple[Array, Array]:
    """Inverse gnomonic projection; all in degrees (Calabretta & Greisen 2002, sections 2.3 and 5.1.3)."""
    a, b, d0 = np.radians(xi), np.radians(eta), np.radians(dec0)
    north = np.cos(d0) - b * np.sin(d0)
    ra = ra0 + np.degrees(np.arctan2(a, north))
    dec = np.degrees(np.arctan2(np.sin(d0) + b * np.cos(d0), np.hypot(a, north)))
    return np.mod(ra, 360.0), dec


def sky_to_plane(ra: Array, dec: Array, ra0: float, dec0: float) -> tuple[Array, Array]:
    """Gnomonic projection on the plane touching the sphere at (ra0, dec0); all in degrees."""
    da, d, d0 = np.radians(np.asarray(ra) - ra0), np.radians(dec), np.radians(dec0)
    depth = np.sin(d) * np.sin(d0) + np.cos(d) * np.cos(d0) * np.cos(da)
    xi = np.cos(d) * np.sin(da) / depth
    eta = (np.sin(d) * np.cos(d0) - np.cos(d) * np.sin(d0) * np.cos(da)) / depth
    return np.degrees(xi), np.degrees(eta)


def build_gwcs(frame: DetectorFrame) -> Any:
    """gwcs.WCS from 0-based pixels to ICRS degrees, the same transform as `DetectorFrame.to_sky`."""
    import gwcs
    from astropy import coordinates, units
    from astropy.modeling import models
    from gwcs import coordinate_frames as frames

    def polynomial(terms: dict[tuple[int, int], float]) -> Any:
        return models.Polynomial2D(3, **{f"c{p}_{q}": value for (p, q), value in terms.items()})

    xi, eta = frame.polynomial()
    transform = (
        models.Shift(-frame.x_ref) & models.Shift(-frame.y_ref)
        | models.Mapping((0, 1, 0, 1))
        | polynomial(xi) & polynomial(eta)
        | models.Pix2Sky_TAN()
        | models.RotateNative2Celestial(frame.ra, frame.dec, 180.0)
    )
    pixels = frames.Frame2D(name="detector", axes_order=(0, 1), unit=(units.pix, units.pix))
    sky = frames.CelestialFrame(reference_frame=coordinates.ICRS(), name="world", unit=(units.deg, units.deg))
    return gwcs.WCS([(pixels, transform), (sky, None)])
