"""From candidates to sources: position, significance, and the tests that a brightening must pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from roman_assets.kernels.photometry import SplinePsf
from roman_assets.systems.msos.difference.grid import SeasonCube
from roman_assets.systems.msos.difference.photometry import (
    BAD_CHI2,
    ROUGH_CHI2,
    TOGETHER_PX,
    Cutouts,
    Series,
    Stamps,
    baseline_of,
    clipped_mean,
    error_factor,
)
from roman_assets.systems.msos.difference.search import (
    DifferenceConfig,
    Peaks,
    apart,
    find_peaks,
    noise_scale,
    sort_peaks,
    threshold,
    without_wings,
)
from roman_assets.systems.msos.psf.grid import DetectorPsf

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

#: Significance [sigma] that must remain without the best exposure, and exposures at least HIGH sigma above the baseline.
LEAST_WITHOUT, LEAST_HIGH, HIGH = 4.0, 3, 2.0
#: A star closer than the first of these [px] is the source: its own light curve has nearly all of the light. One within
#: the second explains the brightening unless a source beside it is seen at LEAST_BESIDE sigma.
STAR_PX, BESIDE_PX, LEAST_BESIDE = 0.3, 1.5, 4.0
#: Median chi2 per pixel during the brightening over that of the baseline, above which it does not look like the ePSF
#: (a mean would be ruled by one exposure with a cosmic ray).
MOST_CHI2 = 1.5
#: Newton steps of the position, when they end, how far they may lead, and when two sources are one [px].
STEPS, STEP_PX, WANDER_PX, SAME_PX = 12, 0.01, 1.5, 0.7
#: Largest step at once, and the error of a position that no photon lowers [px].
LONGEST_PX, POSITION_FLOOR_PX = 0.25, 0.01
#: Bits of a source's flag.
EDGE, ONE_SIDED, BESIDE_VARIABLE, SHORT_BASELINE = 1, 2, 4, 8
FLAG_MEANINGS = {
    EDGE: "within 4 px of the edge in some exposures",
    ONE_SIDED: "the brightening reaches the first or last bin",
    BESIDE_VARIABLE: "fitted together with another varying source",
    SHORT_BASELINE: "fewer than 20 exposures show the baseline",
}


@dataclass(frozen=True)
class Candidates:
    """What the search of a cube came to.

    peaks: candidates above the threshold; known: peaks of catalogued stars above it, and which stars; sigma: the
    threshold; dips: chance dips above COUNTED_SIGMA, and `false`: those above the threshold, where the same number of
    false brightenings is expected; beside_saturated: share of the area in which nothing is searched for.
    """

    peaks: Peaks
    known: Peaks
    star: NDArray[np.int64]
    sigma: float
    dips: int
    false: int


def find_candidates(
    cube: SeasonCube, x: F64, y: F64, saturated: Bools, psf: DetectorPsf, config: DifferenceConfig = DifferenceConfig()
) -> Candidates:
    """Brightenings of a cube that no catalogued star at x, y (n,) [reference px] explains."""
    rises, dips = find_peaks(cube, noise_scale(cube, config), config)
    rises = without_wings(rises, psf.first)
    dips = without_wings(apart(dips, rises), psf.first)
    up, down = (sort_peaks(p, x, y, saturated, config) for p in (rises, dips))
    limit = threshold(down.new, cube.grid.shape[0] * cube.grid.shape[1] / 1e6, config)
    bright = up.known.significance >= limit
    new = up.new.take(up.new.significance >= limit)
    return Candidates(
        new.take(np.arange(min(len(new), config.most))),
        up.known.take(bright),
        up.star[bright],
        limit,
        len(down.new),
        int((down.new.significance >= limit).sum()),
    )


@dataclass(frozen=True)
class Source:
    """A brightening that passed.

    x, y and errors [reference px]; first, last: exposures of the brightening; significance [sigma] of its mean, and
    without its best exposure; mean, reference: difference and reference flux with errors [DN/s]; peak, peak_err,
    peak_at: highest mean of three exposures in a row and its middle one; median chi2 per pixel during it, over the
    baseline's; exposures: good ones during it; flag: bits above.
    """

    candidate: int
    x: float
    y: float
    x_err: float
    y_err: float
    first: int
    last: int
    significance: float
    without_best: float
    mean: float
    mean_err: float
    reference: float
    reference_err: float
    peak: float
    peak_err: float
    peak_at: int
    chi2: float
    exposures: int
    factor: float
    neighbours: int
    flag: int


@dataclass
class Verdicts:
    """Sources, their difference light curves in the same order, and how many candidates failed which test."""

    sources: list[Source] = field(default_factory=list)
    curves: list[Series] = field(default_factory=list)
    rejected: dict[str, int] = field(default_factory=dict)

    def reject(self, reason: str) -> None:
        """Count a candidate that failed."""
        self.rejected[reason] = self.rejected.get(reason, 0) + 1


class _Rejected(Exception):
    """A candidate that is no source; the text is the test it failed."""


def judge(
    candidates: Candidates,
    stamps: Stamps,
    runs: list[tuple[int, int]],
    x: F64,
    y: F64,
    psf: DetectorPsf,
    floor: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Verdicts:
    """Measure and test the candidates, the most significant first.

    Parameters
    ----------
    stamps
        Cut-outs around the candidates, in their order.
    runs
        First and one past the last exposure of each candidate's brightening.
    x, y
        (n,) catalogued stars [reference px].
    floor
        Relative error of a flux that no error of a pixel explains.
    """
    peaks, verdicts = candidates.peaks, Verdicts()
    varying = [(float(x[s]), float(y[s])) for s in candidates.star]
    accepted: list[Source] = []
    for k in range(len(peaks)):
        at = float(peaks.x[k]), float(peaks.y[k])
        others = [*varying, *((s.x, s.y) for s in accepted)]
        cut = Cutouts(stamps, k, _psf_at(psf, *at))
        try:
            source = _examine(k, cut, at, runs[k], _near(at, others), (x, y), candidates.sigma)
            if any(np.hypot(source.x - s.x, source.y - s.y) < SAME_PX for s in accepted):
                raise _Rejected("same as a stronger one")
            accepted.append(source)
        except _Rejected as reason:
            verdicts.reject(str(reason))
        progress(k + 1, len(peaks))
    for source in accepted:
        others = [*varying, *((s.x, s.y) for s in accepted if s is not source)]
        final, curve = _finish(source, stamps, peaks, psf, others, floor)
        verdicts.sources.append(final)
        verdicts.curves.append(curve)
    return verdicts


def _psf_at(psf: DetectorPsf, x: float, y: float) -> SplinePsf:
    return psf.cells[int(psf.field.cell(x, y))].spline


def _near(at: tuple[float, float], others: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Offsets of the other places that lie within TOGETHER_PX [px], but not at the same place."""
    offsets = [(ox - at[0], oy - at[1]) for ox, oy in others]
    return [o for o in offsets if 0.3 < np.hypot(*o) < TOGETHER_PX]


