"""PSF photometry of a day of a detector: one part per exposure, and a manifest of the parts."""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from roman_assets.errors import InputError
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.kernels.call import KernelError
from roman_assets.platform.making import belongs, withdraw_others
from roman_assets.platform.policy import each_exposure
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.catalogue.tiles import TILE_PX
from roman_assets.systems.msos.photometry.calibration import ab_zero_point
from roman_assets.systems.msos.photometry.exposure_fit import ExposurePhotometry, fit_exposure
from roman_assets.systems.msos.psf.effective_psf import model_psf
from roman_assets.systems.msos.psf.grid import DetectorPsf, reference_grid
from roman_assets.systems.msos.psf.phase_map import NO_MAP, PhaseMap
from roman_assets.systems.msos.stages.common import (
    CODE,
    Check,
    Progress,
    StageResult,
    archive_facts,
    day_partition,
    finite,
    season_partition,
    silent,
)
from roman_assets.systems.msos.stages.psf_files import SATURATION_UNCLEAR, epsf_file, load_frame, read_psf
from roman_assets.systems.msos.stages.reference_catalog import catalogue_of

#: Share of the stars that a fit may leave without a solution (they are flagged): above it, the exposure has none.
MOST_UNSOLVED = 0.2
PART, MANIFEST, PICTURE = "psf_photometry_part", "psf_photometry", "photometry_picture"
#: Share of the catalogued stars that an exposure must measure, and chi2 per core pixel it may have.
COMPLETENESS, CHI2_RANGE = 0.8, (0.3, 3.0)


@dataclass
class _Catalogue:
    """A reference catalogue opened for a run: its table and its ePSF by optical element."""

    record: ProductRecord
    table: pl.DataFrame
    psf_record: ProductRecord
    workspace: Workspace
    psfs: dict[str, tuple[DetectorPsf, PhaseMap, str]] = field(default_factory=dict)

    def psf(self, exposure: RegisteredExposure) -> tuple[DetectorPsf, PhaseMap, str]:
        """ePSF and inter-pixel map for an exposure, and the hash that identifies them.

        The stack's own for its filter; for others a reference file, or the optical model.
        """
        element = exposure.optical_element
        if element not in self.psfs:
            if element == self.record.attributes["optical_element"]:
                found = (*read_psf(self.workspace, self.psf_record), self.psf_record.sha256)
            else:
                path = epsf_file(self.workspace, exposure.detector, element)
                psf = (
                    reference_grid(path, exposure.shape, TILE_PX)
                    if path
                    else DetectorPsf.of(model_psf(exposure.detector, element))
                )
                digest = hashlib.sha256(path.read_bytes()).hexdigest() if path else f"model:{element}"
                found = (psf, NO_MAP, digest)
            self.psfs[element] = found
        return self.psfs[element]


def measure(workspace: Workspace, day: str, detector: str, progress: Progress = silent) -> StageResult:
    """Measure every exposure of a day of a detector that has not been measured before.

    An exposure that cannot be measured never stops the others: it is a caveat, and a damaged file goes to
    quarantine with its reason.
    """
    result = StageResult()
    season = workspace.calendar.season_of(day)
    exposures = workspace.registry.exposures(day=day, detector=detector, kind="imaging", survey="bulge")
    partition = day_partition(day, detector)
    opened = _Opened(workspace, season, detector)
    covered = []
    for exposure in exposures:
        if opened.of(exposure) is None:
            result.caveat(Code.WAITS, exposure.exposure_id, f"waits for a reference catalogue of {season} {detector}")
        else:
            covered.append(exposure)

    def one(exposure: RegisteredExposure) -> ProductRecord:
        record = _measure(workspace, partition, exposure, opened.covering(exposure), result)
        result.records.append(record)
        result.caveats.extend(record.caveats)
        progress(f"{len(result.records)}/{len(exposures)} {exposure.exposure_id}: {record.rows} stars")
        return record

    made = each_exposure(workspace, covered, result.caveats, one, "not measured")
    statistics = [dict(record.attributes) for record in made]
    _finish(workspace, partition, day, detector, season, exposures, result)
    _summarise(result, statistics, len(exposures))
    return result


