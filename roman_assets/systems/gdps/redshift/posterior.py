"""The probability of a redshift: evidence of each class over a grid, refined where it matters, times priors."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from roman_assets.bounds import NOT_NEGATIVE, POSITIVE, SHARE, THRESHOLD, Bound, check_bounds, check_range, whole
from roman_assets.errors import InputError
from roman_assets.kernels.redshift import ScanTemplates, redshift_scan
from roman_assets.systems.gdps.redshift.templates import CLASSES, LIGHT_KM_S, lsf_key, scan_templates

F64 = NDArray[np.float64]
#: Fine points across a coarse maximum (in coarse steps), then around the parabola's (in its sigma).
_NEAR = np.linspace(-1.25, 1.25, 16)
_WITHIN = np.linspace(-4.5, 4.5, 16)
#: Maxima refined per class, and how far below the best one is still worth it [ln].
_MAX_PEAKS, _DEPTH = 6, 14.0
#: What is seen is the strongest line of a band: with fluxes from the prior, this many times H-alpha's mean, on average.
_STRONGEST = 1.36


#: Classes of all sources to H = 22.5 at high latitude, of points and of what is extended: nearly all points are stars,
#: but compact galaxies look like points, and catalogues err.
CLASS_PRIORS: dict[bool | None, dict[str, float]] = {
    None: {"galaxy": 0.85, "qso": 0.02, "star": 0.13},
    True: {"galaxy": 0.06, "qso": 0.04, "star": 0.90},
    False: {"galaxy": 0.985, "qso": 0.005, "star": 0.01},
}


@dataclass(frozen=True)
class RedshiftConfig:
    """What a redshift is looked for with.

    z_range: least and largest z by class. class_prior: relative weight of the classes; None: CLASS_PRIORS, by whether the
    source is known to be a point. z_scale, z_power: prior
    density z^2 exp(-(z / z_scale)^z_power) of galaxies and quasars. template_error: relative error of the continua,
    added to the variance. band: nominal wavelengths [nm] that coverage refers to. min_probability, min_dchi2,
    min_bic, min_coverage, max_contamination, max_outliers (share of pixels), max_chi2 (per pixel), min_signal (of
    the whole spectrum, in sigma): limits beyond which a warning is set. pdf_floor: probability of a cell of the pdf
    that is not worth storing. max_solutions: most candidates reported.
    """

    z_range: dict[str, tuple[float, float]] = field(
        default_factory=lambda: {"galaxy": (0.0, 4.0), "qso": (0.1, 6.5), "star": (-0.002, 0.002)}
    )
    class_prior: dict[str, float] | None = None
    z_scale: float = 1.1
    z_power: float = 1.4
    template_error: float = 0.02
    band: tuple[float, float] = (1000.0, 1930.0)
    min_probability: float = 0.95
    min_dchi2: float = 9.0
    min_bic: float = 10.0
    min_coverage: float = 0.5
    max_contamination: float = 0.5
    max_outliers: float = 0.03
    max_chi2: float = 3.0
    min_signal: float = 7.0
    pdf_floor: float = 1e-6
    max_solutions: int = 5

    def __post_init__(self) -> None:
        check_bounds(
            self,
            z_scale=POSITIVE,
            z_power=POSITIVE,
            template_error=NOT_NEGATIVE,
            band=Bound(gt=0, le=1e6),
            min_probability=SHARE,
            min_dchi2=THRESHOLD,
            min_bic=THRESHOLD,
            min_coverage=SHARE,
            max_contamination=SHARE,
            max_outliers=SHARE,
            max_chi2=THRESHOLD,
            min_signal=THRESHOLD,
            pdf_floor=SHARE,
            max_solutions=whole(1, 1000),
        )
        check_range(self, "band")
        for kind, (low, high) in self.z_range.items():
            if not -0.1 <= low < high <= 20:
                raise InputError(
                    f"z of {kind} from {low} to {high}", field="z_range", remedy="give -0.1 <= z <= 20, rising"
                )
        prior = self.class_prior
        if prior is not None and not (all(NOT_NEGATIVE.holds(v) for v in prior.values()) and sum(prior.values()) > 0):
            raise InputError(f"weights {prior}", field="class_prior", remedy="give weights that are not negative")


@dataclass(frozen=True)
class Data:
    """Good pixels, (n,) each, flux in units of `scale` [W m-2 nm-1].

    line_flux: of the most significant narrow excess [scale nm].
    """

    wavelength: F64
    flux: F64
    weight: F64
    lsf: F64
    scale: float
    line_flux: float

    @property
    def lsf_key(self) -> int:
        """The cached template width for this spectrum."""
        return lsf_key(float(np.median(self.lsf / self.wavelength)))


@dataclass(frozen=True)
class ClassPosterior:
    """One class: increasing z, log of prior density times evidence, chi2 (n,) and amplitudes (n, columns)."""

    kind: str
    z: F64
    log_density: F64
    chi2: F64
    amplitude: F64


def log_z_prior(z: F64, kind: str, config: RedshiftConfig) -> F64:
    """log of the prior density of z within a class, normalised over its range."""
    low, high = config.z_range[kind]
    if kind == "star":
        return np.full_like(z, -np.log(high - low))
    grid = np.linspace(max(low, 0), high, 2000)

    def shape(at: F64) -> F64:
        # The floor keeps unlikely redshifts possible.
        return np.asarray(at**2 * np.exp(-((at / config.z_scale) ** config.z_power)) + 0.003)

    return np.asarray(np.log(shape(np.maximum(z, 0)) / np.trapezoid(shape(grid), grid)))


class _ClassScan:
    """The kernel applied to one class of one spectrum."""

    def __init__(self, data: Data, kind: str, weight: float, config: RedshiftConfig) -> None:
        self.data, self.kind, self.config = data, kind, config
        self.templates: ScanTemplates = scan_templates(kind, data.lsf_key)
        groups = CLASSES[kind].groups
        self.rate = np.array([_STRONGEST / (group.typical * data.line_flux) for group in groups])
        # Continua are fitted, not integrated over: a class with more of them must not win by that (AIC).
        self.log_weight = float(np.log(weight)) - len(self.templates.continua)

    def __call__(self, log_1pz: F64) -> ClassPosterior:
        d = self.data
        scan = redshift_scan(self.templates, d.wavelength, d.flux, d.weight, d.lsf, log_1pz, self.rate)
        z = np.expm1(log_1pz)
        prior = log_z_prior(z, self.kind, self.config) + self.log_weight
        return ClassPosterior(self.kind, z, scan.log_evidence + prior, scan.chi2, scan.amplitude)

    def grid(self) -> F64:
        """ln(1+z) of the coarse grid: the table's steps, where the templates cover the spectrum."""
        low, high = np.log1p(self.config.z_range[self.kind])
        step = self.templates.log_step
        grid = low + step * np.arange(int((high - low) / step) + 1)
        return np.asarray(grid[self.templates.covers(self.data.wavelength, grid)])


