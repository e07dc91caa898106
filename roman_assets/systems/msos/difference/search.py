"""Brightenings in the season of a pointing, in time and space, at places where the catalogue has no star.

At every grid point the run of bins that rises most above the mean of the season is the candidate in time; maxima of
its significance over the points are the candidates in space. The dips found the same way, which no lens makes, tell
how far noise alone goes, and so where the threshold lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from roman_assets.bounds import NOT_NEGATIVE, SHARE, Bound, check_bounds, whole
from roman_assets.kernels.grid import GRID
from roman_assets.systems.msos.catalogue.detection import vertex
from roman_assets.systems.msos.difference.grid import SeasonCube
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class DifferenceConfig:
    """How brightenings are searched for and believed.

    bin_days, least_in_bin: length of a bin [d] and exposures in it. false_per_megapixel: chance peaks that the
    threshold lets through, from the dips; it is never below `least_threshold` [sigma]. systematic: least relative error
    of the constant starlight, which no mean over exposures lowers; the season may show a larger one. star_px: a peak
    this close to a catalogued star is that star [px]. saturated_px: distance from a saturating star where nothing is
    searched for [px]. least_weight: of the usual weight, that a point of a bin must have. tile_px: side of the tiles in
    which the grid is searched. most: sources kept, the most significant first.
    """

    bin_days: float = 0.25
    least_in_bin: int = 4
    false_per_megapixel: float = 1.0
    least_threshold: float = 5.5
    systematic: float = 1e-4
    star_px: float = 0.5
    saturated_px: float = 3.0
    least_weight: float = 0.3
    tile_px: int = 256
    most: int = 2000

    def __post_init__(self) -> None:
        check_bounds(
            self,
            bin_days=Bound(gt=0, le=1000),
            least_in_bin=whole(1, 1_000_000),
            false_per_megapixel=Bound(gt=0, le=1e6),
            least_threshold=NOT_NEGATIVE,
            systematic=SHARE,
            star_px=NOT_NEGATIVE,
            saturated_px=NOT_NEGATIVE,
            least_weight=SHARE,
            tile_px=whole(1, 2**20),
            most=whole(0, 10_000_000),
        )


#: Peaks below this [sigma] are not even counted; a wing of a brighter source may be wrong by this share of itself.
COUNTED_SIGMA, WING_ERROR = 4.0, 0.3
#: A dip this close to a more significant rise is the rest of the same light curve [px].
APART_PX = 3.0
#: Nothing is searched for this close to the edge of the reference [px].
EDGE_PX = 4
#: Points to each side over which a peak must be the largest, and exposures that a run needs.
PEAK_POINTS, LEAST_EXPOSURES = 2, 3
#: Starlight [DN/s] from which the noise tells a relative error of it, and values that a scatter needs.
BRIGHT, LEAST_VALUES = 1000.0, 300
#: Lengths of runs: each of these, then these times powers of two [bins].
LENGTHS = (1, 2, 3, 4, 6)


@dataclass
class Peaks:
    """Peaks of one sign, (n,): x, y [px]; significance [sigma]; first bin and length of the run.

    signal, norm (n, bins): the sums about the mean of the season at the peak; noise (n,): factor on the formal errors.
    """

    x: F64
    y: F64
    significance: F64
    start: I64
    length: I64
    signal: F32
    norm: F32
    noise: F64
    brightness: F64

    def __len__(self) -> int:
        return len(self.x)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Peaks:
        """Some of the peaks."""
        return Peaks(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @staticmethod
    def joined(parts: list[Peaks], bins: int) -> Peaks:
        """All peaks of several lists, the most significant first; ties by position."""
        none, no_bins = np.zeros(0), np.zeros((0, bins), dtype=np.float32)
        no_runs = np.zeros(0, dtype=np.int64)
        empty = Peaks(none, none, none, no_runs, no_runs, no_bins, no_bins, none, none)
        names = Peaks.__dataclass_fields__
        together = Peaks(*(np.concatenate([getattr(p, n) for p in [empty, *parts]]) for n in names))
        return together.take(np.lexsort((together.x, together.y, -together.significance)))

    def flux(self, rows: NDArray[np.int64], start: int, length: int) -> tuple[F64, F64]:
        """Mean difference flux of some peaks over a run of bins [DN/s], and its weight."""
        run = slice(start, start + length)
        weight = self.norm[rows, run].sum(axis=1, dtype=np.float64)
        return self.signal[rows, run].sum(axis=1, dtype=np.float64) / np.maximum(weight, 1e-30), weight


def run_lengths(bins: int) -> list[int]:
    """Lengths of the runs that are tried, up to half of the season (at least one bin)."""
    scale = 1
    lengths: set[int] = set()
    while scale <= max(bins, 1):
        lengths |= {length * scale for length in LENGTHS}
        scale *= 2
    return sorted(length for length in lengths if length <= max((bins + 1) // 2, 1))


def _about_the_mean(cube: SeasonCube, rows: slice, columns: slice, config: DifferenceConfig) -> tuple[F32, F32]:
    """Sums of a window about the mean of the season, and their norms; both zero where a bin sees too little."""
    signal, norm = np.array(cube.signal[:, rows, columns]), np.array(cube.norm[:, rows, columns])
    usual = np.median(norm, axis=0)
    blind = norm < config.least_weight * usual
    signal[blind] = norm[blind] = 0.0
    total = norm.sum(axis=0)
    mean = signal.sum(axis=0) / np.maximum(total, np.float32(1e-30))
    return signal - norm * mean, norm


@dataclass(frozen=True)
class NoiseScale:
    """Noise of the bins beyond their formal errors, as the season shows it.

    log_brightness, value: factor on the errors by the logarithm of the starlight at a point [DN/s]; systematic: relative
    error of the starlight that a mean over bins does not lower.
    """

    log_brightness: F64
    value: F64
    systematic: float

    def __call__(self, brightness: F32) -> F32:
        """The factor, any shape."""
        at = np.log(np.maximum(brightness, 1.0))
        return np.interp(at, self.log_brightness, self.value).astype(np.float32)


def noise_scale(cube: SeasonCube, config: DifferenceConfig = DifferenceConfig()) -> NoiseScale:
    """Robust scatter of the bins over their formal errors, by the starlight below (never under one), and what of it
    stays in means over a quarter of the season.

    Noise on the grid correlates, and an ePSF that is not perfect adds its own near bright stars.
    """
    some = slice(0, None, 2 * GRID + 1)
    signal, norm = _about_the_mean(cube, some, some, config)
    brightness = cube.brightness[some, some]
    by_bin = _scatter(signal, norm, brightness, 1)
    levels, values = np.array([b for b, *_ in by_bin] or [0.0]), np.array([max(v, 1.0) for _, v, _ in by_bin] or [1.0])
    systematic = config.systematic
    for level, value, error in _scatter(signal, norm, brightness, max(len(signal) // 4, 1)):
        if level > np.log(BRIGHT):
            excess = max(value**2 - float(np.interp(level, levels, values)) ** 2, 0.0)
            systematic = max(systematic, float(np.sqrt(excess)) * error / float(np.exp(level)))
    return NoiseScale(levels, values, systematic)


def _scatter(signal: F32, norm: F32, brightness: F32, length: int) -> list[tuple[float, float, float]]:
    """By brightness (log of it), of means over `length` bins: robust scatter over the formal errors, and typical error."""
    groups = len(signal) // length
    total = np.maximum(norm.sum(axis=0), np.float32(1e-30))
    rise, weight = (v[: groups * length].reshape(groups, length, *v.shape[1:]).sum(axis=1) for v in (signal, norm))
    variance = weight * (1 - weight / total)
    seen = variance > 1e-3 * total
    pull = np.abs(rise) / np.sqrt(np.where(seen, variance, 1))
    error = np.sqrt(np.where(seen, variance, 0)) / np.maximum(weight, np.float32(1e-30))
    level = np.log(np.maximum(brightness, 1.0))
    result = []
    for low, high in pairwise(np.linspace(0.0, max(float(level.max(initial=0.0)), 1.0) + 1e-6, 13)):
        inside = (level >= low) & (level < high)
        chosen = seen[:, inside]
        if chosen.sum() >= LEAST_VALUES:
            scatter = 1.4826 * float(np.median(pull[:, inside][chosen]))
            result.append((0.5 * (low + high), scatter, float(np.median(error[:, inside][chosen]))))
    return result


def find_peaks(
    cube: SeasonCube, noise: NoiseScale, config: DifferenceConfig = DifferenceConfig()
) -> tuple[Peaks, Peaks]:
    """Brightenings and dips above COUNTED_SIGMA, the most significant first; the same for any size of tile."""
    found: dict[int, list[Peaks]] = {1: [], -1: []}
    exposures = np.array([int(cube.used[first:last].sum()) for first, last in cube.bins])
    for core_rows, core_columns, rows, columns in _tiles(cube.signal.shape[1:], GRID * config.tile_px):
        signal, norm = _about_the_mean(cube, rows, columns, config)
        brightness = cube.brightness[rows, columns]
        scale = noise(brightness)
        best = _best_runs(signal, norm, scale, np.maximum(brightness, 0) * np.float32(noise.systematic), exposures)
        for sign, (significance, start, length) in best.items():
            at = _maxima(significance, (rows, columns), (core_rows, core_columns), cube.signal.shape[1:])
            r, c = at
            height = significance.astype(np.float64)
            found[sign].append(
                Peaks(
                    (columns.start + c + vertex(height, r, c, 1)) / GRID,
                    (rows.start + r + vertex(height, r, c, 0)) / GRID,
                    height[at],
                    start[at],
                    length[at],
                    signal[:, r, c].T.copy(),
                    norm[:, r, c].T.copy(),
                    scale[at].astype(np.float64),
                    brightness[at].astype(np.float64),
                )
            )
    return Peaks.joined(found[1], len(cube.bins)), Peaks.joined(found[-1], len(cube.bins))


def _tiles(shape: tuple[int, ...], side: int) -> Iterator[tuple[slice, slice, slice, slice]]:
    """Rows and columns of each tile's core, and with the margin that maxima need."""
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            core = slice(top, min(top + side, shape[0])), slice(left, min(left + side, shape[1]))
            wide = [
                slice(max(s.start - PEAK_POINTS, 0), min(s.stop + PEAK_POINTS, n))
                for s, n in zip(core, shape, strict=True)
            ]
            yield core[0], core[1], wide[0], wide[1]


