"""What the platform promises: by when each asset's partition is there, and what its work is counted in.

The one place for these decisions. Exporter, alerts, the assets' own metadata and the Grafana dashboards follow from
it. Promises are counted from the calendar, not from the run that should have kept them: a day that nobody processed
is late like one whose run failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

#: Names the first day that is promised (YYYY-MM-DD).
SINCE = "ROMAN_PROMISES_FROM"
#: When a partition's clock starts: the end of its day; of its season; of its season's first day; for sky regions,
#: which have no day, the end of the newest season or day with products.
Start = Literal["day", "season", "season's first day", "spectroscopic day", "bulge season", "spectroscopic survey day"]


@dataclass(frozen=True)
class Promise:
    """An asset's group, when its clock starts, within how many hours it is there, and its work.

    Attributes
    ----------
    work
        Entry of a materialization's metadata that counts the work of its step; ``new_rows:KIND`` counts the rows of
        products of a kind that were made rather than found. None: not counted.
    unit
        What the work is counted in.
    """

    group: str
    start: Start
    hours: float
    work: str | None = None
    unit: str = ""

    @property
    def text(self) -> str:
        """For people."""
        return f"within {self.hours:g} h of the end of the {self.start}"


PROMISES: dict[str, Promise] = {
    "exposures": Promise("exposures", "day", 12),
    "psf_photometry": Promise("msos", "day", 24, "new_rows:psf_photometry_part", "star measurements"),
    "daily_light_curves": Promise("msos", "day", 30, "new_rows:daily_light_curves_part", "light curve points"),
    "reference_catalog": Promise("msos", "season's first day", 72, "new_rows:reference_catalog", "stars"),
    "season_light_curves": Promise("msos", "season", 96, "new_rows:season_light_curves", "light curves"),
    "difference_sources": Promise("msos", "season", 192),
    "season_objects": Promise("msos", "season", 216, "new_rows:season_objects", "objects"),
    "season_events": Promise("msos", "season", 216, "searched", "light curves searched"),
    "detection_efficiency": Promise("msos", "season", 336, "injected", "injections"),
    "survey_objects": Promise("msos", "bulge season", 336, "new_rows:survey_objects", "objects"),
    "survey_events": Promise("msos", "bulge season", 360, "new_rows:survey_events", "events"),
    "dispersed_exposures": Promise("gdps", "spectroscopic day", 12),
    "contamination_models": Promise("gdps", "spectroscopic day", 48),
    "spectra_2d": Promise("gdps", "spectroscopic day", 48),
    "spectra_1d": Promise("gdps", "spectroscopic day", 48, "new_rows:spectra_1d_part", "spectra"),
    "combined_spectra": Promise("gdps", "spectroscopic survey day", 168, "new_rows:combined_spectra", "spectra"),
    "spectral_series": Promise("gdps", "spectroscopic survey day", 168, "new_rows:spectral_series", "spectra"),
    "redshifts": Promise("gdps", "spectroscopic survey day", 192, "new_rows:redshifts", "redshifts"),
}

#: Assets of each job, the last of which gives its runs their group.
JOBS: dict[str, str] = {
    "process_day": "daily_light_curves",
    "establish_catalogue": "reference_catalog",
    "close_season": "season_events",
    "measure_efficiency": "detection_efficiency",
    "join_survey": "survey_events",
    "extract_spectra_of_day": "spectra_1d",
    "measure_redshifts": "redshifts",
}


def promise_metadata(asset: str) -> dict[str, str]:
    """What an asset's page says of its promise."""
    return {"promise": PROMISES[asset].text}