def posteriors(data: Data, config: RedshiftConfig, point_source: bool | None = None) -> list[ClassPosterior]:
    """Coarse scan of every class, refined around the maxima that can matter. Classes without coverage are left out."""
    prior = config.class_prior if config.class_prior is not None else CLASS_PRIORS[point_source]
    scans = [_ClassScan(data, kind, weight, config) for kind, weight in prior.items() if weight > 0]
    grids = [scan.grid() for scan in scans]
    pairs = [(scan, scan(grid)) for scan, grid in zip(scans, grids, strict=True) if len(grid) > 2]
    best = max((float(coarse.log_density.max()) for _, coarse in pairs), default=0.0)
    return [_refined(scan, coarse, best) for scan, coarse in pairs]


def _peaks(log_density: F64, best: float) -> NDArray[np.int64]:
    """Inner local maxima worth refining. Coarse sampling can hide a part of a sharp maximum: hence the margin."""
    inner = log_density[1:-1]
    top = np.flatnonzero((inner >= log_density[:-2]) & (inner > log_density[2:])) + 1
    margin = _DEPTH + 0.3 * max(best - float(np.median(log_density)), 0)
    top = top[log_density[top] > best - margin]
    return np.asarray(top[np.argsort(-log_density[top])][:_MAX_PEAKS])


def _refined(scan: _ClassScan, coarse: ClassPosterior, best: float) -> ClassPosterior:
    if scan.kind == "star":
        return coarse
    step, centres = scan.templates.log_step, np.log1p(coarse.z[_peaks(coarse.log_density, best)])
    inside = (np.log1p(coarse.z[0]), np.log1p(coarse.z[-1]))
    if not len(centres):
        return coarse
    near = scan(np.clip(centres[:, None] + step * _NEAR, *inside).ravel())
    density = near.log_density.reshape(len(centres), -1)
    worth = density.max(axis=1) > max(float(density.max()), best) - _DEPTH
    tops = [
        _parabola(np.log1p(z), row) for z, row in zip(near.z.reshape(density.shape)[worth], density[worth], strict=True)
    ]
    parts = [coarse, near]
    narrow = [(x, s) for x, s in tops if s < step]
    if narrow:
        within = np.concatenate([x + s * _WITHIN for x, s in narrow])
        parts.append(scan(np.clip(within, *inside)))
    return _merged(parts)


def _parabola(x: F64, y: F64) -> tuple[float, float]:
    """Abscissa and sigma of the parabola through a maximum and its neighbours; infinite sigma where there is none."""
    k = int(np.clip(np.argmax(y), 1, len(y) - 2))
    h = x[k + 1] - x[k]
    bend, slope = y[k + 1] - 2 * y[k] + y[k - 1], 0.5 * (y[k + 1] - y[k - 1])
    if not (bend < 0 and h > 0):
        return float(x[k]), float("inf")
    shift = float(np.clip(-slope / bend, -1, 1))
    return float(x[k] + shift * h), float(h / np.sqrt(-bend))


