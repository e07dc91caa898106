"""Kernels of the event finder: the template search and the point-lens fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.call import array, check, ffi, lib, pointer, vector_level

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

#: Bands one fit can hold (csrc/point_lens.h).
MAX_BANDS = 8
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
    if not np.isfinite(times).all() or (np.diff(times) < 0).any():
        raise InputError("times are not finite and increasing", field="mjd", remedy="sort the epochs")
    doubles: list[NDArray[Any]] = [np.empty(len(f)) for _ in range(6)]
    integers: list[NDArray[Any]] = [np.empty(len(f), dtype=np.int32) for _ in range(3)]
    if len(f) and len(times):
        grid = ffi.new("roman_search_grid *", [teff_min, teff_max, teff_ratio, steps_per_teff, reach, high_sigma])
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
        (points,) times [d] in order within a band, fluxes, 1 / error^2, all finite and weights positive.
    seed_start, seed_t0, seed_teff
        (curves + 1,), (seeds,), (seeds,) starting points of each curve [d].

    Raises
    ------
    InputError
        Shapes disagree or values are out of range.
    """
    bounds = array("start", start, np.int64, (None,))
    t = array("time", time, np.float64, (None,))
    f = array("flux", flux, np.float64, t.shape)
    w = array("weight", weight, np.float64, t.shape)
    n = (len(bounds) - 1) // n_bands
    seeds = array("seed_start", seed_start, np.int64, (n + 1,))
    s_t0 = array("seed_t0", seed_t0, np.float64, (None,))
    s_teff = array("seed_teff", seed_teff, np.float64, s_t0.shape)
    starts = array("u0", u0, np.float64, (None,))
    if len(bounds) != n * n_bands + 1 or bounds[-1] != len(t) or seeds[-1] != len(s_t0):
        raise InputError("the starts do not agree with the points", field="start", remedy="pass CSR offsets")
    if not (np.isfinite(t).all() and np.isfinite(f).all() and np.isfinite(w).all() and (w > 0).all()):
        raise InputError("a point is not finite or has no weight", field="flux", remedy="drop such points")
    size = 3 + 2 * n_bands
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
    options = ffi.new(
        "roman_lens_options *",
        {
            "free_blend": int(free_blend),
            "n_u0": len(starts),
            "u0": pointer(starts),
            "tolerance": tolerance,
            "max_iterations": max_iterations,
            "coarse_above": coarse_above,
            "te_min": te_range[0],
            "te_max": te_range[1],
            "u0_max": u0_max,
        },
    )
    status = lib.roman_point_lens_fit(
        options,
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


def point_lens_excess(time: ArrayLike, t0: float, u0: float, te: float) -> F64:
    """Magnification minus one, (points,), accurate far from the lens; u0 of either sign, te > 0 [d]."""
    t = array("time", time, np.float64, (None,))
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
    if not (np.isfinite(rho) and rho > 0 and 0 <= limb <= 1):
        raise InputError(f"rho {rho}, limb darkening {limb}", field="rho, limb", remedy="use rho > 0, limb of 0 to 1")
    result = np.empty_like(separation)
    check(lib.roman_finite_source(len(result), pointer(separation), rho, limb, pointer(result)), "finite_source")
    return result
