"""Redshifts of slitless spectra: posterior over z and class, solutions, warnings, lines."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.redshift import redshift_scan
from roman_assets.systems.gdps.redshift.lines import LineFit, measure_lines
from roman_assets.systems.gdps.redshift.posterior import (
    ClassPosterior,
    Data,
    Pdf,
    RedshiftConfig,
    Solution,
    combine,
    posteriors,
    solutions,
)
from roman_assets.systems.gdps.redshift.templates import LIGHT_KM_S, scan_templates
from roman_assets.systems.gdps.redshift.zwarn import ZWarn
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

F64 = NDArray[np.float64]
#: Fewest good pixels that are fitted at all.
MIN_PIXELS = 50
#: Width of the loss function of the risk, in units of 1 + z.
_RISK_WIDTH = 0.003
#: Lines that a redshift may rest on.
_PRINCIPAL = ("Ha", "Hb", "OIII5008", "OII3730", "Pab", "SIII9533")


@dataclass(frozen=True)
class Redshift:
    """What a spectrum says about its source's redshift.

    z, z_err: of the most probable solution, half of its central 68 % (NaN without data). kind: galaxy, qso, star
    or "" without data. zwarn: bits of ZWarn. chi2, n_pixels: of the best model. dchi2: how much worse is the best
    model more than 1000 km/s away. bic: by how much a cubic polynomial is worse in the Bayesian information
    criterion. risk: expected loss, 0 to 1 (Tanaka et al. 2018, PASJ 70, S9, section 4; with width 0.003). coverage: share of
    the nominal band with good pixels. contamination: share of contaminating flux in all flux. model, continuum:
    (n,) at the good pixels `wavelength` [W m-2 nm-1].
    """

    z: float
    z_err: float
    kind: str
    zwarn: int
    chi2: float
    n_pixels: int
    dchi2: float
    bic: float
    risk: float
    coverage: float
    contamination: float
    solutions: tuple[Solution, ...] = ()
    pdf: Pdf | None = None
    lines: LineFit | None = None
    wavelength: F64 = field(default_factory=lambda: np.zeros(0))
    model: F64 = field(default_factory=lambda: np.zeros(0))
    continuum: F64 = field(default_factory=lambda: np.zeros(0))


def measure_redshift(spectrum: Spectrum, config: RedshiftConfig | None = None) -> Redshift:
    """Redshift of one spectrum. Bad pixels carry no weight; without enough good ones the result is flagged, not guessed."""
    config = config or RedshiftConfig()
    coverage, contamination = _coverage(spectrum, config), _contamination(spectrum)
    warn = ZWarn(0)
    if coverage < config.min_coverage:
        warn |= ZWarn.LITTLE_COVERAGE
    if contamination > config.max_contamination:
        warn |= ZWarn.CONTAMINATION
    good = int(spectrum.good.sum())
    if good >= MIN_PIXELS:
        data = prepare(spectrum, config)
        good = len(data.wavelength)
    parts = posteriors(data, config, spectrum.point_source) if good >= MIN_PIXELS else []
    if not parts:
        warn |= ZWarn.NODATA if good < MIN_PIXELS else ZWarn.LITTLE_COVERAGE | ZWarn.BAD_MINFIT
        nan = float("nan")
        return Redshift(nan, nan, "", int(warn), nan, good, nan, nan, 1.0, coverage, contamination)
    pdf = combine(parts)
    found = solutions(pdf, config)
    best = found[0]
    part, at = _at(parts, best)
    amplitude, model, continuum = _best_fit(data, part.kind, best.z)
    chi2 = float((data.weight * (data.flux - model) ** 2).sum())
    lines = measure_lines(
        data.wavelength,
        data.flux * data.scale,
        data.scale**2 / data.weight,
        data.lsf,
        continuum * data.scale,
        best.z,
        part.kind,
    )
    dchi2 = _chi2_elsewhere(parts, best.z) - float(part.chi2[at])
    bic = _polynomial_chi2(data) + 4 * np.log(good) - chi2 - (np.count_nonzero(amplitude) + 1) * np.log(good)
    warn |= _warnings(data, config, part, best, found, dchi2, bic, amplitude, model, lines)
    return Redshift(
        best.z,
        0.5 * (best.z_max - best.z_min),
        part.kind,
        int(warn),
        chi2,
        good,
        dchi2,
        float(bic),
        _risk(pdf, best.z),
        coverage,
        contamination,
        tuple(found),
        pdf.stored(config.pdf_floor),
        lines,
        data.wavelength,
        model * data.scale,
        continuum * data.scale,
    )


def prepare(spectrum: Spectrum, config: RedshiftConfig) -> Data:
    """Good pixels in units of their median error, with the templates' own error added to the variance.

    A pixel 1e6 times brighter than the errors is no measurement, and none is 1e4 times better than the others.
    """
    scale = float(np.median(np.sqrt(spectrum.variance[spectrum.good])))
    use = spectrum.good & (np.abs(np.nan_to_num(spectrum.flux)) < 1e6 * scale)
    wavelength, flux = spectrum.wavelength[use], spectrum.flux[use] / scale
    variance = np.maximum(np.sqrt(spectrum.variance[use]) / scale, 1e-4) ** 2
    # A line narrower than a pixel is still a pixel wide.
    lsf = np.maximum(spectrum.lsf_sigma, 0.4 * np.gradient(spectrum.wavelength))[use]
    smooth = _local_mean(flux, 1 / variance, 30)
    weight = 1 / (variance + (config.template_error * smooth) ** 2)
    return Data(wavelength, flux, weight, lsf, scale, _line_flux(wavelength, flux, weight, lsf))


def _local_mean(flux: F64, weight: F64, half: int, hole: int = -1) -> F64:
    """Weighted mean over 2 half + 1 pixels, without the central 2 hole + 1."""
    kernel = np.ones(min(2 * half + 1, 2 * ((len(flux) - 1) // 2) + 1))
    if hole >= 0:
        middle = len(kernel) // 2
        kernel[middle - hole : middle + hole + 1] = 0
    norm = np.convolve(weight, kernel, "same")
    return np.asarray(np.convolve(weight * flux, kernel, "same") / np.maximum(norm, 1e-30 * norm.max()))


def _line_flux(wavelength: F64, flux: F64, weight: F64, lsf: F64) -> float:
    """Flux of the most significant narrow excess over the local mean: of a line, or of the noise that lines hide in."""
    excess = flux - _local_mean(flux, weight, 25, 6)
    pixel, sigma = float(np.median(np.diff(wavelength))), float(np.median(lsf))
    offset = np.arange(-6, 7) * pixel
    profile = np.exp(-0.5 * (offset / sigma) ** 2) / np.sqrt(2 * np.pi) / sigma
    norm = np.convolve(weight, profile**2, "same")
    norm = np.maximum(norm, 1e-6 * norm.max())
    matched = np.convolve(weight * excess, profile, "same")
    k = int(np.argmax(matched / np.sqrt(norm)))
    return float(max(matched[k] / norm[k], 1 / np.sqrt(np.median(norm))))


def _coverage(spectrum: Spectrum, config: RedshiftConfig) -> float:
    low, high = config.band
    widths = np.minimum(np.gradient(spectrum.wavelength), 5.0) if len(spectrum) > 1 else np.zeros(1)
    use = spectrum.good & (spectrum.wavelength >= low) & (spectrum.wavelength <= high)
    return float(min(widths[use].sum() / (high - low), 1.0))


def _contamination(spectrum: Spectrum) -> float:
    use = spectrum.good & np.isfinite(spectrum.contamination)
    foreign = float(np.abs(spectrum.contamination[use]).sum())
    own = abs(float(spectrum.flux[use].sum()))
    return foreign / (foreign + own) if foreign > 0 else 0.0


def _best_fit(data: Data, kind: str, z: float) -> tuple[F64, F64, F64]:
    """Amplitudes without the lines' prior, model and its continuum at one redshift."""
    templates, log_z = scan_templates(kind, data.lsf_key), float(np.log1p(z))
    flat = np.zeros(templates.lines.n_columns)
    scan = redshift_scan(templates, data.wavelength, data.flux, data.weight, data.lsf, [log_z], flat)
    amplitude, n = scan.amplitude[0], len(templates.continua)
    each = templates.columns(data.wavelength, data.lsf, log_z) * amplitude
    return amplitude, each.sum(axis=1), each[:, :n].sum(axis=1)


