"""Reads light curves of the user's own: Parquet, CSV, IPAC tables and plain columns of text.

Long tables have a row per point (id, band, time, flux or magnitude, error); Parquet may instead have a row per
object and band with lists. Columns are found by name, whatever the case:

============  ==============================================================================================
id            id, object_id, source_id, star, star_id, event, event_id, name
band          band, filter, optical_element, passband
time          time, mjd, bjd, hjd, jd, t, date, obs_time
flux          flux, relative_flux, f
flux_err      flux_err, fluxerr, flux_error, e_flux, flux_uncertainty, relative_flux_uncertainty
mag           mag, magnitude, relative_magnitude, m
mag_err       mag_err, magerr, mag_error, e_mag, magnitude_uncertainty, relative_magnitude_uncertainty
either error  err, error, sigma, uncertainty
============  ==============================================================================================

Without id the file's name is the id. Text without a header has three columns, time, magnitude, error (as the
surveys publish them), or flux instead when asked for. Magnitudes become fluxes of zero point 22. Times stay as
they are, so t0 of an event is in the time of the file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.doors import reading, users_parquet
from roman_assets.errors import InputError
from roman_assets.systems.msos.models.point_lens import Band, LightCurve

F64 = NDArray[np.float64]
Values = Literal["auto", "flux", "mag"]

ZERO_POINT = 22.0
_SUFFIXES = (".parquet", ".pq", ".csv", ".txt", ".dat", ".tbl", ".tsv", ".ipac")
_ERRORS = ("err", "error", "sigma", "uncertainty")
ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("id", "object_id", "source_id", "star", "star_id", "event", "event_id", "name"),
    "band": ("band", "filter", "optical_element", "passband"),
    "time": ("time", "mjd", "bjd", "hjd", "jd", "t", "date", "obs_time"),
    "flux": ("flux", "relative_flux", "f"),
    "flux_err": (
        "flux_err",
        "fluxerr",
        "flux_error",
        "e_flux",
        "flux_uncertainty",
        "relative_flux_uncertainty",
        *_ERRORS,
    ),
    "mag": ("mag", "magnitude", "relative_magnitude", "m"),
    "mag_err": (
        "mag_err",
        "magerr",
        "mag_error",
        "e_mag",
        "magnitude_uncertainty",
        "relative_magnitude_uncertainty",
        *_ERRORS,
    ),
}


def flux_of_magnitude(mag: F64, mag_err: F64) -> tuple[F64, F64]:
    """Fluxes of zero point 22 and their errors from magnitudes (n,) and errors (n,)."""
    flux = 10.0 ** (0.4 * (ZERO_POINT - mag))
    return flux, flux * mag_err * np.log(10.0) / 2.5


def read_light_curves(
    path: str | Path, *, columns: Mapping[str, str] | None = None, values: Values = "auto", band: str | None = None
) -> dict[str, LightCurve]:
    """Light curves of a file by id (text), in the order of the file.

    Parameters
    ----------
    path
        `.parquet`, `.csv`, an IPAC table (first line starting with ``\\`` or ``|``) or columns of text, with or
        without a header line.
    columns
        Names of columns that are not guessed, such as {"time": "BJD_TDB", "flux": "cal_flux"}.
    values
        Whether "flux" or "mag" is meant where a file has both or no names.
    band
        Name of the band of a file that has no such column (default: the IPAC header's filter, or "band").

    Raises
    ------
    InputError
        The file is none of these, a column is missing or is not numeric, or no point is usable.
    """
    file = Path(path)
    with reading(file, "light curves", "pass Parquet, CSV, an IPAC table or columns of text"):
        return _read(file, columns or {}, values, band)


def _read(file: Path, columns: Mapping[str, str], values: Values, band: str | None) -> dict[str, LightCurve]:
    table, filter_name = _table(file)
    if table.height == 0:
        raise InputError("the file has no rows", file=file, remedy="pass a file with at least one point")
    names, is_mag = _names(table, file, columns, values)
    long = table.select(pl.col(column).alias(role) for role, column in names.items())
    lists = [role for role in ("time", "value", "error") if isinstance(long.schema[role], pl.List | pl.Array)]
    if lists:
        long = _explode(long, lists, names, file)
    for role in ("time", "value", "error"):
        long = long.with_columns(_numbers(long[role], file, names[role]).alias(role))
    if "id" not in names:
        long = long.with_columns(pl.lit(_stem(file)).alias("id"))
    if "band" not in names:
        long = long.with_columns(pl.lit(band or filter_name or "band").alias("band"))
    return _curves(long, file, is_mag=is_mag)


def _stem(file: Path) -> str:
    while file.suffix.lower() in _SUFFIXES:
        file = file.with_suffix("")
    return file.name


def _table(file: Path) -> tuple[pl.DataFrame, str | None]:
    """The file's table, columns named or, without a header, column_1.., and the filter an IPAC header names."""
    if file.suffix.lower() in (".parquet", ".pq"):
        return users_parquet(file), None
    text = file.read_bytes().decode("utf-8-sig")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        return pl.DataFrame(), None
    if lines[0].lstrip()[0] in "\\|":
        return _ipac(lines, file)
    if "," in next((line for line in lines if not line.lstrip().startswith("#")), ""):
        return _split(lines, file, ","), None
    return _split(lines, file, None), None


def _split(lines: list[str], file: Path, separator: str | None) -> pl.DataFrame:
    comments = [line for line in lines if line.lstrip().startswith("#")]
    body = [line for line in lines if not line.lstrip().startswith("#")]
    rows = [[cell.strip() for cell in line.split(separator)] for line in body]
    if not rows:
        return pl.DataFrame()
    header: list[str] | None = None
    if not any(_is_number(cell) for cell in rows[0]):
        header, rows = rows[0], rows[1:]
    elif comments:
        last = comments[-1].lstrip("# \t").split(separator)
        known = {alias for aliases in ALIASES.values() for alias in aliases}
        names = [cell.strip() for cell in last]
        if len(names) == len(rows[0]) and any(name.lower() in known for name in names):
            header = names
    width = len(header) if header else len(rows[0])
    for number, row in enumerate(rows, start=len(lines) - len(rows) + 1):
        if len(row) != width:
            raise InputError(
                f"row {number} has {len(row)} cells, not {width}",
                file=file,
                remedy="make all rows alike, separated by commas or by blanks",
            )
    names = header or [f"column_{i + 1}" for i in range(width)]
    if len(set(names)) != len(names):
        raise InputError(f"column names repeat: {names}", file=file, remedy="give each column its own name")
    return pl.DataFrame({name: [row[i] for row in rows] for i, name in enumerate(names)})


def _ipac(lines: list[str], file: Path) -> tuple[pl.DataFrame, str | None]:
    keywords = dict(line[1:].split("=", 1) for line in lines if line.startswith("\\") and "=" in line)
    facts = {key.strip(): value.strip().strip("\"'") for key, value in keywords.items()}
    bars = [line for line in lines if line.lstrip().startswith("|")]
    if not bars:
        raise InputError("no line of column names", file=file, remedy="IPAC tables name columns between | bars")
    names = [cell.strip() for cell in bars[0].strip().strip("|").split("|")]
    if not all(names):
        raise InputError("a column has no name", file=file, remedy="IPAC tables name columns between | bars")
    body = [line for line in lines if line.lstrip()[0] not in "\\|"]
    table = _split([" ".join(names), *body], file, None)
    return table, facts.get("TIME_SERIES_DATA_FILTER")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _names(table: pl.DataFrame, file: Path, given: Mapping[str, str], values: Values) -> tuple[dict[str, str], bool]:
    """Columns by role (time, value, error; id and band if there), and whether the values are magnitudes."""
    unknown = set(given) - set(ALIASES)
    if unknown:
        raise InputError(f"unknown roles {sorted(unknown)}", field="columns", remedy=f"use {', '.join(ALIASES)}")
    for role, name in given.items():
        if name not in table.columns:
            raise InputError(
                f"no such column for {role}; there are {', '.join(table.columns)}",
                file=file,
                field=name,
                remedy="name one of these",
            )
    if all(name.startswith("column_") for name in table.columns) and not given:
        if table.width < 3:
            raise InputError(
                f"{table.width} columns without names", file=file, remedy="write time, magnitude or flux, error"
            )
        return {"time": "column_1", "value": "column_2", "error": "column_3"}, values != "flux"
    lower = {name.lower(): name for name in reversed(table.columns)}
    found = {
        role: given.get(role) or next((lower[a] for a in aliases if a in lower), None)
        for role, aliases in ALIASES.items()
    }
    kind = values if values != "auto" else ("flux" if found["flux"] else "mag")
    roles = {"time": found["time"], "value": found[kind], "error": found[f"{kind}_err"]}
    for role, wanted in (("time", "time"), ("value", kind), ("error", f"{kind}_err")):
        if roles[role] is None:
            alternative = " or ".join(["flux", "mag"]) if role == "value" and values == "auto" else wanted
            raise InputError(
                f"no column for {alternative}; there are {', '.join(table.columns)}",
                file=file,
                field=wanted,
                remedy=f"call it one of {', '.join(ALIASES[wanted])}, or name it",
            )
    optional = {role: found[role] for role in ("id", "band") if found[role]}
    return {role: str(name) for role, name in {**roles, **optional}.items()}, kind == "mag"


def _explode(long: pl.DataFrame, lists: list[str], names: Mapping[str, str], file: Path) -> pl.DataFrame:
    if len(lists) < 3:
        raise InputError(
            f"only {', '.join(names[role] for role in lists)} hold lists",
            file=file,
            remedy="store time, flux and error all as lists or all as numbers",
        )
    uneven = long.filter(
        (pl.col("time").list.len() != pl.col("value").list.len())
        | (pl.col("time").list.len() != pl.col("error").list.len())
    )
    if uneven.height:
        raise InputError(
            f"{uneven.height} rows have lists of different lengths",
            file=file,
            field=names["time"],
            remedy="make the lists of a row equally long",
        )
    return long.explode(*lists)


def _numbers(column: pl.Series, file: Path, name: str) -> pl.Series:
    if column.dtype == pl.String:
        cleaned = column.str.strip_chars()
        missing = cleaned.str.to_lowercase().is_in(["", "nan", "null", "none", "-"])
        numbers = cleaned.cast(pl.Float64, strict=False)
        wrong = cleaned.filter(numbers.is_null() & ~missing)
        if len(wrong):
            raise InputError(
                f"{wrong[0]!r} is not a number ({len(wrong)} such)",
                file=file,
                field=name,
                remedy="leave the cell empty or write nan where there is no value",
            )
        return numbers.fill_null(np.nan)
    if not column.dtype.is_numeric():
        raise InputError(f"holds {column.dtype}, not numbers", file=file, field=name, remedy="convert it")
    return column.cast(pl.Float64).fill_null(np.nan)


def _curves(long: pl.DataFrame, file: Path, *, is_mag: bool) -> dict[str, LightCurve]:
    curves: dict[str, LightCurve] = {}
    for (name,), points in long.group_by("id", maintain_order=True):
        bands = []
        for (band,), rows in points.group_by("band", maintain_order=True):
            value, error = rows["value"].to_numpy(), rows["error"].to_numpy()
            if is_mag:
                _check_magnitudes(value, file)
                value, error = flux_of_magnitude(value, error)
            bands.append(Band(str(band), rows["time"].to_numpy(), value, error))
        curves[str(name)] = LightCurve(tuple(bands))
    if not any(len(curve) for curve in curves.values()):
        raise InputError("no usable point", file=file, remedy="times and values must be finite, errors positive")
    return curves


def _check_magnitudes(value: F64, file: Path) -> None:
    finite = value[np.isfinite(value)]
    if len(finite) and (finite.min() < -5.0 or finite.max() > 45.0):
        raise InputError(
            f"values from {finite.min():g} to {finite.max():g} are no magnitudes",
            file=file,
            field="mag",
            remedy="say values='flux' if they are fluxes",
        )
