"""Self-calibration of a catalogue on its own stack: the inter-pixel map, and the reference fluxes freed of it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.systems.msos.catalogue.detection import CatalogueResult
from roman_assets.systems.msos.catalogue.stack import StarList
from roman_assets.systems.msos.catalogue.tiles import TILE_PX, tiled_catalogue
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS
from roman_assets.systems.msos.photometry.calibration import ensemble_zero_point
from roman_assets.systems.msos.photometry.exposure_fit import fit_exposure
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf
from roman_assets.systems.msos.psf.grid import DetectorPsf
from roman_assets.systems.msos.psf.phase_map import NO_MAP, PhaseMap, fit_phase_map

F64 = NDArray[np.float64]
MIN_EXPOSURES = 3


def calibrated_catalogue(
    frames: Sequence[Frame],
    model: EffectivePsf | DetectorPsf,
    *,
    fixed_psf: bool = False,
    tile_px: int = TILE_PX,
    progress: Callable[[str], None] | None = None,
) -> CatalogueResult:
    """`tiled_catalogue`, then `self_calibrate`: what the reference_catalog asset holds. Raises as they do."""
    found = tiled_catalogue(frames, model, tile_px=tile_px, fixed_psf=fixed_psf, progress=progress)
    flux, phase_map = self_calibrate(frames, found)
    return replace(found, stars=StarList(found.stars.x, found.stars.y, flux), phase_map=phase_map)


def self_calibrate(frames: Sequence[Frame], catalogue: CatalogueResult) -> tuple[F64, PhaseMap]:
    """Reference fluxes (n,) [DN/s] and the inter-pixel map of a catalogue, from its own exposures.

    The reference flux of a star becomes the robust mean of its corrected fluxes on the stacked exposures,
    so that reference and photometry share every property of the single-exposure fit; a star without three
    usable measurements keeps the flux of the stack.
    """
    reference = catalogue.stars.flux
    if len(frames) < MIN_EXPOSURES:
        return reference, NO_MAP
    fits = [fit_exposure(frame, catalogue.ra, catalogue.dec, reference, catalogue.psf) for frame in frames]
    flux, error = np.stack([f.flux for f in fits]), np.stack([f.flux_err for f in fits])
    x, y = np.stack([f.x for f in fits]), np.stack([f.y for f in fits])
    usable = np.stack([(f.flag & UNUSED_FLAGS) == 0 for f in fits]) & np.isfinite(flux)
    try:
        scales = [
            ensemble_zero_point(flux[e], error[e], reference, catalogue.flux_err, usable[e]).scale
            for e in range(len(frames))
        ]
    except InputError:  # too few stars to calibrate on: the stack's fluxes stand
        return reference, NO_MAP
    scale = np.array(scales)[:, None]
    # The sum of the scales is a convention: the reference keeps the mean sensitivity of its stack.
    scale /= scale.mean()
    flux, error = flux / scale, error / scale
    phase_map = fit_phase_map(x, y, flux, error, usable)
    corrected = np.where(usable, flux / (1.0 + phase_map(x, y)), np.nan)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)  # stars without a usable measurement
        weight = np.where(usable, error**-2.0, 0.0)
        middle = np.nanmedian(corrected, axis=0)
        near = usable & (np.abs(corrected - middle) < 4 * error)
        weight = np.where(near, weight, 0.0)
        mean = np.nansum(weight * np.nan_to_num(corrected), axis=0) / weight.sum(axis=0)
    enough = near.sum(axis=0) >= MIN_EXPOSURES
    return np.where(enough & np.isfinite(mean), mean, reference), phase_map