def _at(parts: list[ClassPosterior], best: Solution) -> tuple[ClassPosterior, int]:
    """The class with most probability in a solution, and its grid point nearest to it."""
    top = max(float(p.log_density.max()) for p in parts)
    masses = []
    for part in parts:
        inside = (part.z >= best.low) & (part.z <= best.high)
        values = np.where(inside, np.exp(part.log_density - top), 0)
        masses.append(float(np.trapezoid(values, part.z)) if inside.any() else -1.0)
    part = parts[int(np.argmax(masses))]
    return part, int(np.argmin(np.abs(part.z - best.z)))


def _chi2_elsewhere(parts: list[ClassPosterior], z: float) -> float:
    away = [p.chi2[np.abs(p.z - z) > 1000 / LIGHT_KM_S * (1 + z)] for p in parts]
    return float(min((values.min() for values in away if len(values)), default=np.inf))


def _polynomial_chi2(data: Data) -> float:
    """chi2 of the best cubic: a spectrum without features."""
    x = 2 * (data.wavelength - data.wavelength[0]) / (data.wavelength[-1] - data.wavelength[0]) - 1
    root = np.sqrt(data.weight)
    design = np.polynomial.legendre.legvander(x, 3) * root[:, None]
    solved = np.linalg.lstsq(design, data.flux * root, rcond=None)[0]
    return float(((data.flux * root - design @ solved) ** 2).sum())


def _risk(pdf: Pdf, z: float) -> float:
    away = (pdf.z - z) / (1 + z) / _RISK_WIDTH
    return float(np.clip(np.trapezoid(pdf.density * (1 - 1 / (1 + away**2)), pdf.z), 0, 1))


