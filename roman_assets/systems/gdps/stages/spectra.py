"""Dispersed exposures to contamination models, 2D and 1D spectra: one exposure at a time, each with parts of its own.

The three products come from one fit, so one step makes them; a part that was made before is not made again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.making import belongs, withdraw_others
from roman_assets.platform.policy import each_exposure, judged, refused
from roman_assets.platform.regions import regions_attribute
from roman_assets.platform.stage import Check, Progress, StageResult, day_partition, silent
from roman_assets.platform.workspace import Workspace
from roman_assets.products.archive import NO_NUMBER
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.gdps.archive import spectral_metadata
from roman_assets.systems.gdps.extraction.exposure import ExposureSpectra, extract_exposure
from roman_assets.systems.gdps.optics.dispersion import Window
from roman_assets.systems.gdps.optics.nominal import REFERENCE_VARIABLE, references
from roman_assets.systems.gdps.optics.optical_model import OpticalTrace
from roman_assets.systems.gdps.optics.throughput import Throughput
from roman_assets.systems.gdps.sources.catalogues import read_catalogues, sources_near
from roman_assets.systems.gdps.sources.source_list import SourceList
from roman_assets.systems.gdps.stages.common import CODE, SPECTRA, spectral_facts, spectrum_of
from roman_assets.systems.gdps.stages.spectra_tables import (
    cutout_tree,
    locations,
    position_angle,
    source_ids,
    spectra_table,
)
from roman_assets.systems.gdps.tables import SPECTRA_1D_PART

MODELS, CUTOUTS, LOCATIONS = "contamination_models", "spectra_2d", "location_table"
KINDS = (LOCATIONS, MODELS, CUTOUTS, SPECTRA)
#: Residuals scatter by less than this times their noise where the model is right.
RESIDUAL_LIMIT = 1.3


@dataclass
class DaySpectra:
    """What a day of a detector came to, by asset."""

    models: StageResult
    cutouts: StageResult
    spectra: StageResult

    @property
    def stages(self) -> tuple[StageResult, StageResult, StageResult]:
        """All three."""
        return self.models, self.cutouts, self.spectra


def extract_day(workspace: Workspace, day: str, detector: str, progress: Progress = silent) -> DaySpectra:
    """Contamination models, 2D and 1D spectra of all dispersed exposures of a day of a detector."""
    done = DaySpectra(StageResult(), StageResult(), StageResult())
    exposures = workspace.registry.exposures(day=day, detector=detector, kind="spectral")
    caveats: list[Caveat] = []
    catalogue = _catalogue(workspace, caveats) if exposures else None
    directs = workspace.registry.exposures(detector=detector, kind="imaging", survey="spectroscopic")
    if catalogue is not None:
        table = catalogue

        def one(exposure: RegisteredExposure) -> None:
            records = _exposure(workspace, day, exposure, table, directs, caveats)
            if not done.models.records:
                _pictures(workspace, exposure, records, done)
            done.models.records += [records[LOCATIONS], records[MODELS]]
            done.cutouts.records.append(records[CUTOUTS])
            done.spectra.records.append(records[SPECTRA])
            count = len(done.spectra.records)
            progress(f"{count} of {len(exposures)}: {exposure.exposure_id}, {records[SPECTRA].rows} spectra")

        each_exposure(workspace, exposures, caveats, one, "not extracted")
    _follow_registry(workspace, day, detector, done)
    for stage in done.stages:
        stage.caveats += caveats
    _summarise(workspace, done, exposures)
    return done


def _follow_registry(workspace: Workspace, day: str, detector: str, done: DaySpectra) -> None:
    """Makes parts invisible whose exposure is no longer one of this day: another calendar or registry has it."""
    partition = day_partition(day, detector)
    for stage, kinds in zip(done.stages, ((LOCATIONS, MODELS), (CUTOUTS,), (SPECTRA,)), strict=True):
        held = [record for kind in kinds for record in workspace.products.current(kind, partition)]
        mine = [r for r in held if belongs(workspace.registry.exposure(r.part), day=day, detector=detector)]
        withdraw_others(workspace, kinds, partition, [*stage.records, *mine])


def _catalogue(workspace: Workspace, caveats: list[Caveat]) -> pl.DataFrame | None:
    place = workspace.sources_path
    if place is None:
        caveats.append(Caveat(Code.NOTHING, "", "there is no source catalogue: name one in ROMAN_SOURCES"))
        return None
    with judged(caveats, str(place), "source catalogue not used"):
        return read_catalogues(place)
    return None


def _exposure(
    workspace: Workspace,
    day: str,
    exposure: RegisteredExposure,
    catalogue: pl.DataFrame,
    directs: Sequence[RegisteredExposure],
    caveats: list[Caveat],
) -> dict[str, ProductRecord]:
    """The four products of one exposure, found or made, with the nearest direct image that can be used."""
    while True:
        direct = _direct_image(directs, exposure)
        try:
            return _with_direct(workspace, day, exposure, catalogue, direct)
        except _BadDirectImage as bad:
            assert direct is not None
            caveat = refused(workspace, direct, bad.reason, "not used as direct image")
            if caveat not in caveats:
                caveats.append(caveat)
            directs = [e for e in directs if e.exposure_id != direct.exposure_id]


class _BadDirectImage(Exception):
    """A direct image cannot be used: the dispersed exposure can still be."""

    def __init__(self, reason: Exception) -> None:
        self.reason = reason
        super().__init__(str(reason))


def _with_direct(
    workspace: Workspace,
    day: str,
    exposure: RegisteredExposure,
    catalogue: pl.DataFrame,
    direct: RegisteredExposure | None,
) -> dict[str, ProductRecord]:
    element = exposure.optical_element.lower()
    folder = {REFERENCE_VARIABLE: str(workspace.given_folder("reference_folder") or "")}
    model, throughput = references(element, exposure.detector, folder)
    table, digest = sources_near(catalogue, exposure)
    inputs = [exposure.sha256, digest, model.origin.sha256, throughput.origin.sha256]
    inputs += [direct.sha256] if direct else []
    partition, part = day_partition(day, exposure.detector), exposure.exposure_id
    identities = {kind: Identity(tuple(inputs), CODE[_asset(kind)], {"kind": kind}) for kind in KINDS}
    found = {k: workspace.products.lookup(k, partition, part=part, identity=identities[k]) for k in KINDS}
    kept = {k: r for k, r in found.items() if r is not None}
    if len(kept) == len(KINDS):
        return kept
    window, frame, trace, sources, throughput = _prepared(
        exposure, direct, model.on(exposure.detector), throughput, table
    )
    spectra = extract_exposure(frame, window, sources, trace, throughput)
    return _write(workspace, exposure, partition, identities, frame, spectra, table)


def _asset(kind: str) -> str:
    return {LOCATIONS: MODELS, SPECTRA: "spectra_1d"}.get(kind, kind)


def _prepared(
    exposure: RegisteredExposure,
    direct: RegisteredExposure | None,
    trace: OpticalTrace,
    throughput: Throughput,
    table: pl.DataFrame,
) -> tuple[Window, Frame, OpticalTrace, SourceList, Throughput]:
    """An exposure and its sources ready for extraction, with profiles from the direct image where there is one."""
    from roman_assets.exposures.level2.frames import prepare
    from roman_assets.systems.gdps.extraction.psf_fit import psf_of_exposure
    from roman_assets.systems.gdps.optics.subarray import window_of
    from roman_assets.systems.gdps.sources.direct_image import profiles_by_image

    window, gain = window_of(exposure)
    frame = prepare(_image(exposure))
    sources = SourceList.of(table)
    throughput = throughput.scaled(1 / gain)
    if direct is not None:
        psf = psf_of_exposure(frame, window, sources, trace, throughput)
        try:
            image = prepare(_image(direct))
        except InputError as error:
            raise _BadDirectImage(error) from error
        sources = profiles_by_image(image, sources, psf)
    return window, frame, trace, sources, throughput


def _image(exposure: RegisteredExposure) -> Any:
    from roman_assets.exposures.landing import local_exposure
    from roman_assets.exposures.level2.reader import read_image

    with local_exposure(exposure.uri) as path:
        return read_image(path, sha256=exposure.sha256)


def _direct_image(directs: Sequence[RegisteredExposure], exposure: RegisteredExposure) -> RegisteredExposure | None:
    """The direct image nearest to an exposure in time that shows its field in F158."""
    from roman_assets.survey.instrument import PIXEL_DEG
    from roman_assets.survey.sky import separation_deg

    near = [
        e
        for e in directs
        if e.optical_element == "F158"
        and separation_deg(e.ra_center, e.dec_center, exposure.ra_center, exposure.dec_center)
        < 0.3 * min(e.shape) * PIXEL_DEG
    ]
    return min(near, key=lambda e: (abs(e.mid_mjd - exposure.mid_mjd), e.exposure_id), default=None)


def _write(
    workspace: Workspace,
    exposure: RegisteredExposure,
    partition: str,
    identities: dict[str, Identity],
    frame: Frame,
    spectra: ExposureSpectra,
    table: pl.DataFrame,
) -> dict[str, ProductRecord]:
    model, scene = spectra.model, spectra.model.scene
    noise = np.sqrt(frame.read_variance + frame.poisson_slope * np.maximum(model.sources + model.background, 0))
    pulls = (spectra.residual / noise)[frame.good]
    angle = position_angle(frame)
    seen = {
        "exposure_id": exposure.exposure_id,
        "detector": exposure.detector,
        "optical_element": exposure.optical_element,
        "sources": len(spectra.sources),
        "residual": round(float(1.4826 * np.median(np.abs(pulls))), 4),
        "position_angle": round(angle, 6),
        **spectra.references,
    }
    facts = spectral_facts(
        workspace,
        [exposure],
        "spectra_1d",
        sources=len(spectra.sources),
        v3yangle=NO_NUMBER if frame.v3yangle is None else frame.v3yangle,
        optical_model=spectra.references["optical_model"],
    )
    common: dict[str, Any] = {
        "part": exposure.exposure_id,
        "attributes": seen,
        "sky": (exposure.ra_center, exposure.dec_center),
        "s_region": exposure.s_region,
    }
    put = workspace.products
    rows = spectra_table(spectra, exposure, angle, table)
    # So that a region finds its spectra without reading all there are.
    seen["regions"] = regions_attribute(workspace.calendar, rows)
    ids = [int(i) for i in source_ids(spectra, table)]
    return {
        LOCATIONS: put.put_table(
            LOCATIONS,
            partition,
            locations(spectra, frame, table),
            identities[LOCATIONS],
            archive=spectral_metadata("spec_location_table", facts),
            **common,
        ),
        MODELS: put.put_asdf(
            MODELS,
            partition,
            {
                "sources": model.sources.astype(np.float32),
                "background": model.background.astype(np.float32),
                "variance": model.profile_variance.astype(np.float32),
                "source_id": np.array(ids, dtype=np.int64),
                "wavelength_edges": scene.grid * 1e3,
                "spectra": np.array([s.spectrum for s in scene.sources]),
                "units": {
                    "sources": "DN/s",
                    "background": "DN/s",
                    "variance": "(DN/s)2",
                    "wavelength_edges": "nm",
                    "spectra": "W m-2 nm-1",
                },
            },
            identities[MODELS],
            archive=spectral_metadata("spec_dqa_2d", facts),
            **common,
        ),
        CUTOUTS: put.put_asdf(
            CUTOUTS,
            partition,
            {"sources": {str(s.source_id): cutout_tree(s) for s in spectra.sources}},
            identities[CUTOUTS],
            archive=spectral_metadata("spec_decontam_2d", facts),
            **common,
        ),
        SPECTRA: put.put_table(
            SPECTRA,
            partition,
            rows,
            identities[SPECTRA],
            archive=spectral_metadata("spec_individual_1d", facts),
            **common,
        ),
    }


def _pictures(
    workspace: Workspace, exposure: RegisteredExposure, records: dict[str, ProductRecord], done: DaySpectra
) -> None:
    """Exposure, model and residual, and the brightest source's trace: from the products, so that again is the same."""
    from roman_assets.exposures.figures import image_figure
    from roman_assets.exposures.level2.frames import prepare
    from roman_assets.systems.gdps.plots import cutout_figure

    frame, tree = prepare(_image(exposure)), workspace.products.read_asdf(records[MODELS])
    model = tree["sources"] + tree["background"]
    left = np.where(frame.good, frame.data - model, 0)
    done.models.pictures = {
        "dispersed exposure": image_figure(frame.data, f"{exposure.exposure_id}  [DN/s]"),
        "model": image_figure(model, "model of all sources [DN/s]"),
        "residual": image_figure(left, "exposure minus model [DN/s]", residual=True),
    }
    spectra = workspace.products.read_table(records[SPECTRA]).filter(pl.col("coverage") > 0.3)
    if spectra.height:
        row = spectra.sort("snr", descending=True, nulls_last=True).row(0, named=True)
        cutout = workspace.products.read_asdf(records[CUTOUTS])["sources"][str(row["source_id"])]
        name = f"source {row['source_id']}"
        done.cutouts.pictures[name] = cutout_figure(cutout, spectrum_of(row), name)


