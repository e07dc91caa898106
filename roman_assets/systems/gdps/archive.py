"""Archive records of the spectroscopic products, by rad's GDPS schemas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from roman_assets.errors import InputError
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.products.archive import NO_NUMBER, ArchiveRecord, RecordKind

#: By our short name.
RECORD_KINDS: dict[str, RecordKind] = {
    f"spec_{name}": RecordKind(f"spec_{name}", f"wfi_spec_{name}_level_4", "GDPS")
    for name in ("location_table", "decontam_2d", "individual_1d", "combined_1d", "catalog", "catalog_dqa", "dqa_2d")
}
UNIT_FLUX, UNIT_WAVELENGTH, REFERENCE_UM = "W m**(-2) nm**(-1)", "nm", 1.55


@dataclass(frozen=True)
class SpectralFacts:
    """What a record says of a product made from dispersed exposures.

    exposures: those it was made from, in order of time; sources: how many it holds; optical_model: name of the
    reference; software, run: code version and processing release; v3yangle: from the telescope's V3 axis to +y [deg], as
    the exposure's header says, NO_NUMBER where it does not;
    contamination_range, snr_range: wavelengths [nm] over which they are summed up; limit: faintest source, in words;
    catalogue, number: of a catalogue file.
    """

    exposures: Sequence[RegisteredExposure]
    run: str
    sources: int = 0
    optical_model: str = "nominal"
    software: str = "0"
    v3yangle: float = NO_NUMBER
    contamination_range: str = "1000-1930"
    snr_range: str = "1000-1930"
    limit: str = "none"
    catalogue: int = 1
    number: int = 1


def spectral_metadata(kind: str, facts: SpectralFacts) -> ArchiveRecord:
    """The record of a kind (`spec_location_table` and so on), without the file's name and date.

    InputError for a kind that is none, or without exposures.
    """
    if kind not in RECORD_KINDS:
        raise InputError(
            f"no spectral record of kind {kind!r}", field="kind", remedy=f"use one of {', '.join(RECORD_KINDS)}"
        )
    if not facts.exposures:
        raise InputError("a spectral record needs the exposures it is made from", field="exposures")
    groups = _GROUPS[kind.removeprefix("spec_")]
    record: dict[str, Any] = {}
    for group in groups:
        record |= _BUILD[group](facts)
    return ArchiveRecord(RECORD_KINDS[kind], record)


def _basic(facts: SpectralFacts) -> dict[str, Any]:
    first, last = facts.exposures[0], facts.exposures[-1]
    half = [e.exptime_s / 2 / 86400 for e in (first, last)]
    return {
        "program": first.program,
        "program_complete": False,
        "data_release_id": "p00",
        "s_region": first.s_region,
        "visit_start_time_mjd": first.mid_mjd - half[0],
        "visit_end_time_mjd": last.mid_mjd + half[1],
        "optical_element": first.optical_element.lower(),
    }


def _run(facts: SpectralFacts) -> dict[str, Any]:
    return {"version_g2dp_software": facts.software, "g2dp_run_id": facts.run}


def _observation(facts: SpectralFacts) -> dict[str, Any]:
    first, last = facts.exposures[0], facts.exposures[-1]
    # PPPPPCCAAASSSOOOVVV: program, plan, pass, segment, observation, visit.
    segment, visit = first.visit_id[10:13], first.visit_id[16:19]
    return {
        "segment": int(segment) if segment.isdigit() else 0,
        "visit": int(visit) if visit.isdigit() else 0,
        "observation_id": last.visit_id,  # of the last image, says the schema, and shows 19 digits
        "exptime": float(sum(e.exptime_s for e in facts.exposures)),
    }


def _location(facts: SpectralFacts) -> dict[str, Any]:
    first = facts.exposures[0]
    return {
        "dither": float(first.exposure),
        "detector": first.detector,
        "num_src": facts.sources,
        "optical_model": facts.optical_model,
        "v3yangle": float(facts.v3yangle),
    }


def _context(_facts: SpectralFacts) -> dict[str, Any]:
    return {"cdp_ctx": 0}


def _wavelength(facts: SpectralFacts) -> dict[str, Any]:
    return {
        "wl_contamination_range": facts.contamination_range,
        "wl_reference": REFERENCE_UM,
        "wl_snr_global_range": facts.snr_range,
        "unit_flux": UNIT_FLUX,
        "unit_wl": UNIT_WAVELENGTH,
        "phot_filter_cut_off": facts.limit,
    }


def _centre(facts: SpectralFacts) -> dict[str, Any]:
    first = facts.exposures[0]
    return {"wcs_field_center_ra": first.ra_center, "wcs_field_center_dec": first.dec_center}


def _catalogue(facts: SpectralFacts) -> dict[str, Any]:
    return {"catalog_id": facts.catalogue, "file_number": facts.number}


_BUILD = {
    "basic": _basic,
    "run": _run,
    "observation": _observation,
    "location": _location,
    "context": _context,
    "wavelength": _wavelength,
    "centre": _centre,
    "catalogue": _catalogue,
}
_COMBINED = ("basic", "context", "wavelength", "centre", "run")
_GROUPS = {
    "location_table": ("basic", "location", "run", "observation"),
    "decontam_2d": (*_COMBINED, "observation"),
    "individual_1d": (*_COMBINED, "observation"),
    "combined_1d": _COMBINED,
    "catalog": ("basic", "catalogue"),
    "catalog_dqa": ("basic", "catalogue"),
    "dqa_2d": ("basic", "context", "centre", "run", "observation"),
}
