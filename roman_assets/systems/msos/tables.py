"""The tables of the microlensing wing (MSOS): the one place where their columns are decided.

Edit a table here, raise its version, and write `data_dictionary()` to docs/data_dictionary.md.
"""

from __future__ import annotations

import polars as pl

from roman_assets.products.schemas import Column, TableSchema, register
from roman_assets.systems.msos.events.columns import EVENT_MODEL

C = Column
I16, I32, I64 = pl.Int16, pl.Int32, pl.Int64
U8, U16, U32 = pl.UInt8, pl.UInt16, pl.UInt32
F32, F64, TEXT = pl.Float32, pl.Float64, pl.String

OBJECT_ID = C("object_id", I64, "", "HEALPix nested cell of order 29 of the reference position")
STAR = C("star", I32, "", "row of the star in the reference catalogue of this season and detector")
ANY_STAR = C("star", I32, "", f"{STAR.description}; beyond its end for difference sources")
ORIGIN = C(
    "origin",
    TEXT,
    "",
    "catalogue: a star of the reference catalogue; difference: a source that brightened beside "
    "them, its fluxes are differences",
)
SKY = (C("ra", F64, "deg", "right ascension, ICRS"), C("dec", F64, "deg", "declination, ICRS"))
PLACE = (
    C("field", TEXT, "", "survey field, f01.."),
    C("detector", TEXT, "", "WFI01..WFI18"),
    C("optical_element", TEXT, "", "filter"),
)
FLUX = (
    C("flux", F32, "DN / s", "total flux on the reference zero point; NaN where the fit failed"),
    C("flux_err", F32, "DN / s", "its standard error"),
)
FLAG8 = C(
    "flag",
    U8,
    "",
    "bits: 1 no usable pixel, 2 saturated, 4 masked pixels, 8 bad fit, 16 edge, 32 cosmic ray, 64 no solution",
)
MAG = C("mag", F32, "mag", "AB magnitude of the flux; NaN where it is not positive")

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

SEASON_EPOCHS = TableSchema(
    kind="season_epochs",
    title="Epochs of a season's light curves: element k of a light curve's lists belongs to row `epoch` = k.",
    version="1",
    partition="season and detector",
    sort=("optical_element", "epoch"),
    columns=(
        C("epoch", I32, "", "place in the lists of the light curves of this optical element"),
        C("exposure_id", TEXT, "", "exposure"),
        C("mjd", F64, "d", "mid-exposure"),
        C("day", TEXT, "", "UTC date of the start of the exposure"),
        *PLACE,
        C("zero_point", F64, "mag", "AB magnitude of 1 DN/s in this exposure"),
        C("zero_point_err", F32, "mag", "its standard error"),
        C("scale", F64, "", "factor from this exposure's fluxes to the reference zero point"),
        C("sky", F32, "DN / s", "background per pixel"),
        C("exptime", F32, "s", "exposure time"),
        C("n_stars", I32, "", "stars with a good flux"),
        C("scatter", F32, "mag", "robust scatter of the bright constant stars about their means"),
        C("flag", U16, "", "bits: 1 few calibration stars, 2 poor fit, 4 caveats of the exposure"),
    ),
)

SEASON_LIGHT_CURVES = TableSchema(
    kind="season_light_curves",
    title="Light curves, one row per object and optical element; times are in season_epochs.",
    version="1",
    partition="season and detector (in blocks of the sky)",
    sort=("object_id", "optical_element"),
    row_group_rows=65_536,
    # 50 objects of 7,000 epochs: 3 ms to read.
    row_group_values=175_000,
    columns=(
        OBJECT_ID,
        STAR,
        *SKY,
        *PLACE,
        C("n_good", I32, "", "epochs without a flag that excludes them"),
        C("flux", pl.List(F32), "DN / s", "total flux on the reference zero point; NaN where there is none"),
        C("flux_err", pl.List(F32), "DN / s", "its standard error"),
        C("flag", pl.List(U8), "", FLAG8.description),
    ),
)

DIFFERENCE_SOURCES = TableSchema(
    kind="difference_sources",
    title="Sources that are not in the reference catalogue and brightened during the season.",
    version="1",
    partition="season and detector",
    sort=("object_id",),
    row_group_rows=131_072,
    columns=(
        OBJECT_ID,
        ANY_STAR,
        *SKY,
        C("season", TEXT, "", "s01.."),
        *PLACE,
        C("x", F64, "pix", "column on the season's first exposure"),
        C("y", F64, "pix", "row on the season's first exposure"),
        C("x_err", F32, "pix", "standard error of x"),
        C("y_err", F32, "pix", "standard error of y"),
        C("significance", F32, "", "mean flux of the brightening over its error"),
        C("significance_without_best", F32, "", "the same without its most significant exposure"),
        C("threshold", F32, "", "significance that was asked for here, from the dips of the residuals"),
        C("first_mjd", F64, "d", "first exposure of the brightening, to the bin"),
        C("last_mjd", F64, "d", "last exposure of the brightening, to the bin"),
        C("peak_mjd", F64, "d", "middle of the three exposures in a row with the highest mean"),
        C("n_exposures", I32, "", "good exposures during the brightening"),
        C("flux", F32, "DN / s", "mean difference flux during the brightening, on the reference zero point"),
        C("flux_err", F32, "DN / s", "its standard error"),
        C("peak_flux", F32, "DN / s", "highest mean difference flux of three exposures in a row"),
        C("peak_flux_err", F32, "DN / s", "its standard error"),
        C(
            "reference_flux",
            F32,
            "DN / s",
            "flux at the position outside the brightening that the catalogue does not have",
        ),
        C("reference_flux_err", F32, "DN / s", "its standard error"),
        C("chi2", F32, "", "median chi square per pixel during the brightening, over that of the baseline"),
        C("error_factor", F32, "", "factor on the formal errors, from the scatter of the baseline"),
        C("nearest_star", I32, "", "row of the nearest catalogued star"),
        C("nearest_distance", F32, "pix", "its distance"),
        C("nearest_flux", F32, "DN / s", "its flux in the catalogue"),
        C("n_together", I16, "", "varying neighbours fitted together with it"),
        C(
            "flag",
            U16,
            "",
            "bits: 1 edge in some exposures, 2 the brightening reaches the first or last bin, "
            "4 varying neighbour, 8 fewer than 20 baseline exposures",
        ),
    ),
)

DIFFERENCE_LIGHT_CURVES = TableSchema(
    kind="difference_light_curves",
    title="Difference light curves of the difference sources, laid out as season_light_curves, whose epochs they share; "
    "zero is the flux outside the brightening.",
    version="1",
    partition="season and detector",
    sort=SEASON_LIGHT_CURVES.sort,
    row_group_rows=SEASON_LIGHT_CURVES.row_group_rows,
    row_group_values=SEASON_LIGHT_CURVES.row_group_values,
    columns=tuple(ANY_STAR if column is STAR else column for column in SEASON_LIGHT_CURVES.columns),
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