def _best_runs(
    signal: F32, norm: F32, scale: F32, systematic: F32, exposures: I64
) -> dict[int, tuple[F32, NDArray[np.int64], NDArray[np.int64]]]:
    """For rises (1) and dips (-1): significance of the best run of each point, its first bin and its length."""
    bins, shape = len(signal), signal.shape[1:]
    zero = np.zeros((1, *shape), dtype=np.float32)
    sums, norms = np.concatenate([zero, signal]).cumsum(axis=0), np.concatenate([zero, norm]).cumsum(axis=0)
    counts = np.concatenate([[0], np.cumsum(exposures)])
    total = np.maximum(norms[-1], np.float32(1e-30))
    best = {
        sign: (np.zeros(shape, np.float32), np.zeros(shape, np.int64), np.zeros(shape, np.int64)) for sign in (1, -1)
    }
    for length in run_lengths(bins):
        for start in range(bins - length + 1):
            if counts[start + length] - counts[start] < LEAST_EXPOSURES:
                continue
            weight = norms[start + length] - norms[start]
            variance = scale**2 * weight * (1 - weight / total) + (systematic * weight) ** 2
            rise = sums[start + length] - sums[start]
            # Runs that see less than a thousandth of the season's weight, or nearly all of it, say nothing.
            seen = (weight > 1e-4 * total) & (weight < 0.999 * total)
            value = np.where(seen, rise / np.sqrt(np.where(seen, variance, 1)), 0)
            for sign, (significance, first, span) in best.items():
                better = sign * value > significance
                significance[better] = sign * value[better]
                first[better], span[better] = start, length
    return best


