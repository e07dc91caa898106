"""Kernel of the difference search: the matched filter of exposures on a grid of two points a pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from roman_assets.errors import InputError
from roman_assets.kernels.arrays import MOST_PIXELS, array, count, elements, finite, weights, writable
from roman_assets.kernels.call import check, lib, pointer, vector_level
from roman_assets.kernels.exposure import PsfField
from roman_assets.kernels.photometry import F32, PaddedFrame

#: Side of the blocks that share one offset [px], and grid points per pixel and axis (csrc/grid_sums.h).
BLOCK_PX, GRID = 16, 2


@dataclass(frozen=True)
class GridSums:
    """Sums of several exposures at every point of a grid, (2, 2, ny, nx) float32 each.

    Element (sy, sx, y, x) is the point (x + sx / 2, y + sy / 2) [px] of the reference frame. signal: sum w psi r;
    norm: sum w psi^2; top_signal, top_norm: those of the exposure with the largest |signal| / sqrt(norm).
    """

    signal: F32
    norm: F32
    top_signal: F32
    top_norm: F32

    @classmethod
    def zeros(cls, shape: tuple[int, int]) -> GridSums:
        """Of no exposure yet, for a reference frame of (ny, nx) px, rounded up to whole blocks.

        Raises
        ------
        InputError
            A size is negative or too large.
        """
        ny, nx = (BLOCK_PX * n for n in cls.blocks_of(shape))
        elements("shape", GRID, GRID, ny, nx)
        return cls(*(np.zeros((GRID, GRID, ny, nx), dtype=np.float32) for _ in range(4)))

    @staticmethod
    def blocks_of(shape: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of blocks over (ny, nx) px."""
        ny, nx = (count("shape", n, 0, MOST_PIXELS) for n in shape)
        return -(-ny // BLOCK_PX), -(-nx // BLOCK_PX)

    @property
    def blocks(self) -> tuple[int, int]:
        """Rows and columns of blocks."""
        return self.signal.shape[2] // BLOCK_PX, self.signal.shape[3] // BLOCK_PX


def _check_sums(sums: GridSums) -> None:
    shape = writable("sums", sums.signal, np.float32, (GRID, GRID, None, None)).shape
    if shape[2] % BLOCK_PX or shape[3] % BLOCK_PX:
        raise InputError(f"sums of shape {shape}", field="sums", remedy="make them with GridSums.zeros")
    for values in (sums.signal, sums.norm, sums.top_signal, sums.top_norm):
        writable("sums", values, np.float32, shape)


def add_exposure(
    sums: GridSums, psf: PsfField, frame: PaddedFrame, offset: ArrayLike, residual: ArrayLike, weight: ArrayLike
) -> None:
    """Add an exposure to the sums, in place.

    Parameters
    ----------
    offset
        (2, *sums.blocks) x and y of the exposure minus those of the reference frame at each block [px].
    residual, weight
        Padded images frame.shape, float32, [DN/s] and [1/(DN/s)^2]; weight 0 masks a pixel.

    Raises
    ------
    InputError
        Shapes disagree, an offset or value is not finite, or a weight is negative.
    """
    _check_sums(sums)
    shift = array("offset", offset, np.float64, (2, *sums.blocks))
    image = array("residual", residual, np.float32, frame.shape)
    wgt = array("weight", weight, np.float32, frame.shape)
    with np.errstate(over="ignore", invalid="ignore"):
        signal = image * wgt
    weights(weight=wgt)
    finite(offset=shift, residual=signal)
    outputs = [pointer(v) for v in (sums.signal, sums.norm, sums.top_signal, sums.top_norm)]
    status = lib.roman_grid_sums(
        psf.struct,
        frame.struct,
        *sums.blocks,
        pointer(shift[0]),
        pointer(shift[1]),
        pointer(signal),
        pointer(wgt),
        *outputs,
        vector_level(),
    )
    check(status, "grid_sums")
