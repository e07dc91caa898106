"""What the direct image says of the sources' profiles: how much of each galaxy is bulge, and what is no galaxy at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.exposures.level2.frames import Frame
from roman_assets.kernels.dispersion import BinTrace
from roman_assets.systems.gdps.optics.dispersion import DispersedSource, add_cutout, take_cutout
from roman_assets.systems.gdps.sources.morphology import Shape, SpectralPsf, half_size, source_stamps
from roman_assets.systems.gdps.sources.source_list import PIVOTS, USUAL_BULGE, SourceList

F64 = NDArray[np.float64]
#: Spread of bulge shares among galaxies, by which uncertain ones are drawn to the usual share.
BULGE_SPREAD = 0.35
_BRIGHTNESS = 60.0  # stamps of moderate wings


@dataclass(frozen=True)
class _Profiles:
    """A source's possible images, each of unit light, in the same cut-out: disc and bulge (2, ny, nx), and a point
    (1, ny, nx) where it may be one."""

    placed: DispersedSource
    extended: F64
    point: F64 | None


def _undispersed(
    x: float, y: float, shape: Shape, psf: SpectralPsf, wavelength: float, ny: int, half: int | None = None
) -> DispersedSource:
    """A source on a direct image: a trace of no length."""
    stamps = source_stamps(psf, shape, [wavelength], [np.eye(2)], half or half_size(shape, _BRIGHTNESS))
    trace = BinTrace([x, x], [y, y], [0], [0.0])
    return DispersedSource(stamps, trace, trace.box(stamps, ny))


def _profiles(frame: Frame, sources: SourceList, psf: SpectralPsf, wavelength: float) -> dict[int, _Profiles]:
    """Of the sources that a direct image shows, by index."""
    result = {}
    ny, nx = frame.shape
    for s, (x, y, shape) in enumerate(zip(*sources.on(frame.to_pixels), strict=True)):
        half = half_size(shape, _BRIGHTNESS)
        kinds = [Shape(shape.half_light, shape.axis_ratio, shape.angle, bulge) for bulge in (0.0, 1.0)]
        kinds += [Shape(0.0)] if sources.doubtful[s] else []
        placed = [_undispersed(x, y, kind, psf, wavelength, ny, half) for kind in kinds]
        if placed[0].seen(nx):
            images = np.stack([p.image([1.0]).astype(np.float64) for p in placed])
            result[s] = _Profiles(placed[0], images[:2], images[2:] if sources.doubtful[s] else None)
    return result


def profiles_by_image(
    frame: Frame, sources: SourceList, psf: SpectralPsf, wavelength: float = PIVOTS["f158"]
) -> SourceList:
    """The sources with the profiles that the direct image shows.

    A disc and a bulge of the catalogue's half-light radius and ellipse, both through the PSF, and a local sky are
    fitted to each source, the other sources' fits subtracted, in turns. What lies outside or is too faint keeps the
    usual share of bulge. A source whose size contradicts its star flag is a point if that describes the image better.

    Parameters
    ----------
    frame
        The direct image.
    wavelength
        At which the PSF is taken [um].
    """
    sky = float(np.median(frame.data[frame.good]))
    data = np.where(frame.good, frame.data - sky, 0).astype(np.float64)
    weight = frame.weight(np.maximum(frame.data, sky), 0.0)
    profiles = _profiles(frame, sources, psf, wavelength)
    amplitudes = {s: np.zeros(2) for s in profiles}
    shares, errors = np.full(len(sources), USUAL_BULGE), np.full(len(sources), np.inf)
    points = np.zeros(len(sources), dtype=bool)
    model = np.zeros(frame.shape)
    for _ in range(3):
        for s, profile in profiles.items():
            box, images = profile.placed.box, profile.extended
            add_cutout(model, box, np.tensordot(amplitudes[s], images, axes=1), -1.0)
            seen, noise = take_cutout(data - model, box), take_cutout(weight, box)
            amplitudes[s], shares[s], errors[s] = _two_amplitudes(images, seen, noise, sources.half_light[s] > 0)
            if profile.point is not None:
                points[s] = _misfit(profile.point, seen, noise) < _misfit(images, seen, noise)
            add_cutout(model, box, np.tensordot(amplitudes[s], images, axes=1))
    trust = 1 / (1 + (errors / BULGE_SPREAD) ** 2)
    return sources.with_bulge(USUAL_BULGE + trust * (shares - USUAL_BULGE)).as_points(points)


def _misfit(images: F64, data: F64, weight: F64) -> float:
    """chi2 of templates (k, ny, nx) and a constant on a cut-out."""
    root = np.sqrt(weight).ravel()
    terms = np.concatenate([images.reshape(-1, data.size), np.ones((1, data.size))])
    left = root * data.ravel()
    solution, *_ = np.linalg.lstsq((terms * root).T, left, rcond=None)
    return float(((left - (terms * root).T @ solution) ** 2).sum())


def _two_amplitudes(images: F64, data: F64, weight: F64, extended: bool) -> tuple[F64, float, float]:
    """Amplitudes of disc and bulge (neither negative), the bulge's share, and its error."""
    use = images if extended else images[:1]
    terms = np.concatenate([use.reshape(len(use), -1), np.ones((1, images[0].size))])
    wt = weight.ravel()
    matrix = (terms * wt) @ terms.T
    if not np.linalg.cond(matrix) < 1e12:
        return np.zeros(2), USUAL_BULGE, np.inf
    inverse = np.linalg.inv(matrix)
    solution = inverse @ ((terms * wt) @ data.ravel())
    if not extended:
        return np.array([max(solution[0], 0.0), 0.0]), 0.0, 0.0
    total = solution[0] + solution[1]
    if not total > 0:
        return np.zeros(2), USUAL_BULGE, np.inf
    share = float(np.clip(solution[1] / total, 0, 1))
    gradient = np.array([-solution[1], solution[0], 0]) / total**2
    return np.array([1 - share, share]) * total, share, float(np.sqrt(gradient @ inverse @ gradient))
