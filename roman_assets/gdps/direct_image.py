"""What the direct image says of the sources' profiles: how much of each galaxy is bulge."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from roman_assets.gdps.dispersion import DispersedSource, add_cutout, take_cutout
from roman_assets.gdps.morphology import Shape, SpectralPsf, half_size, source_stamps
from roman_assets.gdps.sources import PIVOTS, USUAL_BULGE, SourceList
from roman_assets.kernels.dispersion import BinTrace
from roman_assets.msos.frames import Frame

F64 = NDArray[np.float64]
#: Spread of bulge shares among galaxies, by which uncertain ones are drawn to the usual share.
BULGE_SPREAD = 0.35
_BRIGHTNESS = 60.0  # stamps of moderate wings


def _undispersed(x: float, y: float, shape: Shape, psf: SpectralPsf, wavelength: float, ny: int) -> DispersedSource:
    """A source on a direct image: a trace of no length."""
    stamps = source_stamps(psf, shape, [wavelength], [np.eye(2)], half_size(shape, _BRIGHTNESS))
    trace = BinTrace([x, x], [y, y], [0], [0.0])
    return DispersedSource(stamps, trace, trace.box(stamps, ny))


def bulge_shares(frame: Frame, sources: SourceList, psf: SpectralPsf, wavelength: float = PIVOTS["f158"]) -> F64:
    """(n,) bulge share of every source by its direct image; the usual one for what lies outside or is too faint.

    A disc and a bulge of the catalogue's half-light radius and ellipse, both through the PSF, and a local sky are
    fitted to each source, the other sources' fits subtracted, twice.

    Parameters
    ----------
    frame
        The direct image.
    wavelength
        At which the PSF is taken [um].
    """
    x, y, shapes = sources.on(frame.to_pixels)
    ny, nx = frame.shape
    sky = float(np.median(frame.data[frame.good]))
    data = np.where(frame.good, frame.data - sky, 0).astype(np.float64)
    weight = frame.weight(np.maximum(frame.data, sky), 0.0)
    templates: dict[int, tuple[DispersedSource, F64]] = {}
    for s, shape in enumerate(shapes):
        parts = [Shape(shape.half_light, shape.axis_ratio, shape.angle, bulge) for bulge in (0.0, 1.0)]
        both = [_undispersed(x[s], y[s], part, psf, wavelength, ny) for part in parts]
        if both[0].seen(nx):
            templates[s] = both[0], np.stack([p.image([1.0]).astype(np.float64) for p in both])
    amplitudes = {s: np.zeros(2) for s in templates}
    shares, errors = np.full(len(sources), USUAL_BULGE), np.full(len(sources), np.inf)
    model = np.zeros(frame.shape)
    for _ in range(3):
        for s, (placed, images) in templates.items():
            own = np.tensordot(amplitudes[s], images, axes=1)
            add_cutout(model, placed.box, own, -1.0)
            seen, noise = take_cutout(data - model, placed.box), take_cutout(weight, placed.box)
            amplitudes[s], shares[s], errors[s] = _two_amplitudes(images, seen, noise, sources.half_light[s] > 0)
            add_cutout(model, placed.box, np.tensordot(amplitudes[s], images, axes=1))
    trust = 1 / (1 + (errors / BULGE_SPREAD) ** 2)
    return np.where(sources.half_light > 0, USUAL_BULGE + trust * (shares - USUAL_BULGE), 0)


def _two_amplitudes(
    images: F64, data: F64, weight: F64, extended: bool
) -> tuple[F64, float, float]:
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
