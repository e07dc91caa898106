"""Spectra of overlapping sources from several exposures at once.

Where two traces run on top of each other, one roll cannot tell the spectra apart and the turns of contamination.py
share the light by the colours. Other rolls mix them otherwise; together they are a sparse linear problem (Ryan,
Casertano & Pirzkal 2018), solved here with LSMR (Fong & Saunders 2011) for corrections to the present models, damped
towards none. The matrix is never made: products go through the dispersion kernel and its adjoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.bounds import NOT_NEGATIVE, POSITIVE, check_bounds, whole
from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.systems.gdps.extraction.contamination import ExposureModel, noise_variance
from roman_assets.systems.gdps.extraction.scene import PlacedSource, Scene
from roman_assets.systems.gdps.optics.dispersion import take_cutout

F64 = NDArray[np.float64]


@dataclass(frozen=True)
class JointConfig:
    """Settings of the joint fit."""

    damping: float = 1.0  # of corrections in units of `expected`; the knee of an L-curve where noise decides
    expected: float = 0.5  # size of a correction in a bin, as a share of the source's median flux
    iterations: int = 60
    tolerance: float = 1e-5

    def __post_init__(self) -> None:
        check_bounds(
            self, damping=NOT_NEGATIVE, expected=POSITIVE, iterations=whole(1, 1_000_000), tolerance=NOT_NEGATIVE
        )


@dataclass(frozen=True)
class JointResult:
    """Corrected spectra of the sources asked for.

    Attributes
    ----------
    wavelength
        (bins,) [um].
    spectra
        (sources, bins) [W m-2 nm-1].
    residual, size
        Norms of the weighted residual and of the damped corrections: a point of the L-curve.
    iterations
        Of LSMR.
    """

    wavelength: F64
    spectra: F64
    residual: float
    size: float
    iterations: int


def fit_jointly(
    frames: Sequence[Frame],
    models: Sequence[ExposureModel],
    indices: Sequence[int],
    config: JointConfig = JointConfig(),
) -> JointResult:
    """Corrects the spectra of some sources by all exposures together; the models follow, in place.

    Parameters
    ----------
    frames, models
        The exposures and what `fit_sources` made of them, all from the same source list.
    indices
        Of the sources in that list; those that no exposure shows keep their spectra.

    Raises
    ------
    InputError
        No exposures, or not as many models as frames.
    """
    from scipy.sparse.linalg import LinearOperator, lsmr

    if not frames or len(frames) != len(models):
        raise InputError(f"{len(frames)} frames and {len(models)} models", field="frames", remedy="give one of each")
    wave = models[0].scene.centres
    parts = [_Part(frame, model, list(indices), wave) for frame, model in zip(frames, models, strict=True)]
    start = np.stack([_present(parts, k, len(wave)) for k in range(len(indices))])
    scale = config.expected * np.maximum(np.median(np.abs(start), axis=1, keepdims=True), 1e-40)
    sizes = [part.root.size for part in parts]
    shape = (sum(sizes), start.size)

    def forward(v: F64) -> F64:
        spectra = v.reshape(start.shape) * scale
        return np.concatenate([part.forward(spectra).ravel() for part in parts])

    def adjoint(pixels: F64) -> F64:
        pieces = np.split(pixels, np.cumsum(sizes)[:-1])
        total = sum((p.adjoint(v) for p, v in zip(parts, pieces, strict=True)), np.zeros(start.shape))
        return np.asarray((total * scale).ravel())

    operator = LinearOperator(shape, matvec=forward, rmatvec=adjoint, dtype=np.float64)
    left = np.concatenate([part.left.ravel() for part in parts])
    found = lsmr(
        operator, left, damp=config.damping, maxiter=config.iterations, atol=config.tolerance, btol=config.tolerance
    )
    change = found[0].reshape(start.shape) * scale
    for part in parts:
        part.apply(change)
    residual = float(np.linalg.norm(left - forward(found[0])))
    return JointResult(wave, start + change, residual, float(np.linalg.norm(found[0])), int(found[2]))


def _present(parts: Sequence[_Part], k: int, bins: int) -> F64:
    """The mean of a source's spectra on the exposures that show it."""
    seen = [part.on_common(part.chosen[k].spectrum) for part in parts if k in part.chosen]
    return np.mean(seen, axis=0) if seen else np.zeros(bins)


class _Part:
    """One exposure's share of the problem."""

    def __init__(self, frame: Frame, model: ExposureModel, indices: list[int], wave: F64) -> None:
        self.model, self.wave, self.count = model, wave, len(indices)
        self.scene: Scene = model.scene
        self.chosen: dict[int, PlacedSource] = {
            indices.index(s.index): s for s in self.scene.sources if s.index in indices
        }
        variance = noise_variance(frame, model.sources + model.background) + model.profile_variance
        self.root = np.where(frame.good, 1 / np.sqrt(variance), 0)
        self.left = self.root * np.where(frame.good, frame.data - model.background - model.sources, 0)
        # Linear interpolation from the common wavelengths to this exposure's, as indices and shares.
        place = np.interp(self.scene.centres, wave, np.arange(len(wave)))
        self._at = np.minimum(place.astype(np.int64), max(len(wave) - 2, 0))
        self._share = place - self._at

    def on_common(self, spectrum: F64) -> F64:
        return np.interp(self.wave, self.scene.centres, spectrum)

    def _to_scene(self, spectrum: F64) -> F64:
        after = np.minimum(self._at + 1, len(spectrum) - 1)
        return spectrum[self._at] * (1 - self._share) + spectrum[after] * self._share

    def _from_scene(self, gradient: F64) -> F64:
        result = np.bincount(self._at, gradient * (1 - self._share), len(self.wave))
        after = np.minimum(self._at + 1, len(self.wave) - 1)
        return np.asarray(result + np.bincount(after, gradient * self._share, len(self.wave)), dtype=np.float64)

    def forward(self, spectra: F64) -> F64:
        image = np.zeros(self.scene.shape, dtype=np.float32)
        for k, source in self.chosen.items():
            own = self._to_scene(spectra[k])
            for band in self.scene.bands:
                if band.order in source.orders:
                    source.orders[band.order].add_to(image, band.light(own))
        return self.root * image

    def adjoint(self, pixels: F64) -> F64:
        weighted = self.root * pixels.reshape(self.scene.shape)
        result = np.zeros((self.count, len(self.wave)))
        for k, source in self.chosen.items():
            gradient = np.zeros(len(self.scene.centres))
            for band in self.scene.bands:
                if band.order in source.orders:
                    placed = source.orders[band.order]
                    gradient += band.spread(placed.project(take_cutout(weighted, placed.box)))
            result[k] = self._from_scene(gradient)
        return result

    def apply(self, change: F64) -> None:
        for k, source in self.chosen.items():
            self.scene.set_spectrum(source, source.spectrum + self._to_scene(change[k]))
        self.model.sources = self.scene.model()
