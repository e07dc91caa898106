"""What difference photometry of a pointing is made of: epochs, catalogue, calibrated parts, exposures."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.making import left_out_attribute
from roman_assets.platform.policy import judged, refused, verdict
from roman_assets.platform.stopping import stop_here
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.difference.residual import ConstantSky, Registration
from roman_assets.systems.msos.difference.search import DifferenceConfig
from roman_assets.systems.msos.photometry.calibration import PositionTerms
from roman_assets.systems.msos.stages.common import CODE, Progress
from roman_assets.systems.msos.stages.daily_light_curves import PART
from roman_assets.systems.msos.stages.psf_files import load_frame, read_psf
from roman_assets.systems.msos.stages.season_curves import epochs_of


@dataclass(frozen=True)
class Pointing:
    """What belongs to the light curves of a pointing: their epochs, the catalogue, calibrated parts, exposures."""

    workspace: Workspace
    record: ProductRecord
    catalogue: ProductRecord
    epsf: ProductRecord
    element: str
    epochs: pl.DataFrame
    parts: dict[str, ProductRecord]
    exposures: dict[str, RegisteredExposure]

    @classmethod
    def of(cls, workspace: Workspace, record: ProductRecord) -> Pointing:
        products = workspace.products
        made = products.history("reference_catalog", record.partition, record.part)
        catalogue = next(r for r in made if r.sha256 == record.attributes["catalogue"])
        psfs = products.history("epsf", record.partition, record.part)
        epsf = next(r for r in psfs if r.sha256 == catalogue.attributes["epsf"])
        element = str(catalogue.attributes["optical_element"])
        epochs = products.read_table(epochs_of(workspace, record), ["exposure_id", "epoch", "mjd", "optical_element"])
        epochs = epochs.filter(pl.col("optical_element") == element).sort("epoch")
        facts = {"season": record.attributes["season"], "detector": record.attributes["detector"]}
        wanted = set(epochs["exposure_id"])
        # Those that the light curves were made of, though newer ones may have followed.
        parts = {
            r.part: r for r in products.current(PART, None, **facts) if r.part in wanted and r.sha256 in record.inputs
        }
        exposures = {e.exposure_id: e for e in workspace.registry.exposures(**facts) if e.exposure_id in wanted}
        return cls(workspace, record, catalogue, epsf, element, epochs, parts, exposures)

    def identity(self, config: DifferenceConfig, left_out: Collection[str]) -> Identity:
        """Made of the exposures that were used: those of the light curves but for `left_out`."""
        # The light curves stand for the catalogue and the calibrated parts they were made of.
        bytes_ = (e.sha256 for name, e in sorted(self.exposures.items()) if name not in left_out)
        settings: dict[str, Any] = {"config": repr(config), **left_out_attribute(left_out)}
        return Identity((self.record.sha256, self.epsf.sha256, *bytes_), CODE["difference_sources"], settings)

    def usable(self, name: str) -> bool:
        """Whether an exposure that was left out once can be used now; raises a transient fault."""
        if name not in self.epochs["exposure_id"]:
            return False
        nothing: list[Caveat] = []
        with judged(nothing, name, "left out"):
            self.load(self.epochs["exposure_id"].to_list().index(name))
        return not nothing

    @cached_property
    def stars(self) -> pl.DataFrame:
        return self.workspace.products.read_table(self.catalogue, ["star", "ra", "dec", "x", "y", "flux"])

    @cached_property
    def sky(self) -> ConstantSky:
        ra, dec, x, y, flux = (self.stars[n].to_numpy().astype(np.float64) for n in ("ra", "dec", "x", "y", "flux"))
        psf, phase_map = read_psf(self.workspace, self.epsf)
        return ConstantSky(ra, dec, x, y, flux, psf, phase_map)

    def load(self, number: int) -> tuple[Frame, Registration]:
        """An exposure by its epoch; raises InputError where it cannot be used."""
        name = self.epochs["exposure_id"][number]
        if name not in self.parts or name not in self.exposures:
            raise InputError(
                "no calibrated photometry of these light curves", file=name, remedy="process its day again"
            )
        facts = self.parts[name].attributes
        terms = facts.get("position_terms")
        ny, nx = self.catalogue.attributes["shape"]
        return load_frame(self.exposures[name]), Registration(
            (float(facts["shift_x"] or 0.0), float(facts["shift_y"] or 0.0)),
            float(facts["scale"]),
            None if terms is None else PositionTerms(np.array(terms, dtype=np.float64), (ny, nx)),
        )


class Refusals:
    """Which exposures are left out, and why; every one once."""

    def __init__(self, pointing: Pointing, caveats: list[Caveat], left_out: list[str], progress: Progress) -> None:
        self.pointing, self.caveats, self.left_out, self.progress = pointing, caveats, left_out, progress

    def __call__(self, number: int, error: Exception | None) -> None:
        """Called for every exposure; raises an error that is no reason to leave it out."""
        stop_here()
        name = str(self.pointing.epochs["exposure_id"][number])
        if error is None:
            if (number + 1) % 100 == 0:
                self.progress(f"{number + 1} of {self.pointing.epochs.height} exposures")
        elif name not in self.left_out:
            exposure = self.pointing.exposures.get(name)
            what = "left out of the difference photometry"
            self.caveats.append(
                verdict(error, name, what)
                if exposure is None
                else refused(self.pointing.workspace, exposure, error, what)
            )
            self.left_out.append(name)
