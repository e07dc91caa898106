"""The catalogue of a full detector, tile by tile: bounded memory, and an ePSF for each part of the field.

Every tile is searched with a margin wider than the stamps of all but the brightest stars, so that what lies across
its border is in its model; of what it finds, its own core counts. The calibration that follows sees the detector as
a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame, sky_of
from roman_assets.systems.msos.catalogue.detection import MERGE_PX, CatalogueResult, build_catalogue
from roman_assets.systems.msos.catalogue.stack import StarList
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf
from roman_assets.systems.msos.psf.grid import DetectorPsf, cells_of

F64 = NDArray[np.float64]
Progress = Callable[[str], None]
#: Side of a tile's core, and the margin round it [px].
TILE_PX, MARGIN_PX = 1024, 48
#: Arrays of a catalogue with one value per star.
_PER_STAR = ("ra", "dec", "x_err", "y_err", "flux_err", "chi2", "crowding", "saturated")


@dataclass(frozen=True)
class _Tile:
    row: int
    column: int
    x0: int  # window in the reference frame, with margin
    y0: int
    nx: int
    ny: int


def tiled_catalogue(
    frames: Sequence[Frame],
    model: EffectivePsf | DetectorPsf,
    *,
    tile_px: int = TILE_PX,
    fixed_psf: bool = False,
    progress: Progress | None = None,
) -> CatalogueResult:
    """`build_catalogue` by tiles where the frames are larger than one.

    Parameters
    ----------
    frames, fixed_psf, progress
        As `build_catalogue` takes them.
    model
        First guess of the ePSF; a grid must have the tiles' cells.
    tile_px
        Side of a tile's core [px].

    Returns
    -------
    CatalogueResult
        With a `DetectorPsf` where there are several tiles; `residual` is then that of the first exposure only, and
        `sky` the mean of the tiles'. A tile without a star, or with too few for an ePSF of its own, keeps the model's.

    Raises
    ------
    InputError
        As `build_catalogue`; no tile has a star; tile_px is below two margins.
    """
    if not frames:
        raise InputError("no exposure to build a catalogue from", remedy="ingest exposures of the season first")
    if tile_px < 2 * MARGIN_PX:
        raise InputError(f"tiles of {tile_px} px", field="tile_px", remedy=f"give at least {2 * MARGIN_PX}")
    grid = DetectorPsf.of(model)
    shape = frames[0].shape
    rows, columns = cells_of(shape, tile_px)
    if rows * columns == 1:
        return build_catalogue(frames, grid.first, fixed_psf=fixed_psf, progress=progress)
    if len(grid.cells) not in (1, rows * columns):
        raise InputError(f"{len(grid.cells)} ePSFs for {rows * columns} tiles", field="psf", remedy="make them agree")
    tiles = [_tile(row, column, (rows, columns), shape, tile_px) for row in range(rows) for column in range(columns)]
    found: list[CatalogueResult | None] = []
    for number, tile in enumerate(tiles):
        label = f"tile {number + 1}/{len(tiles)}"
        psf = grid.cells[number % len(grid.cells)]
        try:
            part = build_catalogue(_cut(frames, tile), psf, fixed_psf=fixed_psf, progress=_labelled(progress, label))
        except InputError as error:
            part = None
            if progress:
                progress(f"{label}: {error}")
        found.append(part)
    if not any(part is not None for part in found):
        raise InputError("no star found", remedy="check the exposures' data and error arrays")
    cells = [grid.cells[k % len(grid.cells)] if part is None else part.psf for k, part in enumerate(found)]
    psfs = DetectorPsf(
        tuple(tuple(_one(p) for p in cells[r * columns : (r + 1) * columns]) for r in range(rows)), float(tile_px)
    )
    return _merged([(t, p) for t, p in zip(tiles, found, strict=True) if p is not None], psfs, shape)


def _one(psf: EffectivePsf | DetectorPsf) -> EffectivePsf:
    return psf.first if isinstance(psf, DetectorPsf) else psf


def _labelled(progress: Progress | None, label: str) -> Progress | None:
    return None if progress is None else lambda text: progress(f"{label}: {text}")


def _tile(row: int, column: int, cells: tuple[int, int], shape: tuple[int, int], tile_px: int) -> _Tile:
    def window(index: int, count: int, size: int) -> tuple[int, int]:
        low = max(index * tile_px - MARGIN_PX, 0)
        high = size if index == count - 1 else min((index + 1) * tile_px + MARGIN_PX, size)
        return low, high - low

    (y0, ny), (x0, nx) = window(row, cells[0], shape[0]), window(column, cells[1], shape[1])
    return _Tile(row, column, x0, y0, nx, ny)


def _cut(frames: Sequence[Frame], tile: _Tile) -> list[Frame]:
    """The tile in every exposure: the window follows the dither by whole pixels."""
    x, y = np.array([tile.x0 + tile.nx / 2.0]), np.array([tile.y0 + tile.ny / 2.0])
    ra, dec = sky_of(frames[0].wcs, x, y)
    cuts = []
    for index, frame in enumerate(frames):
        dx = dy = 0
        if index:
            px, py = frame.to_pixels(ra, dec)
            dx, dy = round(float(px[0] - x[0])), round(float(py[0] - y[0]))
        cuts.append(frame.cut(tile.x0 + dx, tile.y0 + dy, tile.nx, tile.ny))
    return cuts


def _merged(
    parts: Sequence[tuple[_Tile, CatalogueResult]], psfs: DetectorPsf, shape: tuple[int, int]
) -> CatalogueResult:
    """The stars of the tiles' cores in the reference frame, one of each pair across a border."""
    from scipy.spatial import cKDTree

    stars = StarList(*(np.empty(0) for _ in range(3)))
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in _PER_STAR}
    residual = np.zeros((1, *shape), dtype=np.float32)
    for tile, part in parts:
        x, y = part.stars.x + tile.x0, part.stars.y + tile.y0
        own = psfs.field.cell(x, y) == tile.row * len(psfs.rows[0]) + tile.column
        stars = stars.joined(StarList(x[own], y[own], part.stars.flux[own]))
        for name in _PER_STAR:
            columns[name].append(getattr(part, name)[own])
        rows, cols = np.arange(tile.y0, tile.y0 + tile.ny), np.arange(tile.x0, tile.x0 + tile.nx)
        core = np.ix_(
            psfs.field.cell(0, rows) // len(psfs.rows[0]) == tile.row, psfs.field.cell(cols, 0) == tile.column
        )
        residual[0, tile.y0 : tile.y0 + tile.ny, tile.x0 : tile.x0 + tile.nx][core] = part.residual[0][core]
    keep = np.ones(len(stars), dtype=bool)
    pairs = cKDTree(np.stack([stars.x, stars.y], axis=1)).query_pairs(MERGE_PX, output_type="ndarray")
    if len(pairs):
        keep[np.where(stars.flux[pairs[:, 0]] < stars.flux[pairs[:, 1]], pairs[:, 0], pairs[:, 1])] = False
    arrays: dict[str, Any] = {name: np.concatenate(values)[keep] for name, values in columns.items()}
    sky = np.mean([part.sky for _, part in parts], axis=0)
    return replace(parts[0][1], stars=stars.take(keep), psf=psfs, residual=residual, sky=sky, **arrays)
