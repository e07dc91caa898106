"""Kernels of the event finder: the template search and the point-lens fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.arrays import array, count, elements, finite, increasing, number, offsets, pair
from roman_assets.kernels.call import check, ffi, lib, pointer, vector_level

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

#: Bands one fit can hold (csrc/point_lens.h).
MAX_BANDS = 8
#: Shortest time scale of a search or a fit, and most finest bins of a search (csrc/event_search.c).
LEAST_DAYS, MOST_BINS = 1e-6, 1e12
#: Flags of a point-lens fit.
CONVERGED, AT_BOUND, SINGULAR, NEGATIVE_SOURCE = 1, 2, 4, 8


@dataclass(frozen=True)
class SearchResult:
    """What `event_search` found, one entry per star; see csrc/event_search.h for the definitions.

    t0, teff [d]; shape 1 or 2, 0 where nothing was found; dchi2, dchi2_without; base, height [flux];
    n_high, run.
    """

    t0: F64
    teff: F64
    shape: I32
    dchi2: F64
    dchi2_without: F64
    base: F64
    height: F64
    n_high: I32
    run: I32


def event_search(
    mjd: ArrayLike,
    flux: ArrayLike,
    flux_err: ArrayLike,
    *,
    teff_min: float,
    teff_max: float,
    teff_ratio: float,
    steps_per_teff: float,
    reach: float,
    high_sigma: float,
) -> SearchResult:
    """Best brightening of each star over a grid of (t0, teff) and two templates (csrc/event_search.h).

    Parameters
    ----------
    mjd
        (epochs,) times [d], increasing.
    flux, flux_err
        (stars, epochs) float32. Points that are not finite or whose error is not positive do not count.

    Raises
    ------
    InputError
        Shapes disagree, times are not finite or not increasing, or the grid is out of range.
    """
    times = array("mjd", mjd, np.float64, (None,))
    f = array("flux", flux, np.float32, (None, len(times)))
    e = array("flux_err", flux_err, np.float32, f.shape)
    finite(mjd=times)
    increasing("mjd", times)
    shortest = number("teff_min", teff_min, LEAST_DAYS)
    options = [
        shortest,
        number("teff_max", teff_max, shortest, 1e6),
        number("teff_ratio", teff_ratio, 1.01, 1e3),
        number("steps_per_teff", steps_per_teff, 0.5, 64),
        number("reach", reach, 1, 20),
        number("high_sigma", high_sigma),
    ]
    if len(times):
        number("teff_min", shortest, (times[-1] - times[0]) / MOST_BINS)
    doubles: list[NDArray[Any]] = [np.empty(len(f)) for _ in range(6)]
    integers: list[NDArray[Any]] = [np.empty(len(f), dtype=np.int32) for _ in range(3)]
    if len(f) and len(times):
        grid = ffi.new("roman_search_grid *", options)
        outputs: list[NDArray[Any]] = [*doubles[:2], integers[0], *doubles[2:], *integers[1:]]
        status = lib.roman_event_search(
            grid,
            len(times),
            pointer(times),
            len(f),
            pointer(f),
            pointer(e),
            *[pointer(o) for o in outputs],
            vector_level(),
        )
        check(status, "event_search")
    else:
        for values, fill in zip(doubles, (np.nan, np.nan, 0, 0, np.nan, 0), strict=True):
            values[:] = fill
        for counts in integers:
            counts[:] = 0
    t0, teff, dchi2, without, base, height = doubles
    return SearchResult(t0, teff, integers[0], dchi2, without, base, height, integers[1], integers[2])


@dataclass(frozen=True)
class LensResult:
    """Point-lens fits of several curves; see csrc/point_lens.h.

    theta (curves, 3): t0, u0, tE; fs, fb (curves, bands); chi2, chi2_flat, flags, iterations (curves,);
    covariance (curves, p, p), p = 3 + 2 bands.
    """

    theta: F64
    fs: F64
    fb: F64
    chi2: F64
    chi2_flat: F64
    covariance: F64
    flags: I32
    iterations: I32


def point_lens_fit(
    start: ArrayLike,
    time: ArrayLike,
    flux: ArrayLike,
    weight: ArrayLike,
    seed_start: ArrayLike,
    seed_t0: ArrayLike,
    seed_teff: ArrayLike,
    *,
    n_bands: int,
    free_blend: bool,
    u0: ArrayLike,
    tolerance: float,
    max_iterations: int,
    coarse_above: int,
    te_range: tuple[float, float],
    u0_max: float,
) -> LensResult:
    """Fit point lenses to curves whose points lie one after another, curve by curve and band by band.

    Parameters
    ----------
    start
        (curves * n_bands + 1,) where each band of each curve begins and ends.
    time, flux, weight
        (points,) times [d], increasing within a band, fluxes, 1 / error^2, all finite and weights positive.
    seed_start, seed_t0, seed_teff
        (curves + 1,), (seeds,), (seeds,) starting points of each curve [d].

    Raises
    ------
    InputError
        Shapes disagree or values are out of range.
    """
    n_bands = count("n_bands", n_bands, 1, MAX_BANDS)
    t = array("time", time, np.float64, (None,))
    f = array("flux", flux, np.float64, t.shape)
    w = array("weight", weight, np.float64, t.shape)
    n, odd = divmod(len(array("start", start, np.int64, (None,))) - 1, n_bands)
    if n < 0 or odd:
        raise InputError(f"not {n_bands} bands of every curve", field="start", remedy="pass CSR offsets")
    bounds = offsets("start", start, n * n_bands, len(t))
    s_t0 = array("seed_t0", seed_t0, np.float64, (None,))
    s_teff = array("seed_teff", seed_teff, np.float64, s_t0.shape)
    seeds = offsets("seed_start", seed_start, n, len(s_t0))
    _check_points(bounds, t, f, w)
    options = _lens_options(free_blend, u0, tolerance, max_iterations, coarse_above, te_range, u0_max)
    size = 3 + 2 * n_bands
    elements("n_bands", n, size, size)
    result = LensResult(
        np.full((n, 3), np.nan),
        np.zeros((n, n_bands)),
        np.zeros((n, n_bands)),
        np.full(n, np.nan),
        np.full(n, np.nan),
        np.full((n, size, size), np.nan),
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
    )
    status = lib.roman_point_lens_fit(
        options.struct,
        n,
        n_bands,
        pointer(bounds),
        pointer(t),
        pointer(f),
        pointer(w),
        pointer(seeds),
        pointer(s_t0),
        pointer(s_teff),
        pointer(result.theta),
        pointer(result.fs),
        pointer(result.fb),
        pointer(result.chi2),
        pointer(result.chi2_flat),
        pointer(result.covariance),
        pointer(result.flags),
        pointer(result.iterations),
        vector_level(),
    )
    check(status, "point_lens_fit")
    return result


def _check_points(bounds: NDArray[np.int64], t: F64, f: F64, w: F64) -> None:
    """Points that C takes as they are: finite, with weight, and in order of time within each band of each curve."""
    for name, values in (("time", t), ("flux", f), ("weight", w)):
        if not np.isfinite(values).all():
            raise InputError("a point is not finite", field=name, remedy="drop such points")
    if not (w > 0).all():
        raise InputError("a point has no weight", field="weight", remedy="drop such points")
    inside = np.ones(len(t) + 1, dtype=bool)
    inside[bounds] = False
    if (inside[1:-1] & (np.diff(t) < 0)).any():
        raise InputError("times of a band are not increasing", field="time", remedy="sort the points of every band")


class _LensOptions:
    """The C structure of a fit's options, and what it points to."""

    def __init__(self, u0: F64, fields: dict[str, Any]) -> None:
        self._u0 = u0
        self.struct: Any = ffi.new("roman_lens_options *", fields | {"u0": pointer(u0), "n_u0": len(u0)})