def _merged(parts: list[ClassPosterior]) -> ClassPosterior:
    z, first = np.unique(np.concatenate([p.z for p in parts]), return_index=True)
    density, chi2, amplitude = (
        np.concatenate([getattr(p, name) for p in parts])[first] for name in ("log_density", "chi2", "amplitude")
    )
    return ClassPosterior(parts[0].kind, z, density, chi2, amplitude)


@dataclass(frozen=True)
class Solution:
    """A candidate redshift: its median, 16 % and 84 % points, and the probability of the whole maximum."""

    z: float
    z_min: float
    z_max: float
    probability: float
    low: float
    high: float


@dataclass(frozen=True)
class Pdf:
    """Probability density over increasing z (n,), of unit integral; probability by class; log of the evidence."""

    z: F64
    density: F64
    class_probability: dict[str, float]
    log_evidence: float

    @property
    def cells(self) -> F64:
        """Probability between neighbouring points, (n - 1,)."""
        return np.asarray(0.5 * (self.density[1:] + self.density[:-1]) * np.diff(self.z))

    def quantile(self, fraction: F64) -> F64:
        """z below which the given fractions of the probability lie."""
        return _quantiles(self.z, self.density, fraction)

    def cumulative(self, z: float) -> float:
        """Probability below z."""
        at = np.concatenate([[0], np.cumsum(self.cells)])
        k = int(np.clip(np.searchsorted(self.z, z) - 1, 0, len(self.z) - 2))
        x = float(np.clip(z - self.z[k], 0, self.z[k + 1] - self.z[k]))
        slope = (self.density[k + 1] - self.density[k]) / (self.z[k + 1] - self.z[k])
        return float(at[k] + self.density[k] * x + 0.5 * slope * x * x)

    def stored(self, floor: float) -> Pdf:
        """Without the points on both sides of which a cell holds less than `floor`."""
        keep = self.cells > floor
        points = np.concatenate([keep, [False]]) | np.concatenate([[False], keep])
        # One zero on either side of every run keeps the gaps empty when the pdf is integrated.
        grown = points | np.roll(points, 1) | np.roll(points, -1)
        density = np.where(points, self.density, 0.0)
        return Pdf(self.z[grown], density[grown], self.class_probability, self.log_evidence)


def _quantiles(z: F64, density: F64, fraction: F64) -> F64:
    """Inverse of the cumulative of a piecewise linear density, exact within cells."""
    width = np.diff(z)
    cells = 0.5 * (density[1:] + density[:-1]) * width
    at = np.concatenate([[0], np.cumsum(cells)])
    wanted = np.asarray(fraction) * at[-1]
    k = np.clip(np.searchsorted(at, wanted, side="right") - 1, 0, len(cells) - 1)
    rest, slope = wanted - at[k], (density[k + 1] - density[k]) / width[k]
    # Of the two forms of the root, the one that does not cancel.
    root = np.sqrt(np.maximum(density[k] ** 2 + 2 * slope * rest, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        x = np.where(density[k] + root > 0, 2 * rest / (density[k] + root), 0)
    return np.asarray(z[k] + np.clip(x, 0, width[k]))


def combine(parts: list[ClassPosterior]) -> Pdf:
    """The pdf of z over all classes."""
    best = max(float(p.log_density.max()) for p in parts)
    linear = [np.exp(p.log_density - best) for p in parts]
    masses = [float(np.trapezoid(values, p.z)) for values, p in zip(linear, parts, strict=True)]
    z = np.unique(np.concatenate([p.z for p in parts]))
    density = sum(np.interp(z, p.z, v, left=0, right=0) for p, v in zip(parts, linear, strict=True))
    total = float(np.trapezoid(density, z))
    shares = {p.kind: mass / sum(masses) for p, mass in zip(parts, masses, strict=True)}
    return Pdf(z, np.asarray(density) / total, shares, best + float(np.log(total)))


def solutions(pdf: Pdf, config: RedshiftConfig) -> list[Solution]:
    """The most probable maxima, each with all the probability between the minima beside it.

    Maxima within 750 km/s of each other are one.
    """
    d = pdf.density
    inner = np.flatnonzero((d[1:-1] >= d[:-2]) & (d[1:-1] > d[2:])) + 1
    tops = inner if len(inner) else np.array([int(np.argmax(d))])
    cells = np.concatenate([[0], np.cumsum(pdf.cells)])
    edges = [0]
    for a, b in pairwise(tops):
        if (pdf.z[b] - pdf.z[a]) / (1 + pdf.z[a]) > 750 / LIGHT_KM_S:
            edges.append(int(a + np.argmin(d[a : b + 1])))
    edges.append(len(d) - 1)
    masses = np.diff(cells[edges])
    result: list[Solution] = []
    for k in np.argsort(-masses)[: config.max_solutions]:
        if masses[k] < 1e-4 and result:
            break
        piece = slice(edges[k], edges[k + 1] + 1)
        low, middle, high = _quantiles(pdf.z[piece], d[piece], np.array([0.15866, 0.5, 0.84134]))
        result.append(
            Solution(float(middle), float(low), float(high), float(masses[k]), pdf.z[edges[k]], pdf.z[edges[k + 1]])
        )
    return result
