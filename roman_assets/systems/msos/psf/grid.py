"""The ePSFs of a detector: one for each square cell of it, because the optics change over the field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.kernels.exposure import PsfField
from roman_assets.kernels.photometry import PaddedFrame, Stars, matched_sums, position_sums, render
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf, reference_psf

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
#: Frames up to this many times the side of a cell are one cell.
ONE_CELL = 1.25


def cells_of(shape: tuple[int, int], cell_px: int) -> tuple[int, int]:
    """Rows and columns of cells over an image (ny, nx) [px]; the last ones reach to the edge."""
    if max(shape) <= ONE_CELL * cell_px:
        return 1, 1
    ny, nx = (max(1, round(n / cell_px)) for n in shape)
    return ny, nx


@dataclass(frozen=True)
class DetectorPsf:
    """ePSFs of the cells, row by row from pixel (0, 0) on, and the side of a cell [px].

    All have one size and oversampling; with one cell the results are those of its ePSF bit for bit.
    """

    rows: tuple[tuple[EffectivePsf, ...], ...]
    cell_px: float

    @classmethod
    def of(cls, psf: EffectivePsf | DetectorPsf) -> DetectorPsf:
        """One ePSF for the whole detector, or the grid as it is."""
        return psf if isinstance(psf, DetectorPsf) else cls(((psf,),), 1e9)

    @cached_property
    def cells(self) -> tuple[EffectivePsf, ...]:
        """The ePSFs, row by row."""
        return tuple(psf for row in self.rows for psf in row)

    @property
    def first(self) -> EffectivePsf:
        """The ePSF of the first cell: what is the same for all is asked of it."""
        return self.cells[0]

    @cached_property
    def field(self) -> PsfField:
        """The form the kernel of forced photometry uses; InputError where the ePSFs do not agree in size."""
        if len(self.cells) == 1:
            return PsfField.of(self.first.spline)
        return PsfField([[psf.spline for psf in row] for row in self.rows], self.cell_px)

    @property
    def origin(self) -> str:
        """Where the shapes come from; several sources joined by a comma."""
        return ", ".join(sorted({psf.origin for psf in self.cells}))

    @property
    def normalisation(self) -> str:
        """Where the total flux comes from."""
        return ", ".join(sorted({psf.normalisation for psf in self.cells}))

    @property
    def sharpness(self) -> float:
        """Mean of the cells' sharpness [1 / px]."""
        return float(np.mean([psf.sharpness for psf in self.cells]))

    def sharpness_of(self, stars: Stars) -> F64:
        """Sharpness of the ePSF of each star, (n,) [1 / px]."""
        return np.array([psf.sharpness for psf in self.cells])[self.field.cell(stars.x, stars.y)]

    def _by_cell(self, stars: Stars) -> Iterator[tuple[EffectivePsf, NDArray[np.int64], Stars]]:
        cell = self.field.cell(stars.x, stars.y)
        for number, psf in enumerate(self.cells):
            chosen = np.flatnonzero(cell == number)
            if chosen.size:
                yield psf, chosen, Stars(stars.x[chosen], stars.y[chosen], stars.half[chosen])

    def render(self, frame: PaddedFrame, stars: Stars, flux: ArrayLike, out: F32) -> F32:
        """The stars (n,) of these fluxes added to `out`, padded, each with the ePSF of its cell."""
        if len(self.cells) == 1:
            return render(self.first.spline, frame, stars, flux, out)
        fluxes = np.asarray(flux, dtype=np.float64)
        for psf, chosen, some in self._by_cell(stars):
            render(psf.spline, frame, some, fluxes[chosen], out)
        return out

    def matched_sums(self, frame: PaddedFrame, stars: Stars, image: F32, weight: F32) -> F64:
        """`kernels.photometry.matched_sums`, (n, 2), with the ePSF of each star's cell."""
        if len(self.cells) == 1:
            return matched_sums(self.first.spline, frame, stars, image, weight)
        sums = np.zeros((len(stars), 2))
        for psf, chosen, some in self._by_cell(stars):
            sums[chosen] = matched_sums(psf.spline, frame, some, image, weight)
        return sums

    def position_sums(self, frame: PaddedFrame, stars: Stars, image: F32, weight: F32) -> F64:
        """`kernels.photometry.position_sums`, (n, 9), with the ePSF of each star's cell."""
        if len(self.cells) == 1:
            return position_sums(self.first.spline, frame, stars, image, weight)
        sums = np.zeros((len(stars), 9))
        for psf, chosen, some in self._by_cell(stars):
            sums[chosen] = position_sums(psf.spline, frame, some, image, weight)
        return sums


def reference_grid(path: str | Path, shape: tuple[int, int], cell_px: int) -> DetectorPsf:
    """A rad ``epsf`` reference file at the centres of the cells of an image (ny, nx).

    A sub-array that is one cell gets the ePSF of the detector's centre: where on it it lies, its file does not say.

    Raises
    ------
    InputError
        As `psf.reference_psf`.
    """
    rows, columns = cells_of(shape, cell_px)
    if rows * columns == 1:
        return DetectorPsf.of(reference_psf(path))
    return DetectorPsf(
        tuple(
            tuple(reference_psf(path, (column + 0.5) * cell_px, (row + 0.5) * cell_px) for column in range(columns))
            for row in range(rows)
        ),
        float(cell_px),
    )