def _lens_options(
    free_blend: bool,
    u0: ArrayLike,
    tolerance: float,
    max_iterations: int,
    coarse_above: int,
    te_range: tuple[float, float],
    u0_max: float,
) -> _LensOptions:
    starts = array("u0", u0, np.float64, (None,))
    if not len(starts) or not (np.isfinite(starts) & (starts > 0)).all():
        raise InputError("start values are none, or not positive", field="u0", remedy="give some, all above 0")
    shortest, longest = pair("te_range", te_range)
    te_min = number("te_range", shortest, LEAST_DAYS)
    return _LensOptions(
        starts,
        {
            "free_blend": int(bool(free_blend)),
            "tolerance": number("tolerance", tolerance, 0, above=True),
            "max_iterations": count("max_iterations", max_iterations, 1, 1_000_000),
            "coarse_above": count("coarse_above", coarse_above, 0, 2**62),
            "te_min": te_min,
            "te_max": number("te_range", longest, te_min, above=True),
            "u0_max": number("u0_max", u0_max, 0, above=True),
        },
    )


def point_lens_excess(time: ArrayLike, t0: float, u0: float, te: float) -> F64:
    """Magnification minus one, (points,), accurate far from the lens; u0 of either sign, te > 0 [d].

    Raises
    ------
    InputError
        A time or a parameter is not finite, or te is not positive.
    """
    t = array("time", time, np.float64, (None,))
    finite(time=t)
    t0, u0, te = number("t0", t0), number("u0", u0), number("te", te, 0, above=True)
    excess = np.empty_like(t)
    check(
        lib.roman_point_lens_excess(len(t), pointer(t), t0, u0, te, pointer(excess), vector_level()),
        "point_lens_excess",
    )
    return excess


def finite_source(u: ArrayLike, rho: float, limb: float = 0.0) -> F64:
    """Magnification of a disc by a point lens (csrc/finite_source.h).

    Parameters
    ----------
    u
        (points,) separations in Einstein radii; the sign does not matter.
    rho
        Radius of the source in Einstein radii, positive.
    limb
        Linear limb darkening a of I = 1 - a (1 - mu), 0 to 1.

    Raises
    ------
    InputError
        A separation is not finite, or `rho` or `limb` is out of range.
    """
    separation = np.abs(array("u", u, np.float64, (None,)))
    if not np.isfinite(separation).all():
        raise InputError("a separation is not finite", field="u", remedy="drop such points")
    rho, limb = number("rho", rho, 0, 1e100, above=True), number("limb", limb, 0, 1)
    result = np.empty_like(separation)
    check(lib.roman_finite_source(len(result), pointer(separation), rho, limb, pointer(result)), "finite_source")
    return result
