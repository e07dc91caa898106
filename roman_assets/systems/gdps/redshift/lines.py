"""Emission lines at a known redshift: flux, equivalent width and signal to noise, by fit and by integration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.systems.gdps.redshift.templates import CLASSES, LIGHT_KM_S, LineGroup

F64 = NDArray[np.float64]
#: Widths tried for the lines of a galaxy [km/s], the usual one first.
_VELOCITIES = (110.0, 0.0, 220.0, 350.0, 550.0)
#: Half width of the window of direct integration [sigma of the line].
_WINDOW = 2.5
#: Order of the polynomial that the fit adds to the template continuum.
_ORDER = 4


@dataclass(frozen=True)
class LineMeasurement:
    """One line, or one group of tied lines under the name of its strongest.

    wavelength: rest [nm, vacuum]. flux, flux_err: Gaussian fit, all tied lines together for a group [W m-2].
    ew, ew_err: rest-frame equivalent width [nm], positive in emission; NaN without continuum. sn: flux / flux_err.
    direct_flux, direct_flux_err: sum of the pixels within 2.5 sigma less continuum and the other fitted lines,
    corrected for the light outside [W m-2].
    coverage: share of the line's profile that falls on good pixels.
    """

    name: str
    wavelength: float
    flux: float
    flux_err: float
    ew: float
    ew_err: float
    sn: float
    direct_flux: float
    direct_flux_err: float
    coverage: float


@dataclass(frozen=True)
class LineFit:
    """The measurements and the model behind them: all lines, and the continuum under them, (n,) [W m-2 nm-1]."""

    lines: tuple[LineMeasurement, ...]
    velocity: float
    emission: F64
    continuum: F64


def _units(kind: str) -> list[LineGroup]:
    """What is fitted with one amplitude: a tied group, or one hydrogen line."""
    result: list[LineGroup] = []
    for group in CLASSES[kind].groups:
        if not group.name.startswith("H") or group.name.startswith("HeI"):
            result.append(group)
        elif group.name != "H dusty":
            result.extend(LineGroup(line.name, (line,), 1.0, group.velocity) for line in group.lines)
    return result


def _profiles(wavelength: F64, lsf: F64, z: float, units: list[LineGroup], velocity: float | None) -> F64:
    """Each unit's lines, of total flux 1 [1/nm], (units, n)."""
    out = np.zeros((len(units), len(wavelength)))
    for row, unit in zip(out, units, strict=True):
        total = sum(line.flux for line in unit.lines)
        width = (unit.velocity if velocity is None else velocity) / LIGHT_KM_S
        for line in unit.lines:
            centre = line.wavelength * (1 + z)
            sigma = np.hypot(np.interp(centre, wavelength, lsf), centre * width)
            near = slice(*np.searchsorted(wavelength, (centre - 6 * sigma, centre + 6 * sigma)))
            profile = np.exp(-0.5 * ((wavelength[near] - centre) / sigma) ** 2)
            row[near] += line.flux / total / np.sqrt(2 * np.pi) / sigma * profile
    return out


