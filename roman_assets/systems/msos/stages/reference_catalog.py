"""The reference catalogue of a season of a detector: established once, then frozen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from roman_assets.bounds import check_bounds, whole
from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.kernels.arrays import MOST_PIXELS
from roman_assets.platform.making import withdraw_others
from roman_assets.platform.policy import judged, refused
from roman_assets.platform.stopping import stop_here
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.catalogue.detection import CatalogueResult
from roman_assets.systems.msos.catalogue.self_calibration import calibrated_catalogue
from roman_assets.systems.msos.catalogue.tiles import MARGIN_PX, TILE_PX
from roman_assets.systems.msos.photometry.calibration import ab_zero_point
from roman_assets.systems.msos.photometry.exposure_fit import EDGE, SATURATED
from roman_assets.systems.msos.psf.grid import cells_of
from roman_assets.systems.msos.stages.common import (
    CODE,
    OBJECT_ORDER,
    Check,
    Progress,
    StageResult,
    archive_facts,
    finite,
    pointing_name,
    pointings,
    same_pointing,
    season_partition,
    silent,
)
from roman_assets.systems.msos.stages.psf_files import SATURATION_UNCLEAR, load_frame, psf_tree, starting_psf

#: Density of catalogued stars [1/px] outside which a catalogue is not believed.
DENSITY_RANGE = (0.001, 0.3)
CROWDED = 0.5


@dataclass(frozen=True)
class CatalogueConfig:
    """How a catalogue is established.

    Attributes
    ----------
    exposures
        Number of first exposures of the season that are stacked.
    optical_element
        Filter of the stack; None takes the season's most frequent.
    minimum_exposures
        Pointings with fewer wait: once made, a catalogue is frozen.
    tile_px
        Side of the tiles [px] in which larger frames are searched, each with an ePSF of its own.
    reestablish
        Make it anew although it exists: it gets a new sequence, and all photometry after it is repeated.
    """

    exposures: int = 12
    optical_element: str | None = None
    minimum_exposures: int = 1
    tile_px: int = TILE_PX
    reestablish: bool = False

    def __post_init__(self) -> None:
        check_bounds(
            self,
            exposures=whole(1, 10_000),
            minimum_exposures=whole(1, 10_000),
            tile_px=whole(2 * MARGIN_PX, MOST_PIXELS),
        )


def establish(
    workspace: Workspace,
    season: str,
    detector: str,
    config: CatalogueConfig = CatalogueConfig(),
    progress: Progress = silent,
) -> StageResult:
    """Catalogue and ePSF of every pointing of a season of a detector; what exists stays as it is."""
    partition = season_partition(season, detector)
    result = StageResult()
    exposures = workspace.registry.exposures(season=season, detector=detector, kind="imaging", survey="bulge")
    existing = _of_season(workspace, partition, exposures)
    element = config.optical_element or main_element(exposures)
    for group in pointings([e for e in exposures if e.optical_element == element]):
        known = next((r for r in existing if _covers(r, group[0])), None)
        if known is not None and not config.reestablish and _has_psf(workspace, known):
            result.records.append(known)
            result.caveats.extend(known.caveats)
            continue
        lost = known if known is not None else _lost(workspace, partition, group)
        if lost is not None and not config.reestablish:
            with judged(result.caveats, lost.part, "no catalogue"):
                _make_again(workspace, partition, season, group, lost, config, result, progress)
            continue
        if len(group) < config.minimum_exposures:
            result.caveat(Code.WAITS, pointing_name(group[0]), f"waits for {config.minimum_exposures} exposures")
            continue
        with judged(result.caveats, pointing_name(group[0]), "no catalogue"):
            # A re-established catalogue is another product even of the same exposures: its sequence says so.
            part, sequence = (None, 1) if known is None else (known.part, int(known.attributes["sequence"]) + 1)
            _establish_one(workspace, partition, season, group, part, sequence, config, result, progress)
    for record in existing:
        if not any(r.part == record.part for r in result.records):
            result.records.append(record)
    psfs = {record.attributes["epsf"] for record in result.records}
    kept = [record for record in workspace.products.current("epsf", partition) if record.sha256 in psfs]
    withdraw_others(workspace, ("reference_catalog", "epsf"), partition, [*result.records, *kept])
    if not result.records:
        text = f"no catalogue: {len(exposures)} imaging exposures are registered"
        result.caveat(Code.NOTHING, f"{season} {detector}", text)
    _summarise(workspace, result)
    return result


def _of_season(workspace: Workspace, partition: str, exposures: Sequence[RegisteredExposure]) -> list[ProductRecord]:
    """Catalogues of this season's own exposures. Seasons are named by the calendar: under another one, a catalogue of
    the same name may be of other images, and is none of this season's.
    """
    held = {exposure.sha256 for exposure in exposures}
    return [r for r in workspace.products.current("reference_catalog", partition) if held.issuperset(r.inputs)]


def _has_psf(workspace: Workspace, record: ProductRecord) -> bool:
    """Whether the ePSF that a catalogue names is there: it may have been damaged alone."""
    made = workspace.products.history("epsf", record.partition, record.part)
    return any(r.sha256 == record.attributes["epsf"] and not r.removed for r in made)


def _lost(workspace: Workspace, partition: str, group: Sequence[RegisteredExposure]) -> ProductRecord | None:
    """The catalogue that a pointing had until its bytes were found damaged; None if it never had one."""
    held = {exposure.sha256 for exposure in group}
    made = workspace.products.index.removed("reference_catalog", partition)
    return next((r for r in reversed(made) if _covers(r, group[0]) and held.issuperset(r.inputs)), None)


def _make_again(
    workspace: Workspace,
    partition: str,
    season: str,
    group: Sequence[RegisteredExposure],
    lost: ProductRecord,
    config: CatalogueConfig,
    result: StageResult,
    progress: Progress,
) -> None:
    """A frozen catalogue from the exposures it was made of: others may have come before them since."""
    stacked = [exposure for exposure in group if exposure.sha256 in lost.inputs]
    settings = replace(
        config, exposures=int(lost.config["exposures"]), tile_px=int(lost.config.get("tile_px", TILE_PX))
    )
    sequence = int(lost.attributes["sequence"])
    _establish_one(workspace, partition, season, stacked, lost.part, sequence, settings, result, progress)


def main_element(exposures: Sequence[RegisteredExposure]) -> str | None:
    """The most frequent filter: the one that is stacked and searched."""
    counted = Counter(e.optical_element for e in exposures)
    return max(sorted(counted), key=lambda name: counted[name]) if counted else None


def _covers(record: ProductRecord, exposure: RegisteredExposure) -> bool:
    facts = record.attributes
    return same_pointing(facts["ra_center"], facts["dec_center"], facts["shape"], exposure)


def catalogue_of(records: Sequence[ProductRecord], exposure: RegisteredExposure) -> ProductRecord | None:
    """The catalogue that covers an exposure, or None."""
    return next((record for record in records if _covers(record, exposure)), None)


def _establish_one(
    workspace: Workspace,
    partition: str,
    season: str,
    group: Sequence[RegisteredExposure],
    part: str | None,
    sequence: int,
    config: CatalogueConfig,
    result: StageResult,
    progress: Progress,
) -> None:
    chosen: list[RegisteredExposure] = []
    frames: list[Frame] = []
    for exposure in group:
        if len(frames) == config.exposures:
            break
        stop_here()
        try:
            frames.append(load_frame(exposure))
            chosen.append(exposure)
        except Exception as error:
            result.caveats.append(refused(workspace, exposure, error, "left out of the stack"))
    if not frames:
        raise InputError("no usable exposure", remedy="see the caveats of its exposures")
    psf, fixed, source = starting_psf(workspace, chosen[0], config.tile_px)
    part = part or pointing_name(chosen[0])
    settings: dict[str, Any] = {"exposures": config.exposures, "epsf": source, "pointing": part, "sequence": sequence}
    if cells_of(frames[0].shape, config.tile_px) != (1, 1):
        settings["tile_px"] = config.tile_px
    identity = Identity(tuple(e.sha256 for e in chosen), CODE["reference_catalog"], settings)
    progress(f"stacking {len(frames)} exposures of {part}")
    catalogue = calibrated_catalogue(frames, psf, fixed_psf=fixed, tile_px=config.tile_px, progress=progress)
    zero_point, zero_point_caveat = ab_zero_point(chosen[0].conversion_megajanskys, chosen[0].pixel_area_sr)
    caveats = [Caveat(Code.CALIBRATION, part, zero_point_caveat)] if zero_point_caveat else []
    if any(frame.saturation_unclear for frame in frames):
        caveats.append(Caveat(Code.SATURATION, part, SATURATION_UNCLEAR))
    if len(frames) < config.exposures:
        caveats.append(Caveat(Code.FEW, part, f"stacked {len(frames)} of {config.exposures} exposures, all there are"))
    attributes = _attributes(chosen, season, part, sequence, zero_point, catalogue, len(frames))
    facts = archive_facts(workspace, season, chosen, sequence=sequence)
    psf_record = workspace.products.put_asdf(
        "epsf",
        partition,
        psf_tree(catalogue),
        identity,
        part=part,
        attributes=attributes,
        caveats=caveats,
        sky=(chosen[0].ra_center, chosen[0].dec_center),
        s_region=chosen[0].s_region,
    )
    record = workspace.products.put_table(
        "reference_catalog",
        partition,
        _frame(catalogue, chosen, zero_point),
        identity,
        part=part,
        attributes={**attributes, "epsf": psf_record.sha256},
        caveats=caveats,
        sky=(chosen[0].ra_center, chosen[0].dec_center),
        s_region=chosen[0].s_region,
        archive=archive_metadata("reference_frame", facts),
    )
    result.records.append(record)
    result.caveats.extend(caveats)
    _pictures(result, part, frames[0], catalogue)


def _attributes(
    chosen: Sequence[RegisteredExposure],
    season: str,
    part: str,
    sequence: int,
    zero_point: float,
    catalogue: CatalogueResult,
    count: int,
) -> dict[str, Any]:
    first = chosen[0]
    return {
        "season": season,
        "detector": first.detector,
        "field": first.field or "f00",
        "optical_element": first.optical_element,
        "pointing": part,
        "sequence": sequence,
        "ra_center": first.ra_center,
        "dec_center": first.dec_center,
        "shape": list(first.shape),
        "zero_point": zero_point,
        "exposures": count,
        "psf_origin": catalogue.psf.origin,
        "psf_normalisation": catalogue.psf.normalisation,
        "psf_sharpness": finite(catalogue.psf.sharpness),
        "phase_map_amplitude": finite(catalogue.phase_map.amplitude),
    }


def _frame(catalogue: CatalogueResult, chosen: Sequence[RegisteredExposure], zero_point: float) -> pl.DataFrame:
    """The catalogue's table, in order of position on the sky."""
    from roman_assets.survey.healpix import cells_of

    stars, first = catalogue.stars, chosen[0]
    ny, nx = first.shape
    flag = np.where(catalogue.saturated, SATURATED, 0)
    flag |= np.where(catalogue.crowding > CROWDED, 64, 0)
    edge = (stars.x < 2.5) | (stars.x > nx - 3.5) | (stars.y < 2.5) | (stars.y > ny - 3.5)
    flag |= np.where(edge, EDGE, 0)
    order = np.argsort(cells_of(catalogue.ra, catalogue.dec, OBJECT_ORDER), kind="stable")
    frame = pl.DataFrame(
        {
            "object_id": cells_of(catalogue.ra, catalogue.dec, OBJECT_ORDER),
            "ra": catalogue.ra,
            "dec": catalogue.dec,
            "x": stars.x,
            "y": stars.y,
            "x_err": catalogue.x_err,
            "y_err": catalogue.y_err,
            "flux": stars.flux,
            "flux_err": catalogue.flux_err,
            "mag": zero_point - 2.5 * np.log10(np.maximum(stars.flux, 1e-30)),
            "snr": stars.flux / catalogue.flux_err,
            "chi2": catalogue.chi2,
            "crowding": catalogue.crowding,
            "flag": flag,
        }
    )[order]
    return frame.with_columns(
        star=pl.int_range(len(frame), dtype=pl.Int32),
        n_exposures=pl.lit(len(chosen)),
        field=pl.lit(first.field or "f00"),
        detector=pl.lit(first.detector),
        optical_element=pl.lit(first.optical_element),
    )


