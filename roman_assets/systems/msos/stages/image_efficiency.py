"""Detection efficiency from images: signals put into a window of a pointing's exposures, and measured anew."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import polars as pl

from roman_assets.platform.workspace import Workspace
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.efficiency.image_injection import Exposure, Field, choose, recover_images, window_of
from roman_assets.systems.msos.efficiency.injection import Injection, InjectionConfig
from roman_assets.systems.msos.photometry.calibration import PositionTerms
from roman_assets.systems.msos.stages.common import Progress
from roman_assets.systems.msos.stages.daily_light_curves import PART
from roman_assets.systems.msos.stages.reference_catalog import load_frame, read_psf
from roman_assets.systems.msos.stages.season_curves import epochs_of


def recover_in_images(
    workspace: Workspace,
    curves: ProductRecord,
    element: str,
    injections: Sequence[Injection],
    config: InjectionConfig,
    progress: Progress,
) -> tuple[pl.DataFrame, list[str]]:
    """Rows as `efficiency.recover` of the signals chosen for the images, and caveats."""
    catalogue = _named(workspace, "reference_catalog", curves, str(curves.attributes["catalogue"]))
    epsf = _named(workspace, "epsf", curves, str(catalogue.attributes["epsf"]))
    table = workspace.products.read_table(catalogue, ["star", "ra", "dec", "flux", "x", "y"]).sort("star")
    psf, phase_map = read_psf(workspace, epsf)
    ra, dec, flux, x, y = (table[c].to_numpy().astype(np.float64) for c in ("ra", "dec", "flux", "x", "y"))
    field = Field(ra, dec, flux, x, y, psf, phase_map)
    ny, nx = (int(n) for n in catalogue.attributes["shape"])
    window = window_of((ny, nx), config.image_px)
    chosen = choose(injections, field, window, config.image_injections, config.image_apart)
    exposures, caveats = _exposures(workspace, curves, element, field, (ny, nx))
    if not chosen:
        return pl.DataFrame(), [*caveats, f"{curves.part}: no star in the window can carry a signal"]

    def step(number: int) -> None:
        if number % 50 == 0 or number == len(exposures):
            progress(f"{curves.part}: signals in {number} of {len(exposures)} images")

    season, detector = str(curves.attributes["season"]), str(curves.attributes["detector"])
    found, left_out = recover_images(exposures, field, window, chosen, season, detector, config, step)
    return found, [*caveats, *left_out]


def _exposures(
    workspace: Workspace, curves: ProductRecord, element: str, field: Field, shape: tuple[int, int]
) -> tuple[list[Exposure], list[str]]:
    """The exposures of the light curves with the sensitivity that the calibration found for every star."""
    epochs = workspace.products.read_table(epochs_of(workspace, curves), ["exposure_id", "mjd", "optical_element"])
    facts = {
        r.part: r.attributes
        for r in workspace.products.current(
            PART, None, season=curves.attributes["season"], detector=curves.attributes["detector"]
        )
    }
    made, caveats = [], []
    for row in epochs.filter(pl.col("optical_element") == element).iter_rows(named=True):
        name = row["exposure_id"]
        registered, calibrated = workspace.registry.exposure(name), facts.get(name)
        if registered is None or calibrated is None:
            caveats.append(f"{name} has no calibration any more: left out of the images with signals")
            continue
        terms = PositionTerms(np.array(calibrated.get("position_terms") or np.zeros(5), dtype=np.float64), shape)
        sensitivity = float(calibrated["scale"]) * (1.0 + terms(field.x, field.y))
        made.append(Exposure(name, float(row["mjd"]), partial(load_frame, registered), sensitivity))
    return made, caveats


def _named(workspace: Workspace, kind: str, curves: ProductRecord, sha256: str) -> ProductRecord:
    """The product of a kind that these light curves come from, which need not be the newest."""
    return next(r for r in workspace.products.history(kind, curves.partition, curves.part) if r.sha256 == sha256)
