"""Models beyond a point source and a point lens: a finite source, parallax, a second source.

Fluxes are linear: at any shape of the light curve the source and blend fluxes of each band are solved for exactly
(variable projection), and Levenberg-Marquardt moves in the shape alone. Every model starts from the point-lens fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.events import finite_source, point_lens_excess
from roman_assets.systems.msos.models.parallax import Observer
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, PointLensFit
from roman_assets.systems.msos.search.templates import SearchConfig, search

F64 = NDArray[np.float64]
#: No parameter goes beyond this; ln tE is the third of every model and stays within a range [ln d].
FAR, LOG_TE, LOG_TE_RANGE = 1e7, 2, (np.log(1e-4), np.log(1e5))
#: Curves of unit source flux: values of the parameters and a band of n points to (sources, n).
Shape = Callable[[F64, Band], F64]

FSPL, PARALLAX, BINARY_SOURCE = "FSPL", "PSPL_PARALLAX", "BINARY_SOURCE"
#: Separations below this are taken as this: a point source on the lens has no finite magnification.
LEAST_U = 1e-9


@dataclass(frozen=True)
class LensModel:
    """A fitted model.

    name; parameters: names of the shape's parameters, values, errors, covariance (p, p) of them in the same order
    (tE and rho themselves, not their logarithms; [d] for times); fs, fs_err (bands, sources) and fb, fb_err (bands,)
    [flux]; chi2, dof, n_points; converged; usable: the covariance exists and is positive.
    """

    name: str
    parameters: tuple[str, ...]
    values: F64
    errors: F64
    covariance: F64
    bands: tuple[str, ...]
    fs: F64
    fs_err: F64
    fb: F64
    fb_err: F64
    chi2: float
    dof: int
    n_points: int
    converged: bool
    usable: bool

    @property
    def bic(self) -> float:
        """Bayesian information criterion, chi2 + k ln n."""
        return self.chi2 + (self.n_points - self.dof) * float(np.log(max(self.n_points, 2)))

    def __getitem__(self, name: str) -> float:
        return float(self.values[self.parameters.index(name)])

    def error(self, name: str) -> float:
        """Standard error of a parameter."""
        return float(self.errors[self.parameters.index(name)])


def fit_finite_source(
    curve: LightCurve, lens: PointLensFit, *, limb: float = 0.0, ratios: Sequence[float] = (0.3, 1.0, 2.0)
) -> LensModel:
    """A disc behind a point lens: t0, u0, te, rho.

    `ratios` are the starts of rho / u0; `limb` the linear limb darkening, of all bands.

    Raises
    ------
    InputError
        The point lens was not fitted, or the curve has too few points.
    """

    def shape(p: F64, band: Band) -> F64:
        u = np.hypot(p[1], (band.mjd - p[0]) / np.exp(p[2]))
        return finite_source(u, float(np.exp(np.clip(p[3], -16, 3))), limb)[None]

    names, logs = ("t0", "u0", "te", "rho"), (False, False, True, True)
    starts = [[lens.t0, lens.u0, np.log(lens.te), np.log(max(lens.u0 * r, 1e-5))] for r in ratios]
    return _mirrored(_best(FSPL, curve, lens, names, logs, shape, starts))


def fit_parallax(
    curve: LightCurve, lens: PointLensFit, observer: Observer, *, ratios: Sequence[float] = (1.0, -1.0)
) -> list[LensModel]:
    """A point lens seen from a moving observer: t0, u0, te, pi_en, pi_ee; one solution per sign of u0, best first.

    The frame is the rectilinear one of the observer at the time of the point lens's peak (Gould 2004).

    Raises
    ------
    InputError
        The point lens was not fitted, or the curve has too few points.
    """
    offsets = {b.name: observer.offsets(b.mjd, lens.t0) for b in curve.bands}

    def shape(p: F64, band: Band) -> F64:
        north, east = offsets[band.name]
        tau = (band.mjd - p[0]) / np.exp(p[2]) + p[3] * north + p[4] * east
        beta = p[1] + p[3] * east - p[4] * north
        return _point_source(np.hypot(tau, beta))[None]

    names, logs = ("t0", "u0", "te", "pi_en", "pi_ee"), (False, False, True, False, False)
    found = []
    for sign in ratios:
        starts = [[lens.t0, sign * lens.u0, np.log(lens.te), 0.0, 0.0]]
        found.append(_best(PARALLAX, curve, lens, names, logs, shape, starts))
    return sorted(found, key=lambda m: m.chi2)


def fit_binary_source(curve: LightCurve, lens: PointLensFit) -> LensModel | None:
    """Two sources behind one point lens: t0, u0, te, t0_2, u0_2; None where the residuals show no second peak.

    Raises
    ------
    InputError
        The point lens was not fitted, or the curve has too few points.
    """
    main = max(curve.bands, key=len)
    _check(curve, lens, 5)
    model = _flux(lens, main.name, main.mjd)
    found = search(main.mjd, (main.flux - model)[None], main.flux_err[None], SearchConfig(teff_max=max(lens.te, 0.02)))
    if not np.isfinite(found["t0"][0]):
        return None

    def shape(p: F64, band: Band) -> F64:
        te = float(np.exp(p[2]))
        return np.stack(
            [
                1 + point_lens_excess(band.mjd, float(p[i]), max(abs(float(p[j])), LEAST_U), te)
                for i, j in ((0, 1), (3, 4))
            ]
        )

    second, teff = float(found["t0"][0]), float(found["teff"][0])
    starts = [
        [lens.t0, lens.u0, np.log(lens.te), second, np.clip(teff / lens.te * factor, 1e-4, 2.0)]
        for factor in (0.5, 1.0, 2.0)
    ]
    names, logs = ("t0", "u0", "te", "t0_2", "u0_2"), (False, False, True, False, False)
    return _mirrored(_best(BINARY_SOURCE, curve, lens, names, logs, shape, starts, sources=2))


def _point_source(u: F64) -> F64:
    u = np.maximum(u, LEAST_U)
    return np.asarray((u * u + 2) / (u * np.sqrt(u * u + 4)))


def _flux(lens: PointLensFit, band: str, mjd: F64) -> F64:
    k = lens.bands.index(band)
    return np.asarray(lens.fs[k] * (1 + point_lens_excess(mjd, lens.t0, lens.u0, lens.te)) + lens.fb[k])


def _check(curve: LightCurve, lens: PointLensFit, shapes: int) -> None:
    if not lens.fitted:
        raise InputError("there is no point-lens fit to start from", field="lens", remedy="fit a point lens first")
    if len(curve) <= shapes + 3 * len(curve.bands):
        raise InputError(
            f"{len(curve)} points for {shapes} parameters of shape", field="curve", remedy="give more points"
        )


def _project(curve: LightCurve, p: F64, shape: Shape, sources: int) -> tuple[F64, F64, F64, list[F64]]:
    # What is no number gives no light: a bad fit, from which the next step returns.
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        shapes = [np.nan_to_num(shape(p, band), nan=0.0, posinf=0.0, neginf=0.0) for band in curve.bands]
    return solve_fluxes(curve, shapes)


def _within(p: F64) -> F64:
    """Parameters that a step led out of the numbers (tE of exp(800) d), at their edge."""
    p = np.clip(np.nan_to_num(p), -FAR, FAR)
    p[LOG_TE] = np.clip(p[LOG_TE], *LOG_TE_RANGE)
    return p


def solve_fluxes(
    curve: LightCurve, shapes: Sequence[F64], blend_widths: F64 | None = None
) -> tuple[F64, F64, F64, list[F64]]:
    """Fluxes of sources and blend at shapes (sources, n) of each band of n points.

    `blend_widths` (bands,) [flux]: a negative blend costs its square in this width (see `blend_widths`), as a residual
    of its own per band, after those of the points; infinite where a blend may be anything.

    Returns fluxes (bands, sources) and (bands,), residuals (points, or points + bands) in errors, and per band the
    columns (sources + 1, n) of the linear fit in errors.
    """
    fs, fb = np.zeros((len(curve.bands), len(shapes[0]))), np.zeros(len(curve.bands))
    residuals, columns, costs = [], [], np.zeros(len(curve.bands))
    for k, (band, shape) in enumerate(zip(curve.bands, shapes, strict=True)):
        design = np.vstack([shape, np.ones((1, len(band)))]) / band.flux_err
        target = band.flux / band.flux_err
        solution = _linear(design, target)
        if blend_widths is not None and solution[-1] < 0 and np.isfinite(blend_widths[k]):
            row = np.zeros((len(design), 1))
            row[-1] = 1 / blend_widths[k]
            solution = _linear(np.hstack([design, row]), np.append(target, 0.0))
            costs[k] = min(solution[-1], 0.0) / blend_widths[k]
        fs[k], fb[k] = solution[:-1], solution[-1]
        residuals.append(target - solution @ design)
        columns.append(design)
    return fs, fb, np.concatenate(residuals if blend_widths is None else [*residuals, costs]), columns


def _linear(design: F64, target: F64) -> F64:
    scale = np.sqrt((design**2).sum(axis=1, keepdims=True))
    scale[scale == 0] = 1
    return np.asarray(np.linalg.lstsq((design / scale).T, target, rcond=1e-12)[0] / scale[:, 0])


def blend_widths(curve: LightCurve, share: float = 0.1) -> F64:
    """Widths (bands,) [flux] for `solve_fluxes`: a share of the baseline, infinite where the flux is no star's.

    A source does not give more light than the star it is part of; sky and neighbours subtracted too much make the
    blend a little negative all the same. A series around zero is a difference from a reference, whose blend may be
    anything.
    """
    widths = np.full(len(curve.bands), np.inf)
    for k, band in enumerate(curve.bands):
        if len(band) and (base := float(np.percentile(band.flux, 20))) > 3 * float(np.median(band.flux_err)):
            widths[k] = share * base
    return widths


def _best(
    name: str,
    curve: LightCurve,
    lens: PointLensFit,
    names: tuple[str, ...],
    logs: tuple[bool, ...],
    free_shape: Shape,
    starts: Sequence[Sequence[float]],
    sources: int = 1,
) -> LensModel:
    """The best of several starts, with its covariance."""
    from scipy.optimize import least_squares

    _check(curve, lens, len(names))

    def shape(p: F64, band: Band) -> F64:
        return free_shape(_within(p), band)

    best = None
    for start in starts:
        fit = least_squares(
            lambda p: _project(curve, p, shape, sources)[2],
            np.asarray(start),
            method="lm",
            x_scale=_scales(names, lens),
            xtol=1e-9,
            ftol=1e-10,
            gtol=1e-10,
            max_nfev=60 * len(names),
        )
        if best is None or fit.cost < best.cost:
            best = fit
    assert best is not None, "there is at least one start"
    fs, fb, residual, _ = _project(curve, best.x, shape, sources)
    covariance, fs_err, fb_err, usable = _covariance(curve, best.x, shape, sources, _scales(names, lens))
    jacobian = np.where(logs, np.exp(np.where(logs, best.x, 0.0)), 1.0)
    values = np.where(logs, np.exp(np.where(logs, best.x, 0.0)), best.x)
    covariance = covariance * np.outer(jacobian, jacobian)
    free = len(names) + (sources + 1) * len(curve.bands)
    return LensModel(
        name,
        names,
        values,
        np.sqrt(np.where(np.diag(covariance) > 0, np.diag(covariance), np.nan)),
        covariance,
        tuple(b.name for b in curve.bands),
        fs,
        fs_err,
        fb,
        fb_err,
        float(residual @ residual),
        len(curve) - free,
        len(curve),
        bool(best.success),
        usable,
    )


def _scales(names: tuple[str, ...], lens: PointLensFit) -> F64:
    """Typical steps of the parameters."""
    sizes = {
        "t0": 0.1 * lens.teff,
        "t0_2": 0.1 * lens.teff,
        "u0": 0.1 * abs(lens.u0) + 1e-4,
        "u0_2": 0.03,
        "te": 0.1,
        "rho": 0.2,
        "pi_en": 0.1,
        "pi_ee": 0.1,
    }
    return np.array([sizes[name] for name in names])


def _covariance(curve: LightCurve, p: F64, shape: Shape, sources: int, scales: F64) -> tuple[F64, F64, F64, bool]:
    """Covariance of the shape's parameters, errors of fs (bands, sources) and fb (bands,), whether all are proper."""
    fs, _, _, columns = _project(curve, p, shape, sources)
    n_shape, width, n_points = len(p), sources + 1, len(curve)
    design, first = np.zeros((n_shape + width * len(curve.bands), n_points)), 0
    for k, band in enumerate(curve.bands):
        last = first + len(band)
        for i, scale in enumerate(scales):
            step = np.zeros_like(p)
            step[i] = 1e-4 * scale
            slope = (shape(p + step, band) - shape(p - step, band)) / (2 * step[i])
            design[i, first:last] = fs[k] @ slope / band.flux_err
        at = n_shape + width * k
        design[at : at + width, first:last] = columns[k]
        first = last
    size = np.sqrt((design**2).sum(axis=1))
    size[size == 0] = 1.0
    scaled = design / size[:, None]
    matrix = scaled @ scaled.T
    usable = bool(np.isfinite(matrix).all() and np.linalg.cond(matrix) < 1e14)
    inverse = np.linalg.inv(matrix) / np.outer(size, size) if usable else np.full_like(matrix, np.nan)
    usable = usable and bool((np.diag(inverse) > 0).all())
    fluxes = np.sqrt(np.where(np.diag(inverse) > 0, np.diag(inverse), np.nan))[n_shape:].reshape(-1, width)
    return inverse[:n_shape, :n_shape], fluxes[:, :-1], fluxes[:, -1], usable


def preferred(models: Sequence[LensModel], lens: PointLensFit, least_dchi2: float = 50.0) -> LensModel | None:
    """The model to believe instead of the point lens, if any: the lowest BIC of those that gain `least_dchi2`."""
    better = [m for m in models if m.usable and m.converged and lens.chi2 - m.chi2 > least_dchi2]
    return min(better, key=lambda m: m.bic, default=None)


def _mirrored(model: LensModel) -> LensModel:
    """The same model with u0 >= 0, where its sign means nothing."""
    values = model.values.copy()
    for name in ("u0", "u0_2"):
        if name in model.parameters:
            values[model.parameters.index(name)] = abs(model[name])
    return replace(model, values=values)