def measure_lines(
    wavelength: F64, flux: F64, variance: F64, lsf: F64, continuum: F64, z: float, kind: str = "galaxy"
) -> LineFit:
    """Fit all lines of a class together, at fixed z, on the given continuum and a polynomial.

    Parameters
    ----------
    wavelength, flux, variance, lsf, continuum
        (n,) of good pixels [nm; W m-2 nm-1; its square; sigma, nm; W m-2 nm-1].
    z
        Redshift.
    kind
        Class of templates whose lines to measure. Galaxies: one width for all lines, the best of five.

    Lines with less than half of their profile on good pixels are left out.

    Raises
    ------
    InputError
        Unknown class, or fewer than 20 pixels.
    """
    if kind not in CLASSES:
        raise InputError(f"unknown class {kind!r}", field="kind", remedy=f"use one of {', '.join(CLASSES)}")
    if len(wavelength) < 20:
        raise InputError(f"{len(wavelength)} pixels", field="wavelength", remedy="pass at least 20 good pixels")
    widths = np.gradient(wavelength)
    units = _units(kind)
    coverage = (_profiles(wavelength, lsf, z, units, None) * np.minimum(widths, 2 * np.median(widths))).sum(axis=1)
    units = [u for u, share in zip(units, coverage, strict=True) if share > 0.5]
    coverage = coverage[coverage > 0.5]
    scaled = 2 * (wavelength - wavelength[0]) / (wavelength[-1] - wavelength[0]) - 1
    smooth = np.polynomial.legendre.legvander(scaled, _ORDER)
    root = 1 / np.sqrt(variance)
    best: tuple[float, float | None, F64, F64, F64] | None = None
    for velocity in _VELOCITIES if kind == "galaxy" and units else (None,):
        profiles = _profiles(wavelength, lsf, z, units, velocity)
        design = np.column_stack([*profiles, smooth]) * root[:, None]
        right = (flux - continuum) * root
        solved, inverse = _least_squares(design, right)
        chi2 = float(((right - design @ solved) ** 2).sum())
        # Another width must earn its place.
        if best is None or chi2 < best[0] - 2:
            best = (chi2, velocity, solved, inverse, profiles)
    assert best is not None
    _, velocity, solved, inverse, profiles = best
    under = continuum + smooth @ solved[len(units) :]
    emission = solved[: len(units)] @ profiles
    lines = tuple(
        _measured(
            k, unit, z, solved, inverse, profiles, wavelength, widths, flux - under - emission, variance, under, share
        )
        for k, (unit, share) in enumerate(zip(units, coverage, strict=True))
    )
    return LineFit(lines, velocity or 0.0, np.asarray(emission), np.asarray(under))


def _least_squares(design: F64, right: F64) -> tuple[F64, F64]:
    """Solution and covariance; columns without data stay at 0 with infinite variance."""
    norm = np.sqrt((design**2).sum(axis=0))
    used = norm > 1e-9 * norm.max()
    scaled = design[:, used] / norm[used]
    inverse = np.linalg.pinv(scaled.T @ scaled, rcond=1e-12, hermitian=True)
    solved, covariance = np.zeros(len(norm)), np.diag(np.full(len(norm), np.inf))
    solved[used] = inverse @ (scaled.T @ right) / norm[used]
    covariance[np.ix_(used, used)] = inverse / np.outer(norm[used], norm[used])
    return solved, covariance


def _measured(
    k: int,
    unit: LineGroup,
    z: float,
    solved: F64,
    covariance: F64,
    profiles: F64,
    wavelength: F64,
    widths: F64,
    residual: F64,
    variance: F64,
    continuum: F64,
    coverage: float,
) -> LineMeasurement:
    line = max(unit.lines, key=lambda line: line.flux)
    flux, error = float(solved[k]), float(np.sqrt(covariance[k, k]))
    centre = line.wavelength * (1 + z)
    level = float(np.interp(centre, wavelength, continuum))
    level_err = float(np.sqrt(np.interp(centre, wavelength, variance) / 20))
    per_level = 1 / (level * (1 + z)) if level > 2 * level_err else np.nan
    ew_err = abs(per_level) * np.hypot(error, flux * level_err / level) if np.isfinite(per_level) else np.nan
    # Where the profile is above the height of a Gaussian at the window's edge.
    inside = profiles[k] > profiles[k].max() * np.exp(-0.5 * _WINDOW**2)
    caught = float((profiles[k] * widths)[inside].sum())
    direct = float(((residual + flux * profiles[k]) * widths)[inside].sum()) / caught
    direct_err = float(np.sqrt((variance * widths**2)[inside].sum())) / caught
    return LineMeasurement(
        line.name,
        line.wavelength,
        flux,
        error,
        flux * per_level,
        float(ew_err),
        flux / error,
        direct,
        direct_err,
        coverage,
    )
