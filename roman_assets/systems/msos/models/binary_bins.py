"""Light curves in bins, for fits that evaluate a costly model many times."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roman_assets.systems.msos.models.alternatives import binned
from roman_assets.systems.msos.models.anomaly import Anomaly
from roman_assets.systems.msos.models.binary_minimum import Problem
from roman_assets.systems.msos.models.lens_models import solve_fluxes
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, PointLensFit

F64 = NDArray[np.float64]
#: Bins of the widest kind in tE, how often they are halved, the bend [errors of a bin] of a model that one may hold, and
#: by how many standard deviations the points in one may scatter too much about a straight line.
WIDEST_TE, HALVINGS, BEND, ROUGH = 0.25, 9, 0.1, 4.0
#: Fewer points than these in a bin draw no line.
FEW = 5


def condensed(curve: LightCurve, lens: PointLensFit, anomaly: Anomaly) -> LightCurve:
    """The curve in bins short beside what a lens and its anomaly do: for a first look, before there is a model."""
    bands = []
    for band in curve.bands:
        t = band.mjd
        width = np.full(len(t), lens.te / 2.0)
        for reach, size in (
            (3 * lens.te, lens.te / 20.0),
            (lens.te, lens.te / 60.0),
            (3 * lens.teff, lens.teff / 15.0),
        ):
            width = np.where(np.abs(t - lens.t0) < reach, np.minimum(width, size), width)
        width = np.where(np.abs(t - anomaly.time) < 12 * anomaly.width, np.minimum(width, anomaly.width / 3.0), width)
        width = np.where(np.abs(t - anomaly.time) < 5 * anomaly.width, np.minimum(width, anomaly.width / 12.0), width)
        parts = [band.select(width == size) for size in np.unique(width)]
        columns = [binned(p.mjd, p.flux, p.flux_err, size) for p, size in zip(parts, np.unique(width), strict=True)]
        if columns:
            band = Band(band.name, *(np.concatenate(c) for c in zip(*columns, strict=True)))
        bands.append(band)
    return LightCurve(tuple(bands))


def reduced(whole: Problem, p: F64) -> Problem:
    """The problem with its curve in bins over which the model at p is straight, to a tenth of a bin's error, and so are
    the data: what the model does not know yet must not be averaged away.

    So binned, the curve says nearly as much of all models near p as all its points do.
    """
    shapes = whole.shapes(p)
    fs, fb, _, _ = solve_fluxes(whole.curve, shapes, whole.blends)
    bands, offsets = [], []
    for k, band in enumerate(whole.curve.bands):
        widest = WIDEST_TE * float(np.exp(p[2]))
        level = _levels(band, fs[k, 0] * shapes[k][0] + fb[k], widest)
        parts = []
        for n in np.unique(level):
            chosen = band.select(level == n)
            # The cells of all levels are counted from one place: the bins must be those that were looked at.
            parts.append(
                (chosen.mjd, chosen.flux, chosen.flux_err)
                if n == HALVINGS
                else binned(chosen.mjd, chosen.flux, chosen.flux_err, widest / 2.0**n, band.mjd[0])
            )
        columns = [np.concatenate(c) for c in zip(*parts, strict=True)] if parts else [band.mjd] * 3
        bands.append(Band(band.name, *columns))
        if whole.offsets is not None:
            north, east = whole.offsets[k]
            offsets.append((np.interp(bands[-1].mjd, band.mjd, north), np.interp(bands[-1].mjd, band.mjd, east)))
    return replace(whole, curve=LightCurve(tuple(bands)), offsets=tuple(offsets) if offsets else None)


def _levels(band: Band, model: F64, widest: float) -> NDArray[np.int64]:
    """How often the widest bin is halved until model and data are straight in it, for every point (n,)."""
    level = np.full(len(band), HALVINGS)
    weight = band.flux_err**-2.0
    noise = max(
        1.0, float(np.median(weight * (band.flux - model) ** 2)) / 0.4549
    )  # 0.4549: median of chi2 with one dof
    for n in range(HALVINGS - 1, -1, -1):
        cell = np.floor((band.mjd - band.mjd[0]) / (widest / 2.0**n)).astype(np.int64)
        start = np.flatnonzero(np.concatenate([[True], np.diff(cell) != 0]))
        count = np.diff(np.concatenate([start, [len(band)]]))
        total = np.add.reduceat(weight, start)
        bend, rough = (_off_line(band.mjd, v, weight, total, start, count) for v in (model, band.flux))
        straight = np.maximum.reduceat(np.abs(bend), start) < BEND / np.sqrt(total)
        straight &= np.add.reduceat(weight * rough**2, start) / noise < count + ROUGH * np.sqrt(2 * count)
        level[np.repeat(straight, count)] = n
    return level


def _off_line(t: F64, v: F64, weight: F64, total: F64, start: NDArray[np.int64], count: NDArray[np.int64]) -> F64:
    """Deviation (n,) of values from the straight line fitted to them in each cell; from their mean where they are few:
    a line through two points says nothing of what is between them."""
    t, v = (a - np.repeat(np.add.reduceat(weight * a, start) / total, count) for a in (t, v))
    slope = np.add.reduceat(weight * t * v, start) / np.maximum(np.add.reduceat(weight * t * t, start), 1e-300)
    slope = np.where(count < FEW, 0.0, slope)
    return np.asarray(v - np.repeat(slope, count) * t)
