"""Tables of a season's light curves: of the catalogue's stars, and of sources that brightened beside them.

`tables.py` registers them.
"""

from __future__ import annotations

import polars as pl

from roman_assets.products.schemas import TableSchema
from roman_assets.systems.msos.columns import (
    ANY_STAR,
    F32,
    F64,
    FLAG8,
    I16,
    I32,
    OBJECT_ID,
    PLACE,
    SKY,
    STAR,
    TEXT,
    U8,
    U16,
    C,
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
