"""Pictures for the people who run the pipeline: a few tens of kB each, PNG."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.exposures.figures import new_figure, png_of

F64 = NDArray[np.float64]

#: A longer gap lies between seasons.
SEASON_GAP_DAYS = 30.0


def _plain(text: str) -> str:
    """A name of others as a label: its dollar signs are no formula."""
    return text.replace("$", r"\$")


def scatter_figure(mag: F64, scatter: F64, expected: F64, title: str) -> bytes:
    """Robust scatter of light curves against magnitude, with the median photon and read noise."""
    figure, axes = new_figure()
    keep = np.isfinite(mag) & np.isfinite(scatter) & (scatter > 0) & (expected > 0)
    mag, scatter, expected = mag[keep], scatter[keep], expected[keep]
    axes.plot(mag, 100 * scatter, ".", ms=1.5, alpha=0.4, rasterized=True, label="stars")
    if mag.size:
        edges = np.arange(np.floor(mag.min()), np.ceil(mag.max()) + 0.5, 0.5)
        centres, limit, median = [], [], []
        for low, high in pairwise(edges):
            inside = (mag >= low) & (mag < high)
            if inside.sum() >= 5:
                centres.append((low + high) / 2)
                limit.append(100 * np.median(expected[inside]))
                median.append(100 * np.median(scatter[inside]))
        axes.plot(centres, limit, "k-", lw=1.5, label="noise limit")
        axes.plot(centres, median, "C1--", lw=1.5, label="median")
        axes.set_ylim(0.1, max(200.0, float(np.percentile(100 * scatter, 99))))
    axes.set_yscale("log")
    axes.set_xlabel("magnitude [AB]")
    axes.set_ylabel("scatter [%]")
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=8)
    return png_of(figure)


def zero_point_figure(mjd: F64, scale: F64, error: F64, title: str) -> bytes:
    """Relative sensitivity of the exposures over time."""
    figure, axes = new_figure(5.0, 2.8)
    axes.errorbar(mjd, 1000 * (scale - 1), 1000 * error, fmt=".", ms=4, lw=0.8)
    axes.axhline(0, color="k", lw=0.6)
    axes.set_xlabel("MJD")
    axes.set_ylabel("zero point [mmag]")
    axes.ticklabel_format(useOffset=False)
    axes.set_title(title, fontsize=9)
    return png_of(figure)


def light_curve_figure(curves: Sequence[tuple[str, F64, F64, F64]], model: tuple[F64, F64] | None, title: str) -> bytes:
    """Light curves (name, mjd, flux, flux_err) with a model (mjd, flux) and, below, the residuals in sigma."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.8), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for name, mjd, flux, error in curves:
        axes.errorbar(mjd, flux, error, fmt=".", ms=3, lw=0.6, label=_plain(name))
        if model is not None:
            expected = np.interp(mjd, model[0], model[1])
            below.plot(mjd, (flux - expected) / error, ".", ms=3)
    if model is not None:
        axes.plot(model[0], model[1], "k-", lw=1, zorder=5)
    below.axhline(0, color="k", lw=0.6)
    axes.ticklabel_format(useOffset=False)
    axes.set_ylabel("flux [DN/s]")
    below.set_ylabel("residual [σ]")
    below.set_xlabel("MJD")
    axes.set_title(title, fontsize=9)
    axes.legend(fontsize=7)
    return png_of(figure)