def _pictures(result: StageResult, part: str, frame: Frame, catalogue: CatalogueResult) -> None:
    from roman_assets.exposures.figures import image_figure

    stars = catalogue.stars
    bright = stars.flux > np.percentile(stars.flux, 90)
    shown = (stars.x[bright], stars.y[bright])
    result.picture(f"stars {part}", image_figure, frame.data, f"{part}: the brightest tenth of the stars", shown)
    result.picture(f"residual {part}", image_figure, catalogue.residual[0], f"{part}: data - model", residual=True)


def _summarise(workspace: Workspace, result: StageResult) -> None:
    """Figures and checks over all pointings, from the products themselves."""
    densities, bright = [], 0
    for record in result.records:
        table = workspace.products.read_table(record, ["mag", "x", "y"])
        ny, nx = record.attributes["shape"]
        inside = table.filter(pl.col("x").is_between(-0.5, nx - 0.5) & pl.col("y").is_between(-0.5, ny - 0.5))
        densities.append(inside.height / (ny * nx))
        bright += int((inside["mag"] < 21).sum())
    result.figures = {
        "stars": sum(r.rows or 0 for r in result.records),
        "stars_brighter_than_21": bright,
        "pointings": len(result.records),
        "density_per_px": float(np.median(densities)) if densities else float("nan"),
        "psf": ", ".join(sorted({r.attributes["psf_origin"] for r in result.records})) or "none",
    }
    low, high = DENSITY_RANGE
    result.checks.append(
        Check(
            "catalogue_density",
            all(low <= d <= high for d in densities) if densities else None,
            f"between {low} and {high} stars per pixel: fewer or more mean a failed detection",
            severe=True,
            figures={"density_per_px": result.figures["density_per_px"]},
        )
    )
    result.checks.append(
        Check("catalogue_exists", bool(result.records), "the season of this detector has a catalogue", {})
    )
