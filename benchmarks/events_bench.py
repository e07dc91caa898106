"""Speed of the event search and the point-lens fit, one core, beside the peers in the same run.

python -m benchmarks.events_bench
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from roman_assets.kernels.events import finite_source
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, fit_point_lenses
from roman_assets.systems.msos.search.daily import brightening
from roman_assets.systems.msos.search.templates import SearchConfig, search

Row = dict[str, Any]


def rows() -> list[Row]:
    """name, ours, peer, unit, ratio (how many times faster we are), setup."""
    return [_search_row(), _finder_row(), _daily_row(), *_fit_rows(), _finite_source_row()]


def _best(function: Callable[[], Any], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def _row(name: str, ours: float, peer: float, unit: str, setup: str) -> Row:
    ratio = peer / ours if unit.startswith("ms") else ours / peer
    return {"name": name, "ours": ours, "peer": peer, "unit": unit, "ratio": ratio, "setup": setup}


def _finite_source_row() -> Row:
    """Magnifications of a disc the limb of which passes the lens, beside MulensModel's uniform source."""
    import MulensModel

    u = np.random.default_rng(1).uniform(0, 0.05, 20000)
    ours = len(u) / _best(lambda: finite_source(u, 0.01))
    parameters = MulensModel.ModelParameters({"t_0": 0.0, "u_0": 0.0, "t_E": 1.0, "rho": 0.01})
    trajectory = MulensModel.Trajectory(u[:2000], parameters)
    method = MulensModel.pointlens.FiniteSourceUniformLee09Magnification(trajectory=trajectory)
    peer = 2000 / _best(method.get_magnification, 1)
    theirs, exact = np.asarray(method.get_magnification()), finite_source(u[:2000], 0.01)
    apart = np.median(np.abs(theirs / exact - 1))
    setup = f"rho 0.01, u to 0.05; peer MulensModel's Lee 2009 method, median difference {apart:.0e}"
    return _row("magnification.finite_source_per_s", ours, peer, "1/s", setup)


def _numba_search() -> Callable[..., Any]:
    """The same grid and model, written as one would in numba: window sums over bins of teff/4 per star."""
    import numba

    @numba.njit(cache=False)
    def one(time_, w, wr, total, lo_teff, hi_teff, ratio, steps, reach):  # type: ignore[no-untyped-def]
        best, best_t0, best_teff = 0.0, 0.0, 0.0
        n = time_.size
        t, a_w, a_r = np.empty(n), np.empty(n), np.empty(n)
        edge_q = 1.0 + reach * reach
        edges = (1.0 / np.sqrt(edge_q), 1.0 / np.sqrt(1.0 - (0.5 * edge_q + 1.0) ** -2))
        teff = lo_teff
        while teff <= hi_teff * (1 + 1e-9):
            width, m, cell = teff / 4, 0, -1
            for i in range(n):
                c = int((time_[i] - time_[0]) / width)
                if c != cell:
                    cell = c
                    t[m], a_w[m], a_r[m] = time_[i], 0.0, 0.0
                    m += 1
                a_w[m - 1] += w[i]
                a_r[m - 1] += wr[i]
            t0, lo, hi = t[0] - teff, 0, 0
            while t0 < t[m - 1] + teff:
                while lo < m and t[lo] <= t0 - reach * teff:
                    lo += 1
                hi = max(hi, lo)
                while hi < m and t[hi] < t0 + reach * teff:
                    hi += 1
                s0 = s1 = s2 = s3 = s4 = s5 = 0.0
                for i in range(lo, hi):
                    x = (t[i] - t0) / teff
                    q = 1.0 + x * x
                    h = 0.5 * q + 1.0
                    a = 1.0 / np.sqrt(q) - edges[0]
                    b = h / np.sqrt((h - 1.0) * (h + 1.0)) - edges[1]
                    s0 += a * a_w[i]
                    s1 += a * a * a_w[i]
                    s2 += a * a_r[i]
                    s3 += b * a_w[i]
                    s4 += b * b * a_w[i]
                    s5 += b * a_r[i]
                for top, under in ((s2, s1 - s0 * s0 / total), (s5, s4 - s3 * s3 / total)):
                    if top > 0 and under > 0 and top * top / under > best:
                        best, best_t0, best_teff = top * top / under, t0, teff
                t0 += teff / steps
            teff *= ratio
        return best, best_t0, best_teff

    return one


