"""The reference catalogue: every star of a stack of exposures, found blind.

The stack is never resampled: at every point of a half-pixel grid the matched filter sums over the pixels
of all exposures, each with the ePSF at its own sub-pixel phase, which is the best detection statistic for
isolated stars in dithered, undersampled images. Detection, joint flux fit, position steps and ePSF
improvement alternate, on residuals, from the brightest stars to the faintest.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.kernels.photometry import JointFit, Stars, joint_fit, matched_sums, position_sums
from roman_assets.systems.msos.catalogue.doubt import doubt, flux_factor, position_factor
from roman_assets.systems.msos.catalogue.stack import DETECTION_GRID, DETECTION_MARGIN, Stack, StarList
from roman_assets.systems.msos.psf.build import improve_psf
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf, normalised, recentred
from roman_assets.systems.msos.psf.grid import DetectorPsf
from roman_assets.systems.msos.psf.phase_map import NO_MAP, PhaseMap
from roman_assets.systems.msos.psf.stamps import NARROW, stamp_halves

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]


@dataclass(frozen=True)
class Round:
    """One round of the search: detection threshold [sigma] and relative error floor of the model."""

    threshold: float
    floor: float


ROUNDS = (
    Round(100, 0.20),
    Round(30, 0.10),
    Round(12, 0.05),
    Round(7, 0.03),
    Round(5, 0.02),
    Round(4, 0.01),
    Round(3.5, 0.01),
)
#: Entries that the joint fit leaves below this signal to noise are dropped.
PRUNE_SNR = 3.5
#: Entries of the catalogue have at least this signal to noise, by errors that the residuals have a say in.
LEAST_SNR = 4.0
#: Two entries closer than this [px] are one star.
MERGE_PX = 0.45
#: Steps that bring saturated stars from the centroids of their lost pixels to their places.
PLACING_STEPS = 8
#: A very bright star changes where its flux scatters by more than this between the exposures, relative to its mean.
CHANGES = 0.15
#: Half size of the window that tells a star's place, and of one so bright that its core may be lost.
PLACE_HALF, PLACE_HALF_BRIGHT = 3, 7
#: Stars enter the ePSF above this signal to noise in the stack.
PSF_STAR_SNR = 60.0


@dataclass
class CatalogueResult:
    """The catalogue with what was learnt on the way.

    ra, dec [deg]; x_err, y_err [px]; flux_err [DN/s]; crowding: fraction of the light on the star's core
    that is not its own; psf: the ePSF used last; residual: (exposures, ny, nx) [DN/s]; sky: (exposures,
    terms) [DN/s]; phase_map: inter-pixel residual map that goes with the ePSF.
    """

    stars: StarList
    ra: F64
    dec: F64
    x_err: F64
    y_err: F64
    flux_err: F64
    chi2: F32
    crowding: F64
    saturated: NDArray[np.bool_]
    psf: EffectivePsf | DetectorPsf
    residual: F32
    sky: F64
    phase_map: PhaseMap = NO_MAP


@dataclass
class _Fitted:
    """The last fit of a stack, with the scatter of its residuals around every star and which stars stand out of it."""

    stars: StarList
    sky: F64
    residual: F32
    fit: JointFit
    weight: F32
    scatter: F64
    flux_err: F64
    keep: NDArray[np.bool_]


def build_catalogue(
    frames: Sequence[Frame],
    model: EffectivePsf,
    *,
    rounds: Sequence[Round] = ROUNDS,
    fixed_psf: bool = False,
    progress: Callable[[str], None] | None = None,
) -> CatalogueResult:
    """Find and measure all stars of a stack of exposures of one detector.

    Parameters
    ----------
    frames
        Exposures of one pointing up to dithers; the first defines the pixel frame of the result.
    model
        First guess of the ePSF, and its prior in the far wings.
    fixed_psf
        Keep `model` as it is (a trusted reference file).
    progress
        Called with a line of text after each round.

    Raises
    ------
    InputError
        No frames, frames of different shapes, or no star found.
    """
    stack, psf = Stack(frames), model
    sky = np.zeros((len(frames), len(stack.basis)))
    sky[:, 0] = [np.percentile(f.data[f.good], 20) for f in frames]
    stars = _saturated_stars(stack, psf)
    for _ in range(PLACING_STEPS if len(stars) else 0):  # nothing else is looked for while the brightest are misplaced
        stars, _, residual, _ = _fit(stack, stars, psf, sky, rounds[0].floor)
        stars = _move(stack, stars, psf, residual, sky, rounds[0].floor)
    residual = stack.residual(stars, psf, sky)
    for number, step in enumerate(rounds):
        weight = stack.weights(stars, psf, sky, step.floor)
        stars = stars.joined(_detect(stack, psf, residual, weight, stars, step.threshold))
        if not len(stars):
            continue
        for _ in range(2):
            stars, sky, residual, fit = _fit(stack, stars, psf, sky, step.floor)
            stars = _move(stack, stars, psf, residual, sky, step.floor)
            stars = _prune(stars, fit, min(step.threshold, PRUNE_SNR))
        stack.changing = _changing(stack, stars, psf, residual, weight)
        if not fixed_psf:
            psf, stars = _improve(stack, stars, psf, model, sky, step.floor)
        residual = stack.residual(stars, psf, sky)
        if progress:
            progress(f"round {number + 1}/{len(rounds)}: {len(stars)} stars above {step.threshold:g} sigma")
    if not len(stars):
        raise InputError("no star found", remedy="check the exposures' data and error arrays")
    return _finish(stack, stars, psf, sky, rounds[-1])


def _saturated_stars(stack: Stack, psf: EffectivePsf) -> StarList:
    """Starting positions of saturated stars, whose cores are masked: centroids of the saturated pixels."""
    from scipy import ndimage

    frame = stack.frames[0]
    labels, count = ndimage.label(frame.saturated, structure=np.ones((3, 3)))
    if not count:
        return StarList(*(np.empty(0) for _ in range(3)))
    centres = np.array(ndimage.center_of_mass(frame.saturated, labels, np.arange(1, count + 1)))
    at = Stars.of(centres[:, 1], centres[:, 0], 7)
    sums = matched_sums(psf.spline, stack.geometry, at, stack.data[0], stack.geometry.padded(frame.good))
    flux = np.where(sums[:, 1] > 0, sums[:, 0] / np.maximum(sums[:, 1], 1e-12), 0)
    return StarList(centres[:, 1].astype(float), centres[:, 0].astype(float), np.maximum(flux, 1.0))


def _detect(stack: Stack, psf: EffectivePsf, residual: F32, weight: F32, stars: StarList, threshold: float) -> StarList:
    """Peaks of the matched-filter signal to noise above `threshold`, away from known stars."""
    from scipy.ndimage import maximum_filter
    from scipy.spatial import cKDTree

    gx, gy, _ = stack.detection_points
    snr, sums = _matched_filter(stack, psf, residual, weight)
    peaks = (snr > threshold) & (snr == maximum_filter(snr, size=3))
    rows, cols = np.nonzero(peaks)
    x = gx[rows, cols] + vertex(snr, rows, cols, 1) / DETECTION_GRID
    y = gy[rows, cols] + vertex(snr, rows, cols, 0) / DETECTION_GRID
    flux = (sums[:, 0] / np.maximum(sums[:, 1], 1e-30)).reshape(gx.shape)[rows, cols]
    found = StarList(x, y, flux)
    if len(stars) and len(found):
        distance, _ = cKDTree(np.stack([stars.x, stars.y], axis=1)).query(np.stack([x, y], axis=1))
        found = found.take(distance > MERGE_PX)
    return found


def _matched_filter(stack: Stack, psf: EffectivePsf, residual: F32, weight: F32) -> tuple[F64, F64]:
    """Signal to noise of a star at every point of the detection grid, (rows, cols), and the sums behind it, (points, 2)."""
    gx, _, places = stack.detection_points
    # The kernels release the interpreter: exposures are filtered side by side, summed in their order.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        parts = pool.map(
            lambda e: matched_sums(psf.spline, stack.geometry, places[e], residual[e], weight[e]), range(len(places))
        )
        sums = np.zeros((gx.size, 2))
        for part in parts:
            sums += part
    # A point that sees less than a twentieth of the usual weight tells nothing about a star there.
    usable = sums[:, 1] > 0.05 * np.median(sums[:, 1])
    snr = np.where(usable, sums[:, 0] / np.sqrt(np.maximum(sums[:, 1], 1e-30)), 0).reshape(gx.shape)
    return snr, sums


def vertex(image: F64, rows: NDArray[np.int64], cols: NDArray[np.int64], axis: int) -> F64:
    """Sub-grid offset of a maximum from a parabola through it and its neighbours along `axis`."""
    dr, dc = (1, 0) if axis == 0 else (0, 1)
    padded = np.pad(image, 1, mode="edge")
    r, c = rows + 1, cols + 1
    low, mid, high = padded[r - dr, c - dc], padded[r, c], padded[r + dr, c + dc]
    curvature = low - 2 * mid + high
    return np.where(curvature < 0, np.clip(0.5 * (low - high) / np.minimum(curvature, -1e-12), -0.5, 0.5), 0.0)


def _fit(
    stack: Stack, stars: StarList, psf: EffectivePsf, sky: F64, floor: float
) -> tuple[StarList, F64, F32, JointFit]:
    """Joint flux fit over all exposures at fixed positions."""
    weight = stack.weights(stars, psf, sky, floor)
    halves = stamp_halves(stars.flux, stack.noise, psf)
    where = stack.positions(stars, halves)
    data = stack.without_far_light(stars, psf, where)
    fit = joint_fit(psf.spline, stack.geometry, where, data, weight, stack.basis, stars.flux, tolerance=0.02)
    return StarList(stars.x, stars.y, fit.flux), fit.sky, fit.residual, fit


def _accumulate(stack: Stack, stars: StarList, psf: EffectivePsf, residual: F32, weight: F32) -> F64:
    """Sums of csrc/star_sums.h over all exposures, derivatives turned into the reference frame: (n, 9)."""
    total = np.zeros((len(stars), 9))
    bright = stamp_halves(stars.flux, stack.noise, psf) > NARROW
    halves = np.where(bright, PLACE_HALF_BRIGHT, PLACE_HALF).astype(np.int32)
    for index, where in enumerate(stack.positions(stars, halves)):
        s = position_sums(psf.spline, stack.geometry, where, residual[index], weight[index])
        jac = stack.frames[index].jacobian
        total[:, [0, 3]] += s[:, [0, 3]]
        total[:, 1:3] += s[:, 1:3] @ jac
        total[:, 4:6] += s[:, 4:6] @ jac
        hessian = np.stack([s[:, [6, 7]], s[:, [7, 8]]], axis=1)
        turned = jac.T @ hessian @ jac
        total[:, 6] += turned[:, 0, 0]
        total[:, 7] += turned[:, 0, 1]
        total[:, 8] += turned[:, 1, 1]
    return total


def _changing(stack: Stack, stars: StarList, psf: EffectivePsf, residual: F32, weight: F32) -> StarList:
    """Very bright stars whose flux differs between the exposures, with its scatter [DN/s] as flux.

    The stack knows one flux a star: what it leaves of such a one is no light of stars around it.
    """
    bright = stars.take(stamp_halves(stars.flux, stack.noise, psf) > NARROW)
    if not len(bright) or len(stack.frames) < 2:
        return bright.take(np.zeros(len(bright), dtype=bool))
    window = np.full(len(bright), PLACE_HALF_BRIGHT, dtype=np.int32)
    places = stack.positions(bright, window)
    sums = np.stack(
        [matched_sums(psf.spline, stack.geometry, at, residual[e], weight[e]) for e, at in enumerate(places)]
    )
    more = np.where(sums[:, :, 1] > 0, sums[:, :, 0] / np.maximum(sums[:, :, 1], 1e-30), 0.0)
    scatter = more.std(axis=0)
    return StarList(bright.x, bright.y, scatter).take(scatter > CHANGES * bright.flux)


def _position_system(sums: F64, flux: F64) -> tuple[F64, F64]:
    """Normal matrices (n, 2, 2) and gradients (n, 2) of the position, the flux being eliminated."""
    norm = np.maximum(sums[:, 3], 1e-30)
    hxx = flux**2 * (sums[:, 6] - sums[:, 4] ** 2 / norm)
    hyy = flux**2 * (sums[:, 8] - sums[:, 5] ** 2 / norm)
    hxy = flux**2 * (sums[:, 7] - sums[:, 4] * sums[:, 5] / norm)
    gx = flux * (sums[:, 1] - sums[:, 4] * sums[:, 0] / norm)
    gy = flux * (sums[:, 2] - sums[:, 5] * sums[:, 0] / norm)
    # A weak prior of 0.3 px keeps stars that the data do not locate where they were found.
    prior = 1.0 / 0.3**2
    matrix = np.stack([np.stack([hxx + prior, hxy], axis=1), np.stack([hxy, hyy + prior], axis=1)], axis=1)
    return matrix, np.stack([gx, gy], axis=1)


def _move(stack: Stack, stars: StarList, psf: EffectivePsf, residual: F32, sky: F64, floor: float) -> StarList:
    """One damped Newton step of every position on the residuals."""
    weight = stack.weights(stars, psf, sky, floor)
    matrix, gradient = _position_system(_accumulate(stack, stars, psf, residual, weight), stars.flux)
    step = np.clip(0.7 * np.linalg.solve(matrix, gradient[:, :, None])[:, :, 0], -0.25, 0.25)
    return StarList(stars.x + step[:, 0], stars.y + step[:, 1], stars.flux)


def _prune(stars: StarList, fit: JointFit, threshold: float) -> StarList:
    """Without stars that the joint fit makes insignificant, and without the fainter of two at one place."""
    from scipy.spatial import cKDTree

    keep = fit.flux > threshold * np.where(np.isfinite(fit.flux_err), fit.flux_err, np.inf)
    pairs = cKDTree(np.stack([stars.x, stars.y], axis=1)).query_pairs(MERGE_PX, output_type="ndarray")
    if len(pairs):
        fainter = np.where(stars.flux[pairs[:, 0]] < stars.flux[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
        keep[fainter] = False
    return stars.take(keep)


def _improve(
    stack: Stack, stars: StarList, psf: EffectivePsf, model: EffectivePsf, sky: F64, floor: float
) -> tuple[EffectivePsf, StarList]:
    """The empirical ePSF from the stars well measured so far, and the stars in its centring.

    The optical model normalises it and the centroid of its core centres it.
    """
    weight = stack.weights(stars, psf, sky, max(floor, 0.01))
    halves = stamp_halves(stars.flux, stack.noise, psf)
    core = np.full(len(stars), 3, dtype=np.int32)
    norm = sum(
        matched_sums(psf.spline, stack.geometry, where, stack.data[e], weight[e])[:, 1]
        for e, where in enumerate(stack.positions(stars, core))
    )
    chosen = stars.flux * np.sqrt(norm) > PSF_STAR_SNR
    if chosen.sum() < 20:
        return psf, stars
    bright = stars.take(chosen)
    residual = stack.residual(stars, psf, sky)
    places = stack.positions(bright, halves[chosen])
    better = improve_psf(psf, model, stack.geometry, places, bright.flux, residual, weight)
    centred, (dx, dy) = recentred(better)
    first = stack.frames[0]
    final = normalised(centred, first.detector, first.optical_element)
    # A larger psi means smaller fluxes for the same light.
    ratio = better.encircled_energy(3.0) / final.encircled_energy(3.0)
    return final, StarList(stars.x + dx, stars.y + dy, stars.flux * ratio)


def _last_fits(stack: Stack, stars: StarList, psf: EffectivePsf, sky: F64, floor: float) -> _Fitted:
    """Final positions and fluxes of the stars that stand out of what the residuals show; what the others had absorbed shows
    only without them, so it is asked twice.
    """
    stars, sky, residual, fit = _fit(stack, stars, psf, sky, floor)
    stars = _move(stack, stars, psf, residual, sky, floor)
    for last in (False, True):
        stars, sky, residual, fit = _fit(stack, stars, psf, sky, floor)
        weight = stack.weights(stars, psf, sky, floor)
        scatter = doubt(_matched_filter(stack, psf, residual, weight)[0], stars)
        flux_err = fit.flux_err * flux_factor(scatter, fit.flux_err)
        keep = (fit.flux > LEAST_SNR * flux_err) & np.isfinite(flux_err)
        if not last and keep.any():
            stars = stars.take(keep)
    return _Fitted(stars, sky, residual, fit, weight, scatter, flux_err, keep)


def _finish(stack: Stack, stars: StarList, psf: EffectivePsf, sky: F64, last: Round) -> CatalogueResult:
    """Final positions, fluxes and their errors, sky coordinates and crowding."""
    done = _last_fits(stack, stars, psf, sky, last.floor)
    stars, sky, residual, fit, keep = done.stars, done.sky, done.residual, done.fit, done.keep
    ny, nx = stack.frames[0].shape
    # Stars just outside the first exposure stay: dithered exposures see them, and their light must be modelled.
    keep &= (stars.x > -DETECTION_MARGIN) & (stars.x < nx - 1 + DETECTION_MARGIN)
    keep &= (stars.y > -DETECTION_MARGIN) & (stars.y < ny - 1 + DETECTION_MARGIN)
    matrix, _ = _position_system(_accumulate(stack, stars, psf, residual, done.weight), stars.flux)
    errors = np.sqrt(np.maximum(np.diagonal(np.linalg.inv(matrix), axis1=1, axis2=2), 0))
    errors *= position_factor(done.scatter)[:, None]
    core = matched_sums(
        psf.spline,
        stack.geometry,
        stack.positions(stars, np.full(len(stars), 3, dtype=np.int32))[0],
        stack.data[0] - residual[0] - np.tensordot(sky[0], stack.basis, axes=1).astype(np.float32),
        stack.geometry.padded(np.ones(stack.frames[0].shape)),
    )
    own = stars.flux * core[:, 1]
    crowding = np.clip(1 - own / np.maximum(core[:, 0], 1e-12), 0, 1)
    rows = np.clip(np.rint(stars.y).astype(int), 0, ny - 1)
    cols = np.clip(np.rint(stars.x).astype(int), 0, nx - 1)
    saturated = stack.frames[0].saturated[rows, cols]
    ra, dec = stack.sky(stars.x, stars.y)
    inner = (slice(None), *stack.geometry.inner)
    return CatalogueResult(
        stars.take(keep),
        ra[keep],
        dec[keep],
        errors[keep, 0],
        errors[keep, 1],
        done.flux_err[keep],
        fit.chi2[keep],
        crowding[keep],
        saturated[keep],
        psf,
        residual[inner].copy(),
        sky,
    )
