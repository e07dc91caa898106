"""The tables of the microlensing wing (MSOS): the one place where their columns are decided, with
`columns.py` (those that several tables share) and `curve_tables.py` (light curves of a season).

Edit a table, raise its version, and write `data_dictionary()` to docs/data_dictionary.md.
"""

from __future__ import annotations

import polars as pl

from roman_assets.products.schemas import Column, TableSchema, register
from roman_assets.systems.msos.columns import (
    ANY_STAR,
    F32,
    F64,
    FLAG8,
    FLUX,
    I16,
    I32,
    MAG,
    OBJECT_ID,
    ORIGIN,
    PLACE,
    SKY,
    STAR,
    TEXT,
    U16,
    C,
)
from roman_assets.systems.msos.curve_tables import (
    DIFFERENCE_LIGHT_CURVES,
    DIFFERENCE_SOURCES,
    SEASON_EPOCHS,
    SEASON_LIGHT_CURVES,
)
from roman_assets.systems.msos.events.columns import EVENT_MODEL

REFERENCE_CATALOG = TableSchema(
    kind="reference_catalog",
    title="Stars to measure.",
    version="1",
    partition="season and detector",
    sort=("star",),
    row_group_rows=131_072,
    columns=(
        OBJECT_ID,
        STAR,
        *SKY,
        C("x", F64, "pix", "column on the first stacked exposure"),
        C("y", F64, "pix", "row on the first stacked exposure"),
        C("x_err", F32, "pix", "standard error of x"),
        C("y_err", F32, "pix", "standard error of y"),
        *FLUX,
        MAG,
        C("snr", F32, "", "flux over its error"),
        C("n_exposures", I16, "", "exposures that went into the measurement"),
        C("chi2", F32, "", "reduced chi square of the star's fit"),
        C("crowding", F32, "", "share of the light in the star's aperture that is its neighbours'"),
        C("flag", U16, "", "bits: 2 saturated, 16 edge, 64 crowded: more than half of the light is its neighbours'"),
        *PLACE,
    ),
)

PSF_PHOTOMETRY_PART = TableSchema(
    kind="psf_photometry_part",
    title="Instrumental photometry of one exposure; the exposure's own facts are in the file's metadata.",
    version="1",
    partition="exposure of one detector",
    sort=("star",),
    columns=(
        STAR,
        C("flux", F32, "DN / s", "total flux as this exposure measures it; NaN where the fit failed"),
        C("flux_err", F32, "DN / s", "its standard error"),
        C("chi2", F32, "", "reduced chi square of the star's pixels"),
        FLAG8,
    ),
)

DAILY_LIGHT_CURVES_PART = TableSchema(
    kind="daily_light_curves_part",
    title="Calibrated photometry of one exposure.",
    version="1",
    partition="exposure of one detector",
    sort=("star",),
    columns=(STAR, *FLUX, FLAG8),
)

DAILY_SUMS = TableSchema(
    kind="daily_sums",
    title="Sums over a day that add up over days in any order; `w` is 1 / flux_err^2.",
    version="1",
    partition="day and detector",
    sort=("star",),
    columns=(
        STAR,
        C("n", I32, "", "good points"),
        C("sum_w", F64, "s2 / DN2", "sum of w"),
        C("sum_wf", F64, "s / DN", "sum of w flux"),
        C("sum_wf2", F64, "", "sum of w flux^2"),
        C("first_mjd", F64, "d", "first good point; NaN if there is none"),
        C("last_mjd", F64, "d", "last good point; NaN if there is none"),
        C("n_high", I32, "", "points more than 3 sigma above the reference flux"),
        C("max_snr", F32, "", "largest excess over the reference flux, in standard errors"),
        C("max_mjd", F64, "d", "time of the largest excess; NaN if there is no good point"),
    ),
)

ALERTS = TableSchema(
    kind="alerts",
    title="Objects that rise, by a run of high points (KMTNet's alert test) or as a lens does over up to 60 days.",
    version="2",
    partition="day and detector",
    sort=("object_id", "mjd"),
    columns=(
        OBJECT_ID,
        STAR,
        *SKY,
        *PLACE,
        C("mjd", F64, "d", "time of the point that raised the alert"),
        C("n_high", I32, "", "high points in a row up to it, or under the template (earlier days count as one)"),
        C("dchi2", F64, "", "chi square of the flat model minus that of the rising one"),
        *FLUX,
        C("baseline", F32, "DN / s", "flux before the rise"),
        C("first_high_mjd", F64, "d", "first of the high points; null for a template", nullable=True),
        C("rule", TEXT, "", "run: high points in a row today; template: a brightening over the last days"),
        C("t0", F64, "d", "peak of the template, MJD", nullable=True),
        C("teff", F64, "d", "its effective time scale", nullable=True),
    ),
)

_STATISTICS = (
    *FLUX,
    MAG,
    C("mag_err", F32, "mag", "standard error of mag"),
    C("n", I32, "", "good points"),
    C("n_flagged", I32, "", "points excluded by their flags"),
    C("first_mjd", F64, "d", "first good point"),
    C("last_mjd", F64, "d", "last good point"),
    C("scatter", F32, "DN / s", "robust scatter (1.4826 median absolute deviation)"),
    C("expected_scatter", F32, "DN / s", "median of the errors"),
    C("chi2_dof", F32, "", "reduced chi square about the weighted mean"),
    C("eta", F32, "", "von Neumann's ratio of successive differences to variance; 2 for white noise"),
    C("stetson_j", F32, "", "Stetson's J of successive pairs"),
    C("skew", F32, "", "skewness of the fluxes"),
    C("kurtosis", F32, "", "excess kurtosis of the fluxes"),
    C("amplitude", F32, "DN / s", "95th minus 5th percentile"),
    C("longest_high", I16, "", "longest run of points more than 3 sigma above the median"),
    C("period", F64, "d", "best period; null where none was searched for or found", nullable=True),
    C("period_power", F32, "", "normalised power of the best period", nullable=True),
    C("variability_class", TEXT, "", "constant, periodic, transient, irregular or unknown"),
)