def _search_row(stars: int = 128) -> Row:
    rng = np.random.default_rng(1)
    mjd = 61465.0 + np.arange(6400) / 96 + rng.normal(0, 0.0005, 6400)
    flux = rng.normal(1000, 10, (stars, 6400)).astype(np.float32)
    error = np.full_like(flux, 10)
    config = SearchConfig()
    ours = _best(lambda: search(mjd, flux, error, config)) / stars * 1e3
    peer_search, few = _numba_search(), 4
    weight = np.full(6400, 0.01)

    def peer() -> None:
        for row in flux[:few].astype(np.float64):
            mean = row.mean()
            peer_search(
                mjd,
                weight,
                weight * (row - mean),
                weight.sum(),
                config.teff_min,
                mjd[-1] - mjd[0],
                config.teff_ratio,
                config.steps_per_teff,
                config.reach,
            )

    peer()
    setup = f"6,400 epochs, teff {config.teff_min} d to the span, two templates; {stars} stars; peer: numba, same grid"
    return _row("search.season_curve_ms", ours, _best(peer) / few * 1e3, "ms/curve", setup)


def _finder_row() -> Row:
    """One event found: our search beside RTModel's finder of peaks (Bozza 2024), from its file to its first guess.

    Its programs are run as they are, so their reading of one text file counts; the time is theirs alone.
    """
    import resource
    import tempfile
    from pathlib import Path

    from RTModel import RTModel

    rng = np.random.default_rng(1)
    mjd = 61465.0 + np.arange(6400) / 96 + rng.normal(0, 0.0005, 6400)
    u = np.hypot(0.3, (mjd - 61495.0) / 2.0)
    flux = 700 * (u * u + 2) / (u * np.sqrt(u * u + 4)) + 300 + rng.normal(0, 10, 6400)
    ours = _best(lambda: search(mjd, flux[None], np.full((1, 6400), 10.0)), 20) * 1e3
    found = search(mjd, flux[None], np.full((1, 6400), 10.0))
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as null, contextlib.redirect_stdout(null):
        data = Path(folder) / "Data"
        data.mkdir()
        columns = np.stack([26 - 2.5 * np.log10(flux), 10 / flux * 2.5 / np.log(10), mjd + 2400000.5 - 2450000], axis=1)
        np.savetxt(data / "Survey.dat", columns, header="Mag err HJD-2450000", fmt="%.6f")
        (Path(folder) / "event.coordinates").write_text("17:53:12 -29:12:00\n")
        peers = []
        for _ in range(3):
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            peer = RTModel(folder)
            peer.Reader()
            peer.InitCond()
            peers.append(resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before)
        first = (Path(folder) / "InitCond/InitCondPS.txt").read_text().split("\n")[1].split()
    apart = [float(found["t0"][0]) - 61495.0, float(first[0]) + 2450000 - 2400000.5 - 61495.0]
    setup = f"one event in 6,400 epochs; t0 off by {apart[0]:+.3f} d, the peer's by {apart[1]:+.3f} d; peer RTModel"
    return _row("search.season_curve_ms, RTModel", ours, min(peers) * 1e3, "ms/curve", setup)


def _daily_row(stars: int = 1024) -> Row:
    """A day of 96 epochs on the 60th day of a season, beside the whole search of the 60 days."""
    import polars as pl

    rng = np.random.default_rng(3)
    names = np.arange(stars, dtype=np.int32)

    def sums(day: int) -> pl.DataFrame:
        weight = np.full(stars, 0.96)
        return pl.DataFrame(
            {
                "star": names,
                "sum_w": weight,
                "sum_wf": weight * rng.normal(1000, 1, stars),
                "first_mjd": np.full(stars, 61465.0 + day),
                "last_mjd": np.full(stars, 61465.99 + day),
            }
        )

    history = [sums(day) for day in range(59)]
    mjd = 61524.0 + np.arange(96) / 96
    flux, error = rng.normal(1000, 10, (stars, 96)), np.full((stars, 96), 10.0)
    flag, reference = np.zeros((stars, 96), dtype=np.uint8), np.full(stars, 1000.0)

    def one(days: int) -> float:
        past, errors = history[:days], np.full(stars, 3.0)
        return _best(lambda: brightening(past, mjd, flux, error, flag, reference, errors)) / stars * 1e6

    early, late = one(29), one(59)
    season = 61465.0 + np.arange(60 * 96) / 96
    curves = rng.normal(1000, 10, (64, season.size)).astype(np.float32)
    whole = _best(lambda: search(season, curves, np.full_like(curves, 10))) / 64 * 1e6
    setup = f"96 epochs of a 60th day on daily means; {early:.1f} on the 30th day; beside it: our search of all 60 days"
    return {
        "name": "search.daily_update_us_per_curve",
        "ours": late,
        "peer": whole,
        "unit": "us/curve",
        "ratio": whole / late,
        "setup": setup,
    }


def _long_curve() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """38,568 epochs in six seasons, as in the 2018 data challenge."""
    rng = np.random.default_rng(2)
    season = np.arange(6428) * 0.010526
    t = np.concatenate([season + start for start in (0, 175, 356, 1262, 1443, 1618)])
    u2 = 0.15**2 + ((t - 390.0) / 20.0) ** 2
    flux = 10 * (u2 + 2) / np.sqrt(u2 * (u2 + 4)) + 4
    error = 0.05 * np.sqrt(flux)
    return t, flux + rng.normal(size=t.size) * error, error


