"""Level 2 files (`_cal.asdf`), valid against the wfi_image schema of rad."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from roman_assets.simulate.config import MiniSurvey, Visit
from roman_assets.simulate.detector import Frame
from roman_assets.simulate.geometry import DetectorFrame, build_gwcs

#: Read pattern of the survey's multi-accumulation table, as in the mission's own simulations.
READ_PATTERN = [[1], [2, 3], [4, 5, 6, 7], list(range(8, 13)), list(range(13, 21)), [21]]
FRAME_TIME_S = 3.16247
SQUARE_ARCSEC_SR = 2.3504430539e-11
STEPS_DONE = ("assign_wcs", "dark", "dq_init", "flat_field", "linearity", "photom", "ramp_fit", "saturation")
STEPS_SKIPPED = (
    "dark_decay",
    "flux",
    "outlier_detection",
    "refpix",
    "skymatch",
    "source_catalog",
    "tweakreg",
    "wfi18_transient",
)


@dataclass(frozen=True)
class ExposureFacts:
    """What the header of one exposure says about it."""

    config: MiniSurvey
    visit: Visit
    detector: str
    pointing: DetectorFrame

    @property
    def visit_id(self) -> str:
        """19 digits: program, execution plan, pass, segment, observation, visit."""
        plan, passed, segment, observation, number = self.visit.id_parts
        return f"{self.config.program:05d}{plan:02d}{passed:03d}{segment:03d}{observation:03d}{number:03d}"

    @property
    def filename(self) -> str:
        """Name of the Level 2 file."""
        element = self.config.optical_element.lower()
        return f"r{self.visit_id}_0001_{self.detector.lower()}_{element}_cal.asdf"

    @property
    def mid_time(self) -> datetime:
        """Mid-exposure, UTC."""
        return self.visit.start + timedelta(seconds=self.config.exposure_time_s / 2)


def _time(when: datetime) -> Any:
    from astropy.time import Time

    value = Time(when.replace(tzinfo=None), format="datetime", scale="utc")
    value.format = "isot"
    return value


def header(facts: ExposureFacts) -> dict[str, Any]:
    """The `meta` values that differ from the schema's fillers."""
    config, visit = facts.config, facts.visit
    plan, passed, segment, observation, number = visit.id_parts
    end = visit.start + timedelta(seconds=config.exposure_time_s)
    start, end_time = _time(visit.start), _time(end)
    return {
        "calibration_software_name": "RomanCAL",
        "filename": facts.filename,
        # The clock would make the bytes differ from run to run.
        "file_date": _time(end + timedelta(hours=12)),
        "origin": "STSCI/SOC",
        "model_type": "ImageModel",
        "cal_step": dict.fromkeys(STEPS_SKIPPED, "SKIPPED") | dict.fromkeys(STEPS_DONE, "COMPLETE"),
        "exposure": {
            "type": "WFI_IMAGE",
            "start_time": start,
            "mid_time": _time(facts.mid_time),
            "end_time": end_time,
            "exposure_time": config.exposure_time_s,
            "effective_exposure_time": config.exposure_time_s,
            "frame_time": FRAME_TIME_S,
            "nresultants": len(READ_PATTERN),
            "read_pattern": READ_PATTERN,
            "ma_table_id": "SCI1027",
            "ma_table_number": 1027,
            "hga_move": False,
            "truncated": False,
        },
        "instrument": {"name": "WFI", "detector": facts.detector, "optical_element": config.optical_element},
        "observation": {
            "program": config.program,
            "execution_plan": plan,
            "pass": passed,
            "segment": segment,
            "observation": observation,
            "visit": number,
            "visit_id": facts.visit_id,
            "visit_file_group": 0,
            "visit_file_sequence": 1,
            "visit_file_activity": "01",
            "exposure": 1,
            "observation_id": f"{facts.visit_id}00101{1:04d}",
            "wfi_parallel": False,
        },
        "photometry": {
            "conversion_megajanskys": config.conversion_megajanskys,
            "conversion_megajanskys_uncertainty": 0.0,
            "conversion_microjanskys": config.conversion_megajanskys * SQUARE_ARCSEC_SR * 1e12,
            "conversion_microjanskys_uncertainty": 0.0,
            "pixel_area": config.pixel_area_sr,
        },
        "pointing": {
            "target_ra": config.ra,
            "target_dec": config.dec,
            "target_aperture": "WFI_CEN",
            "pa_aperture": facts.pointing.roll,
        },
        "program": {"title": "Galactic Bulge Time Domain Survey", "category": "CCS", "subcategory": "GBTDS"},
        "visit": {"start_time": start, "nexposures": 1, "status": "SUCCESSFUL"},
        "wcsinfo": {
            "aperture_name": f"{facts.detector}_FULL",
            "ra_ref": facts.pointing.ra,
            "dec_ref": facts.pointing.dec,
            "roll_ref": facts.pointing.roll,
            "vparity": -1,
            "s_region": facts.pointing.footprint((config.size_px, config.size_px)),
        },
    }


def _fill(node: Any, values: dict[str, Any]) -> None:
    """Sets values in a tree of the datamodel, keeping the fillers of what is not named."""
    for key, value in values.items():
        if isinstance(value, dict) and key in node:
            _fill(node[key], value)
        else:
            node[key] = value


def image_model(facts: ExposureFacts, frame: Frame) -> Any:
    """roman_datamodels ImageModel, complete and valid."""
    from roman_datamodels import datamodels

    ny, nx = frame.data.shape
    resultants = len(READ_PATTERN)
    model = datamodels.ImageModel.create_fake_data(shape=(resultants, ny, nx))
    _fill(model.meta, header(facts))
    model.data = frame.data
    model.err = frame.err.astype(np.float16)
    model.var_poisson = frame.var_poisson.astype(np.float16)
    model.var_rnoise = frame.var_rnoise.astype(np.float16)
    model.dq = frame.dq
    # Required by the schema and of no use to photometry: as small as it allows.
    model.dq2 = np.zeros((1, 1), np.uint32)
    model.chisq = np.zeros((1, 1), np.float16)
    model.dumo = np.zeros((1, 1), np.float16)
    model.amp33 = np.zeros((resultants, 8, 8), np.uint16)
    for side, shape in (("left", (ny, 4)), ("right", (ny, 4)), ("top", (4, nx)), ("bottom", (4, nx))):
        setattr(model, f"border_ref_pix_{side}", np.zeros((resultants, *shape), np.float32))
        setattr(model, f"dq_border_ref_pix_{side}", np.zeros(shape, np.uint32))
    model.meta.wcs = build_gwcs(facts.pointing)
    return model


def write_level2(path: Path, facts: ExposureFacts, frame: Frame) -> None:
    """Writes one exposure, lz4-compressed, under a temporary name first."""
    from roman_assets.products.asdf_bytes import write_asdf

    model = image_model(facts, frame)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        model.validate()
        with part.open("wb") as stream:
            write_asdf(stream, {"roman": model._instance})
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
