"""Tables of the spectroscopic products: their columns, units and layout."""

from __future__ import annotations

import polars as pl

from roman_assets.products.schemas import Column, TableSchema, register

F32, F64, I16, I32, I64, U32 = pl.Float32, pl.Float64, pl.Int16, pl.Int32, pl.Int64, pl.UInt32
TEXT, C = pl.String, Column
FLUX_DENSITY = "W m-2 nm-1"

_SOURCE = (
    C("source_id", I64, "", "identifier in the source catalogue"),
    C("ra", F64, "deg", "right ascension, ICRS, of the catalogue"),
    C("dec", F64, "deg", "declination, ICRS, of the catalogue"),
)
_SPECTRUM = (
    C("wavelength", pl.List(F64), "nm", "in vacuum, increasing; a value per pixel of the spectrum"),
    C(
        "flux",
        pl.List(F64),
        FLUX_DENSITY,
        "flux density, contamination taken out; NaN where there are no data; see flags",
    ),
    C("flux_err", pl.List(F64), FLUX_DENSITY, "its standard error, that of the contamination included"),
    C("contamination", pl.List(F64), FLUX_DENSITY, "what was taken out"),
    C("flags", pl.List(U32), "", "0: good; bits are in gdps/extraction.py"),
    C("lsf_sigma", pl.List(F64), "nm", "Gaussian sigma of the line-spread function for this source"),
)
_QUALITY = (
    C("point_source", pl.Boolean, "", "whether the source catalogue has it as a point"),
    C("snr", F32, "", "median signal to noise a pixel; NaN without a good pixel"),
    C("coverage", F32, "", "share of the band that has good pixels"),
    C("contaminated", F32, "", "share of contamination in the light over all good pixels"),
)

LOCATION_TABLE = TableSchema(
    kind="location_table",
    title="Where the spectra of the sources lie on a dispersed exposure.",
    version="1",
    partition="exposure of one detector",
    sort=("source_id", "order"),
    columns=(
        *_SOURCE,
        C("order", TEXT, "", "spectral order: 1, 0, 2"),
        C("x", F64, "pix", "undispersed place, 0-based; may lie off the image"),
        C("y", F64, "pix", "undispersed place, 0-based; may lie off the image"),
        C("x_start", F64, "pix", "trace at the shortest wavelength of the order"),
        C("y_start", F64, "pix", "trace at the shortest wavelength of the order"),
        C("x_end", F64, "pix", "trace at the longest wavelength of the order"),
        C("y_end", F64, "pix", "trace at the longest wavelength of the order"),
    ),
)

SPECTRA_1D_PART = TableSchema(
    kind="spectra_1d_part",
    title="Spectra of one dispersed exposure, a row per source.",
    version="2",
    partition="exposure of one detector",
    sort=("source_id",),
    row_group_values=1_048_576,
    columns=(
        *_SOURCE,
        C("position_angle", F64, "deg", "of the dispersion on the sky (+y), east of north"),
        C("mjd", F64, "d", "mid-exposure"),
        C("exptime", F64, "s", "exposure time"),
        *_QUALITY,
        *_SPECTRUM,
    ),
)

COMBINED_SPECTRA = TableSchema(
    kind="combined_spectra",
    title="Spectra combined over exposures and rolls, a row per source.",
    version="2",
    partition="region of the sky",
    sort=("source_id",),
    row_group_values=1_048_576,
    columns=(
        *_SOURCE,
        C("optical_element", TEXT, "", "GRISM or PRISM"),
        C("n_exposures", I16, "", "exposures with data"),
        C("position_angles", pl.List(F64), "deg", "those of the exposures"),
        C("first_mjd", F64, "d", "first exposure"),
        C("last_mjd", F64, "d", "last exposure"),
        C("exptime", F64, "s", "total exposure time"),
        *_QUALITY,
        *_SPECTRUM,
    ),
)

SPECTRAL_SERIES = TableSchema(
    kind="spectral_series",
    title="Spectra by visit of sources seen in several, a row per source and visit.",
    version="1",
    partition="region of the sky",
    sort=("source_id", "mjd"),
    row_group_values=1_048_576,
    columns=(
        *_SOURCE,
        C("optical_element", TEXT, "", "GRISM or PRISM"),
        C("visit", I32, "", "number of the visit to the region, from 0"),
        C("mjd", F64, "d", "mean of its exposures, weighted by exposure time"),
        C("exptime", F64, "s", "total exposure time"),
        C("n_exposures", I16, "", "exposures of the visit with data"),
        C("position_angles", pl.List(F64), "deg", "those of the exposures"),
        C("brightness", F64, "", "over the mean of all visits, grey; NaN without a good pixel"),
        C("brightness_err", F64, "", "its standard error, without systematic ones; infinite without a good pixel"),
        *_QUALITY,
        *_SPECTRUM,
    ),
)

