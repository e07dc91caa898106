"""Photometry of the shared bulge scenes judged against their truth.

A row is ``{name, value, required, data_set, passed}``; `required` is text. Catalogue and ePSF are found
blind, from the first twelve exposures, as the platform does; then every exposure is measured.
Run: ``python -m benchmarks.run_validation``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from benchmarks.matching import RADIUS_PX, TOLERANCE_MAG, isolated, match
from roman_assets.exposures.level2.frames import Frame, prepare
from roman_assets.exposures.level2.reader import read_image
from roman_assets.kernels.photometry import PaddedFrame, Stars, matched_sums, render
from roman_assets.systems.msos.catalogue.detection import CatalogueResult
from roman_assets.systems.msos.catalogue.self_calibration import calibrated_catalogue
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS
from roman_assets.systems.msos.photometry.calibration import ab_zero_point, ensemble_zero_point
from roman_assets.systems.msos.photometry.exposure_fit import fit_exposure
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf, model_psf
from roman_assets.systems.msos.psf.stamps import placed, stamp_halves
from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig

Row = dict[str, Any]
F64 = NDArray[np.float64]
DETECTORS = ("wfi01", "wfi02")
#: AB magnitudes of 1 DN/s that the headers of the scenes carry.
ZERO_POINTS = {"wfi01": 26.786, "wfi02": 26.825}
BRIGHT, FAINT = 18.0, 21.0


@dataclass
class Scene:
    """One detector's scene, measured: fluxes, errors and expected errors are (exposures, true stars)."""

    truth: pl.DataFrame
    zero_point: float
    catalogue: CatalogueResult
    matched: NDArray[np.int64]
    inside: NDArray[np.bool_]
    constant: NDArray[np.bool_]
    flux: F64
    flux_err: F64
    expected_err: F64
    chi_true: float  # epoch scatter over expected errors with the model's ePSF and true positions, 18 < F146 < 21

    @property
    def mag(self) -> F64:
        """True AB magnitudes."""
        return self.truth["mag_f146"].to_numpy()

    @property
    def true_flux(self) -> F64:
        """True fluxes [DN/s]."""
        return np.asarray(10 ** (-0.4 * (self.mag - self.zero_point)))


def rows(data_folder: str | Path) -> list[Row]:
    """All rows, both detectors; a missing scene is a row that says so."""
    result = []
    for detector in DETECTORS:
        folder = Path(data_folder) / "bulge_scene" / detector
        if not folder.is_dir():
            result.append(_row(f"photometry {detector}", float("nan"), "the scene", "missing", False))
            continue
        result.extend(judge(measure(folder), detector))
    return result


def measure(folder: Path) -> Scene:
    """Catalogue and photometry of one detector's scene."""
    images = [read_image(path) for path in sorted(folder.glob("*.asdf"))]
    frames = [prepare(image) for image in images]
    header = images[0].header
    zero_point, _ = ab_zero_point(header.conversion_megajanskys, header.pixel_area_sr)
    stack = frames[: CatalogueConfig().exposures]
    catalogue = calibrated_catalogue(stack, model_psf(header.detector, header.optical_element))
    truth = pl.read_parquet(folder / "stars.parquet")
    x, y, mag = (truth[c].to_numpy() for c in ("x", "y", "mag_f146"))
    stars = catalogue.stars
    matched = match(x, y, mag, stars.x, stars.y, zero_point - 2.5 * np.log10(stars.flux))
    ny, nx = frames[0].shape
    varying = pl.concat([pl.read_parquet(folder / f"{n}.parquet")["source_id"] for n in ("events", "variables")])
    flux, flux_err = _measured(frames, catalogue, matched)
    true_flux = 10 ** (-0.4 * (mag - zero_point))
    expected = expected_errors(frames, truth, true_flux, catalogue.psf)
    bright = (mag > BRIGHT) & (mag < FAINT) & (matched >= 0)
    chi_true = _scatter_with_truth(frames, truth, true_flux, header, expected, bright)
    return Scene(
        truth,
        zero_point,
        catalogue,
        matched,
        (x >= 0) & (x <= nx - 1) & (y >= 0) & (y <= ny - 1),
        ~truth["source_id"].is_in(varying.implode()).to_numpy(),
        flux,
        flux_err,
        expected,
        chi_true,
    )