def _examine(
    number: int,
    cut: Cutouts,
    at: tuple[float, float],
    run: tuple[int, int],
    neighbours: list[tuple[float, float]],
    stars: tuple[F64, F64],
    sigma: float,
) -> Source:
    during = np.zeros(len(cut.x), dtype=bool)
    during[run[0] : run[1]] = True
    place, steps, settled = (0.0, 0.0), 0, False
    while True:
        series, rest, weight = cut.measure(place, neighbours, BAD_CHI2 if settled else ROUGH_CHI2)
        good = series.good
        base = baseline_of(good, *run)
        if (good & during).sum() < LEAST_HIGH:
            raise _Rejected("too few exposures")
        if base.sum() < LEAST_HIGH:
            raise _Rejected("no baseline")
        if settled:
            break
        move, position_err = _step(cut, place, series, rest, weight, good & during, base)
        place, steps = (place[0] + move[0], place[1] + move[1]), steps + 1
        if np.hypot(*place) > WANDER_PX or steps > STEPS:
            raise _Rejected("wanders off")
        settled = bool(np.hypot(*move) < STEP_PX)
    source = _significance(number, at, place, position_err, series, good & during, base, run, len(neighbours))
    if source.significance < sigma:
        raise _Rejected("not significant in the exposures")
    high = (series.flux - source.reference)[good & during] > HIGH * series.error[good & during]
    if source.without_best < LEAST_WITHOUT or high.sum() < LEAST_HIGH:
        raise _Rejected("one exposure")
    if source.chi2 > MOST_CHI2:
        raise _Rejected("not the shape of the ePSF")
    _beside(cut, rest, place, at, stars, good & during, base)
    return source