def _fit_rows() -> list[Row]:
    t, flux, error = _long_curve()
    found = search(t, flux[None], error[None]).row(0, named=True)
    seed = (found["t0"], found["teff"])
    curve, n = LightCurve((Band("F146", t, flux, error),)), 20
    fits = fit_point_lenses([curve] * n, [[seed]] * n)
    ours = n / _best(lambda: fit_point_lenses([curve] * n, [[seed]] * n))
    setup = "38,568 epochs, free blend, from the seed of the search; start at 4 values of u0"
    result = []
    for name, fit in (
        ("numpy variable projection + scipy LM", _scipy_fit),
        ("MulensModel, gradient fit (TNC, the fastest of scipy that converges)", _mulens_fit),
        ("pyLIMA, Levenberg-Marquardt", _pylima_fit),
    ):
        chi2 = fit(t, flux, error, seed)
        peer = 1 / _best(lambda fit=fit: fit(t, flux, error, seed), 2)  # type: ignore[misc]
        note = f"{setup}; peer {name} from one start ends {chi2 - fits[0].chi2:+.3f} in chi2 from ours"
        result.append(
            _row(f"fit.point_lens_per_s, {name}" if result else "fit.point_lens_per_s", ours, peer, "fits/s", note)
        )
    return result


def _scipy_fit(t: np.ndarray, flux: np.ndarray, error: np.ndarray, seed: tuple[float, float]) -> float:
    from scipy.optimize import least_squares

    y, ones = flux / error, 1 / error

    def residual(p: np.ndarray) -> np.ndarray:
        u2 = p[1] ** 2 + ((t - p[0]) / np.exp(p[2])) ** 2
        a = (u2 + 2) / np.sqrt(u2 * (u2 + 4)) / error
        aa, ab, bb, ay, by = a @ a, a @ ones, ones @ ones, a @ y, ones @ y
        det = aa * bb - ab * ab
        return y - (ay * bb - by * ab) / det * a - (by * aa - ay * ab) / det * ones

    return float(2 * least_squares(residual, [seed[0], 0.3, np.log(seed[1] / 0.3)], method="lm").cost)


def _mulens_fit(t: np.ndarray, flux: np.ndarray, error: np.ndarray, seed: tuple[float, float]) -> float:
    import MulensModel
    from scipy.optimize import minimize

    data = MulensModel.MulensData(data_list=[t, flux, error], phot_fmt="flux")
    model = MulensModel.Model({"t_0": seed[0], "u_0": 0.3, "t_E": seed[1] / 0.3})
    event = MulensModel.Event(datasets=data, model=model)
    names = ["t_0", "u_0", "t_E"]

    def chi2(p: np.ndarray) -> float:
        for name, value in zip(names, p, strict=True):
            setattr(event.model.parameters, name, value)
        return float(event.get_chi2())

    def gradient(p: np.ndarray) -> np.ndarray:
        chi2(p)
        return np.asarray(event.get_chi2_gradient(names))

    return float(
        minimize(
            chi2,
            [seed[0], 0.3, seed[1] / 0.3],
            jac=gradient,
            method="TNC",
            bounds=[(None, None), (1e-4, 5), (1e-3, None)],
        ).fun
    )


def _pylima_fit(t: np.ndarray, flux: np.ndarray, error: np.ndarray, seed: tuple[float, float]) -> float:
    """GPL: a peer of the bench only."""
    from pyLIMA import event, telescopes
    from pyLIMA.fits import LM_fit
    from pyLIMA.models import PSPL_model

    target = event.Event(ra=268.0, dec=-29.0)
    target.name = "bench"
    table = np.column_stack([t + 2460000.0, flux, error])
    target.telescopes.append(
        telescopes.Telescope(
            name="roman",
            camera_filter="F146",
            lightcurve=table,
            lightcurve_names=["time", "flux", "err_flux"],
            lightcurve_units=["JD", "W/m^2", "W/m^2"],
        )
    )
    fit = LM_fit.LMfit(PSPL_model.PSPLmodel(target))
    fit.model_parameters_guess = [seed[0] + 2460000.0, 0.3, seed[1] / 0.3]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        fit.fit()
    t0, u0, te = (float(v) for v in fit.fit_results["best_model"][:3])
    u2 = u0**2 + ((t + 2460000.0 - t0) / te) ** 2
    a = (u2 + 2) / np.sqrt(u2 * (u2 + 4))
    design = np.stack([a, np.ones_like(a)], axis=1) / error[:, None]
    solution = np.linalg.lstsq(design, flux / error, rcond=None)[0]
    return float(((flux / error - design @ solution) ** 2).sum())


if __name__ == "__main__":
    for row in rows():
        print(
            f"{row['name']}: {row['ours']:.3g} against {row['peer']:.3g} {row['unit']} ({row['ratio']:.1f}x); {row['setup']}"
        )
