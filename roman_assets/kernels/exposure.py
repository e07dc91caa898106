"""Kernel of forced photometry: all catalogued stars of one exposure, around what the catalogue expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.arrays import MOST_ELEMENTS, MOST_PIXELS, array, count, finite, number, weights
from roman_assets.kernels.call import CONVERGENCE, check, ffi, lib, pointer, vector_level
from roman_assets.kernels.photometry import F32, F64, MAX_SKY, PaddedFrame, SplinePsf, Stars, check_placed

#: Most threads of one fit.
MAX_THREADS = 1024
#: Least margin of an image that is fitted [px].
LEAST_PAD = 16


class PsfField:
    """ePSFs on a grid of square cells over a detector.

    Parameters
    ----------
    rows
        ePSFs of the cells, row by row from pixel (0, 0) on; all of one oversampling and size.
    cell_px
        Side of a cell [px]; the last row and column reach to the edge.

    Raises
    ------
    InputError
        The grid is empty or ragged, or the ePSFs do not agree in oversampling and size.
    """

    def __init__(self, rows: Sequence[Sequence[SplinePsf]], cell_px: float) -> None:
        self.cell_px = number("cell_px", cell_px, 0, above=True)
        if not rows or not rows[0] or len({len(row) for row in rows}) != 1:
            raise InputError("the grid of ePSFs is empty or ragged", field="psf", remedy="give a full grid of cells")
        flat = [psf for row in rows for psf in row]
        first = flat[0]
        if any(
            (p.oversample, p.planes.shape, p.origin) != (first.oversample, first.planes.shape, first.origin)
            for p in flat
        ):
            raise InputError("the ePSFs of a detector differ in size or oversampling", field="psf")
        self.shape = (len(rows), len(rows[0]))
        self.first = first
        # One ePSF needs no copy; a grid lies in one block, cell after cell.
        self._coefficients: F32 = first.planes if len(flat) == 1 else np.stack([p.planes for p in flat])
        of_first = first.struct[0]
        self.struct = ffi.new(
            "roman_psf_field *",
            {
                "psf": {
                    "coef": pointer(self._coefficients),
                    "oversample": of_first.oversample,
                    "plane_ny": of_first.plane_ny,
                    "plane_nx": of_first.plane_nx,
                    "origin": of_first.origin,
                },
                "cells_y": self.shape[0],
                "cells_x": self.shape[1],
                "cell_px": self.cell_px,
            },
        )

    @classmethod
    def of(cls, psf: SplinePsf) -> PsfField:
        """One ePSF for the whole detector."""
        return cls([[psf]], 1e9)

    def cell(self, x: ArrayLike, y: ArrayLike) -> NDArray[np.int64]:
        """Number of the cell, row by row, that holds each position [px]."""
        column = np.clip(np.floor((np.asarray(x) + 0.5) / self.cell_px), 0, self.shape[1] - 1)
        row = np.clip(np.floor((np.asarray(y) + 0.5) / self.cell_px), 0, self.shape[0] - 1)
        return np.asarray(row * self.shape[1] + column, dtype=np.int64)


@dataclass
class ExposureFit:
    """Result of `exposure_fit`.

    flux, flux_err, chi2: (n,) [image units; chi2 per core pixel]; gradient: (n,) what is left of a star's gradient
    [sigma]; sky: (n_sky,); residual: frame.shape [image
    units]; rounds, iterations, worst_gradient [sigma]; released: stars found far from what was expected;
    bytes: working memory.
    """

    flux: F64
    flux_err: F64
    chi2: F32
    gradient: F32
    sky: F64
    residual: F32
    rounds: int
    iterations: int
    worst_gradient: float
    released: int
    matrix_entries: int
    bytes: int
    converged: bool


def exposure_fit(
    psf: PsfField,
    frame: PaddedFrame,
    stars: Stars,
    data: ArrayLike,
    weight: ArrayLike,
    basis: ArrayLike,
    expected: ArrayLike,
    *,
    strength: float = 1.0,
    spread: float = 0.1,
    release: float = 4.0,
    tolerance: float = 0.05,
    max_rounds: int = 20,
    threads: int = 1,
) -> ExposureFit:
    """Fluxes of all stars of one exposure and a smooth sky, around the catalogue's fluxes (csrc/exposure_fit.h).

    Parameters
    ----------
    data, weight
        Padded images frame.shape, float32, [DN/s] and [1/(DN/s)^2]; weight 0 masks a pixel.
    basis
        Sky terms, (n_sky, *frame.shape), float32, at least one.
    expected
        Catalogue fluxes, (n,) [DN/s].
    strength, spread, release
        Of the prior: its weight for a star that the exposure hardly sees (0: none), the relative change that it
        leaves free, and the deviation [sigma] from which a star is free of it.
    tolerance
        Largest residual gradient of a star, in units of its flux error.
    threads
        Threads that share the work; the result has the same bits for any number.

    Raises
    ------
    InputError
        A star or a size is out of range, or a value is not finite.
    KernelError
        The sky is not constrained (all pixels masked).
    """
    n = count("stars", len(stars), 1, MOST_ELEMENTS // 2)
    count("pad", frame.pad, LEAST_PAD, MOST_PIXELS)
    check_placed(frame, stars)
    img = array("data", data, np.float32, frame.shape)
    wgt = array("weight", weight, np.float32, frame.shape)
    terms = array("basis", basis, np.float32, (None, *frame.shape))
    prior = array("expected", expected, np.float64, (n,))
    count("basis", len(terms), 1, MAX_SKY)
    finite(data=img, basis=terms, expected=prior)
    weights(weight=wgt)
    flux, flux_err = np.zeros(n), np.zeros(n)
    chi2, gradient = np.zeros(n, dtype=np.float32), np.zeros(n, dtype=np.float32)
    sky, residual = np.zeros(len(terms)), np.empty(img.shape, dtype=np.float32)
    options = ffi.new(
        "roman_exposure_options *",
        {
            "tolerance": number("tolerance", tolerance, 0, above=True),
            "strength": number("strength", strength, 0),
            "spread": number("spread", spread, 0),
            "release": number("release", release, 0, above=True),
            "max_rounds": count("max_rounds", max_rounds, 1, 1_000_000),
            "n_sky": len(terms),
            "threads": count("threads", threads, 1, MAX_THREADS),
        },
    )
    status = lib.roman_exposure_fit(
        psf.struct,
        frame.struct,
        n,
        *stars.pointers,
        pointer(prior),
        pointer(img),
        pointer(wgt),
        pointer(terms),
        pointer(flux),
        pointer(flux_err),
        pointer(chi2),
        pointer(gradient),
        pointer(sky),
        pointer(residual),
        options,
        vector_level(),
    )
    check(status, "exposure_fit", tolerate=(CONVERGENCE,))
    return ExposureFit(
        flux,
        flux_err,
        chi2,
        gradient,
        sky,
        residual,
        options.rounds,
        options.iterations,
        options.worst_gradient,
        options.released,
        options.matrix_entries,
        options.bytes,
        status != CONVERGENCE,
    )
