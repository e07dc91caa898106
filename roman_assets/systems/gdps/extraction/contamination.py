"""Models of all sources on an exposure, so that what contaminates each can be subtracted.

Spectra start from the colours of the photometry and are improved in turns, the brightest first: what the residual
image still holds along a source's trace is extracted with the source's own profile, and what of it is significant at
some scale is added. All orders follow, so that bright sources' orders 0 and 2 and sources off the detector, which
order 1 does not show, rest on colours alone. The background is fitted beside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.bounds import NOT_NEGATIVE, check_bounds, whole
from roman_assets.exposures.level2.frames import Frame
from roman_assets.systems.gdps.extraction.denoise import significant
from roman_assets.systems.gdps.extraction.scene import FARTHEST_MOVE_PX, PlacedSource, Scene
from roman_assets.systems.gdps.optics.dispersion import add_cutout, take_cutout
from roman_assets.systems.gdps.optics.traces import MAIN

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


#: A source's own offset across the dispersion is used if its error is below the first, and counts for the common one
#: below the second [px].
MOVED_ERROR_PX, USED_ERROR_PX = 0.03, 0.3
#: Pixels that the background is fitted to, at most.
BACKGROUND_PIXELS = 1_000_000
#: Rows improve a spectrum if they have such a share of the brightest row's light, and of the profile's weight.
LEAST_LIGHT, LEAST_PROFILE = 0.03, 0.5


@dataclass(frozen=True)
class ContaminationConfig:
    """Settings of the model fit."""

    iterations: int = 3
    sigmas: float = 4.5  # significance of a correction
    background_degree: int = 2  # of a polynomial in x and y
    profile_error: float = 0.05  # share by which a source's model may be wrong in any pixel
    colour_error: float = 0.02  # share by which continua depart from the colours of the photometry
    recentre: bool = True  # let bright traces find their place across the dispersion

    def __post_init__(self) -> None:
        check_bounds(
            self,
            iterations=whole(0, 1000),
            sigmas=NOT_NEGATIVE,
            background_degree=whole(0, 10),
            profile_error=NOT_NEGATIVE,
            colour_error=NOT_NEGATIVE,
        )


@dataclass
class ExposureModel:
    """What an exposure is made of, (ny, nx) float64 [DN/s].

    Attributes
    ----------
    background, sources
        Sky, and all orders of all sources.
    profile_variance
        Sum over sources and orders of the squared error of their models.
    scene
        The sources with their spectra.
    """

    background: F64
    sources: F64
    profile_variance: F64
    scene: Scene


def noise_variance(frame: Frame, expected: F64) -> F64:
    """Variance (ny, nx) [(DN/s)^2] of pixels from which `expected` [DN/s] is expected."""
    return np.asarray(frame.read_variance + frame.poisson_slope * np.maximum(expected, 0), dtype=np.float64)


def background(data: F64, weight: F64, degree: int, *, clip: float = 3.5) -> F64:
    """A polynomial surface (ny, nx) through `data`, weighted, pixels beyond `clip` sigma left out in turns.

    Of a large image every so many rows and columns are looked at: a million pixels say all of so smooth a surface.
    """
    ny, nx = data.shape
    y, x = np.linspace(-1, 1, ny), np.linspace(-1, 1, nx)
    step = max(int(np.ceil(np.sqrt(data.size / BACKGROUND_PIXELS))), 1)
    seen, weight = data[::step, ::step], weight[::step, ::step]
    known = weight > 0
    if not known.any():
        return np.zeros_like(data)
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    terms = np.stack([x[::step] ** i * y[::step, None] ** j for i, j in powers]).reshape(len(powers), -1)
    error = np.divide(1, np.sqrt(weight), out=np.zeros_like(seen), where=known)
    solution = np.zeros(len(powers))
    solution[0] = np.median(seen[known])
    for _ in range(5):
        off = np.abs(seen - np.tensordot(solution, terms, axes=1).reshape(seen.shape))
        spread = 1.4826 * float(np.median(off[known]))
        # A tenth of the pixels fixes a handful of coefficients far below the noise of one.
        at = np.flatnonzero(known & (off < clip * np.maximum(spread, error)))
        at = at[:: max(len(at) // 100_000, 1)]
        if len(at) < 10 * len(terms):
            break
        root = np.sqrt(weight.ravel()[at])
        solution = np.asarray(np.linalg.lstsq((terms[:, at] * root).T, seen.ravel()[at] * root, rcond=None)[0])
    surface = np.zeros(data.shape)
    for (i, j), c in zip(powers, solution, strict=True):
        surface += c * x**i * y[:, None] ** j
    return surface


def fit_sources(frame: Frame, scene: Scene, config: ContaminationConfig = ContaminationConfig()) -> ExposureModel:
    """Improves the spectra of a scene, in place, until its image explains the exposure.

    Parameters
    ----------
    frame
        The dispersed exposure [DN/s].
    scene
        Its sources (`build_scene`).
    """
    data = frame.data.astype(np.float64)
    total = scene.model()
    rough = np.where(frame.good, 1 / noise_variance(frame, np.maximum(total, 0) + 0.5), 0)
    sky = background(data - total, rough, config.background_degree)
    for turn in range(config.iterations):
        if turn == 1 and config.recentre:
            recentre(frame, scene, data - sky - total, total + sky)
            total = scene.model()
        spread = _profile_variance(scene, config.profile_error)
        variance = noise_variance(frame, total + sky)
        residual = np.where(frame.good, data - sky - total, 0)
        for source in sorted(scene.sources, key=_brightness):
            if source.response is not None:
                _improve(scene, source, residual, variance, spread, frame.good, config)
        total = scene.model()
        weight = np.where(frame.good, 1 / (variance + spread), 0)
        sky = background(data - total, weight, config.background_degree)
    return ExposureModel(sky, total, _profile_variance(scene, config.profile_error), scene)


def recentre(frame: Frame, scene: Scene, residual: F64, expected: F64) -> None:
    """Moves traces across the dispersion to where their light is: all by the common offset, bright ones by their own.

    Positions of a catalogue err by hundredths of a pixel and pointings by more; a trace of a thousand pixels shows
    both. A source's own offset counts where its error is below MOVED_ERROR_PX.
    """
    weight, left = np.where(frame.good, 1 / noise_variance(frame, expected), 0), residual.copy()
    shown = [source for source in scene.sources if source.response is not None]
    for _ in range(2):  # the second time for what is not linear
        found = [_offset(scene, source, left, weight) for source in shown]
        sure = np.array([(o, e) for o, e in found if e < USED_ERROR_PX and abs(o) < FARTHEST_MOVE_PX]).reshape(-1, 2)
        inverse = 1 / np.maximum(sure[:, 1], 1e-3) ** 2
        common = float(inverse @ sure[:, 0] / inverse.sum()) if inverse.sum() > MOVED_ERROR_PX**-2 else 0.0
        own = {
            source.index: offset for source, (offset, error) in zip(shown, found, strict=True) if error < MOVED_ERROR_PX
        }
        for source in scene.sources:
            before = dict(source.images)
            scene.move(source, own.get(source.index, common))
            for order, image in source.images.items():
                add_cutout(left, source.orders[order].box, before[order] - image)


def _offset(scene: Scene, source: PlacedSource, residual: F64, weight: F64) -> tuple[float, float]:
    """Offset across the dispersion [px] that explains a source's residual best, and its error."""
    main, image = source.orders[MAIN], source.images[MAIN].astype(np.float64)
    step = 0.05
    slope = (scene.moved_image(source, step).astype(np.float64) - image) / step
    pixels, weights = (take_cutout(v, main.box) for v in (residual, weight))
    terms = np.stack([slope, image]).reshape(2, -1)
    matrix = (terms * weights.ravel()) @ terms.T
    if not np.linalg.det(matrix) > 0:
        return 0.0, np.inf
    inverse = np.linalg.inv(matrix)
    offset = float((inverse @ ((terms * weights.ravel()) @ pixels.ravel()))[0])
    return offset, float(np.sqrt(inverse[0, 0]))


