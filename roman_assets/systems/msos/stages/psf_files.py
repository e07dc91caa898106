"""ePSFs of a season: given files, those to begin with, and those stored with a catalogue; exposures ready for fitting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from roman_assets.exposures.level2.frames import Frame, prepare
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.workspace import Workspace
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.catalogue.detection import CatalogueResult
from roman_assets.systems.msos.catalogue.tiles import TILE_PX
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf, model_psf
from roman_assets.systems.msos.psf.grid import DetectorPsf, reference_grid
from roman_assets.systems.msos.psf.phase_map import PhaseMap

#: Caveat of exposures whose saturated pixels nobody can judge.
SATURATION_UNCLEAR = "pixels flagged saturated are left out: nothing in the file tells which of their slopes are right"


def epsf_file(workspace: Workspace, detector: str, element: str) -> Path | None:
    """The ePSF reference file of a detector and filter, if the installation has one."""
    folder = workspace.given_folder("epsf_folder")
    if folder is None:
        return None
    pattern = f"*_{detector.lower()}_{element.lower()}*.asdf"
    found = sorted(p for p in folder.glob("*.asdf") if p.match(pattern))
    return found[-1] if found else None


def load_frame(exposure: RegisteredExposure) -> Frame:
    """A registered exposure ready for fitting; Rejected or InputError if its bytes are not usable."""
    from roman_assets.exposures.landing import local_exposure
    from roman_assets.exposures.level2.reader import read_image

    with local_exposure(exposure.uri) as path:
        return prepare(read_image(path, sha256=exposure.sha256))


def starting_psf(
    workspace: Workspace, exposure: RegisteredExposure, tile_px: int = TILE_PX
) -> tuple[EffectivePsf | DetectorPsf, bool, str]:
    """ePSF to begin with, whether it is kept as it is, and the hash that identifies it."""
    path = epsf_file(workspace, exposure.detector, exposure.optical_element)
    if path is None:
        return model_psf(exposure.detector, exposure.optical_element), False, "model"
    import hashlib

    return reference_grid(path, exposure.shape, tile_px), True, hashlib.sha256(path.read_bytes()).hexdigest()


def psf_tree(catalogue: CatalogueResult) -> dict[str, Any]:
    """One ePSF as (N, N) coefficients, a grid of cells as (rows, columns, N, N) with the side of a cell [px]."""
    grid = DetectorPsf.of(catalogue.psf)
    tree = {
        "phase_map": catalogue.phase_map.coefficients,
        "coefficients": grid.first.coefficients,
        "oversample": grid.first.oversample,
        "origin": grid.origin,
        "normalisation": grid.normalisation,
    }
    if len(grid.cells) > 1:
        cells = {"coefficients": np.array([[psf.coefficients for psf in row] for row in grid.rows])}
        tree |= cells | {"cell_px": grid.cell_px}
    return tree


def read_psf(workspace: Workspace, record: ProductRecord) -> tuple[DetectorPsf, PhaseMap]:
    """The ePSFs stored with a catalogue, and the inter-pixel map that goes with them."""
    tree = workspace.products.read_asdf(record)
    values = np.asarray(tree["coefficients"], dtype=np.float64)
    facts = int(tree["oversample"]), str(tree["origin"]), str(tree["normalisation"])
    if values.ndim == 2:
        grid = DetectorPsf.of(EffectivePsf(values, *facts))
    else:
        grid = DetectorPsf(tuple(tuple(EffectivePsf(v, *facts) for v in row) for row in values), float(tree["cell_px"]))
    return grid, PhaseMap(np.asarray(tree["phase_map"], dtype=np.float64))
