"""The spectroscopic system (GDPS): its assets and jobs.

A row is all there is to say of an asset; what it does is in the stage that it names.
"""

from __future__ import annotations

from roman_assets.platform.pods import LIGHT, POOL_IMAGES, POOL_SEASON, PRIORITY_DAY, PRIORITY_SEASON, SEASON, SPECTRA
from roman_assets.platform.system import AssetFacts, Gate, JobFacts, Promise, System

#: In the order in which they are processed. `code`: raise it when the results change (a golden-output test guards them).
ASSETS = (
    AssetFacts(
        name="dispersed_exposures",
        partition="spectroscopic day",
        job="extract_spectra_of_day",
        code="1",
        description="Validated grism and prism exposures of a day of a detector, from the registry.",
        kinds=frozenset(["asdf", "json"]),
        stage="dispersed_exposures:collect",
        products=("dispersed_exposures",),
        promise=Promise("spectroscopic day", 12),
        profile=LIGHT,
    ),
    AssetFacts(
        name="contamination_models",
        partition="spectroscopic day",
        job="extract_spectra_of_day",
        code="5",
        description="Per exposure: where spectra lie, and the image of all orders of all sources, fitted.",
        kinds=frozenset(["asdf", "c"]),
        stage="spectra:extract_day",
        products=("location_table", "contamination_models"),
        promise=Promise("spectroscopic day", 48),
        profile=SPECTRA,
        made_of={"dispersed_exposures": "same"},
        gates={"residual": Gate("what the models leave of the exposures is noise")},
        pool=POOL_IMAGES,
        step="extract_spectra",
    ),
    AssetFacts(
        name="spectra_2d",
        partition="spectroscopic day",
        job="extract_spectra_of_day",
        code="3",
        description="Per exposure: decontaminated cut-outs with contamination, model, weights and wavelengths.",
        kinds=frozenset(["asdf", "c"]),
        stage="spectra:extract_day",
        products=("spectra_2d",),
        promise=Promise("spectroscopic day", 48),
        profile=SPECTRA,
        made_of={"dispersed_exposures": "same"},
        pool=POOL_IMAGES,
        step="extract_spectra",
    ),
    AssetFacts(
        name="spectra_1d",
        partition="spectroscopic day",
        job="extract_spectra_of_day",
        code="5",
        description="Per exposure: optimally extracted spectra with errors, contamination and line-spread function.",
        kinds=frozenset(["c", "parquet"]),
        stage="spectra:extract_day",
        products=("spectra_1d_part",),
        promise=Promise("spectroscopic day", 48, "new_rows:spectra_1d_part", "spectra"),
        profile=SPECTRA,
        made_of={"dispersed_exposures": "same"},
        gates={"completeness": Gate("all dispersed exposures of the day are extracted")},
        pool=POOL_IMAGES,
        step="extract_spectra",
    ),
    AssetFacts(
        name="combined_spectra",
        partition="spectroscopic region",
        job="measure_redshifts",
        code="3",
        description="Spectra of the sources of a sky region, combined over exposures and rolls.",
        kinds=frozenset(["parquet", "polars"]),
        stage="combined_spectra:combine_region",
        products=("combined_spectra",),
        promise=Promise("spectroscopic survey day", 168, "new_rows:combined_spectra", "spectra"),
        profile=SEASON,
        made_of={"spectra_1d": "all"},
        pool=POOL_SEASON,
    ),
    AssetFacts(
        name="spectral_series",
        partition="spectroscopic region",
        job="measure_redshifts",
        code="2",
        description="Spectra by visit of the sources of a sky region, and which of them vary.",
        kinds=frozenset(["parquet", "polars"]),
        stage="spectral_series:series_of_region",
        products=("spectral_series", "spectral_variability"),
        promise=Promise("spectroscopic survey day", 168, "new_rows:spectral_series", "spectra"),
        profile=SEASON,
        made_of={"spectra_1d": "all"},
        gates={"constant_sources": Gate("most sources keep their brightness between visits")},
        pool=POOL_SEASON,
    ),
    AssetFacts(
        name="redshifts",
        partition="spectroscopic region",
        job="measure_redshifts",
        code="3",
        description="Redshifts with probability densities, classes, warnings and emission lines of a sky region.",
        kinds=frozenset(["c", "parquet"]),
        stage="redshifts:redshifts_of_region",
        products=("redshifts", "emission_lines", "redshift_quality"),
        promise=Promise("spectroscopic survey day", 192, "new_rows:redshifts", "redshifts"),
        profile=SEASON,
        made_of={"combined_spectra": "same"},
        gates={
            "honest_flags": Gate("sources without information are flagged"),
            "normalised": Gate("probability densities integrate to one"),
        },
        pool=POOL_SEASON,
    ),
)

JOBS = (
    JobFacts(
        "extract_spectra_of_day",
        "Contamination models, 2D and 1D spectra of the dispersed exposures of a day of a detector.",
        PRIORITY_DAY,
    ),
    JobFacts(
        "measure_redshifts",
        "Combined spectra, time series and redshifts of a sky region, with what is there.",
        PRIORITY_SEASON,
    ),
)

SYSTEM = System("gdps", "roman_assets.systems.gdps", "team:gdps", ASSETS, JOBS, "sensors:build_sensors")
