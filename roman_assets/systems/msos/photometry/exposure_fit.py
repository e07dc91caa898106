"""PSF photometry of one exposure: the joint linear fit of all catalogued stars (Anderson & King 2000).

The catalogue, made from many exposures, knows the faint stars better than any one exposure does: it enters as a
prior (csrc/exposure_fit.h), weak for stars well measured here and none for those that changed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.kernels.exposure import ExposureFit, exposure_fit
from roman_assets.kernels.photometry import PaddedFrame, Stars
from roman_assets.systems.msos.photometry.halos import halo_errors
from roman_assets.systems.msos.photometry.positions import alone, displacements
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf
from roman_assets.systems.msos.psf.far_light import far_light
from roman_assets.systems.msos.psf.grid import DetectorPsf
from roman_assets.systems.msos.psf.phase_map import NO_MAP, PhaseMap
from roman_assets.systems.msos.psf.stamps import NARROW, placed, sky_basis, stamp_halves

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]

#: Relative error of the ePSF that weights assume: without it, the cores of the brightest stars rule the fit.
MODEL_FLOOR = 0.003
#: Newton steps of the pointing: one does for a few hundredths of a pixel, three for half a pixel.
POINTING_STEPS = 3
#: Relative change of a star that the catalogue leaves free: in its own filter, and in another one.
SPREAD, OTHER_FILTER_SPREAD = 0.1, 1.0
#: A fit that ends farther from its solution than this, by a star's gradient [sigma], says nothing of that star.
MOST_GRADIENT = 1.0
#: Relative error of a star's light as its wings tell it, where the core is lost; less in proportion where less is lost.
WING_ERROR = 0.02
#: What shows that a star stands elsewhere than the catalogue has it: S/N, displacement [sigma], [px]; it is moved no farther
#: than the last [px].
PLACED_SNR, DISPLACED_SIGMA, DISPLACED_PX, MOST_DISPLACED = 50.0, 4.0, 0.01, 0.3
#: Light beyond stamps that changes by this much is fitted again [noise of a pixel].
FAR_CHANGE = 0.1
#: Least excess of a cosmic ray, relative to the model's brightest pixel beside it.
RAY_OF_MODEL = 0.2
#: Bits of a measurement's flag.
NO_DATA, SATURATED, MASKED, BAD_FIT, EDGE, COSMIC_RAY, UNSOLVED = 1, 2, 4, 8, 16, 32, 64
FLAG_MEANINGS = {
    NO_DATA: "no usable pixel",
    SATURATED: "saturated pixels in the core: measured from what is left",
    MASKED: "less than 70 % of the PSF-weighted core usable, saturation apart",
    BAD_FIT: "chi2 per core pixel above 25 and above four times that of stars of its brightness: the error is as much larger",
    EDGE: "centre closer than 3 px to the edge of the array",
    COSMIC_RAY: "a cosmic ray was found and masked in the core",
    UNSOLVED: "the joint fit ended without a solution for the star",
}


@dataclass
class ExposurePhotometry:
    """Fluxes of all catalogued stars in one exposure.

    flux, flux_err: (n,) float64 [DN/s]; x, y: (n,) float64 [px], where they were measured; chi2: (n,) float32
    per core pixel; flag: (n,) uint8 bits above; sky: (terms,) [DN/s]; shift: pointing correction (x, y) [px];
    residual: (ny, nx) [DN/s]; unsolved: stars for which the fit ended far from its solution; on_image: stars there are.
    """

    flux: F64
    flux_err: F64
    x: F64
    y: F64
    chi2: F32
    flag: NDArray[np.uint8]
    sky: F64
    shift: tuple[float, float]
    residual: F32
    cosmic_rays: int
    iterations: int
    converged: bool
    unsolved: int
    on_image: int


def fit_exposure(
    frame: Frame,
    ra: F64,
    dec: F64,
    flux: F64,
    psf: EffectivePsf | DetectorPsf,
    phase_map: PhaseMap = NO_MAP,
    *,
    same_filter: bool = True,
) -> ExposurePhotometry:
    """Measure every catalogued star on one exposure.

    Parameters
    ----------
    frame
        The exposure.
    ra, dec
        (n,) catalogue positions, ICRS [deg].
    flux
        (n,) catalogue fluxes [DN/s]: what the fit expects, and the model that weights follow.
    psf
        The ePSF of the detector, or those of its cells.
    phase_map
        Inter-pixel residual map that goes with this ePSF and catalogue.
    same_filter
        Whether `flux` was measured in this filter; else the typical colour is taken from a first fit.

    Raises
    ------
    InputError
        The catalogue is empty or none of it falls on the exposure.
    KernelError
        The fit is not constrained by the exposure.
    """
    grid = DetectorPsf.of(psf)
    session = _Session(frame, ra, dec, flux, grid, phase_map, SPREAD if same_filter else OTHER_FILTER_SPREAD)
    fit = session.fit(flux)
    if not same_filter:
        session.adopt_colour(fit)
    if not same_filter or session.brighter(fit):
        fit = session.fit(fit.flux)
    for _ in range(POINTING_STEPS):
        if not session.correct_pointing(fit):
            break
        fit = session.fit(fit.flux)
    # Only now: on a misplaced model every bright core would look like a cosmic ray, and every star like a displaced one.
    cosmic = session.mask_cosmic_rays(fit)
    moved = session.correct_positions(fit)
    if moved or cosmic.any():
        fit = session.fit(fit.flux)
    if moved and session.correct_positions(fit):
        fit = session.fit(fit.flux)
    flag, lost, misfit = session.flags(fit, cosmic)
    values, errors = fit.flux.copy(), np.hypot(fit.flux_err * misfit, WING_ERROR * lost * fit.flux)
    errors = np.hypot(errors, halo_errors(session.stars.x, session.stars.y, fit.flux, session.expected()))
    correction = 1.0 + phase_map(session.stars.x, session.stars.y)
    values, errors = values / correction, errors / correction
    values[flag & NO_DATA != 0] = np.nan
    errors[flag & NO_DATA != 0] = np.nan
    inner = session.geometry.inner
    return ExposurePhotometry(
        values,
        errors,
        session.stars.x,
        session.stars.y,
        fit.chi2,
        flag,
        fit.sky,
        session.shift,
        fit.residual[inner].copy(),
        int(cosmic.sum()),
        fit.iterations,
        fit.converged,
        int((np.abs(fit.gradient[session.inside]) > MOST_GRADIENT).sum()),
        int(session.inside.sum()),
    )


class _Session:
    """What the steps of one exposure's fit share."""

    def __init__(
        self, frame: Frame, ra: F64, dec: F64, flux: F64, psf: DetectorPsf, phase_map: PhaseMap, spread: float
    ) -> None:
        if len(ra) == 0:
            raise InputError("the reference catalogue is empty", file=frame.name, remedy="establish it first")
        self.frame, self.psf, self.catalogue_flux = frame, psf, flux
        self.phase_map, self.spread, self.colour = phase_map, spread, 1.0
        self.field = psf.field
        self.geometry = PaddedFrame(*frame.shape)
        self.basis = sky_basis(self.geometry)
        self.data = self.geometry.padded(frame.data)
        noise = frame.read_variance + frame.poisson_slope * max(float(np.median(frame.data)), 0.0)
        self.noise = float(np.sqrt(np.median(noise)))
        self.halves = stamp_halves(flux, self.noise, psf.first)
        self.x, self.y = frame.to_pixels(ra, dec)
        ny, nx = frame.shape
        self.inside = (self.x > -2) & (self.x < nx + 1) & (self.y > -2) & (self.y < ny + 1)
        if not self.inside.any():
            raise InputError(
                "no catalogued star falls on the exposure",
                file=frame.name,
                field="meta.wcs",
                remedy="check its pointing, or establish a catalogue for this field",
            )
        self.good = frame.good.copy()
        self.shift = (0.0, 0.0)
        self.own_shift = np.zeros((2, len(ra)))
        self.stars = self._stars()

    def _stars(self) -> Stars:
        x, y = self.x + self.shift[0] + self.own_shift[0], self.y + self.shift[1] + self.own_shift[1]
        return placed(self.geometry, x, y, self.halves)

    def weight(self, flux: F64) -> F32:
        sky = np.full(self.geometry.shape, np.float32(max(float(np.percentile(self.frame.data, 20)), 0)))
        model = self.psf.render(self.geometry, self.stars, np.maximum(flux, 0), sky)
        weight = self.frame.weight(model[self.geometry.inner], MODEL_FLOOR)
        return self.geometry.padded(np.where(self.good, weight, 0))

    def fit(self, flux: F64) -> ExposureFit:
        """The fit with weights that follow `flux` [DN/s], around the catalogue's fluxes as this exposure shows them."""
        self.last_weight = self.weight(np.where(np.isfinite(flux), flux, 0.0))
        self.far = far_light(self.psf.first, self.geometry, self.stars, flux, self.noise)
        return exposure_fit(
            self.field,
            self.geometry,
            self.stars,
            self.data - self.far,
            self.last_weight,
            self.basis,
            self.expected(),
            spread=self.spread,
        )

    def expected(self) -> F64:
        """The catalogue's fluxes (n,) [DN/s] as this exposure shows them."""
        known = np.where(np.isfinite(self.catalogue_flux), self.catalogue_flux, 0.0) * self.colour
        return np.asarray(known * (1.0 + self.phase_map(self.stars.x, self.stars.y)))

    def brighter(self, fit: ExposureFit) -> bool:
        """Whether stars shine farther here than the last fit believed: stamps follow, and another one is due."""
        halves = np.maximum(self.halves, stamp_halves(np.nan_to_num(fit.flux), self.noise, self.psf.first))
        larger = halves > np.maximum(self.halves, NARROW)
        if larger.any():
            self.halves = np.where(larger, halves, self.halves)
            self.stars = self._stars()
        far = far_light(self.psf.first, self.geometry, self.stars, fit.flux, self.noise)
        return bool(larger.any() or np.abs(far - self.far).max() > FAR_CHANGE * self.noise)

    def adopt_colour(self, fit: ExposureFit) -> None:
        """Scales what is expected by the typical ratio of the stars well measured, if there are any."""
        bright = self.inside & (fit.flux > 20 * fit.flux_err) & (self.catalogue_flux > 0)
        if bright.any():
            self.colour = float(np.median(fit.flux[bright] / self.catalogue_flux[bright]))

    def _position_steps(self, fit: ExposureFit, least_snr: float) -> tuple[NDArray[np.int64], F64, F64]:
        """Stars of more than `least_snr`, their residual displacements in x and y [px] and the errors of these, (2, n)."""
        snr = np.where(fit.flux_err > 0, fit.flux / fit.flux_err, 0)
        bright = np.flatnonzero(self.inside & (snr > least_snr) & np.isfinite(snr))
        steps, errors = np.zeros((2, bright.size)), np.full((2, bright.size), np.inf)
        if bright.size == 0:
            return bright, steps, errors
        sample = Stars.of(self.stars.x[bright], self.stars.y[bright], 3)
        sums = self.psf.position_sums(self.geometry, sample, fit.residual, self.last_weight)
        flux = fit.flux[bright]
        norm = np.maximum(sums[:, 3], 1e-30)
        for axis, (gradient, curvature, cross) in enumerate(((1, 6, 4), (2, 8, 5))):
            information = np.maximum(flux**2 * (sums[:, curvature] - sums[:, cross] ** 2 / norm), 1e-30)
            steps[axis] = flux * (sums[:, gradient] - sums[:, cross] * sums[:, 0] / norm) / information
            errors[axis] = 1.0 / np.sqrt(information)
        return bright, steps, errors

    def correct_pointing(self, fit: ExposureFit) -> bool:
        """Moves the model by the common shift of the bright stars, if that is significant; says whether."""
        bright, steps, errors = self._position_steps(fit, 30.0)
        if bright.size < 10:
            return False
        shift, significant = [], False
        for step, sigma in zip(steps, errors, strict=True):
            use = sigma < 0.2
            if use.sum() < 10:
                return False
            median = float(np.median(step[use]))
            error = 1.2533 * 1.4826 * float(np.median(np.abs(step[use] - median))) / np.sqrt(use.sum())
            significant |= abs(median) > 4 * error and abs(median) > 0.002
            shift.append(median)
        if not significant:
            return False
        self.shift = (self.shift[0] + shift[0], self.shift[1] + shift[1])
        self.stars = self._stars()
        return True

    def correct_positions(self, fit: ExposureFit) -> bool:
        """Moves stars that this exposure sees elsewhere than the catalogue has them; says whether any.

        A variable star's place is known less well than a catalogue of constant ones says, and the light that is lensed need
        not stand where the blend does: its neighbours would take the light that a misplaced model leaves.
        """
        bright, steps, errors = self._position_steps(fit, PLACED_SNR)
        displaced = (np.abs(steps) > DISPLACED_SIGMA * errors).any(axis=0) & (np.hypot(*steps) > DISPLACED_PX)
        x, y, chosen = self.stars.x, self.stars.y, bright[displaced]
        chosen = chosen[alone(x, y, fit.flux, chosen)]
        if chosen.size == 0:
            return False
        known = self.expected()
        steps = displacements(
            self.psf, self.geometry, x, y, fit.flux, fit.flux_err, known, fit.residual, self.last_weight, chosen
        )
        moves = np.hypot(*steps) < MOST_DISPLACED
        self.own_shift[:, chosen[moves]] += steps[:, moves]
        self.stars = self._stars()
        return bool(moves.any())

    def mask_cosmic_rays(self, fit: ExposureFit) -> NDArray[np.bool_]:
        """Masks pixels far above the model and sharper than the PSF; returns which (ny, nx)."""
        inner = self.geometry.inner
        model = self.data[inner] - self.far[inner] - fit.residual[inner]
        hit = cosmic_rays(fit.residual[inner], np.where(self.good, self.last_weight[inner], 0), model)
        self.good &= ~hit
        return hit

    def flags(self, fit: ExposureFit, cosmic: NDArray[np.bool_]) -> tuple[NDArray[np.uint8], F64, F64]:
        """Flag bits of every star, the share of its core that saturation took, and by how much a misfit enlarges errors."""
        core = Stars.of(self.stars.x, self.stars.y, 3)
        flag, lost = core_flags(self.psf, self.geometry, core, self.good, self.frame.saturated, cosmic)
        flag[~self.inside | ~np.isfinite(fit.flux_err)] |= NO_DATA
        typical = _typical(fit.chi2, self.catalogue_flux)
        bad = (fit.chi2 > 25) & (fit.chi2 > 4 * typical)
        flag[bad] |= BAD_FIT
        flag[np.abs(fit.gradient) > MOST_GRADIENT] |= UNSOLVED
        misfit = np.ones(len(flag))
        misfit[bad] = np.sqrt(fit.chi2[bad] / np.maximum(typical[bad], 1.0))
        return flag, lost, misfit


