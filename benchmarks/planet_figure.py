"""A planet from exposures to its picture: two simulated seasons through the whole pipeline.

    python -m benchmarks.planet_figure docs/images/planet.png

The figure is the one that survey_events shows in the UI; the truth is printed beside what the pipeline found.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import polars as pl

from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.level2.reader import read_header
from roman_assets.orchestration.processing import plan, run_steps
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey
from roman_assets.survey.calendar import calendar_for_files
from roman_assets.survey.calendar_file import write_calendar
from roman_assets.systems.msos.stages.survey_events import events

SURVEY = MiniSurvey(
    seed=73,
    detectors=("WFI01",),
    days=6,
    seasons=2,
    visits_per_day=48,
    size_px=64,
    n_events=1,
    n_variables=0,
    planets=((1.25, 3e-3, -45.0),),
)


def main(out: Path) -> None:
    """Simulate, process, write the picture."""
    folder, start = Path(tempfile.mkdtemp()), time.monotonic()
    survey = simulate_survey(SURVEY, folder / "survey", workers=2)
    print(f"{len(survey.exposures)} exposures after {time.monotonic() - start:.0f} s")
    home = folder / "home"
    home.mkdir()
    write_calendar(calendar_for_files([read_header(p) for p in survey.exposures], "figure"), home / "calendar.toml")
    place = Workspace(home)
    ingest(list(survey.exposures), place.registry, place.quarantine, place.calendar)
    outcome = run_steps(place, plan(place))
    print(f"processed after {time.monotonic() - start:.0f} s, failed: {outcome.failed}")
    truth = pl.read_parquet(next(Path(folder / "survey" / "truth").glob("events*.parquet")))
    print(truth)
    for record in place.products.current("survey_events"):
        table = place.products.read_table(record)
        print(
            table.select(
                "event_class",
                "degeneracy",
                "n_seasons",
                "n_points",
                "t0",
                "u0",
                "te",
                "s",
                "q",
                "alpha",
                "chi2",
                "dof",
                "dchi2_binary",
            )
        )
        region = record.partition.removeprefix("region=")
        for name, picture in events(place, region).pictures.items():
            print(name, len(picture), "bytes")
            out.write_bytes(picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