def _measured(frames: Sequence[Frame], catalogue: CatalogueResult, matched: NDArray[np.int64]) -> tuple[F64, F64]:
    """Usable calibrated fluxes and errors of the matched true stars, NaN elsewhere."""
    reference, reference_err = catalogue.stars.flux, catalogue.flux_err
    flux = np.full((len(frames), len(matched)), np.nan)
    error = flux.copy()
    found = np.flatnonzero(matched >= 0)
    entries = matched[found]
    for index, frame in enumerate(frames):
        fit = fit_exposure(frame, catalogue.ra, catalogue.dec, catalogue.stars.flux, catalogue.psf, catalogue.phase_map)
        good = (fit.flag & UNUSED_FLAGS) == 0
        scale = ensemble_zero_point(fit.flux, fit.flux_err, reference, reference_err, good).scale
        flux[index, found] = np.where(good, fit.flux / scale, np.nan)[entries]
        error[index, found] = np.where(good, fit.flux_err / scale, np.nan)[entries]
    return flux, error


def _scatter_with_truth(
    frames: Sequence[Frame], truth: pl.DataFrame, true_flux: F64, header: Any, expected: F64, bright: NDArray[np.bool_]
) -> float:
    """Median over bright stars of scatter over expected errors, with true positions and the optical model's ePSF.

    Both it and the scene come from GalSim; its wings are azimuthal means and it is that of one place and focus, so
    that the empirical ePSF can do better.
    """
    psf = model_psf(header.detector, header.optical_element)
    flux = []
    reference = np.full(len(truth), 1e-6)
    for frame in frames:
        fit = fit_exposure(frame, truth["ra"].to_numpy(), truth["dec"].to_numpy(), true_flux, psf)
        good = (fit.flag & UNUSED_FLAGS) == 0
        scale = ensemble_zero_point(fit.flux, fit.flux_err, true_flux, reference, good).scale
        flux.append(np.where(good, fit.flux / scale, np.nan))
    with np.errstate(all="ignore"):
        excess = np.array(flux)[:, bright] - np.nanmedian(np.array(flux)[:, bright], axis=0)
        count = np.isfinite(excess).sum(axis=0)
        chi = np.sqrt(np.nansum((excess / expected[:, bright]) ** 2, axis=0) / np.maximum(count - 1, 1))
    return float(np.median(chi[count >= 4]))


def expected_errors(frames: Sequence[Frame], truth: pl.DataFrame, true_flux: F64, psf: EffectivePsf) -> F64:
    """Photon and read noise of an ideal PSF fit of each true star, (exposures, stars) [DN/s].

    1 / sqrt(sum psi^2 / V), with V the variance that the exposures' own noise planes give for the true
    scene: no confusion, no covariance with neighbours, no error of the ePSF.
    """
    geometry = PaddedFrame(*frames[0].shape)
    noise = float(np.sqrt(np.median(frames[0].read_variance)))
    halves = stamp_halves(true_flux, noise, psf)
    result = np.empty((len(frames), len(truth)))
    for index, frame in enumerate(frames):
        stars = placed(geometry, *frame.to_pixels(truth["ra"].to_numpy(), truth["dec"].to_numpy()), halves)
        sky = np.full(geometry.shape, np.float32(max(np.percentile(frame.data[frame.good], 5), 0)))
        model = render(psf.spline, geometry, stars, true_flux, sky)[geometry.inner]
        weight = geometry.padded(frame.weight(model, 0.0))
        ones = np.ones(geometry.shape, dtype=np.float32)
        sums = matched_sums(psf.spline, geometry, Stars.of(stars.x, stars.y, 7), ones, weight)
        result[index] = 1 / np.sqrt(np.maximum(sums[:, 1], 1e-30))
    return result


