"""Point-source point-lens models of light curves in one or several bands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.bounds import NOT_NEGATIVE, POSITIVE, THRESHOLD, Bound, check_bounds, check_range, whole
from roman_assets.errors import InputError
from roman_assets.kernels import events as kernels

F64 = NDArray[np.float64]
Blend = Literal["auto", "free", "zero"]
Seed = tuple[float, float]

#: Changes when a fit can give other numbers.
MODEL_VERSION = "2"


@dataclass(frozen=True)
class Band:
    """Photometry in one band: mjd (n,) [d], flux and flux_err (n,), any unit of flux.

    Points that cannot be used (not finite, error not positive) are left out, and points put in order of time.
    """

    name: str
    mjd: F64
    flux: F64
    flux_err: F64

    def __post_init__(self) -> None:
        t, f, e = (np.asarray(v, dtype=np.float64) for v in (self.mjd, self.flux, self.flux_err))
        if t.ndim != 1 or t.shape != f.shape or t.shape != e.shape:
            raise InputError(
                f"times, fluxes and errors have shapes {t.shape}, {f.shape}, {e.shape}",
                field=self.name,
                remedy="pass three columns of the same length",
            )
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            weight = 1.0 / e**2
        good = np.isfinite(t) & np.isfinite(f) & (e > 0) & np.isfinite(weight) & (weight > 0)
        order = np.flatnonzero(good)
        if (np.diff(t[order]) < 0).any():
            order = order[np.argsort(t[order], kind="stable")]
        for name, value in (("mjd", t), ("flux", f), ("flux_err", e)):
            object.__setattr__(self, name, value[order])

    def __len__(self) -> int:
        return len(self.mjd)

    def select(self, keep: NDArray[np.bool_]) -> Band:
        """The points where `keep` (n,) holds."""
        return Band(self.name, self.mjd[keep], self.flux[keep], self.flux_err[keep])


@dataclass(frozen=True)
class LightCurve:
    """One object in one or several bands."""

    bands: tuple[Band, ...]

    def __post_init__(self) -> None:
        names = [band.name for band in self.bands]
        if len(set(names)) != len(names):
            raise InputError(f"bands {names} repeat", field="bands", remedy="join the points of a band")

    def __len__(self) -> int:
        return sum(len(band) for band in self.bands)

    def select(self, low: float, high: float) -> LightCurve:
        """The points with low < mjd < high [d]."""
        return LightCurve(tuple(b.select((b.mjd > low) & (b.mjd < high)) for b in self.bands))


@dataclass(frozen=True)
class FitOptions:
    """How point lenses are fitted.

    Every seed is started at each of `u0_starts`; `tolerance` is the decrease of chi2 that a further step
    would bring; curves with more than `coarse_above` points are started on bins. te_range [d] and u0_max bound
    the fit. With blend "auto", a free blend is given up for fb = 0 where the fit does not converge, is not
    constrained, or needs a negative source; and where it needs a blend below -`absurd_blend` of the baseline
    flux, but fb = 0 costs less than `blend_dchi2` (times chi2/dof).
    """

    u0_starts: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    tolerance: float = 1e-6
    max_iterations: int = 60
    coarse_above: int = 2000
    te_range: tuple[float, float] = (1e-3, 1e4)
    u0_max: float = 5.0
    absurd_blend: float = 1.0
    blend_dchi2: float = 9.0
    degenerate_error: float = 0.5

    def __post_init__(self) -> None:
        check_bounds(
            self,
            u0_starts=POSITIVE,
            tolerance=POSITIVE,
            max_iterations=whole(1, 1_000_000),
            coarse_above=whole(0, 2**62),
            te_range=Bound(ge=kernels.LEAST_DAYS, le=1e9),
            u0_max=POSITIVE,
            absurd_blend=NOT_NEGATIVE,
            blend_dchi2=THRESHOLD,
            degenerate_error=NOT_NEGATIVE,
        )
        check_range(self, "te_range")
        if not self.u0_starts:
            raise InputError("no start values", field="u0_starts", remedy="give some, all above 0")


@dataclass(frozen=True)
class PointLensFit:
    """A point-lens fit F = fs A(u) + fb.

    t0, te [d], u0 > 0 with standard errors; `bands` with fs, fb and their errors per band (NaN for a band
    without points; fb and its error 0 where the blend is fixed); `covariance` (p, p) of `parameters`.
    chi2, chi2_flat (constant flux per band), dof, n_points. `blend` is "free" or "zero". `converged` says
    that the minimum was reached; `degenerate` that the data leave u0 (and with it te, fs, fb) uncertain by
    more than FitOptions.degenerate_error of itself, so that only combinations (teff, peak flux) are known.
    """

    t0: float
    u0: float
    te: float
    t0_err: float
    u0_err: float
    te_err: float
    bands: tuple[str, ...]
    fs: F64
    fs_err: F64
    fb: F64
    fb_err: F64
    parameters: tuple[str, ...]
    covariance: F64
    chi2: float
    chi2_flat: float
    dof: int
    n_points: int
    converged: bool
    degenerate: bool
    at_bound: bool
    negative_source: bool
    blend: str
    iterations: int

    @property
    def dchi2(self) -> float:
        """chi2 of a constant flux per band minus chi2 of the lens."""
        return self.chi2_flat - self.chi2

    @property
    def teff(self) -> float:
        """Effective time scale u0 te [d]."""
        return self.u0 * self.te

    @property
    def fitted(self) -> bool:
        """Whether there is a solution at all."""
        return bool(np.isfinite(self.t0))

    @property
    def lowest_blend(self) -> float:
        """Smallest fb / (fs + fb) over the bands, minus infinity where that baseline is not positive."""
        ratios = [
            b / (s + b) if s + b > 0 else -np.inf for s, b in zip(self.fs, self.fb, strict=True) if np.isfinite(s)
        ]
        return float(min(ratios, default=-np.inf))


def magnification(mjd: ArrayLike, t0: float, u0: float, te: float) -> F64:
    """A(u) = (u^2 + 2) / (u sqrt(u^2 + 4)) at times (n,) [d] (Paczynski 1986, ApJ 304, 1)."""
    return 1.0 + kernels.point_lens_excess(mjd, t0, u0, te)


def model_flux(fit: PointLensFit, band: str, mjd: ArrayLike) -> F64:
    """Flux of the fitted model in a band at times (n,) [d]."""
    if band not in fit.bands:
        raise InputError(f"the fit has bands {', '.join(fit.bands)}", field=band, remedy="name one of these")
    k = fit.bands.index(band)
    excess = kernels.point_lens_excess(mjd, fit.t0, fit.u0, fit.te)
    return fit.fs[k] * excess + (fit.fs[k] + fit.fb[k])


def fit_point_lens(
    curve: LightCurve, seeds: Sequence[Seed], options: FitOptions = FitOptions(), blend: Blend = "auto"
) -> PointLensFit:
    """Best point lens for a curve from seeds (t0, teff) [d].

    Raises InputError where the curve has no bands or more than kernels.events.MAX_BANDS. A curve with fewer
    points than parameters gives a fit whose `fitted` is False.
    """
    return fit_point_lenses([curve], [seeds], options, blend)[0]


def fit_point_lenses(
    curves: Sequence[LightCurve],
    seeds: Sequence[Sequence[Seed]],
    options: FitOptions = FitOptions(),
    blend: Blend = "auto",
) -> list[PointLensFit]:
    """`fit_point_lens` for many curves in one call of the kernel."""
    if len(curves) != len(seeds):
        raise InputError(f"{len(curves)} curves, {len(seeds)} lists of seeds", remedy="pass one list per curve")
    if not curves:
        return []
    fits = _fit(curves, seeds, options, free_blend=blend != "zero")
    if blend != "auto":
        return fits
    again = [i for i, fit in enumerate(fits) if not _acceptable(fit, options)]
    if again:
        # What the free fit found is the best place to start from.
        extra = [[*seeds[i], (fits[i].t0, fits[i].teff)] if fits[i].fitted else seeds[i] for i in again]
        zero = _fit([curves[i] for i in again], extra, options, free_blend=False)
        for i, fit in zip(again, zero, strict=True):
            if _preferred(fit, fits[i], options):
                fits[i] = fit
    return fits


def _acceptable(fit: PointLensFit, options: FitOptions) -> bool:
    return _sound(fit) and fit.lowest_blend >= -options.absurd_blend


def _sound(fit: PointLensFit) -> bool:
    return fit.fitted and fit.converged and not fit.negative_source and bool(np.isfinite(fit.u0_err))


def _preferred(zero: PointLensFit, free: PointLensFit, options: FitOptions) -> bool:
    """Whether a fit without blend replaces one that is not acceptable."""
    if not zero.fitted or zero.negative_source or (free.converged and not zero.converged):
        return False
    if not free.fitted:
        return True
    if _sound(free):
        # Only the blend is strange. Difference images have any baseline: let the data object.
        scale = max(1.0, free.chi2 / max(free.dof, 1))
        return zero.chi2 - free.chi2 < options.blend_dchi2 * scale
    return zero.dchi2 > 0.5 * free.dchi2


def _fit(
    curves: Sequence[LightCurve], seeds: Sequence[Sequence[Seed]], options: FitOptions, *, free_blend: bool
) -> list[PointLensFit]:
    names = tuple(dict.fromkeys(band.name for curve in curves for band in curve.bands))
    if not 1 <= len(names) <= kernels.MAX_BANDS:
        raise InputError(f"{len(names)} bands", field="bands", remedy=f"fit 1 to {kernels.MAX_BANDS} bands together")
    empty = np.zeros(0)
    parts: list[tuple[F64, F64, F64]] = []
    for curve in curves:
        by_name = {band.name: band for band in curve.bands}
        for name in names:
            band = by_name.get(name)
            parts.append((empty, empty, empty) if band is None else (band.mjd, band.flux, band.flux_err))
    counts = np.array([len(part[0]) for part in parts], dtype=np.int64)
    flat_seeds = [seed for own in seeds for seed in own]
    result = kernels.point_lens_fit(
        np.concatenate([[0], np.cumsum(counts)]),
        np.concatenate([part[0] for part in parts]),
        np.concatenate([part[1] for part in parts]),
        1.0 / np.concatenate([part[2] for part in parts]) ** 2,
        np.concatenate([[0], np.cumsum([len(own) for own in seeds])]),
        np.array([seed[0] for seed in flat_seeds], dtype=np.float64),
        np.array([seed[1] for seed in flat_seeds], dtype=np.float64),
        n_bands=len(names),
        free_blend=free_blend,
        u0=options.u0_starts,
        tolerance=options.tolerance,
        max_iterations=options.max_iterations,
        coarse_above=options.coarse_above,
        te_range=options.te_range,
        u0_max=options.u0_max,
    )
    per_curve = counts.reshape(len(curves), len(names))
    return [_one_fit(result, i, names, per_curve[i], options, free_blend=free_blend) for i in range(len(curves))]


def _one_fit(
    r: kernels.LensResult,
    i: int,
    names: tuple[str, ...],
    counts: NDArray[np.int64],
    options: FitOptions,
    *,
    free_blend: bool,
) -> PointLensFit:
    n, flags = len(names), int(r.flags[i])
    present = counts > 0
    with np.errstate(invalid="ignore"):
        errors = np.sqrt(np.diag(r.covariance[i]))
    keep = np.concatenate([[True] * 3, present, present & free_blend])
    labels = ["t0", "u0", "te", *(f"fs_{name}" for name in names), *(f"fb_{name}" for name in names)]
    t0, u0, te = (float(v) for v in r.theta[i])
    absent = np.where(present, 0.0, np.nan)
    uncertain = not errors[1] <= options.degenerate_error * u0
    return PointLensFit(
        t0,
        u0,
        te,
        float(errors[0]),
        float(errors[1]),
        float(errors[2]),
        names,
        r.fs[i] + absent,
        errors[3 : 3 + n] + absent,
        r.fb[i] + absent,
        errors[3 + n :] + absent,
        tuple(label for label, kept in zip(labels, keep, strict=True) if kept),
        r.covariance[i][np.ix_(keep, keep)],
        float(r.chi2[i]),
        float(r.chi2_flat[i]),
        int(counts.sum() - keep.sum()),
        int(counts.sum()),
        bool(flags & kernels.CONVERGED),
        uncertain,
        bool(flags & kernels.AT_BOUND),
        bool(flags & kernels.NEGATIVE_SOURCE),
        "free" if free_blend else "zero",
        int(r.iterations[i]),
    )