SPECTRAL_VARIABILITY = TableSchema(
    kind="spectral_variability",
    title="Whether sources seen in several visits vary, a row per source.",
    version="1",
    partition="region of the sky",
    sort=("source_id",),
    columns=(
        *_SOURCE,
        C("optical_element", TEXT, "", "GRISM or PRISM"),
        C("n_visits", I16, "", "visits that show the source"),
        C("first_mjd", F64, "d", "first exposure"),
        C("last_mjd", F64, "d", "last exposure"),
        C("snr", F32, "", "of the spectrum of all visits, median of a pixel"),
        C("contaminated", F32, "", "share of contamination in the light"),
        C("chi2", F64, "", "of a constant brightness, errors of calibration and contamination included"),
        C("dof", I32, "", "its degrees of freedom"),
        C("chance", F64, "", "probability that a constant source has as large a chi2"),
        C("change", F64, "", "largest change of brightness between two visits, relative to the mean"),
    ),
)

REDSHIFTS = TableSchema(
    kind="redshifts",
    title="Redshifts with their probability densities, a row per source.",
    version="1",
    partition="region of the sky",
    sort=("source_id",),
    row_group_values=1_048_576,
    columns=(
        *_SOURCE,
        C("optical_element", TEXT, "", "GRISM or PRISM"),
        C("z", F64, "", "best redshift; NaN without information"),
        C("z_err", F64, "", "its standard error"),
        C(
            "zwarn",
            I32,
            "",
            "0: no warning; redrock's bits 0 to 11; 4096 contamination, 8192 one line, 16384 featureless",
        ),
        C("class", TEXT, "", "galaxy, qso or star"),
        C("p_galaxy", F64, "", "probability of the class"),
        C("p_qso", F64, "", "probability of the class"),
        C("p_star", F64, "", "probability of the class"),
        C("chi2", F64, "", "of the best solution"),
        C("dchi2", F64, "", "how much worse the best model more than 1000 km/s away is in chi2"),
        C("bic", F64, "", "BIC of a featureless polynomial minus that of the best solution"),
        C("n_pixels", I32, "", "pixels in the fit"),
        C("risk", F64, "", "expected loss of the choice over the zPDF, 0 to 1"),
        C("coverage", F64, "", "share of the band that has good pixels"),
        C("contamination", F64, "", "share of contaminating flux in all flux"),
        C("solution_z", pl.List(F64), "", "up to five solutions, most probable first"),
        C("solution_z_min", pl.List(F64), "", "lower end of each"),
        C("solution_z_max", pl.List(F64), "", "upper end of each"),
        C("solution_probability", pl.List(F64), "", "probability within each"),
        C("pdf_z", pl.List(F64), "", "redshifts of the probability density; zero elsewhere"),
        C("pdf", pl.List(F32), "", "probability per unit of redshift"),
    ),
)

EMISSION_LINES = TableSchema(
    kind="emission_lines",
    title="Emission lines at the best redshift, a row per source and line.",
    version="1",
    partition="region of the sky",
    sort=("source_id", "wavelength"),
    columns=(
        *_SOURCE,
        C("line", TEXT, "", "name; lines of tied ratio share a row"),
        C("wavelength", F64, "nm", "at rest, in vacuum"),
        C("z", F64, "", "redshift of the source"),
        C("flux", F64, "W m-2", "by a Gaussian fit with the source's line-spread function"),
        C("flux_err", F64, "W m-2", "its standard error"),
        C("sn", F64, "", "flux over its error"),
        C("ew", F64, "nm", "equivalent width at rest"),
        C("ew_err", F64, "nm", "its standard error"),
        C("direct_flux", F64, "W m-2", "by integration"),
        C("direct_flux_err", F64, "W m-2", "its standard error"),
    ),
)

TABLES = register(
    (
        LOCATION_TABLE,
        SPECTRA_1D_PART,
        COMBINED_SPECTRA,
        SPECTRAL_SERIES,
        SPECTRAL_VARIABILITY,
        REDSHIFTS,
        EMISSION_LINES,
    )
)