def judge(scene: Scene, detector: str) -> list[Row]:
    """The requirements, one row each."""
    data_set = f"bulge_scene/{detector}"
    mag, stars = scene.mag, scene.catalogue.stars
    use = scene.inside & scene.constant & (scene.matched >= 0) & (mag > BRIGHT) & (mag < FAINT)
    ratio = scene.flux[:, use] / scene.true_flux[use]
    with np.errstate(all="ignore"):
        per_star = np.nanmedian(ratio, axis=0)
        excess = scene.flux[:, use] - np.nanmedian(scene.flux[:, use], axis=0)
        count = np.isfinite(excess).sum(axis=0)
        chi = np.sqrt(np.nansum((excess / scene.expected_err[:, use]) ** 2, axis=0) / np.maximum(count - 1, 1))
    enough = count >= min(4, len(scene.flux))
    bias = float(np.nanmedian(per_star)) - 1
    # The bright constant stars tie fluxes to magnitudes: the zero point that they give.
    measured_zero = float(np.nanmedian(mag[use] + 2.5 * np.log10(np.nanmedian(scene.flux[:, use], axis=0))))
    zero_error = 10 ** (0.4 * (measured_zero - ZERO_POINTS[detector])) - 1
    faint = scene.inside & (mag < FAINT)
    alone = faint & isolated(*(scene.truth[c].to_numpy() for c in ("x", "y")), mag)
    entry_mag = scene.zero_point - 2.5 * np.log10(stars.flux)
    size = scene.truth.filter(pl.Series(scene.inside))
    bright = (entry_mag < FAINT) & (stars.x >= 0) & (stars.y >= 0)
    bright &= (stars.x <= float(np.ceil(size["x"].max()))) & (stars.y <= float(np.ceil(size["y"].max())))
    # An event or variable star is real whatever its brightness in the stack was.
    varying = ~scene.constant
    real = np.isin(np.flatnonzero(bright), scene.matched)
    distance = np.hypot(
        stars.x[bright][:, None] - scene.truth["x"].to_numpy()[varying],
        stars.y[bright][:, None] - scene.truth["y"].to_numpy()[varying],
    )
    real |= (distance < RADIUS_PX).any(axis=1)
    near = f"{RADIUS_PX} px, {TOLERANCE_MAG} mag"
    return [
        _row("median flux bias, 18 < F146 < 21", bias, "within 0.005", data_set, abs(bias) <= 0.005),
        _row(
            "epoch scatter / (photon + read noise), 18 < F146 < 21",
            float(np.median(chi[enough])),
            "<= 1.25",
            data_set,
            float(np.median(chi[enough])) <= 1.25,
        ),
        _row("zero point against the header", zero_error, "within 0.01", data_set, abs(zero_error) <= 0.01),
        _row(
            f"isolated stars < 21 found ({near})",
            float((scene.matched[alone] >= 0).mean()),
            ">= 0.95",
            data_set,
            (scene.matched[alone] >= 0).mean() >= 0.95,
        ),
        _row(
            f"all stars < 21 found ({near})",
            float((scene.matched[faint] >= 0).mean()),
            ">= 0.80",
            data_set,
            (scene.matched[faint] >= 0).mean() >= 0.80,
        ),
        _row(f"spurious entries < 21 ({near})", float(1 - real.mean()), "<= 0.02", data_set, 1 - real.mean() <= 0.02),
        _row(
            "epoch scatter with the empirical ePSF over that with the optical model's at true positions",
            float(np.median(chi[enough])) / scene.chi_true,
            "<= 1.10",
            data_set,
            float(np.median(chi[enough])) <= 1.10 * scene.chi_true,
        ),
        *_completeness(scene, data_set),
    ]


def _completeness(scene: Scene, data_set: str) -> list[Row]:
    """Stars found and entries that are no star by magnitude, and stars found by the distance of a brighter neighbour."""
    mag, found, stars = scene.mag, scene.matched >= 0, scene.catalogue.stars
    x, y = (scene.truth[c].to_numpy() for c in ("x", "y"))
    entry_mag = scene.zero_point - 2.5 * np.log10(stars.flux)
    inside = (stars.x >= 0) & (stars.y >= 0) & (stars.x <= x[scene.inside].max()) & (stars.y <= y[scene.inside].max())
    real = np.isin(np.arange(len(stars)), scene.matched)
    rows = []
    for low, high in ((18, 20), (20, 21), (21, 22), (22, 23)):
        chosen = scene.inside & (mag >= low) & (mag < high)
        rows.append(_row(f"stars found, {low} < F146 < {high}", float(found[chosen].mean()), "counted", data_set, True))
        entries = inside & (entry_mag >= low) & (entry_mag < high)
        spurious = float(1 - real[entries].mean())
        rows.append(_row(f"entries without a star, {low} < F146 < {high}", spurious, "counted", data_set, True))
    distance = _brighter_neighbour(x, y, mag)
    for near, far in ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5), (1.5, 3.0)):
        chosen = scene.inside & (mag < 22) & (distance >= near) & (distance < far)
        value = float(found[chosen].mean()) if chosen.any() else float("nan")
        rows.append(
            _row(f"stars < 22 found, brighter neighbour at {near} to {far} px", value, "counted", data_set, True)
        )
    return rows


def _brighter_neighbour(x: F64, y: F64, mag: F64) -> F64:
    """Distance of the nearest brighter star within 3 px, (n,) [px]; infinite where there is none."""
    from scipy.spatial import cKDTree

    result = np.full(len(x), np.inf)
    places = np.column_stack([x, y])
    for a, b in cKDTree(places).query_pairs(3.0):
        fainter = a if mag[a] > mag[b] else b
        result[fainter] = min(result[fainter], float(np.hypot(*(places[a] - places[b]))))
    return result


def _row(name: str, value: float, required: str, data_set: str, passed: Any) -> Row:
    return {"name": name, "value": value, "required": required, "data_set": data_set, "passed": bool(passed)}