def core_flags(
    psf: DetectorPsf,
    geometry: PaddedFrame,
    core: Stars,
    good: NDArray[np.bool_],
    saturated: NDArray[np.bool_],
    cosmic: NDArray[np.bool_],
) -> tuple[NDArray[np.uint8], F64]:
    """Flag bits that follow from the pixels (ny, nx) in the cores of stars (usable, lost to saturation, hit by cosmic
    rays), and the share of every core that is lost to saturation, both (n,).
    """
    sharpness = psf.sharpness_of(core)
    ones = np.ones(geometry.shape, dtype=np.float32)

    def share(pixels: NDArray[np.bool_]) -> F64:
        return psf.matched_sums(geometry, core, ones, geometry.padded(pixels))[:, 1] / sharpness

    lost = np.clip(share(saturated), 0.0, 1.0) if saturated.any() else np.zeros(len(core))
    usable = share(good) + lost
    flag = np.zeros(len(core), dtype=np.uint8)
    flag[usable < 0.02] |= NO_DATA
    flag[lost > 0.02] |= SATURATED
    flag[usable < 0.7] |= MASKED
    if cosmic.any():
        flag[share(cosmic) > 0.01] |= COSMIC_RAY
    x, y = core.x, core.y
    flag[(x < 2.5) | (x > geometry.nx - 3.5) | (y < 2.5) | (y > geometry.ny - 3.5)] |= EDGE
    return flag, lost


def cosmic_rays(residual: F32, weight: F32, model: F32 | None = None) -> NDArray[np.bool_]:
    """Pixels (ny, nx) far above the model and sharper than any PSF; weight 0 marks those that do not count.

    Where `model` is given, an excess must be RAY_OF_MODEL of its brightest pixel nearby: below, it may be the core of a
    star that stands a little elsewhere.
    """
    from scipy.ndimage import maximum_filter

    sigma = 1.0 / np.sqrt(np.maximum(weight, 1e-12))
    significance = np.where(weight > 0, residual / sigma, 0)
    padded = np.pad(residual, 1)
    around = (padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]) / 4
    found = (significance > 8) & (around < 0.1 * residual)
    if model is not None and found.any():
        found &= residual > RAY_OF_MODEL * maximum_filter(model, size=3)
    return np.asarray(found)


def _typical(chi2: F32, flux: F64) -> F64:
    """Running median of chi2 over the 101 stars of nearest brightness."""
    from scipy.ndimage import median_filter

    order = np.argsort(flux)
    result = np.empty(len(flux))
    result[order] = median_filter(
        np.nan_to_num(chi2[order].astype(np.float64)), size=min(101, len(flux)), mode="nearest"
    )
    return result