class _Opened:
    """The season's catalogues, opened when first needed."""

    def __init__(self, workspace: Workspace, season: str | None, detector: str) -> None:
        self.workspace = workspace
        self.partition = season_partition(season or "none", detector)
        self.records = workspace.products.current("reference_catalog", self.partition)
        self.open: dict[str, _Catalogue] = {}

    def of(self, exposure: RegisteredExposure) -> ProductRecord | None:
        """The catalogue that covers an exposure, None where there is none."""
        return catalogue_of(self.records, exposure)

    def covering(self, exposure: RegisteredExposure) -> _Catalogue:
        """That catalogue, opened."""
        record = self.of(exposure)
        if record is None:
            raise InputError("no catalogue covers it", file=exposure.exposure_id, remedy="establish one")
        if record.part not in self.open:
            table = self.workspace.products.read_table(record, ["star", "ra", "dec", "flux", "flux_err"])
            # The ePSF that the catalogue names, which need not be the newest: they are two products.
            made = self.workspace.products.history("epsf", self.partition, record.part)
            epsf = next(r for r in made if r.sha256 == record.attributes["epsf"])
            self.open[record.part] = _Catalogue(record, table, epsf, self.workspace)
        return self.open[record.part]


def _measure(
    workspace: Workspace, partition: str, exposure: RegisteredExposure, catalogue: _Catalogue, result: StageResult
) -> ProductRecord:
    """The part of one exposure: found if it was made from these inputs before, made otherwise."""
    psf, phase_map, psf_hash = catalogue.psf(exposure)
    place = {"season": exposure.season, "field": exposure.field}
    identity = Identity((exposure.sha256, catalogue.record.sha256, psf_hash), CODE["psf_photometry"], place)
    part = exposure.exposure_id
    record = workspace.products.lookup(PART, partition, part=part, identity=identity)
    if record is not None:
        return record
    zero_point, caveat = ab_zero_point(exposure.conversion_megajanskys, exposure.pixel_area_sr)
    frame = load_frame(exposure)
    table = catalogue.table
    measured = fit_exposure(
        frame,
        table["ra"].to_numpy(),
        table["dec"].to_numpy(),
        table["flux"].to_numpy().astype(np.float64),
        psf,
        phase_map,
        same_filter=exposure.optical_element == catalogue.record.attributes["optical_element"],
    )
    if measured.unsolved > MOST_UNSOLVED * measured.on_image:
        raise KernelError(f"the joint fit has no solution for {measured.unsolved} of {measured.on_image} stars")
    caveats = [Caveat(Code.CALIBRATION, part, caveat)] if caveat else []
    caveats += [Caveat(Code.HEADER, part, c) for c in exposure.caveats]
    if frame.saturation_unclear:
        caveats.append(Caveat(Code.SATURATION, part, SATURATION_UNCLEAR))
    if measured.unsolved:
        text = f"the joint fit has no solution for {measured.unsolved} of {measured.on_image} stars: they are flagged"
        caveats.append(Caveat(Code.FIT, part, text))
    if max(abs(s) for s in measured.shift) > 0.3:
        text = f"pointing is off by {measured.shift[0]:.2f}, {measured.shift[1]:.2f} px"
        caveats.append(Caveat(Code.FIT, part, text))
    frame_out = pl.DataFrame(
        {
            "star": table["star"],
            "flux": measured.flux,
            "flux_err": measured.flux_err,
            "chi2": measured.chi2,
            "flag": measured.flag,
        }
    )
    # The day's first exposure that can be measured is the one that is shown, whichever run measures it.
    if not result.records:
        result.picture(PICTURE, _picture, workspace, partition, part, measured, identity)
    return workspace.products.put_table(
        PART,
        partition,
        frame_out,
        identity,
        part=part,
        caveats=caveats,
        attributes=_attributes(exposure, catalogue, measured, zero_point),
        sky=(exposure.ra_center, exposure.dec_center),
        s_region=exposure.s_region,
    )


def _attributes(
    exposure: RegisteredExposure, catalogue: _Catalogue, measured: ExposurePhotometry, zero_point: float
) -> dict[str, Any]:
    used = measured.flag == 0
    return {
        "day": exposure.day,
        "detector": exposure.detector,
        "season": exposure.season,
        "field": exposure.field or "f00",
        "optical_element": exposure.optical_element,
        "pointing": catalogue.record.part,
        "catalogue": catalogue.record.sha256,
        "exposure_id": exposure.exposure_id,
        "mjd": exposure.mid_mjd,
        "exptime_s": exposure.exptime_s,
        "zero_point": zero_point,
        "sky": finite(measured.sky[0]),
        "shift_x": finite(measured.shift[0]),
        "shift_y": finite(measured.shift[1]),
        "cosmic_rays": measured.cosmic_rays,
        "usable": int(used.sum()),
        "measured": int(np.isfinite(measured.flux).sum()),
        "chi2": finite(float(np.nanmedian(measured.chi2[used]))) if used.any() else None,
    }


