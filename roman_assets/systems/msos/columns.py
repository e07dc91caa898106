"""Columns that several tables of the microlensing wing share, and short names of types."""

from __future__ import annotations

import polars as pl

from roman_assets.products.schemas import Column

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
