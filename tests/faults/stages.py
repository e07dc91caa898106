"""Every asset of both systems on a tiny survey, as steps that can be run, failed and run again without Dagster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.level2.reader import read_header
from roman_assets.platform.regions import regions_of
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.dispersed import DispersedField, simulate_dispersed
from roman_assets.simulate.survey import simulate_survey
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.survey.calendar_file import write_calendar
from roman_assets.systems.gdps.stages.combined_spectra import combine_region
from roman_assets.systems.gdps.stages.dispersed_exposures import collect as collect_dispersed
from roman_assets.systems.gdps.stages.redshifts import redshifts_of_region
from roman_assets.systems.gdps.stages.spectra import extract_day
from roman_assets.systems.gdps.stages.spectral_series import series_of_region
from roman_assets.systems.msos.difference.search import DifferenceConfig
from roman_assets.systems.msos.efficiency.injection import InjectionConfig
from roman_assets.systems.msos.stages.daily_light_curves import daily
from roman_assets.systems.msos.stages.detection_efficiency import detection_efficiency
from roman_assets.systems.msos.stages.difference_sources import difference_sources
from roman_assets.systems.msos.stages.exposures import collect
from roman_assets.systems.msos.stages.psf_photometry import measure
from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig, establish
from roman_assets.systems.msos.stages.season_events import events as season_events
from roman_assets.systems.msos.stages.season_light_curves import transpose_season
from roman_assets.systems.msos.stages.season_objects import objects as season_objects
from roman_assets.systems.msos.stages.survey_events import events as survey_events
from roman_assets.systems.msos.stages.survey_objects import objects as survey_objects

SURVEY = MiniSurvey(
    seed=3, detectors=("WFI01", "WFI02"), days=2, visits_per_day=6, size_px=64, n_events=2, n_variables=1
)
FIELD = DispersedField(galaxies=2, stars=1, width=96, rolls=(20.0, 35.0), line_flux=1.5e-18)
CATALOGUE = CatalogueConfig(exposures=3)
DIFFERENCE = DifferenceConfig(bin_days=0.05)
INJECTION = InjectionConfig(
    per_cell=1,
    planets_per_cell=0,
    controls=2,
    image_injections=4,
    image_px=64,
    te_edges=(1.0, 3.0),
    u0_edges=(0.0, 0.5),
    mag_edges=(17.0, 22.0),
    min_points=4,
)

Step = tuple[str, Callable[[Workspace], object]]


@dataclass(frozen=True)
class Survey:
    """Files of the simulated surveys, and where they are."""

    folder: Path
    exposures: list[Path]

    @classmethod
    def simulate(cls, folder: Path) -> Survey:
        imaging = simulate_survey(SURVEY, folder / "imaging", workers=1).exposures
        dispersed = simulate_dispersed(FIELD, folder / "spectra")
        return cls(folder, [*imaging, *dispersed])

    @classmethod
    def found(cls, folder: Path) -> Survey:
        """What was simulated in a folder before."""
        return cls(folder, sorted(folder.rglob("*_cal.asdf")))

    def workspace(self, home: Path) -> Workspace:
        """An empty installation with a calendar of these files."""
        home.mkdir(parents=True)
        calendar = calendar_for_files([read_header(path) for path in self.exposures], "tiny")
        write_calendar(calendar, home / "calendar.toml")
        return Workspace(home, sources=str(self.folder / "spectra" / "sources"))


def steps(workspace: Workspace, survey: Survey) -> list[Step]:
    """Ingestion, and every asset of every partition that the survey has, in order; regions are found as one goes."""
    calendar = workspace.calendar
    days = [day for season in calendar.seasons for day in season.days]
    seasons = [season.name for season in calendar.seasons]
    pairs = [(day, detector) for day in days for detector in SURVEY.detectors]
    season_pairs = [(season, detector) for season in seasons for detector in SURVEY.detectors]
    spectral = [(day, detector) for day in calendar.spectroscopic_days for detector in calendar.detectors]
    bulge, fields = calendar.region_names("bulge"), calendar.region_names("spectroscopic")

    def take_in(w: Workspace) -> None:
        report = ingest(survey.exposures, w.registry, w.quarantine, w.calendar, full=False)
        if report.problems:
            raise OSError(report.problems[0])

    made: list[Step] = [("ingest", take_in)]
    made += [(f"exposures {d} {n}", lambda w, d=d, n=n: collect(w, d, n)) for d, n in pairs]
    made += [(f"reference_catalog {s} {n}", lambda w, s=s, n=n: establish(w, s, n, CATALOGUE)) for s, n in season_pairs]
    made += [(f"psf_photometry {d} {n}", lambda w, d=d, n=n: measure(w, d, n)) for d, n in pairs]
    made += [(f"daily_light_curves {d} {n}", lambda w, d=d, n=n: daily(w, d, n)) for d, n in pairs]
    for s, n in season_pairs:
        made += [
            (f"season_light_curves {s} {n}", lambda w, s=s, n=n: transpose_season(w, s, n)),
            (f"difference_sources {s} {n}", lambda w, s=s, n=n: difference_sources(w, s, n, DIFFERENCE)),
            (f"season_objects {s} {n}", lambda w, s=s, n=n: season_objects(w, s, n)),
            (f"season_events {s} {n}", lambda w, s=s, n=n: season_events(w, s, n)),
            (f"detection_efficiency {s} {n}", lambda w, s=s, n=n: detection_efficiency(w, s, n, INJECTION)),
        ]
    made += [(f"survey_objects {r}", lambda w, r=r: survey_objects(w, r)) for r in bulge]
    made += [(f"survey_events {r}", lambda w, r=r: survey_events(w, r)) for r in bulge]
    made += [(f"dispersed_exposures {d} {n}", lambda w, d=d, n=n: collect_dispersed(w, d, n)) for d, n in spectral]
    made += [(f"spectra {d} {n}", lambda w, d=d, n=n: extract_day(w, d, n)) for d, n in spectral]
    made += [(f"combined_spectra {r}", lambda w, r=r: combine_region(w, r)) for r in fields]
    made += [(f"spectral_series {r}", lambda w, r=r: series_of_region(w, r)) for r in fields]
    made += [(f"redshifts {r}", lambda w, r=r: redshifts_of_region(w, r)) for r in fields]
    return made


def everything_made(workspace: Workspace) -> set[tuple[str, str, str, str, str]]:
    """Kind, partition, part, identity and sha256 of every product there ever was."""
    found = set()
    index = workspace.products.index
    for record in index.all_records():
        found.add((record.kind, record.partition, record.part, record.identity, record.sha256))
    return found


def regions_with_products(workspace: Workspace) -> set[str]:
    """Regions that have spectra or objects."""
    records = [r for kind in ("season_objects", "spectra_1d_part") for r in workspace.products.current(kind)]
    return {name for record in records for name in regions_of(workspace, record)}