def _step(
    cut: Cutouts, place: tuple[float, float], series: Series, rest: F64, weight: F64, during: Bools, base: Bools
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Newton step of the position [px] on what the brightening adds to the baseline, and its standard errors."""
    flux = np.where(np.isfinite(series.flux), series.flux, 0.0)
    rise = np.where(during, flux - clipped_mean(series.flux[base], series.error[base])[0], 0.0)
    if not (during * rise).sum() > 0:
        raise _Rejected("no rise")
    pull, information = cut.gradient(place, rest, weight, flux)
    still = np.linalg.pinv(information[base].sum(axis=0)) @ pull[base].sum(axis=0)
    matrix = np.einsum("e,ekl->kl", rise**2, information)
    right = np.einsum("e,ek->k", rise, pull - information @ still)
    inverse = np.linalg.pinv(matrix)
    step = inverse @ right
    step *= min(1.0, LONGEST_PX / max(float(np.hypot(*step)), 1e-12))
    error = np.hypot(np.sqrt(np.maximum(np.diag(inverse), 0)), POSITION_FLOOR_PX)
    return (float(step[0]), float(step[1])), (float(error[0]), float(error[1]))


def _significance(
    number: int,
    at: tuple[float, float],
    place: tuple[float, float],
    position_err: tuple[float, float],
    series: Series,
    during: Bools,
    base: Bools,
    run: tuple[int, int],
    neighbours: int,
) -> Source:
    reference, reference_err = clipped_mean(series.flux[base], series.error[base])
    factor = error_factor(series.flux[base], series.error[base])
    flux, error = series.flux[during] - reference, factor * series.error[during]

    def mean(rows: Bools) -> tuple[float, float]:
        weight = error[rows] ** -2.0
        return float((weight * flux[rows]).sum() / weight.sum()), float(weight.sum() ** -0.5)

    value, value_err = mean(np.ones(len(flux), dtype=bool))
    rest = np.arange(len(flux)) != int(np.argmax(flux / error))
    left, left_err = mean(rest)
    floor = max(float(np.median(series.chi2[base])), 0.5)
    flag = (SHORT_BASELINE if base.sum() < 20 else 0) | (BESIDE_VARIABLE if neighbours else 0)
    total = float(np.hypot(value_err, factor * reference_err))
    peak, peak_err, peak_at = _peak(flux, error, np.flatnonzero(during))
    return Source(
        number,
        at[0] + place[0],
        at[1] + place[1],
        *position_err,
        *run,
        value / total,
        left / float(np.hypot(left_err, factor * reference_err)),
        value,
        total,
        reference,
        factor * reference_err,
        peak,
        peak_err,
        peak_at,
        float(np.median(series.chi2[during])) / floor,
        int(during.sum()),
        factor,
        neighbours,
        flag,
    )


def _peak(flux: F64, error: F64, number: NDArray[np.int64]) -> tuple[float, float, int]:
    """Highest mean of three points in a row (n,), its error, and the number of its middle exposure."""
    weight = error**-2.0
    sums = [np.convolve(v, np.ones(3), mode="valid") for v in (weight * flux, weight)]
    best = int(np.argmax(sums[0] / sums[1]))
    return float(sums[0][best] / sums[1][best]), float(sums[1][best] ** -0.5), int(number[best + 1])


def _beside(
    cut: Cutouts,
    rest: F64,
    place: tuple[float, float],
    at: tuple[float, float],
    stars: tuple[F64, F64],
    during: Bools,
    base: Bools,
) -> None:
    """Whether a star beside the candidate can have brightened instead of it."""
    dx, dy = stars[0] - at[0], stars[1] - at[1]
    distance = np.hypot(dx - place[0], dy - place[1])
    distance[~np.isfinite(distance)] = np.inf
    if not len(distance) or distance.min() > BESIDE_PX:
        return
    nearest = int(np.argmin(distance))
    if distance[nearest] < STAR_PX:
        raise _Rejected("a catalogued star")
    shapes = [cut.shape(*place), cut.shape(float(dx[nearest]), float(dy[nearest]))]
    bright, covariance = cut.mean_system(rest, during, shapes)
    still, baseline = cut.mean_system(rest, base, shapes)
    error = np.sqrt(max(float(covariance[0, 0] + baseline[0, 0]), 0.0))
    if float(bright[0] - still[0]) < LEAST_BESIDE * error:
        raise _Rejected("a catalogued star")


def _finish(
    source: Source, stamps: Stamps, peaks: Peaks, psf: DetectorPsf, others: list[tuple[float, float]], floor: float
) -> tuple[Source, Series]:
    """The source with its final difference light curve: calibrated, its baseline at zero."""
    at = float(peaks.x[source.candidate]), float(peaks.y[source.candidate])
    cut = Cutouts(stamps, source.candidate, _psf_at(psf, *at))
    series, *_ = cut.measure((source.x - at[0], source.y - at[1]), _near(at, others))
    base = baseline_of(series.good, source.first, source.last)
    reference, reference_err = clipped_mean(series.flux[base], series.error[base])
    difference = (series.flux - reference) / cut.gain
    error = np.hypot(source.factor * series.error / cut.gain, floor * np.abs(difference))
    edge = EDGE if (series.flag & 16).any() else 0
    curve = Series(difference, error, series.chi2, series.flag)
    kept = replace(source, reference=reference, reference_err=source.factor * reference_err, flag=source.flag | edge)
    return kept, curve
