"""Optimal extraction of decontaminated spectra from one exposure.

Horne (1986), with the profile at every wavelength from the model of the source: in each detector row the flux density
is the weighted fit of the source's image for a spectrum of unit flux density, so that the effective area, the width
of a pixel in wavelength, and the profile's change along the trace are all in one place. Weights hold the noise of the
modelled light, not of the data, and what the contamination may be wrong by.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from roman_assets.bounds import NOT_NEGATIVE, POSITIVE, THRESHOLD, check_bounds
from roman_assets.exposures.level2.frames import Frame
from roman_assets.kernels.dispersion import CutoutBox, Stamps
from roman_assets.systems.gdps.extraction.contamination import (
    ContaminationConfig,
    ExposureModel,
    fit_sources,
    noise_variance,
    row_wavelengths,
)
from roman_assets.systems.gdps.extraction.psf_fit import psf_of_exposure
from roman_assets.systems.gdps.extraction.scene import NODES, PlacedSource, Scene, build_scene
from roman_assets.systems.gdps.optics.dispersion import Window, inside_cutout, take_cutout
from roman_assets.systems.gdps.optics.throughput import FAINTEST_SHARE, Throughput
from roman_assets.systems.gdps.optics.traces import MAIN, TraceModel
from roman_assets.systems.gdps.sources.morphology import SpectralPsf
from roman_assets.systems.gdps.sources.source_list import SourceList
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
NO_DATA, MASKED, LOW_THROUGHPUT, CONTAMINATED, OUTLIER = 1, 2, 4, 8, 16
#: What the flags of a spectrum's pixels mean.
FLAGS = {
    NO_DATA: "no pixel of the trace was usable",
    MASKED: "less than 70 % of the profile's weight was usable",
    LOW_THROUGHPUT: "the effective area is below 5 % of its maximum",
    CONTAMINATED: "the contamination is above five times the flux and its error",
    OUTLIER: "exposures disagree, and too few are left",
}
_ENOUGH_PROFILE, _MUCH_CONTAMINATION = 0.7, 5.0


@dataclass(frozen=True)
class ExtractionConfig:
    """Settings of extraction."""

    contamination: ContaminationConfig = field(default_factory=ContaminationConfig)
    gain: float = 1.0  # electrons in a DN
    reject_sigma: float = 7.0  # of a pixel off the source's fitted profile
    profile_tolerance: float = 0.2  # share of the source's light in a pixel that is no ground for rejection

    def __post_init__(self) -> None:
        check_bounds(self, gain=POSITIVE, reject_sigma=THRESHOLD, profile_tolerance=NOT_NEGATIVE)


@dataclass(frozen=True)
class Cutout:
    """A source's trace in two dimensions, (ny, nx) float32 each; the box may reach beyond the exposure's columns.

    science
        Exposure without background and contamination [DN/s].
    contamination
        What was subtracted of other sources and other orders [DN/s].
    model
        The source's own order 1 [DN/s].
    weights
        Inverse variance [(DN/s)^-2]; 0 where unusable.
    wavelength
        (ny, nx) [nm]; NaN outside the band.
    """

    box: CutoutBox
    science: F32
    contamination: F32
    model: F32
    weights: F32
    wavelength: F32


@dataclass(frozen=True)
class ExtractedSource:
    """One source on one exposure: 1D and 2D."""

    source_id: int
    spectrum: Spectrum
    cutout: Cutout


@dataclass(frozen=True)
class ExposureSpectra:
    """What `extract_exposure` gives.

    Attributes
    ----------
    exposure_id
        Of the frame.
    sources
        Those whose order 1 falls on the exposure, in the order of the source list.
    model
        Background and all sources; `model.scene` holds the fitted spectra of all of them.
    residual
        (ny, nx) float32 exposure minus model [DN/s], 0 where unusable.
    references
        Flat record of the optical model and throughput used (`Origin.record`).
    """

    exposure_id: str
    sources: list[ExtractedSource]
    model: ExposureModel
    residual: F32
    references: dict[str, str]


def extract_exposure(
    frame: Frame,
    window: Window,
    sources: SourceList,
    trace: TraceModel,
    throughput: Throughput,
    psf: SpectralPsf | None = None,
    config: ExtractionConfig = ExtractionConfig(),
) -> ExposureSpectra:
    """Decontaminated spectra of all sources on one dispersed exposure.

    Parameters
    ----------
    frame
        The exposure (`msos.frames.prepare`): data [DN/s], mask, noise, sky-to-pixel map of the undispersed pointing.
    window
        Where its array lies on the detector [px of the optical model].
    sources
        Of the direct image, those beyond the window's edges included.
    trace, throughput
        Of the element on this detector.
    psf
        Monochromatic PSFs; `psf_of_exposure` if not given.

    Raises
    ------
    InputError
        The element disperses along rows, or the throughput has no order 1.
    """
    scaled = throughput.scaled(1 / config.gain)
    if psf is None:
        psf = psf_of_exposure(frame, window, sources, trace, scaled)
    scene = build_scene(sources, frame.to_pixels, window, trace, scaled, psf)
    model = fit_sources(frame, scene, config.contamination)
    return spectra_by_model(frame, model, sources, trace, throughput, config)


def spectra_by_model(
    frame: Frame,
    model: ExposureModel,
    sources: SourceList,
    trace: TraceModel,
    throughput: Throughput,
    config: ExtractionConfig = ExtractionConfig(),
) -> ExposureSpectra:
    """Spectra of all sources on an exposure of which a model is there, such as `joint_fit.fit_jointly` has improved.

    Parameters are those of `extract_exposure`, and its model.
    """
    scaled = throughput.scaled(1 / config.gain)
    variance = noise_variance(frame, model.sources + model.background)
    net = frame.data - model.background
    extracted = [
        _extract(frame, net, variance, model, source, int(sources.id[source.index]), scaled, config)
        for source in model.scene.sources
        if source.response is not None
    ]
    residual = np.where(frame.good, net - model.sources, 0).astype(np.float32)
    references = trace.origin.record("optical_model") | throughput.origin.record("throughput")
    point = dict(zip(sources.id.tolist(), (sources.half_light == 0).tolist(), strict=True))
    named = [
        replace(e, spectrum=replace(e.spectrum, point_source=point[e.source_id])) for e in extracted if e is not None
    ]
    return ExposureSpectra(frame.name, named, model, residual, references)


def _extract(
    frame: Frame,
    net: F64,
    variance: F64,
    model: ExposureModel,
    source: PlacedSource,
    source_id: int,
    throughput: Throughput,
    config: ExtractionConfig,
) -> ExtractedSource | None:
    """One source; None if its trace has no usable pixel."""
    box, image = source.orders[MAIN].box, source.images[MAIN].astype(np.float64)
    assert source.response is not None
    response = source.response.astype(np.float64)
    inside = inside_cutout(frame.shape, box)
    others = np.where(inside, take_cutout(model.sources, box) - image, 0)
    own = (config.contamination.profile_error * image) ** 2
    noise = take_cutout(variance, box) + np.maximum(take_cutout(model.profile_variance, box) - own, 0)
    use = (take_cutout(frame.good, box) > 0) & (noise > 0)
    science = take_cutout(net, box) - others
    weight = np.divide(1.0, noise, out=np.zeros_like(noise), where=use)
    weight = _without_outliers(science, response, weight, config)
    waves = row_wavelengths(model.scene, source) * 1e3
    if not (np.isfinite(waves) & ((response**2 * weight).sum(axis=1) > 0)).any():
        return None
    spectrum = _spectrum(model.scene, source, waves, response, weight, science, others, throughput)
    planes = [np.asarray(v, dtype=np.float32) for v in (science, others, image, weight)]
    wavelength = np.broadcast_to(waves[:, None], science.shape).astype(np.float32)
    return ExtractedSource(source_id, spectrum, Cutout(box, planes[0], planes[1], planes[2], planes[3], wavelength))


def _spectrum(
    scene: Scene,
    source: PlacedSource,
    waves: F64,
    response: F64,
    weight: F64,
    science: F64,
    others: F64,
    throughput: Throughput,
) -> Spectrum:
    """The weighted fit of the response in every row, with flags; rows in the order of their wavelengths."""
    information = (response**2 * weight).sum(axis=1)
    known = np.isfinite(waves) & (information > 0)
    variance = np.divide(1.0, information, out=np.zeros_like(information), where=known)
    flux, contaminating = ((response * weight * v).sum(axis=1) * variance for v in (science, others))
    profile, usable = (response**2).sum(axis=1), (response**2 * (weight > 0)).sum(axis=1)
    area = throughput.area(MAIN, np.nan_to_num(waves) / 1e3)
    flags = np.where(known, 0, NO_DATA).astype(np.uint32)
    flags[known & (usable < _ENOUGH_PROFILE * profile)] |= MASKED
    flags[area < FAINTEST_SHARE * throughput.curves[MAIN][1].max()] |= LOW_THROUGHPUT
    flags[known & (contaminating > _MUCH_CONTAMINATION * (np.maximum(flux, 0) + np.sqrt(variance)))] |= CONTAMINATED
    at = np.flatnonzero(np.isfinite(waves))
    at = at[np.argsort(waves[at])]
    return Spectrum(
        waves[at],
        flux[at],
        np.where(known, variance, np.inf)[at],
        contaminating[at],
        flags[at],
        line_spread(scene, source, waves[at] / 1e3),
    )


def _without_outliers(science: F64, response: F64, weight: F64, config: ExtractionConfig) -> F64:
    """Weights, 0 for pixels that no amplitude of the profile explains: cosmic rays that the ramp fit has missed."""
    current = weight
    for _ in range(2):
        information = (response**2 * current).sum(axis=1)
        amplitude = (response * current * science).sum(axis=1)
        amplitude = np.divide(amplitude, information, out=np.zeros_like(information), where=information > 0)
        fitted = amplitude[:, None] * response
        allowed = config.reject_sigma + config.profile_tolerance * np.abs(fitted) * np.sqrt(weight)
        # The worst pixel of a row pulls the fit: one at a time.
        off = np.abs(science - fitted) * np.sqrt(current) / allowed
        worst = off.argmax(axis=1)
        rows = np.flatnonzero(off[np.arange(len(off)), worst] > 1)
        if not len(rows):
            break
        current = current.copy()
        current[rows, worst[rows]] = 0
    return current


def line_spread(scene: Scene, source: PlacedSource, wavelength: F64) -> F64:
    """Sigma [nm] at wavelengths [um] of the Gaussian whose fit gives the right flux of a narrow line.

    The profile along the dispersion includes the PSF and the pixel; across, it is weighted as extraction weighs it.
    A galaxy's profile is more peaked and has wider wings than a Gaussian: of equal second moments, or of equal
    peaks, the fitted fluxes would be off by a tenth.
    """
    main = source.orders[MAIN]
    nodes = np.array([n for n in NODES if scene.grid[0] - 0.1 < n < scene.grid[-1] + 0.1])
    sigma_px = np.array([_profile_sigma(main.stamps, plane) for plane in range(main.stamps.planes)])
    steps = np.abs(np.gradient(scene.grid, main.trace.y)) * 1e3
    return np.interp(wavelength, nodes, sigma_px) * np.interp(wavelength, scene.grid, steps)


def _profile_sigma(stamps: Stamps, plane: int) -> float:
    phases = stamps.phases[plane].astype(np.float64)  # (over_y, over_x, ny, nx)
    over_y, _, ny, _ = phases.shape
    # The source in the middle of its pixel across; along, all phases interleaved, nearest pixel last.
    middle = phases[:, 0]
    across = middle.sum(axis=(0, 1))
    along = (middle * across).sum(axis=2)[::-1].T.reshape(ny * over_y)
    # Coefficients of a quintic spline to values at the samples.
    values = np.convolve(along, np.array([1, 26, 66, 26, 1]) / 120, mode="same")
    density = np.maximum(values, 0) / np.maximum(values, 0).sum() * over_y
    offset = np.arange(len(density)) - density @ np.arange(len(density)) / density.sum()
    return _flux_keeping_sigma(offset / over_y, density / over_y)


def _flux_keeping_sigma(offset: F64, share: F64) -> float:
    """Sigma of the Gaussian g for which the least-squares flux, sum p g / sum g^2, of a profile p is 1."""
    low, high = 0.2, max(float(np.ptp(offset)) / 4, 1.0)
    for _ in range(40):
        sigma = (low + high) / 2
        gauss = np.exp(-0.5 * (offset / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi))
        # A Gaussian that is too narrow asks for more than the profile has in its core.
        flux = float(share @ gauss) * 2 * np.sqrt(np.pi) * sigma
        low, high = (sigma, high) if flux < 1 else (low, sigma)
    return (low + high) / 2
