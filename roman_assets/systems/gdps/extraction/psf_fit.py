"""How much wider than the optical model's an exposure's PSF is: pointing jitter and charge diffusion, from its stars."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from roman_assets.exposures.level2.frames import Frame
from roman_assets.kernels.dispersion import BinTrace
from roman_assets.systems.gdps.extraction.contamination import background, noise_variance, recentre
from roman_assets.systems.gdps.extraction.scene import PlacedSource, Scene, build_scene
from roman_assets.systems.gdps.optics.dispersion import (
    DispersedSource,
    Window,
    add_cutout,
    plane_shares,
    straight_slopes,
    take_cutout,
)
from roman_assets.systems.gdps.optics.throughput import Throughput
from roman_assets.systems.gdps.optics.traces import MAIN, TraceModel
from roman_assets.systems.gdps.sources.morphology import Shape, SpectralPsf, source_stamps
from roman_assets.systems.gdps.sources.source_list import SourceList

F64 = NDArray[np.float64]
#: Without enough stars: the jitter that the telescope is specified to, 12 mas.
USUAL_BLUR_PX = 0.11
_TRIED_PX = (0.0, 0.12, 0.18, 0.25, 0.35)
_FEWEST_STARS, _MOST_STARS = 2, 12
_BRIGHT, _CORE_PX = 30.0, 3.5  # signal to noise of a star's brightest pixels; half width that is compared


def psf_of_exposure(
    frame: Frame, window: Window, sources: SourceList, trace: TraceModel, throughput: Throughput
) -> SpectralPsf:
    """The optical model's PSF of the frame's detector, as wide as the exposure's bright stars say."""
    psf = SpectralPsf.of(frame.detector)
    point = sources.half_light == 0
    if not point.any():
        return replace(psf, blur=USUAL_BLUR_PX, _cache={})
    scene = build_scene(sources, frame.to_pixels, window, trace, throughput, psf)
    x, y = frame.to_pixels(sources.ra, sources.dec)
    places = np.stack([x + window.xstart, y + window.ystart], axis=1)
    return replace(psf, blur=fitted_blur(frame, scene, trace, psf, places, point), _cache={})


def fitted_blur(
    frame: Frame, scene: Scene, trace: TraceModel, psf: SpectralPsf, places: F64, point: NDArray[np.bool_]
) -> float:
    """Sigma [px] of the Gaussian that the PSF lacks, from the cores of bright stars across their traces.

    Parameters
    ----------
    scene
        Sources with the spectra of their colours, placed with `psf`.
    places
        (n, 2) undispersed detector places of the source list [px].
    point
        (n,) sources that are points.
    """
    model = scene.model()
    data = frame.data.astype(np.float64)
    weight = np.where(frame.good, 1 / noise_variance(frame, np.maximum(data, 0.1)), 0)
    sky = background(data - model, weight, 2)
    points = [s for s in scene.sources if point[s.index]]
    recentre(frame, replace(scene, sources=points), data - sky - model, model + sky)
    model = scene.model()
    variance = noise_variance(frame, model + sky)
    stars = [s for s in points if s.response is not None and _bright(s, variance)]
    stars = sorted(stars, key=lambda s: -float(s.images[MAIN].sum()))[:_MOST_STARS]
    left = data - sky - model
    tried = [_chi2(frame, scene, trace, psf, star, places[star.index], left, variance) for star in stars]
    curves = [c for c in tried if c is not None]
    if len(curves) < _FEWEST_STARS:
        return USUAL_BLUR_PX
    # Each star counts the same, in units of its own noise at the best: no single one decides.
    total = np.sum([c / c.min() for c in curves], axis=0)
    best = int(np.clip(total.argmin(), 1, len(_TRIED_PX) - 2))
    squares = np.array(_TRIED_PX[best - 1 : best + 2]) ** 2
    a, b, _ = np.polyfit(squares, total[best - 1 : best + 2], 2)
    vertex = -b / (2 * a) if a > 0 else squares[1]
    return float(np.sqrt(np.clip(vertex, 0, _TRIED_PX[-1] ** 2)))


def _bright(source: PlacedSource, variance: F64) -> bool:
    image = source.images[MAIN]
    return bool(np.percentile(image.max(axis=1), 75) > _BRIGHT * np.sqrt(float(np.median(variance))) / 10)


def _chi2(
    frame: Frame,
    scene: Scene,
    trace: TraceModel,
    psf: SpectralPsf,
    star: PlacedSource,
    place: F64,
    residual: F64,
    variance: F64,
) -> F64 | None:
    """chi2 of the core of one star for each width tried, the amplitude of every row free."""
    main = star.orders[MAIN]
    net = residual.copy()
    add_cutout(net, main.box, star.images[MAIN])
    pixels = take_cutout(net, main.box)
    weight = take_cutout(np.where(frame.good, 1 / variance, 0), main.box)
    rows = main.box.row + np.arange(main.box.ny)
    middle = np.interp(rows, main.trace.y, main.trace.x)
    weight[np.abs(main.box.column + np.arange(main.box.nx) - middle[:, None]) > _CORE_PX] = 0
    if (weight > 0).sum() < 500:
        return None
    nodes = np.array([0.95, 1.2, 1.45, 1.7, 1.95])
    matrices = trace.jacobian(place[0], place[1], nodes, MAIN)
    half = -main.stamps.row
    slopes = straight_slopes(trace, place[0], place[1], MAIN, scene.grid, nodes, half)
    result = []
    for blur in _TRIED_PX:
        wider = replace(psf, blur=blur, _cache={})
        stamps = source_stamps(wider, Shape(), nodes, matrices, half, slopes)
        trial = DispersedSource(
            stamps, BinTrace(main.trace.x, main.trace.y, *plane_shares(scene.grid, nodes)), main.box
        )
        image = trial.image(scene.bands[0].rates).astype(np.float64)
        information = (image**2 * weight).sum(axis=1)
        fitted = (image * weight * pixels).sum(axis=1)
        amplitude = np.divide(fitted, information, out=np.zeros_like(fitted), where=information > 0)
        result.append(float(((pixels - amplitude[:, None] * image) ** 2 * weight).sum()))
    return np.array(result)