def _warnings(
    data: Data,
    config: RedshiftConfig,
    part: ClassPosterior,
    best: Solution,
    found: list[Solution],
    dchi2: float,
    bic: float,
    amplitude: F64,
    model: F64,
    lines: LineFit,
) -> ZWarn:
    warn = ZWarn(0)
    if best.probability < config.min_probability or (dchi2 < config.min_dchi2 and part.kind != "star"):
        warn |= ZWarn.SMALL_DELTA_CHI2
    if not (amplitude > 0).any():
        warn |= ZWarn.NEGATIVE_MODEL
    away = data.weight * (data.flux - model) ** 2
    if (away > 25).mean() > config.max_outliers or away.mean() > config.max_chi2:
        warn |= ZWarn.MANY_OUTLIERS
    low, high = part.z[0], part.z[-1]
    if part.kind != "star" and not low + 0.002 * (1 + low) < best.z < high - 0.002 * (1 + high):
        warn |= ZWarn.Z_FITLIMIT
    if not best.z_max > best.z_min:
        warn |= ZWarn.BAD_MINFIT
    if bic < config.min_bic:
        warn |= ZWarn.FEATURELESS
    if part.kind != "star":
        warn |= _line_warnings(lines)
    # How much better the model is than nothing at all, in sigma.
    gain = float((data.weight * (data.flux**2 - (data.flux - model) ** 2)).sum())
    if gain < config.min_signal**2:
        warn |= ZWarn.POORDATA
    return warn


def _line_warnings(lines: LineFit) -> ZWarn:
    principal = [line for line in lines.lines if line.name in _PRINCIPAL]
    warn = ZWarn(0)
    if any(line.sn < -4 for line in principal):
        warn |= ZWarn.NEGATIVE_EMISSION
    # [N II] is not told apart from H-alpha by everyone: it is no second line.
    seen = [line for line in lines.lines if line.sn > 3 and line.name != "NII6585"]
    if len(seen) == 1:
        warn |= ZWarn.SINGLE_LINE
    return warn


_LINE = pl.Struct(
    {
        "name": pl.String,
        "wavelength": pl.Float64,
        "flux": pl.Float64,
        "flux_err": pl.Float64,
        "ew": pl.Float64,
        "ew_err": pl.Float64,
        "sn": pl.Float64,
        "direct_flux": pl.Float64,
        "direct_flux_err": pl.Float64,
    }
)
_SOLUTION = pl.Struct({"z": pl.Float64, "z_min": pl.Float64, "z_max": pl.Float64, "probability": pl.Float64})
SCHEMA: dict[str, Any] = {
    "z": pl.Float64,
    "z_err": pl.Float64,
    "zwarn": pl.Int32,
    "class": pl.String,
    "chi2": pl.Float64,
    "n_pixels": pl.Int32,
    "dchi2": pl.Float64,
    "bic": pl.Float64,
    "risk": pl.Float64,
    "coverage": pl.Float64,
    "contamination": pl.Float64,
    "solutions": pl.List(_SOLUTION),
    "pdf_z": pl.List(pl.Float64),
    "pdf": pl.List(pl.Float32),
    "class_probability": pl.Struct(dict.fromkeys(("galaxy", "qso", "star"), pl.Float64)),
    "velocity": pl.Float64,
    "lines": pl.List(_LINE),
}


def record(result: Redshift) -> dict[str, Any]:
    """One row of SCHEMA."""
    pdf, lines = result.pdf, result.lines
    return {
        **{k: getattr(result, k) for k in ("z", "z_err", "zwarn", "chi2", "n_pixels", "dchi2", "bic", "risk")},
        "class": result.kind,
        "coverage": result.coverage,
        "contamination": result.contamination,
        "solutions": [{k: getattr(s, k) for k in ("z", "z_min", "z_max", "probability")} for s in result.solutions],
        "pdf_z": pdf.z.tolist() if pdf else [],
        "pdf": pdf.density.tolist() if pdf else [],
        "class_probability": {k: pdf.class_probability.get(k, 0.0) if pdf else 0.0 for k in ("galaxy", "qso", "star")},
        "velocity": lines.velocity if lines else None,
        "lines": [{f.name: getattr(line, f.name) for f in _LINE.fields} for line in lines.lines] if lines else [],
    }


def measure(spectra: Iterable[Spectrum], config: RedshiftConfig | None = None) -> pl.DataFrame:
    """One row per spectrum, in their order, with the columns of SCHEMA.

    `Redshift`, `Solution`, `Pdf` and `LineMeasurement` say what they are.

    Raises
    ------
    InputError
        Something that is not a Spectrum. A spectrum without information does not raise: its zwarn says so.
    """
    rows = []
    for k, spectrum in enumerate(spectra):
        if not isinstance(spectrum, Spectrum):
            raise InputError(f"item {k} is {type(spectrum).__name__}", field="spectra", remedy="pass Spectrum objects")
        rows.append(record(measure_redshift(spectrum, config)))
    return pl.DataFrame(rows, schema=SCHEMA)