SEASON_OBJECTS = TableSchema(
    kind="season_objects",
    title="Object catalogue of a season.",
    version="3",
    partition="season and detector",
    sort=("object_id", "optical_element"),
    row_group_rows=131_072,
    columns=(
        OBJECT_ID,
        ANY_STAR,
        *SKY,
        C("season", TEXT, "", "s01.."),
        *PLACE,
        ORIGIN,
        *_STATISTICS,
        C(
            "crowding",
            F32,
            "",
            "share of the light in the star's aperture that is its neighbours'; NaN: difference source",
        ),
        C("flag", U16, "", "flags of the reference catalogue; 0 for difference sources"),
        C("position_err", F32, "mas", "standard error of either coordinate; null: difference source", nullable=True),
        C("position_mjd", F64, "d", "mean epoch of the position; null: difference source", nullable=True),
    ),
)

#: What the event finder says of a solution.
_EVENT_MODEL = tuple(C(*column) for column in EVENT_MODEL)

SEASON_EVENTS = TableSchema(
    kind="season_events",
    title="Microlensing candidates of a season, one row per solution.",
    version="2",
    partition="season and detector",
    sort=("object_id", "degeneracy"),
    row_group_rows=16_384,
    columns=(OBJECT_ID, ANY_STAR, *SKY, C("season", TEXT, "", "s01.."), *PLACE, ORIGIN, *_EVENT_MODEL),
)

_SEASONS = (
    C("n_seasons", I16, "", "seasons with data"),
    C("seasons", pl.List(TEXT), "", "those seasons"),
    C("detectors", pl.List(TEXT), "", "detector in each of them"),
    C("stars", pl.List(I32), "", "row in each of their reference catalogues"),
)

SURVEY_OBJECTS = TableSchema(
    kind="survey_objects",
    title="Objects matched over all seasons.",
    version="2",
    partition="region of the sky",
    sort=("object_id", "optical_element"),
    row_group_rows=131_072,
    columns=(
        OBJECT_ID,
        *SKY,
        C("field", TEXT, "", "survey field, f01.."),
        C("optical_element", TEXT, "", "filter"),
        *_SEASONS,
        C("separation", F32, "mas", "largest distance between the seasons' positions"),
        C("position_mjd", F64, "d", "epoch of ra and dec; null: none of the positions has one", nullable=True),
        C("pm_ra", F64, "mas / yr", "proper motion in ra times cos dec, relative to the field's mean", nullable=True),
        C("pm_dec", F64, "mas / yr", "proper motion in dec, relative to the field's mean", nullable=True),
        C(
            "pm_err",
            F64,
            "mas / yr",
            "standard error of either; null: the seasons span less than 0.2 yr",
            nullable=True,
        ),
        *_STATISTICS,
    ),
)

SURVEY_EVENTS = TableSchema(
    kind="survey_events",
    title="Microlensing events modelled over all seasons, one row per solution.",
    version="1",
    partition="region of the sky",
    sort=("object_id", "degeneracy"),
    row_group_rows=16_384,
    columns=(
        OBJECT_ID,
        *SKY,
        C("field", TEXT, "", "survey field, f01.."),
        C("optical_element", TEXT, "", "filter of the search"),
        *_SEASONS,
        *_EVENT_MODEL,
    ),
)


def _edge(name: str, unit: str, text: str) -> Column:
    return C(name, F64, unit, f"{text}; null where the kind has none", nullable=True)


DETECTION_EFFICIENCY = TableSchema(
    kind="detection_efficiency",
    title="Share of injected signals that the season's search, fits and vetoes find, by cell.",
    version="1",
    partition="season and detector",
    sort=("cell",),
    columns=(
        C("cell", I32, "", "number of the cell"),
        C("season", TEXT, "", "s01.."),
        *PLACE,
        C("medium", TEXT, "", "what the signals were injected into: lightcurve"),
        C("kind", TEXT, "", "point_lens, planet (over all angles), control (no signal)"),
        _edge("te_low", "d", "shortest Einstein crossing time"),
        _edge("te_high", "d", "longest Einstein crossing time"),
        _edge("u0_low", "", "smallest impact parameter"),
        _edge("u0_high", "", "largest impact parameter"),
        _edge("mag_low", "mag", "brightest source"),
        _edge("mag_high", "mag", "faintest source"),
        _edge("log_s", "", "logarithm of the planet's separation in Einstein radii"),
        _edge("log_q", "", "logarithm of its mass ratio"),
        C("injected", I32, "", "signals injected"),
        C(
            "detected",
            I32,
            "",
            "signals found; of planets, those flagged with dchi2 above 160; of controls, false ones",
        ),
        C("efficiency", F64, "", "detected over injected; NaN without injections"),
        C("low", F64, "", "lower end of the binomial interval of 68.27 % (Jeffreys)"),
        C("high", F64, "", "its upper end"),
    ),
)

TABLES = register(
    (
        REFERENCE_CATALOG,
        PSF_PHOTOMETRY_PART,
        DAILY_LIGHT_CURVES_PART,
        DAILY_SUMS,
        ALERTS,
        SEASON_EPOCHS,
        SEASON_LIGHT_CURVES,
        DIFFERENCE_SOURCES,
        DIFFERENCE_LIGHT_CURVES,
        SEASON_OBJECTS,
        SEASON_EVENTS,
        SURVEY_OBJECTS,
        SURVEY_EVENTS,
        DETECTION_EFFICIENCY,
    )
)
