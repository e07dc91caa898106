"""Reads one-dimensional spectra of the user's own: FITS tables and Parquet.

A table has a row per pixel (with an id column: several spectra; FITS: a spectrum per extension), or a row per
spectrum with arrays in its cells. Columns are found by name, whatever the case:

==============  ============================================================================
id              id, object_id, source_id, objid, targetid, name
wavelength      wavelength, wave, lambda, wl, lam, loglam (log10 of Angstrom, as in SDSS)
flux            flux, flux_density, flam, f_lambda, spec, spectrum
uncertainty     error, err, flux_err, flux_error, sigma, uncertainty; ivar, invvar, inverse_variance;
                variance, var
contamination   contamination, contam (optional)
flags           flags, flag, dq, mask, quality (optional; 0 is good)
lsf_sigma       lsf_sigma, lsf (optional; sigma in the wavelength's unit)
point_source    point_source, star_flag (optional; whether the source is a point: most of those are stars)
==============  ============================================================================

Units come from the file (TUNIT of FITS, the `unit` of a Parquet column's metadata) or from the caller; they are
converted to nm and W m-2 nm-1, from flux per frequency as well. Wavelengths must be those in vacuum.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.table import Table
from numpy.typing import NDArray

from roman_assets.doors import reading, users_arrow
from roman_assets.errors import InputError
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

F64 = NDArray[np.float64]
#: Sigma of the grism's line-spread function: R = 461 lambda[um], hence a FWHM of 1000 / 461 nm.
GRISM_LSF_SIGMA = 1000 / 461 / 2.3548
FLUX_UNIT = u.W / u.m**2 / u.nm
_ERROR = ("error", "err", "flux_err", "flux_error", "sigma", "uncertainty", "stdev")
ALIASES: dict[str, tuple[str, ...]] = {
    "id": ("id", "object_id", "source_id", "objid", "targetid", "name"),
    "wavelength": ("wavelength", "wave", "lambda", "wl", "lam", "loglam"),
    "flux": ("flux", "flux_density", "flam", "f_lambda", "spec", "spectrum"),
    "error": _ERROR,
    "ivar": ("ivar", "invvar", "inverse_variance"),
    "variance": ("variance", "var"),
    "contamination": ("contamination", "contam"),
    "flags": ("flags", "flag", "dq", "mask", "quality"),
    "lsf_sigma": ("lsf_sigma", "lsf"),
    "point_source": ("point_source", "star_flag"),
}


def read_spectra(
    path: str | Path, *, units: Mapping[str, str] | None = None, lsf_sigma: float | None = None
) -> dict[str, Spectrum]:
    """Spectra of a file by id (text), in the order of the file.

    Parameters
    ----------
    path
        `.fits`, `.fit` (also `.gz`) or `.parquet`.
    units
        Units that the file does not state, such as {"wavelength": "Angstrom", "flux": "erg/(s cm2 Angstrom)"};
        the uncertainty and the contamination have the flux's.
    lsf_sigma
        Gaussian sigma of the line-spread function [nm] of a file without such a column (default: the grism's for
        a point source).

    Raises
    ------
    InputError
        The file cannot be read, a column or unit is missing or makes no sense, or no spectrum is in it. Pixels without a
        finite flux or positive variance do not raise: they carry no weight.
    """
    file = Path(path)
    if lsf_sigma is not None and not (np.isfinite(lsf_sigma) and lsf_sigma > 0):
        raise InputError(f"a width of {lsf_sigma}", field="lsf_sigma", remedy="give a positive sigma in nm")
    with reading(file, "spectra", "pass a FITS table or Parquet"):
        return _read(file, dict(units or {}), lsf_sigma)


def _read(file: Path, units: dict[str, str], lsf_sigma: float | None) -> dict[str, Spectrum]:
    parquet = file.suffix.lower() in (".parquet", ".pq")
    result: dict[str, Spectrum] = {}
    for label, table in _parquet_tables(file) if parquet else _fits_tables(file):
        for key, columns in _rows(label, table, file):
            if key in result:
                raise InputError(f"two spectra are called {key!r}", file=file, field="id", remedy="make ids unique")
            result[key] = _spectrum(columns, file, key, units, lsf_sigma)
    if not result:
        raise InputError(
            "no table with a wavelength and a flux column",
            file=file,
            remedy="name the columns as listed in roman_assets.systems.gdps.spectra.files",
        )
    return result


Columns = dict[str, tuple[NDArray[Any], str | None]]


def _fits_tables(file: Path) -> Iterator[tuple[str, Columns]]:
    """Tables that have a spectrum: label, and by role the values with their unit."""
    with fits.open(file, memmap=False) as hdus:
        tables = [(k, h) for k, h in enumerate(hdus) if isinstance(h, fits.BinTableHDU | fits.TableHDU)]
        for k, hdu in tables:
            if any(str(h.header.get("AIRORVAC", "vac")).strip().lower() == "air" for h in (hdus[0], hdu)):
                raise InputError(
                    "wavelengths are those in air", file=file, field="AIRORVAC", remedy="convert them to vacuum"
                )
            table = Table(hdu.data)
            label = file.name.split(".")[0] if len(tables) == 1 else f"{hdu.name or k}".strip()
            roles = _roles(table.colnames)
            stated = {c.name: c.unit for c in hdu.columns}
            if {"wavelength", "flux"} <= set(roles):
                yield label, {role: (np.asarray(table[name]), stated[name]) for role, name in roles.items()}


def _parquet_tables(file: Path) -> Iterator[tuple[str, Columns]]:
    table = users_arrow(file)
    roles = _roles(table.column_names)
    if {"wavelength", "flux"} <= set(roles):
        units = {f.name: (f.metadata or {}).get(b"unit", b"").decode() or None for f in table.schema}
        yield file.stem, {role: (_numpy(table.column(name)), units[name]) for role, name in roles.items()}


def _numpy(column: Any) -> NDArray[Any]:
    """Values, or an object array of arrays where the cells are lists."""
    values = column.to_pylist()
    if values and isinstance(next((v for v in values if v is not None), None), list):
        cells = np.empty(len(values), dtype=object)
        for k, value in enumerate(values):
            cells[k] = np.array([np.nan if item is None else item for item in value or []])
        return cells
    return np.array([np.nan if value is None else value for value in values])


def _roles(names: list[str]) -> dict[str, str]:
    lower = {name.lower(): name for name in reversed(names)}
    return {
        role: lower[found]
        for role, aliases in ALIASES.items()
        if (found := next((a for a in aliases if a in lower), None))
    }


def _rows(label: str, table: Columns, file: Path) -> Iterator[tuple[str, Columns]]:
    """Single spectra of a table."""
    wave = table["wavelength"][0]
    if len(wave) == 0:
        raise InputError("the table has no rows", file=file, remedy="pass at least one spectrum")
    ids = table["id"][0] if "id" in table else None
    rest = {role: column for role, column in table.items() if role != "id"}
    if wave.dtype == object or wave.ndim == 2:
        for k in range(len(wave)):
            key = _text(ids[k]) if ids is not None else (label if len(wave) == 1 else f"{label}_{k}")
            yield key, {role: (np.asarray(values[k]), unit) for role, (values, unit) in rest.items()}
        return
    if ids is None:
        yield label, rest
        return
    for key in dict.fromkeys(ids.tolist()):
        yield _text(key), {role: (values[ids == key], unit) for role, (values, unit) in rest.items()}


def _text(key: Any) -> str:
    return key.decode().strip() if isinstance(key, bytes) else str(key).strip()


def _spectrum(columns: Columns, file: Path, key: str, units: dict[str, str], lsf: float | None) -> Spectrum:
    where = f"{file} ({key})"
    wave_unit = _unit("wavelength", columns, units, where)
    raw = _numbers(columns["wavelength"][0], where, "wavelength")
    logarithmic = columns["wavelength"][1] is None and "wavelength" not in units and _looks_log(raw)
    wavelength = 10**raw / 10 if logarithmic else _converted(raw, wave_unit, u.nm, "wavelength", where)
    n, flux_unit = len(wavelength), _unit("flux", columns, units, where)

    def flux_like(role: str) -> F64:
        values = _numbers(columns[role][0], where, role)
        if len(values) != n:
            problem = f"{len(values)} values beside {n} wavelengths"
            raise InputError(problem, file=where, field=role, remedy="repair the file")
        return values

    factor = _converted(np.ones(n), flux_unit, FLUX_UNIT, "flux", where, u.spectral_density(wavelength * u.nm))
    flux = flux_like("flux") * factor
    with np.errstate(divide="ignore", invalid="ignore"):
        if "error" in columns:
            variance = (flux_like("error") * factor) ** 2
        elif "ivar" in columns:
            variance = factor**2 / flux_like("ivar")
        elif "variance" in columns:
            variance = flux_like("variance") * factor**2
        else:
            raise InputError("no uncertainty", file=where, field="error", remedy="add a column ERROR, IVAR or VARIANCE")
    flags = _flags(flux_like("flags")) if "flags" in columns else np.zeros(n, np.uint32)
    contamination = flux_like("contamination") * factor if "contamination" in columns else np.zeros(n)
    if "lsf_sigma" in columns:
        sigma = _converted(flux_like("lsf_sigma"), wave_unit, u.nm, "lsf_sigma", where)
    else:
        sigma = np.full(n, lsf or GRISM_LSF_SIGMA)
    _check_width(wavelength, sigma, where)
    try:
        return Spectrum(
            wavelength,
            flux,
            np.where(np.isfinite(variance), variance, np.nan),
            contamination,
            flags,
            sigma,
            _truth(columns["point_source"][0], where) if "point_source" in columns else None,
        )
    except InputError as error:
        raise InputError(error.problem, file=where, field=error.field, remedy=error.remedy) from error


def _numbers(values: NDArray[Any], where: str, role: str) -> F64:
    try:
        return np.asarray(np.ma.filled(np.ma.asarray(values, dtype=np.float64), np.nan))
    except (TypeError, ValueError) as error:
        raise InputError("is not numeric", file=where, field=role, remedy="store numbers") from error


def _flags(values: F64) -> NDArray[np.uint32]:
    """Flags as integers; one that is missing or is no flag says that the pixel is bad."""
    sound = (values >= 0) & (values < 2.0**32) & (values == np.floor(values))
    return np.where(sound, np.where(sound, values, 0), 1).astype(np.uint32)


def _check_width(wavelength: F64, sigma: F64, where: str) -> None:
    """A line-spread function wider than the spectrum resolves nothing in it."""
    if len(wavelength) > 1 and np.nanmax(sigma, initial=0) > np.ptp(wavelength):
        raise InputError(
            f"the line-spread function is wider than the spectrum of {np.ptp(wavelength):g} nm",
            file=where,
            field="lsf_sigma",
            remedy="give its Gaussian sigma in nm",
        )


def _truth(values: NDArray[Any], where: str) -> bool | None:
    """The first value that is one, as true or false."""
    flat = _numbers(np.atleast_1d(values), where, "point_source")
    known = flat[np.isfinite(flat)]
    return bool(known[0]) if len(known) else None


def _looks_log(raw: F64) -> bool:
    """log10 of Angstrom: between 100 nm and 10 um everything lies within 3 to 5."""
    return bool(len(raw) and np.isfinite(raw).all() and raw.min() >= 3 and raw.max() <= 5)


def _unit(role: str, columns: Columns, units: dict[str, str], where: str) -> u.UnitBase:
    text = units.get(role) or columns[role][1]
    if not text:
        if role == "wavelength" and _looks_log(_numbers(columns[role][0], where, role)):
            return u.AA
        raise InputError(
            "the file states no unit",
            file=where,
            field=role,
            remedy=f'pass units={{"{role}": ...}} or add it to the file',
        )
    try:
        return u.Unit(str(text))
    except ValueError as error:
        raise InputError(f"unit {text!r} is unknown", file=where, field=role, remedy="write it as FITS does") from error


def _converted(values: F64, unit: u.UnitBase, target: u.UnitBase, role: str, where: str, how: Any = None) -> F64:
    try:
        return np.asarray((values * unit).to_value(target, equivalencies=how or []))
    except u.UnitConversionError as error:
        raise InputError(
            f"unit {unit} cannot become {target}", file=where, field=role, remedy="check the column's unit"
        ) from error