def _summarise(workspace: Workspace, done: DaySpectra, exposures: Sequence[RegisteredExposure]) -> None:
    residual = [float(r.attributes["residual"]) for r in done.models.records if r.kind == MODELS]
    worst = max(residual, default=float("nan"))
    done.models.figures = {
        "exposures": len(exposures),
        "modelled": len(residual),
        "residual_over_noise": float(np.median(residual)) if residual else float("nan"),
        "optical_model": ", ".join(sorted({str(r.attributes["optical_model"]) for r in done.spectra.records}))
        or "none",
    }
    count = sum(r.rows or 0 for r in done.spectra.records)
    done.cutouts.figures = {"cutouts": count, "exposures": len(residual)}
    tables = [workspace.products.read_table(r, ["snr", "coverage", "contaminated"]) for r in done.spectra.records]
    every = pl.concat(tables) if tables else SPECTRA_1D_PART.empty()
    done.spectra.figures = {
        "spectra": count,
        "snr_median": float(every["snr"].fill_nan(None).median() or 0.0),  # type: ignore[arg-type]
        "contaminated_median": float(every["contaminated"].fill_nan(None).median() or 0.0),  # type: ignore[arg-type]
    }
    done.models.checks.append(
        Check("residual", worst < RESIDUAL_LIMIT if residual else None, "the model leaves the noise", {"worst": worst})
    )
    done.spectra.checks.append(
        Check(
            "completeness",
            len(residual) == len(exposures) if exposures else None,
            "all dispersed exposures of the day are extracted",
            {"extracted": len(residual), "exposures": len(exposures)},
        )
    )