def _brightness(source: PlacedSource) -> float:
    return -float(source.images[MAIN].sum()) if MAIN in source.images else 0.0


def _profile_variance(scene: Scene, error: float) -> F64:
    total = np.zeros(scene.shape)
    for source in scene.sources:
        for order, image in source.images.items():
            add_cutout(total, source.orders[order].box, (error * image.astype(np.float64)) ** 2)
    return total


def row_wavelengths(scene: Scene, source: PlacedSource) -> F64:
    """(box.ny,) wavelengths [um] of the rows of a source's main cut-out; NaN outside its band."""
    main = source.orders[MAIN]
    places = main.trace.y if main.trace.y[-1] > main.trace.y[0] else main.trace.y[::-1]
    edges = scene.grid if main.trace.y[-1] > main.trace.y[0] else scene.grid[::-1]
    rows = main.box.row + np.arange(main.box.ny, dtype=np.float64)
    return np.interp(rows, places, edges, left=np.nan, right=np.nan)


def _improve(
    scene: Scene,
    source: PlacedSource,
    residual: F64,
    variance: F64,
    spread: F64,
    good: NDArray[np.bool_],
    config: ContaminationConfig,
) -> None:
    """One source's turn: its correction goes into its spectrum and out of the residual image."""
    main = source.orders[MAIN]
    response = source.response
    assert response is not None
    box = main.box
    own = (config.profile_error * source.images[MAIN].astype(np.float64)) ** 2
    doubt = np.maximum(take_cutout(spread, box) - own, 0)
    noise = take_cutout(variance, box) + doubt
    use = take_cutout(good, box) > 0
    weight = np.divide(1.0, noise, out=np.zeros_like(noise), where=use & (noise > 0))
    response64 = response.astype(np.float64)
    information = (response64**2 * weight).sum(axis=1)
    if not information.max() > 0:
        return
    left = (response64 * weight * take_cutout(residual, box)).sum(axis=1)
    # Neither the ends of the band nor the wings of a source beyond the edge tell its spectrum.
    light, profile = response64.sum(axis=1), (response64**2).sum(axis=1)
    usable = (response64**2 * (weight > 0)).sum(axis=1)
    enough = (light > LEAST_LIGHT * light.max()) & (usable > LEAST_PROFILE * profile) & (information > 0)
    change = np.divide(left, information, out=np.zeros_like(left), where=enough)
    waves = row_wavelengths(scene, source)
    prior = config.colour_error * np.interp(np.nan_to_num(waves), scene.centres, np.abs(source.colours))
    # What neighbours' profiles may be wrong by is wrong all along the trace.
    off = (response64 * weight * np.sqrt(doubt)).sum(axis=1)
    systematic = np.divide(off, information, out=np.zeros_like(left), where=enough)
    correction = significant(change, np.where(enough, information, 0), prior, systematic, config.sigmas)
    known = enough & np.isfinite(waves)
    if not correction.any() or known.sum() < 8:
        return
    order = np.argsort(waves[known])
    change = np.interp(scene.centres, waves[known][order], correction[known][order], left=0, right=0)
    before = dict(source.images)
    scene.set_spectrum(source, source.spectrum + change)
    for name, image in source.images.items():
        box = source.orders[name].box
        # Masked pixels stay without a say.
        add_cutout(residual, box, (before[name] - image) * take_cutout(good, box))
