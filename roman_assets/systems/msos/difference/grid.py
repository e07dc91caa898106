"""The season of a pointing on a grid finer than the pixels: matched-filter sums of residuals, bin by bin of time.

Nothing is resampled: at every point of a half-pixel grid the sums run over the pixels of each exposure, with the ePSF
at the point's own sub-pixel phase there. The weighted mean over the season is the oversampled reference; what a bin
has more than that is light that came or went (after Albrow 2024, arXiv:2412.06905, who builds the reference from
dithered pixels, the PSF being stable and undersampled).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame, sky_of
from roman_assets.kernels.grid import BLOCK_PX, GRID, GridSums, add_exposure
from roman_assets.systems.msos.difference.residual import ConstantSky, Registration, residual_image

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
#: Exposures whose offset changes by more than this [px] over a block are turned against the reference.
MAX_TURN_PX = 0.1
#: A point whose most significant exposure lies this many errors off the others of its bin goes without it.
CLIP_SIGMA = 5.0
#: Share of a bin's weight that must be left without it.
CLIP_SHARE = 0.3
#: Exposures that tell how bright the constant stars are at each point.
BRIGHTNESS_EXPOSURES = 4
#: Points over which the brightest counts: an error that follows the starlight must not draw a peak to its flank.
BRIGHTNESS_POINTS = 5


@dataclass(frozen=True)
class ReferenceGrid:
    """Pixels of the reference exposure and the sky below the centres of their blocks.

    shape: (ny, nx) [px]; x, y, ra, dec: (blocks_y, blocks_x) [px], [deg]; wcs and shift: those of the reference.
    """

    shape: tuple[int, int]
    x: F64
    y: F64
    ra: F64
    dec: F64
    wcs: Any
    shift: tuple[float, float]

    @classmethod
    def of(cls, frame: Frame, registration: Registration) -> ReferenceGrid:
        """The grid of an exposure whose photometry found this registration."""
        rows, columns = GridSums.blocks_of(frame.shape)
        x, y = np.meshgrid(BLOCK_PX * (np.arange(columns) + 0.5), BLOCK_PX * (np.arange(rows) + 0.5))
        ra, dec = sky_of(frame.wcs, (x - registration.shift[0]).ravel(), (y - registration.shift[1]).ravel())
        return cls(frame.shape, x, y, ra.reshape(x.shape), dec.reshape(x.shape), frame.wcs, registration.shift)

    def sky(self, x: F64, y: F64) -> tuple[F64, F64]:
        """ICRS position [deg] of reference pixels (n,)."""
        return sky_of(self.wcs, x - self.shift[0], y - self.shift[1])

    def offsets(self, frame: Frame, registration: Registration) -> F64:
        """(2, blocks_y, blocks_x) x and y of an exposure minus those of the reference [px].

        Raises InputError where the exposure is turned against the reference.
        """
        x, y = frame.to_pixels(self.ra.ravel(), self.dec.ravel())
        x, y = x.reshape(self.x.shape) + registration.shift[0], y.reshape(self.y.shape) + registration.shift[1]
        offset = np.stack([x - self.x, y - self.y])
        turn = max(float(np.abs(np.diff(offset, axis=k)).max(initial=0.0)) for k in (1, 2))
        if not turn < MAX_TURN_PX:
            raise InputError(
                f"turned or scaled against the reference by {turn:.2g} px over {BLOCK_PX} px",
                file=frame.name,
                field="meta.wcs",
                remedy="a pointing needs one orientation for a season",
            )
        return offset


def time_bins(mjd: F64, bin_days: float, least: int) -> list[tuple[int, int]]:
    """First and one past the last exposure of each bin: `bin_days` [d] long, and of at least `least` exposures.

    mjd (n,) increases. Fewer exposures than that at the end join the last bin.
    """
    bins: list[tuple[int, int]] = []
    start = 0
    for k in range(1, len(mjd)):
        if k - start >= least and mjd[k] - mjd[start] >= bin_days:
            bins.append((start, k))
            start = k
    if len(mjd) - start >= least or not bins:
        return [*bins, (start, len(mjd))] if len(mjd) else []
    return [*bins[:-1], (bins[-1][0], len(mjd))]


@dataclass
class SeasonCube:
    """signal, norm: (bins, 2 ny, 2 nx) float32 sums w psi r and w psi^2 at the grid points, in memory or on disk.

    brightness: (2 ny, 2 nx) [DN/s] flux that the constant stars alone would show around each point; saturated: (stars,)
    exposures in which a pixel beside the star was saturated; used: exposures that take part.
    """

    grid: ReferenceGrid
    bins: list[tuple[int, int]]
    signal: F32
    norm: F32
    brightness: F32
    saturated: NDArray[np.int64]
    used: NDArray[np.bool_]
    backgrounds: dict[int, F64]

    @classmethod
    def empty(cls, grid: ReferenceGrid, bins: list[tuple[int, int]], stars: int, folder: Path | None) -> SeasonCube:
        """Of no exposure yet; on disk in `folder` where one is given."""
        shape = (len(bins), *(GRID * n for n in grid.shape))

        def array(name: str) -> F32:
            if folder is None:
                return np.zeros(shape, dtype=np.float32)
            return np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.float32, shape=shape)

        brightness, count = np.zeros(shape[1:], dtype=np.float32), bins[-1][1] if bins else 0
        return cls(
            grid,
            bins,
            array("signal"),
            array("norm"),
            brightness,
            np.zeros(stars, dtype=np.int64),
            np.zeros(count, dtype=bool),
            {},
        )


Load = Callable[[int], tuple[Frame, Registration]]


def fill(cube: SeasonCube, sky: ConstantSky, load: Load, report: Callable[[int, Exception | None], None]) -> None:
    """Fill a cube, exposure by exposure.

    Parameters
    ----------
    load
        Gives an exposure by its number.
    report
        Called with the number of each exposure, and the error that leaves it out; raises an error that is no reason to.
    """
    from scipy.ndimage import maximum_filter

    seen = GridSums.zeros(cube.grid.shape)
    for index, (first, last) in enumerate(cube.bins):
        sums = GridSums.zeros(cube.grid.shape)
        for number in range(first, last):
            try:
                frame, registration = load(number)
                offset = cube.grid.offsets(frame, registration)
                residual = residual_image(frame, sky, registration)
            except Exception as error:
                report(number, error)
                continue
            add_exposure(sums, sky.psf.field, residual.geometry, offset, residual.image, residual.weight)
            if len(cube.backgrounds) < BRIGHTNESS_EXPOSURES:
                starlight = residual.geometry.padded(residual.starlight / np.float32(registration.scale))
                add_exposure(seen, sky.psf.field, residual.geometry, offset, starlight, residual.weight)
            cube.saturated += _beside(frame, registration, sky)
            cube.used[number], cube.backgrounds[number] = True, residual.sky
            report(number, None)
        cube.signal[index], cube.norm[index] = (_points(v, cube.grid.shape) for v in _clipped(sums))
    with np.errstate(divide="ignore", invalid="ignore"):
        brightness = np.nan_to_num(_points(seen.signal / seen.norm, cube.grid.shape))
    cube.brightness[:] = maximum_filter(brightness, size=BRIGHTNESS_POINTS)


def _clipped(sums: GridSums) -> tuple[F32, F32]:
    """Sums of a bin, at each point without an exposure that has nothing in common with the others: a cosmic ray."""
    rest, left = sums.signal - sums.top_signal, sums.norm - sums.top_norm
    with np.errstate(divide="ignore", invalid="ignore"):
        pull = (sums.top_signal / sums.top_norm - rest / left) / np.sqrt(1 / sums.top_norm + 1 / left)
        drop = (np.abs(pull) > CLIP_SIGMA) & (left > CLIP_SHARE * sums.norm)
    return np.where(drop, rest, sums.signal), np.where(drop, left, sums.norm)


def _points(planes: F32, shape: tuple[int, int]) -> F32:
    """The grid points of (ny, nx) px in order, (2 ny, 2 nx), from the planes of the kernel."""
    rows = np.moveaxis(planes, (0, 1), (1, 3)).reshape(GRID * planes.shape[2], GRID * planes.shape[3])
    return np.ascontiguousarray(rows[: GRID * shape[0], : GRID * shape[1]])


def _beside(frame: Frame, registration: Registration, sky: ConstantSky) -> NDArray[np.int64]:
    """1 for stars with a saturated pixel in the 3 x 3 px around them, (n,)."""
    from scipy.ndimage import maximum_filter

    ny, nx = frame.shape
    near = maximum_filter(frame.saturated, size=3)
    x, y = frame.to_pixels(sky.ra, sky.dec)
    column, row = np.rint(x + registration.shift[0]), np.rint(y + registration.shift[1])
    inside = (column >= 0) & (column < nx) & (row >= 0) & (row < ny)
    found = np.zeros(len(sky.ra), dtype=np.int64)
    found[inside] = near[row[inside].astype(int), column[inside].astype(int)]
    return found


def saturating(cube: SeasonCube) -> NDArray[np.bool_]:
    """Stars that saturate, (n,): a cosmic ray does it once or twice, a star again and again."""
    return np.asarray(cube.saturated > max(2.0, 0.05 * float(cube.used.sum())))