def difference_figure(curves: Sequence[tuple[str, F64, F64, F64]]) -> bytes:
    """Difference light curves (title, mjd, flux, flux_err), one panel each."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = -(-len(curves) // 2)
    figure = Figure(figsize=(7.2, 0.6 + 1.5 * rows), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 2, sharex=True, squeeze=False).ravel()
    for axes, (title, mjd, flux, error) in zip(panels, curves, strict=False):
        axes.errorbar(mjd, flux, error, fmt=".", ms=2.5, lw=0.5)
        axes.axhline(0, color="k", lw=0.6)
        axes.set_title(title, fontsize=7)
        axes.tick_params(labelsize=6)
        axes.ticklabel_format(useOffset=False)
    for axes in panels[len(curves) :]:
        axes.set_visible(False)
    figure.supxlabel("MJD", fontsize=8)
    figure.supylabel("difference flux [DN/s]", fontsize=8)
    return png_of(figure)


def event_figure(
    curves: Sequence[tuple[str, F64, F64, F64]],
    model: tuple[F64, F64],
    title: str,
    anomaly: tuple[float, float] | None = None,
    single: F64 | None = None,
) -> bytes:
    """An event season by season, with its model and residuals, and a panel around its anomaly (time, half width [d]).

    `single` (as the model's flux) is the point lens that the anomaly departs from. As published for the mission:
    Penny et al. 2019, ApJS 241, 3.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    times = np.sort(np.concatenate([c[1] for c in curves]))
    cuts = np.flatnonzero(np.diff(times) > SEASON_GAP_DAYS)
    spans = list(zip(times[np.concatenate([[0], cuts + 1])], times[np.concatenate([cuts, [-1]])], strict=True))
    panels = [(low - 0.02 * (high - low) - 0.05, high + 0.02 * (high - low) + 0.05) for low, high in spans]
    if anomaly is not None:
        panels.append((anomaly[0] - anomaly[1], anomaly[0] + anomaly[1]))
    figure = Figure(figsize=(min(3.4 + 2.4 * (len(panels) - 1), 12), 3.8), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, len(panels), sharex="col", sharey="row", height_ratios=(3, 1), squeeze=False)
    for k, (low, high) in enumerate(panels):
        zoomed = anomaly is not None and k == len(panels) - 1
        top, below = axes[0, k], axes[1, k]
        for name, mjd, flux, error in curves:
            inside = (mjd >= low) & (mjd <= high)
            expected = np.interp(mjd[inside], model[0], model[1])
            top.errorbar(mjd[inside], flux[inside], error[inside], fmt=".", ms=3, lw=0.6, label=_plain(name))
            below.plot(mjd[inside], (flux[inside] - expected) / error[inside], ".", ms=3)
        if single is not None and zoomed:
            top.plot(model[0], single, "--", color="0.5", lw=1, zorder=4, label="single lens")
        top.plot(model[0], model[1], "k-", lw=1, zorder=5)
        below.axhline(0, color="k", lw=0.6)
        top.set_xlim(low, high)
        below.ticklabel_format(useOffset=False)
        below.tick_params(axis="x", labelsize=7)
        below.set_xlabel("MJD, the anomaly" if zoomed else "MJD")
    axes[0, 0].set_ylabel("flux [DN/s]")
    axes[1, 0].set_ylabel("residual [σ]")
    axes[0, -1].legend(fontsize=7)
    figure.suptitle(title, fontsize=9)
    return png_of(figure)


def efficiency_figure(table: Any, title: str) -> bytes:
    """Efficiency of point lenses over (tE, u0) and (tE, magnitude) and of planets over (log s, log q).

    `table` is of detection_efficiency, of one or several pointings.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 3.2), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, 3)
    for axes, kind, x, y, labels in zip(
        panels,
        ("point_lens", "point_lens", "planet"),
        ("te_low", "te_low", "log_s"),
        ("u0_low", "mag_low", "log_q"),
        (("tE from [d]", "u0 from"), ("tE from [d]", "magnitude from"), ("log s", "log q")),
        strict=True,
    ):
        some = table.filter(table["kind"] == kind)
        xs, ys = some[x].unique().sort().to_list(), some[y].unique().sort().to_list()
        found, made = np.zeros((len(ys), len(xs))), np.zeros((len(ys), len(xs)))
        for row in some.iter_rows(named=True):
            at = ys.index(row[y]), xs.index(row[x])
            found[at] += row["detected"]
            made[at] += row["injected"]
        share = np.where(made > 0, found / np.maximum(made, 1), np.nan)
        drawn = axes.imshow(share, origin="lower", vmin=0, vmax=1, cmap="viridis", aspect="auto")
        for j, i in np.argwhere(made > 0):
            error = np.sqrt(max(share[j, i] * (1 - share[j, i]), 0.25 / made[j, i]) / made[j, i])
            colour = "k" if share[j, i] > 0.6 else "w"
            axes.text(
                i, j, f"{100 * share[j, i]:.0f}±{100 * error:.0f}", ha="center", va="center", fontsize=5, color=colour
            )
        axes.set_xticks(range(len(xs)), [f"{v:g}" for v in xs], fontsize=7)
        axes.set_yticks(range(len(ys)), [f"{v:g}" for v in ys], fontsize=7)
        axes.set_xlabel(labels[0], fontsize=8)
        axes.set_ylabel(labels[1], fontsize=8)
        axes.set_title(f"{kind.replace('_', ' ')} found [%]", fontsize=8)
    figure.colorbar(drawn, ax=panels, shrink=0.8)
    figure.suptitle(title, fontsize=9)
    return png_of(figure)