def _maxima(
    significance: F32, window: tuple[slice, slice], core: tuple[slice, slice], shape: tuple[int, ...]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns in the window of the points of its core that are the largest of those around them."""
    from scipy.ndimage import maximum_filter

    largest = significance == maximum_filter(significance, size=2 * PEAK_POINTS + 1)
    rows, columns = np.nonzero(largest & (significance > COUNTED_SIGMA))
    inside = np.ones(len(rows), dtype=bool)
    for index, around, own, size in zip((rows, columns), window, core, shape, strict=True):
        at, margin = index + around.start, GRID * EDGE_PX
        inside &= (at >= max(own.start, margin)) & (at < min(own.stop, size - margin))
    return rows[inside], columns[inside]


def wing_profile(psf: EffectivePsf) -> F64:
    """What the matched filter shows of a source beside itself, on the ePSF's own grid, 1 at its centre.

    The filter sees 7 x 7 px; the largest of the neighbouring points stands for the unknown sub-pixel phase.
    """
    from scipy.ndimage import maximum_filter
    from scipy.signal import fftconvolve

    values = psf.values
    half = values.shape[0] // 2
    axis = np.abs(np.arange(values.shape[0]) - half) <= 3.5 * psf.oversample
    core = np.where(axis[:, None] & axis[None, :], values, 0)
    profile = fftconvolve(values, core[::-1, ::-1], mode="same")
    return np.asarray(maximum_filter(np.abs(profile) / profile[half, half], size=3))


def without_wings(peaks: Peaks, psf: EffectivePsf) -> Peaks:
    """The peaks that are not the wings of more significant ones."""
    from scipy.spatial import cKDTree

    if not len(peaks):
        return peaks
    profile, half = wing_profile(psf), psf.values.shape[0] // 2
    tree = cKDTree(np.column_stack([peaks.x, peaks.y]))
    keep = np.zeros(len(peaks), dtype=bool)
    for k in range(len(peaks)):
        near = np.array(tree.query_ball_point((peaks.x[k], peaks.y[k]), half / psf.oversample - 1), dtype=np.int64)
        near = near[(near < k) & keep[near]]
        keep[k] = True
        if not near.size:
            continue
        start, length = int(peaks.start[k]), int(peaks.length[k])
        flux, _ = peaks.flux(near, start, length)
        column = np.rint((peaks.x[near] - peaks.x[k]) * psf.oversample).astype(int) + half
        row = np.rint((peaks.y[near] - peaks.y[k]) * psf.oversample).astype(int) + half
        wing = float((np.abs(flux) * profile[row, column]).sum())
        own, weight = (float(v[0]) for v in peaks.flux(np.array([k]), start, length))
        error = np.hypot(peaks.noise[k] / np.sqrt(max(weight, 1e-30)), WING_ERROR * wing)
        keep[k] = (abs(own) - wing) / error > COUNTED_SIGMA
    return peaks.take(keep)


def apart(dips: Peaks, rises: Peaks) -> Peaks:
    """The dips that are not the other half of a rise: what brightens is below its mean for the rest of the season."""
    from scipy.spatial import cKDTree

    if not len(dips) or not len(rises):
        return dips
    tree = cKDTree(np.column_stack([rises.x, rises.y]))
    near = tree.query_ball_point(np.column_stack([dips.x, dips.y]), APART_PX)
    paired = [any(rises.significance[r] > dips.significance[k] for r in found) for k, found in enumerate(near)]
    return dips.take(~np.array(paired, dtype=bool))


@dataclass(frozen=True)
class Sorted:
    """Peaks by what they are: of no catalogued star, and those of one (row of the star)."""

    new: Peaks
    known: Peaks
    star: NDArray[np.int64]


def sort_peaks(peaks: Peaks, x: F64, y: F64, saturated: NDArray[np.bool_], config: DifferenceConfig) -> Sorted:
    """Peaks of catalogued stars at x, y (n,) [px] and others; those beside saturating stars are left out."""
    from scipy.spatial import cKDTree

    place = np.column_stack([peaks.x, peaks.y])
    finite = np.isfinite(x) & np.isfinite(y)
    if not len(peaks) or not finite.any():
        return Sorted(peaks, peaks.take(np.zeros(len(peaks), dtype=bool)), np.zeros(0, dtype=np.int64))
    keep = np.ones(len(peaks), dtype=bool)
    if (saturated & finite).any():
        bright = saturated & finite
        distance, _ = cKDTree(np.column_stack([x[bright], y[bright]])).query(place)
        keep &= distance > config.saturated_px
    rows = np.flatnonzero(finite)
    distance, nearest = cKDTree(np.column_stack([x[rows], y[rows]])).query(place)
    known = keep & (distance < config.star_px)
    return Sorted(peaks.take(keep & ~known), peaks.take(known), rows[nearest[known]])


def threshold(dips: Peaks, megapixels: float, config: DifferenceConfig = DifferenceConfig()) -> float:
    """Significance [sigma] above which noise makes `false_per_megapixel` peaks.

    Beyond COUNTED_SIGMA the number of dips above S falls as exp(-S^2 / 2 s^2); s, at least one, follows from their
    median, which the few that are no noise do not move.
    """
    count = max(len(dips), 1)
    excess = float(np.median(dips.significance)) ** 2 - COUNTED_SIGMA**2 if len(dips) else 0.0
    spread = max(excess / (2 * np.log(2.0)), 1.0)
    allowed = max(config.false_per_megapixel * megapixels, 1e-9)
    reach = COUNTED_SIGMA**2 + 2 * spread * max(float(np.log(count / allowed)), 0.0)
    return max(float(np.sqrt(reach)), config.least_threshold)
