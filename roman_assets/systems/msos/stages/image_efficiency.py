"""Detection efficiency from images: signals put into a window of a pointing's exposures, and measured anew."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
import polars as pl

from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.policy import judged, refused, verdict
from roman_assets.platform.stopping import stop_here
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.efficiency.image_injection import Exposure, Field, choose, recover_images, window_of
from roman_assets.systems.msos.efficiency.injection import Injection, InjectionConfig
from roman_assets.systems.msos.photometry.calibration import PositionTerms
from roman_assets.systems.msos.stages.common import Progress
from roman_assets.systems.msos.stages.daily_light_curves import PART
from roman_assets.systems.msos.stages.psf_files import load_frame, read_psf
from roman_assets.systems.msos.stages.season_curves import epochs_of


@dataclass(frozen=True)
class SeasonImages:
    """The exposures of light curves, with the calibrated parts that the curves were made of."""

    workspace: Workspace
    curves: ProductRecord
    parts: dict[str, ProductRecord]
    exposures: dict[str, RegisteredExposure]

    @classmethod
    def of(cls, workspace: Workspace, curves: ProductRecord) -> SeasonImages:
        facts = {"season": curves.attributes["season"], "detector": curves.attributes["detector"]}
        made_of = set(curves.inputs)
        parts = {r.part: r for r in workspace.products.current(PART, None, **facts) if r.sha256 in made_of}
        exposures = {e.exposure_id: e for e in workspace.registry.exposures(**facts) if e.exposure_id in parts}
        return cls(workspace, curves, parts, exposures)

    def hashes(self, left_out: Collection[str]) -> list[str]:
        """What injecting into them uses: the catalogue, and the bytes of the exposures but for `left_out`."""
        used = (e.sha256 for name, e in sorted(self.exposures.items()) if name not in left_out)
        return [str(self.curves.attributes["catalogue"]), *used]

    def usable(self, name: str) -> bool:
        """Whether an exposure that was left out once can be used now; raises a transient fault."""
        if name not in self.exposures:
            return False
        nothing: list[Caveat] = []
        with judged(nothing, name, "left out"):
            load_frame(self.exposures[name])
        return not nothing

    def named(self, kind: str, sha256: str) -> ProductRecord:
        """The product of a kind that the light curves come from, which need not be the newest."""
        made = self.workspace.products.history(kind, self.curves.partition, self.curves.part)
        return next(r for r in made if r.sha256 == sha256)

    @cached_property
    def catalogue(self) -> ProductRecord:
        """The catalogue of the light curves."""
        return self.named("reference_catalog", str(self.curves.attributes["catalogue"]))


def recover_in_images(
    images: SeasonImages, element: str, injections: Sequence[Injection], config: InjectionConfig, progress: Progress
) -> tuple[pl.DataFrame, list[Caveat], list[str]]:
    """Rows as `recovery.recover` of the signals chosen for the images, caveats, and which exposures were left out."""
    workspace, curves, catalogue = images.workspace, images.curves, images.catalogue
    table = workspace.products.read_table(catalogue, ["star", "ra", "dec", "flux", "x", "y"]).sort("star")
    psf, phase_map = read_psf(workspace, images.named("epsf", str(catalogue.attributes["epsf"])))
    ra, dec, flux, x, y = (table[c].to_numpy().astype(np.float64) for c in ("ra", "dec", "flux", "x", "y"))
    field = Field(ra, dec, flux, x, y, psf, phase_map)
    ny, nx = (int(n) for n in catalogue.attributes["shape"])
    window = window_of((ny, nx), config.image_px)
    chosen = choose(injections, field, window, config.image_injections, config.image_apart)
    exposures, caveats = _exposures(images, element, field, (ny, nx))
    if not chosen:
        nothing = Caveat(Code.NOTHING, curves.part, "no star in the window can carry a signal")
        return pl.DataFrame(), [*caveats, nothing], []

    def step(number: int) -> None:
        stop_here()
        if number % 50 == 0 or number == len(exposures):
            progress(f"{curves.part}: signals in {number} of {len(exposures)} images")

    def refuse(name: str, error: Exception) -> None:
        what = "left out of the images with signals"
        exposure = images.exposures.get(name)
        caveats.append(verdict(error, name, what) if exposure is None else refused(workspace, exposure, error, what))

    season, detector = str(curves.attributes["season"]), str(curves.attributes["detector"])
    found, left_out = recover_images(exposures, field, window, chosen, season, detector, config, step, refuse)
    return found, caveats, left_out


def _exposures(
    images: SeasonImages, element: str, field: Field, shape: tuple[int, int]
) -> tuple[list[Exposure], list[Caveat]]:
    """The exposures of the light curves with the sensitivity that the calibration found for every star."""
    record = epochs_of(images.workspace, images.curves)
    epochs = images.workspace.products.read_table(record, ["exposure_id", "mjd", "optical_element"])
    made, caveats = [], []
    for row in epochs.filter(pl.col("optical_element") == element).iter_rows(named=True):
        name = row["exposure_id"]
        registered, calibrated = images.exposures.get(name), images.parts.get(name)
        if registered is None or calibrated is None:
            text = "has no calibration any more: left out of the images with signals"
            caveats.append(Caveat(Code.SUPERSEDED, name, text))
            continue
        terms = PositionTerms(np.array(calibrated.attributes.get("position_terms") or np.zeros(5), dtype=float), shape)
        sensitivity = float(calibrated.attributes["scale"]) * (1.0 + terms(field.x, field.y))
        made.append(Exposure(name, float(row["mjd"]), partial(load_frame, registered), sensitivity))
    return made, caveats
