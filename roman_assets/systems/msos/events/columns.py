"""What the event finder says of a solution: names, types, units and meanings of its columns."""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

I16, I32, U32 = pl.Int16, pl.Int32, pl.UInt32
F32, F64, TEXT = pl.Float32, pl.Float64, pl.String


class EventColumn(NamedTuple):
    """A column: polars type, unit ("" for none), meaning, whether null may occur."""

    name: str
    dtype: pl.DataType | pl.datatypes.DataTypeClass
    unit: str
    description: str
    nullable: bool = False


def _parameter(name: str, unit: str, text: str, *, nullable: bool = True) -> tuple[EventColumn, EventColumn]:
    """A model parameter and its standard error; null where the chosen model does not have it."""
    return (
        EventColumn(name, F64, unit, text, nullable),
        EventColumn(f"{name}_err", F64, unit, f"standard error of {name}", nullable=True),
    )


#: Columns of one solution, in order: what `finder.find_events` returns beside the row it belongs to.
EVENT_MODEL = (
    EventColumn("model", TEXT, "", "chosen model: PSPL, FSPL, PSPL_PARALLAX, BINARY_SOURCE, BINARY_LENS"),
    *_parameter("t0", "d", "time of closest approach, MJD", nullable=False),
    *_parameter("u0", "", "impact parameter in Einstein radii", nullable=False),
    *_parameter("te", "d", "Einstein crossing time", nullable=False),
    EventColumn("teff", F64, "d", "effective time scale |u0| te"),
    *_parameter("rho", "", "source radius in Einstein radii"),
    *_parameter("pi_en", "", "parallax, north"),
    *_parameter("pi_ee", "", "parallax, east"),
    EventColumn(
        "t0_par", F64, "d", "time at which the frame of the parallax moves with the observer, MJD", nullable=True
    ),
    *_parameter("t0_2", "d", "time of closest approach of the second source, MJD"),
    *_parameter("u0_2", "", "impact parameter of the second source"),
    EventColumn("fs_2", pl.List(F64), "DN / s", "flux of the second source per band", nullable=True),
    *_parameter("s", "", "separation of the lenses in Einstein radii"),
    *_parameter("q", "", "mass ratio of the lenses"),
    *_parameter("alpha", "deg", "angle of the source's trajectory"),
    *_parameter("ds_dt", "1/yr", "change of s by the lenses' orbit; s and alpha hold at t0_par"),
    *_parameter("dalpha_dt", "deg/yr", "change of alpha by the lenses' orbit"),
    EventColumn("parameters", pl.List(TEXT), "", "names of the fitted parameters in the order of the covariance"),
    EventColumn("covariance", pl.List(F64), "", "covariance matrix, row by row"),
    EventColumn("bands", pl.List(TEXT), "", "optical elements in the order of fs and fb"),
    EventColumn("fs", pl.List(F64), "DN / s", "source flux per band"),
    EventColumn("fs_err", pl.List(F64), "DN / s", "its standard error"),
    EventColumn("fb", pl.List(F64), "DN / s", "blend flux per band"),
    EventColumn("fb_err", pl.List(F64), "DN / s", "its standard error"),
    EventColumn("n_points", I32, "", "points in the fit"),
    EventColumn("dof", I32, "", "degrees of freedom of the chosen model"),
    EventColumn("chi2", F64, "", "of the chosen model"),
    EventColumn("chi2_flat", F64, "", "of a constant flux per band"),
    EventColumn("chi2_pspl", F64, "", "of a point source and a point lens"),
    EventColumn("chi2_fspl", F64, "", "with a finite source", nullable=True),
    EventColumn("chi2_parallax", F64, "", "with parallax", nullable=True),
    EventColumn("chi2_binary_source", F64, "", "with two sources", nullable=True),
    EventColumn("chi2_binary_lens", F64, "", "with two lenses", nullable=True),
    EventColumn("dchi2_flat", F64, "", "chi2_flat minus chi2_pspl"),
    EventColumn("dchi2_fspl", F64, "", "chi2_pspl minus chi2_fspl", nullable=True),
    EventColumn("dchi2_parallax", F64, "", "chi2_pspl minus chi2_parallax", nullable=True),
    EventColumn("dchi2_binary_source", F64, "", "chi2_pspl minus chi2_binary_source", nullable=True),
    EventColumn("dchi2_binary", F64, "", "chi2_pspl minus chi2_binary_lens", nullable=True),
    EventColumn("n_over_3sigma", I32, "", "points more than 3 sigma above the baseline"),
    EventColumn("longest_run", I32, "", "longest run of such points"),
    EventColumn("coverage", F32, "", "share of t0 +- te that has points"),
    EventColumn(
        "event_class",
        TEXT,
        "",
        "single_lens, finite_source, parallax, binary_source, binary_lens, microlensing (no sub-class), cataclysmic, "
        "variable, artefact or unclear",
    ),
    EventColumn(
        "probability", F32, "", "that a candidate like this is of that class (any lens, for a lens; noise, for unclear)"
    ),
    EventColumn(
        "p_microlensing", F32, "", "that it is a lens of any kind; kinds of candidates taken as equally frequent"
    ),
    EventColumn("reason", TEXT, "", "why that class"),
    EventColumn("degeneracy", I16, "", "0 the best solution; 1, 2.. solutions that the data cannot tell from it"),
    EventColumn("veto", U32, "", "bits: 1 few points, 2 one exposure, 4 neighbours, 8 colour, 16 period, 32 asymmetry"),
    EventColumn("finder_version", TEXT, "", "code version of the search"),
    EventColumn("model_version", TEXT, "", "code version of the models"),
)
