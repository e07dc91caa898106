"""What the stages share: partition texts, pointings, archive facts, code versions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta

import numpy as np

from roman_assets.exposures.level2.footprint import position_angle
from roman_assets.exposures.level2.header import FOOTPRINT_FROM_TARGET, WCS_UNLIKE_FOOTPRINT
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.stage import Check, Progress, StageResult, day_partition, finite, region_partition, silent
from roman_assets.platform.workspace import Workspace
from roman_assets.products.archive import NO_NUMBER
from roman_assets.survey.instrument import PIXEL_DEG
from roman_assets.survey.sky import separation_deg
from roman_assets.systems.msos import tables  # noqa: F401 - the stages store them
from roman_assets.systems.msos.archive import ArchiveFacts
from roman_assets.systems.msos.system import SYSTEM

__all__ = ["Check", "Progress", "StageResult", "day_partition", "finite", "region_partition", "silent"]
#: Order of the HEALPix cells that name pointings (0.8 arcsec, less than their reach) and objects.
POINTING_ORDER, OBJECT_ORDER = 18, 29
#: Within a season the Sun lets the telescope roll by 15 deg either way; between seasons it turns by 180.
ORIENTATION_SPREAD_DEG = 45.0
_DOUBTFUL = {FOOTPRINT_FROM_TARGET, WCS_UNLIKE_FOOTPRINT}


def season_partition(season: str, detector: str) -> str:
    """Partition text of one season of one detector."""
    return f"season={season}/detector={detector}"


def pointing_name(exposure: RegisteredExposure) -> str:
    """Name of a pointing: field, sky cell and size of the exposure that defines it."""
    from roman_assets.survey.healpix import cells_of

    cell = int(cells_of([exposure.ra_center], [exposure.dec_center], POINTING_ORDER)[0])
    ny, nx = exposure.shape
    return f"{exposure.field or 'f00'}-h{cell}-{nx}x{ny}"


def same_pointing(ra: float, dec: float, shape: Sequence[int], exposure: RegisteredExposure) -> bool:
    """Whether an exposure is a dither of the pointing centred at (ra, dec) [deg] with this image shape."""
    if tuple(shape) != tuple(exposure.shape):
        return False
    reach = 0.3 * min(shape) * PIXEL_DEG
    return separation_deg(ra, dec, exposure.ra_center, exposure.dec_center) < reach


def pointings(exposures: Iterable[RegisteredExposure]) -> list[list[RegisteredExposure]]:
    """Exposures grouped by pointing, each group in order of time and named by its first."""
    groups: list[list[RegisteredExposure]] = []
    for exposure in exposures:
        for group in groups:
            first = group[0]
            if same_pointing(first.ra_center, first.dec_center, first.shape, exposure):
                group.append(exposure)
                break
        else:
            groups.append([exposure])
    return groups


def archive_facts(
    workspace: Workspace, season: str, exposures: Sequence[RegisteredExposure], *, sequence: int = 1
) -> ArchiveFacts:
    """Facts of an archive record common to all products made from these exposures of one pointing."""
    first, last = exposures[0], exposures[-1]
    fields = {f.name: f for f in workspace.calendar.fields}
    place = fields.get(first.field or "")
    half = timedelta(seconds=first.exptime_s / 2)
    versions = {"photometry": CODE["psf_photometry"], "events": CODE["season_events"], "dqa": "1"}
    return ArchiveFacts(
        season=season,
        field=first.field or "f00",
        detector=first.detector,
        optical_element=first.optical_element,
        sequence=f"e{min(sequence, 99):02d}",
        program=first.program,
        processing_id=workspace.processing_release,
        flip=orientation(exposures),
        gal_cen_flag=bool(place and place.galactic_center),
        exptime=float(sum(e.exptime_s for e in exposures)),
        start=first.start_time + half,
        end=last.start_time + half,
        ra_field=place.ra if place else first.ra_center,
        dec_field=place.dec if place else first.dec_center,
        s_region=first.s_region,
        versions=versions,
    )


def orientation(exposures: Iterable[RegisteredExposure]) -> int:
    """Position angle of +y that exposures share, east of north, whole degrees (0 to 359).

    NO_NUMBER, as Roman's data model writes what is not known, where no footprint tells it or where they have not one
    orientation. Footprints whose corners may be counted otherwise, or that contradict their header, tell nothing.
    """
    sure = (e for e in exposures if not _DOUBTFUL & set(e.caveats))
    angles = np.deg2rad([angle for e in sure if (angle := position_angle(e.s_region)) is not None])
    if not len(angles):
        return NO_NUMBER
    mean = np.arctan2(np.sin(angles).sum(), np.cos(angles).sum())
    if np.cos(angles - mean).min() < np.cos(np.deg2rad(ORIENTATION_SPREAD_DEG)):
        return NO_NUMBER
    return round(float(np.rad2deg(mean))) % 360


#: Code versions of the assets.
CODE = SYSTEM.code
