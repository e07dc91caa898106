"""A stack of exposures of one pointing, never resampled: where stars and grid points fall on each of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame, sky_of
from roman_assets.kernels.photometry import PaddedFrame, Stars, render
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf
from roman_assets.systems.msos.psf.far_light import far_light
from roman_assets.systems.msos.psf.stamps import HALF_SIZES, placed, sky_basis, stamp_halves

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
#: Grid points per pixel of the detection map, and how far it reaches over the edge [px].
DETECTION_GRID, DETECTION_MARGIN = 2, 6


@dataclass
class StarList:
    """Stars in the pixel frame of the first exposure: x, y [px], flux [DN/s]; all (n,)."""

    x: F64
    y: F64
    flux: F64

    def __len__(self) -> int:
        return len(self.x)

    def take(self, keep: NDArray[np.bool_]) -> StarList:
        """The stars where `keep`."""
        return StarList(self.x[keep], self.y[keep], self.flux[keep])

    def joined(self, other: StarList) -> StarList:
        """Both lists."""
        return StarList(*(np.concatenate([getattr(self, k), getattr(other, k)]) for k in ("x", "y", "flux")))


class Stack:
    """The exposures of a catalogue, and the mapping of the first one's pixels onto each.

    changing: stars whose flux differs between the exposures, by so much [DN/s]: where their light is, it counts as noise.
    """

    def __init__(self, frames: Sequence[Frame]) -> None:
        if not frames:
            raise InputError("no exposure to build a catalogue from", remedy="ingest exposures of the season first")
        shapes = {f.shape for f in frames}
        if len(shapes) > 1:
            raise InputError(f"exposures of different shapes {sorted(shapes)}", remedy="stack one sub-array at a time")
        self.frames = list(frames)
        self.geometry = PaddedFrame(*frames[0].shape)
        self.basis = sky_basis(self.geometry)
        self.data = np.stack([self.geometry.padded(f.data) for f in frames])
        noise = [np.median(f.read_variance + f.poisson_slope * np.maximum(np.median(f.data), 0)) for f in frames]
        self.noise = float(np.sqrt(np.median(noise)))
        self.changing = StarList(*(np.empty(0) for _ in range(3)))
        for frame in self.frames:
            frame.jacobian = self._jacobian(frame)

    @cached_property
    def detection_points(self) -> tuple[F64, F64, list[Stars]]:
        """Detection grid, (rows, cols) x and y in the reference frame, and its place in every exposure."""
        ny, nx = self.frames[0].shape
        gx, gy = np.meshgrid(
            np.arange(-DETECTION_MARGIN * DETECTION_GRID, (nx + DETECTION_MARGIN) * DETECTION_GRID) / DETECTION_GRID,
            np.arange(-DETECTION_MARGIN * DETECTION_GRID, (ny + DETECTION_MARGIN) * DETECTION_GRID) / DETECTION_GRID,
        )
        points = StarList(gx.ravel(), gy.ravel(), np.zeros(gx.size))
        return gx, gy, self.positions(points, np.full(gx.size, 3, dtype=np.int32))

    def residual(self, stars: StarList, psf: EffectivePsf, sky: F64) -> F32:
        """(exposures, *padded shape) data minus model [DN/s]."""
        halves = stamp_halves(stars.flux, self.noise, psf)
        result = self.data - np.tensordot(sky, self.basis, axes=1).astype(np.float32)
        for index, where in enumerate(self.positions(stars, halves)):
            render(psf.spline, self.geometry, where, -stars.flux, result[index])
            result[index] -= far_light(psf, self.geometry, where, stars.flux, self.noise)
        return result

    def without_far_light(self, stars: StarList, psf: EffectivePsf, where: list[Stars]) -> F32:
        """The exposures without what the stars add beyond their stamps, (exposures, *padded shape) [DN/s]."""
        return np.stack(
            [
                data - far_light(psf, self.geometry, at, stars.flux, self.noise)
                for data, at in zip(self.data, where, strict=True)
            ]
        )

    def sky(self, x: F64, y: F64) -> tuple[F64, F64]:
        """ICRS position [deg] of reference pixels."""
        return sky_of(self.frames[0].wcs, x, y)

    def _jacobian(self, frame: Frame) -> F64:
        ny, nx = frame.shape
        cx, cy = nx / 2.0, ny / 2.0
        x, y = frame.to_pixels(*self.sky(np.array([cx - 5, cx + 5, cx, cx]), np.array([cy, cy, cy - 5, cy + 5])))
        return np.array([[x[1] - x[0], x[3] - x[2]], [y[1] - y[0], y[3] - y[2]]]) / 10.0

    def positions(self, stars: StarList, halves: NDArray[np.int32]) -> list[Stars]:
        """The stars in every exposure; those that fall outside an image are kept at its far margin."""
        ra, dec = self.sky(stars.x, stars.y)
        return [placed(self.geometry, *frame.to_pixels(ra, dec), halves) for frame in self.frames]

    def weights(self, stars: StarList, psf: EffectivePsf, sky: F64, floor: float) -> F32:
        """(exposures, *padded shape) weights from the present model."""
        halves = stamp_halves(stars.flux, self.noise, psf)
        weights = np.zeros_like(self.data)
        for index, where in enumerate(self.positions(stars, halves)):
            background = np.tensordot(sky[index], self.basis, axes=1).astype(np.float32)
            model = render(psf.spline, self.geometry, where, np.maximum(stars.flux, 0), background)
            weights[index][self.geometry.inner] = self.frames[index].weight(model[self.geometry.inner], floor)
        if len(self.changing):
            far = np.full(len(self.changing), HALF_SIZES[-1], dtype=np.int32)
            for index, where in enumerate(self.positions(self.changing, far)):
                empty = np.zeros(self.geometry.shape, dtype=np.float32)
                light = render(psf.spline, self.geometry, where, self.changing.flux, empty)
                weights[index] /= 1.0 + weights[index] * light * light
        return weights