def _picture(
    workspace: Workspace, partition: str, part: str, measured: ExposurePhotometry, identity: Identity
) -> bytes:
    """Residual image of the first exposure measured; kept, so that a later no-op shows it again."""
    from roman_assets.exposures.figures import image_figure

    png = image_figure(measured.residual, f"{part}: data - model", residual=True)
    tree = {"png": np.frombuffer(png, dtype=np.uint8)}
    workspace.products.put_asdf(PICTURE, partition, tree, identity)
    return png


def _finish(
    workspace: Workspace,
    partition: str,
    day: str,
    detector: str,
    season: str | None,
    exposures: Sequence[RegisteredExposure],
    result: StageResult,
) -> None:
    """The manifest, and the picture of an earlier run where nothing was measured now."""
    result.records += _of_other_runs(workspace, partition, day, season, detector, result.records)
    parts = {r.part: r.sha256 for r in result.records}
    missing = [e.exposure_id for e in exposures if e.exposure_id not in parts]
    identity = Identity(tuple(parts.values()), CODE["psf_photometry"], {"missing": sorted(missing)})
    facts: Mapping[str, Any] | None = None
    if season and exposures:
        facts = archive_metadata("dqa_photometry_periodic", archive_facts(workspace, season, exposures))
    manifest = workspace.products.lookup(MANIFEST, partition, identity=identity)
    if manifest is None:
        made = dt.datetime.fromisoformat(f"{day}T00:00:00+00:00")
        document = {"parts": parts, "missing": missing, "day_mjd": made.timestamp() / 86400 + 40587}
        manifest = workspace.products.put_json(
            MANIFEST,
            partition,
            document,
            identity,
            attributes={"day": day, "detector": detector, "season": season},
            caveats=result.caveats,
            archive=facts,
        )
    result.records.append(manifest)
    if PICTURE not in result.pictures:
        for record in workspace.products.current(PICTURE, partition):
            result.pictures[PICTURE] = bytes(np.asarray(workspace.products.read_asdf(record)["png"]))


def _of_other_runs(
    workspace: Workspace, partition: str, day: str, season: str | None, detector: str, mine: Sequence[ProductRecord]
) -> list[ProductRecord]:
    """Parts that another run of the day made meanwhile, so that the last manifest is always the fullest.

    A part whose exposure registry and calendar no longer have on this day and in this season is made invisible.
    """
    catalogues = workspace.products.current("reference_catalog", season_partition(season or "none", detector))
    valid, own = {r.sha256 for r in catalogues}, {r.part for r in mine}
    facts = {"day": day, "detector": detector, "season": season, "survey": "bulge"}
    others = [r for r in workspace.products.current(PART, partition) if r.part not in own]
    held = [r for r in others if belongs(workspace.registry.exposure(r.part), **facts)]
    withdraw_others(workspace, (PART,), partition, [*mine, *held])
    return [r for r in held if r.attributes["catalogue"] in valid]


def _summarise(result: StageResult, statistics: Sequence[Mapping[str, Any]], exposures: int) -> None:
    chi2 = [s["chi2"] for s in statistics if s["chi2"] is not None]
    share = [s["usable"] / max(s["measured"], 1) for s in statistics]
    result.figures = {
        "exposures": exposures,
        "measured_exposures": len(statistics),
        "measurements": sum(int(s["measured"]) for s in statistics),
        "median_chi2": float(np.median(chi2)) if chi2 else float("nan"),
        "cosmic_rays": sum(int(s["cosmic_rays"]) for s in statistics),
        "usable_share": float(np.median(share)) if share else float("nan"),
    }
    result.checks.append(
        Check(
            "completeness",
            len(statistics) >= COMPLETENESS * exposures if exposures else None,
            f"at least {COMPLETENESS:.0%} of the day's exposures are measured",
            {"measured": len(statistics), "exposures": exposures},
        )
    )
    low, high = CHI2_RANGE
    result.checks.append(
        Check(
            "fit_quality",
            all(low <= c <= high for c in chi2) if chi2 else None,
            f"median chi2 per core pixel of every exposure between {low} and {high}",
            {"worst": max(chi2) if chi2 else float("nan")},
        )
    )
