"""Photometric calibration: absolute from the header, relative from the ensemble of constant stars."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError

F64 = NDArray[np.float64]
#: Flux density of magnitude zero in the AB system [Jy].
AB_ZERO_JY = 3631.0
#: Noise that no calibration here removes, relative [of the flux].
FLOOR = 0.001


def ab_zero_point(conversion_megajanskys: float, pixel_area_sr: float) -> tuple[float, str | None]:
    """AB magnitude of 1 DN/s of total flux, and a caveat if the header's signs are wrong.

    Parameters
    ----------
    conversion_megajanskys
        (MJy/sr) per (DN/s).
    pixel_area_sr
        [sr].

    Raises
    ------
    InputError
        The two do not give a positive flux density.
    """
    product = conversion_megajanskys * pixel_area_sr
    if not np.isfinite(product) or product <= 0:
        raise InputError(
            f"conversion {conversion_megajanskys} and pixel area {pixel_area_sr} give no positive flux density",
            field="meta.photometry",
            remedy="ask for the exposure to be reprocessed with a photom reference file",
        )
    caveat = None if conversion_megajanskys > 0 else "photometry keywords are both negative; their product was used"
    return -2.5 * float(np.log10(product * 1e6 / AB_ZERO_JY)), caveat


@dataclass(frozen=True)
class ZeroPoint:
    """Sensitivity of one exposure against the reference: flux(exposure) = scale * flux(reference)."""

    scale: float
    scale_err: float
    n_stars: int
    scatter: float  # robust, of single stars about the scale


def ensemble_zero_point(
    flux: F64, flux_err: F64, reference: F64, reference_err: F64, usable: NDArray[np.bool_]
) -> ZeroPoint:
    """Robust scale between an exposure's fluxes and the reference catalogue's.

    All arrays (n,), fluxes in DN/s. Variables and events are a minority and are left out by the clipping.

    Raises
    ------
    InputError
        Fewer than 10 stars are usable, or the scale lies outside SCALE_RANGE.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = flux / reference
        sigma = np.hypot(flux_err / reference, reference_err * flux / reference**2)
    use = usable & np.isfinite(ratio) & np.isfinite(sigma) & (sigma > 0) & (sigma < 0.05)
    if use.sum() < 10:
        use = usable & np.isfinite(ratio) & np.isfinite(sigma) & (sigma > 0)
    if use.sum() < 10:
        raise InputError(
            f"only {int(use.sum())} stars to calibrate on", field="zero point", remedy="the exposure is left out"
        )
    ratio, sigma = ratio[use], np.hypot(sigma[use], FLOOR)
    keep = np.ones(ratio.shape, dtype=bool)
    scale = float(np.median(ratio))
    for _ in range(5):
        spread = 1.4826 * float(np.median(np.abs(ratio[keep] - scale) / sigma[keep]))
        keep = np.abs(ratio - scale) < 3 * max(spread, 1.0) * sigma
        weight = 1 / sigma[keep] ** 2
        scale = float((weight * ratio[keep]).sum() / weight.sum())
    if not SCALE_RANGE[0] < scale < SCALE_RANGE[1]:
        raise InputError(
            f"fluxes are {scale:.3g} times those of the catalogue",
            field="zero point",
            remedy="look at its photometry; the exposure is left out",
        )
    error = max(spread, 1.0) / float(np.sqrt(weight.sum()))
    scatter = 1.4826 * float(np.median(np.abs(ratio[keep] - scale)))
    return ZeroPoint(scale, error, int(keep.sum()), scatter)


#: Sensitivities that one filter can have on two exposures, relative to each other.
SCALE_RANGE = (0.5, 2.0)
#: Position terms: calibrators needed, prior amplitude of each [relative], and dchi2 from which they are believed.
MIN_CALIBRATORS, POSITION_PRIOR, MIN_POSITION_DCHI2 = 200, 0.01, 30.0


@dataclass(frozen=True)
class PositionTerms:
    """How the sensitivity of one exposure varies over the detector: a quadratic with zero mean over it.

    coefficients: (5,) of u, v, u^2 - 1/3, u v, v^2 - 1/3, with u, v from -1 to 1 over the array of `shape` (ny, nx).
    """

    coefficients: F64
    shape: tuple[int, int]

    def __call__(self, x: F64, y: F64) -> F64:
        """Relative sensitivity minus one at pixel positions x, y (n,) [px]; beyond the array that of its edge."""
        return np.asarray(_position_columns(x, y, self.shape) @ self.coefficients)

    @property
    def rms(self) -> float:
        """Root mean square over the detector [relative]."""
        return float(np.sqrt((self.coefficients**2) @ np.array([1 / 3, 1 / 3, 4 / 45, 1 / 9, 4 / 45])))


def _position_columns(x: F64, y: F64, shape: tuple[int, int]) -> F64:
    u, v = (np.clip(2 * np.asarray(p) / (n - 1) - 1, -1, 1) for p, n in ((x, shape[1]), (y, shape[0])))
    return np.stack([u, v, u * u - 1 / 3, u * v, v * v - 1 / 3], axis=-1)


def position_terms(
    x: F64,
    y: F64,
    shape: tuple[int, int],
    flux: F64,
    flux_err: F64,
    reference: F64,
    reference_err: F64,
    usable: NDArray[np.bool_],
    zero: ZeroPoint,
) -> PositionTerms:
    """What is left over the detector after the zero point; all zero where the stars show nothing.

    All arrays (n,), positions [px], fluxes as in `ensemble_zero_point`. Errors of the flat field and of scattered
    light are smooth on the scale of a detector. Fewer than MIN_CALIBRATORS stars, or a gain of chi2 below
    MIN_POSITION_DCHI2, leave no terms: noise must not be taken for a flat.
    """
    none = PositionTerms(np.zeros(5), shape)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = flux / (zero.scale * reference) - 1.0
        sigma = np.hypot(np.hypot(flux_err / (zero.scale * reference), reference_err / reference), FLOOR)
    use = usable & np.isfinite(ratio) & np.isfinite(sigma) & (sigma > 0) & (sigma < 0.05)
    if use.sum() < MIN_CALIBRATORS:
        return none
    columns = _position_columns(x[use], y[use], shape)
    value, sigma = ratio[use], sigma[use]
    spread = max(1.4826 * float(np.median(np.abs(value - np.median(value)) / sigma)), 1.0)
    sigma = spread * sigma  # what the stars scatter beyond their errors counts
    solution: F64 = np.zeros(6)
    weight, gain = sigma**-2, 0.0
    design = np.column_stack([columns, np.ones(len(value))])
    for _ in range(6):
        prior = np.diag([POSITION_PRIOR**-2] * 5 + [0.0])
        matrix, right = design.T @ (weight[:, None] * design) + prior, design.T @ (weight * value)
        solution = np.asarray(np.linalg.solve(matrix, right))
        # Against a constant alone, which the zero point may have to give up when the terms come in.
        gain = float(right @ solution) - float((weight @ value) ** 2 / weight.sum())
        pull = (value - design @ solution) / sigma
        weight = sigma**-2 / (1 + (pull / 3) ** 2)  # a variable star is no calibrator
    return PositionTerms(solution[:5], shape) if gain > MIN_POSITION_DCHI2 else none


@dataclass(frozen=True)
class ErrorModel:
    """Rescaling of formal errors: variance = (factor * error)^2 + (floor * flux)^2."""

    factor: float
    floor: float

    def apply(self, flux: F64, flux_err: F64) -> F64:
        """Rescaled errors, same shape and units."""
        return np.hypot(self.factor * flux_err, self.floor * np.abs(flux))


def error_model(flux: F64, flux_err: F64) -> ErrorModel:
    """What the scatter of constant stars says of the formal errors.

    Parameters
    ----------
    flux, flux_err
        (stars, epochs); NaN where not measured. Robust over stars: variables do not matter.
    """
    with np.errstate(invalid="ignore"):
        counted = np.isfinite(flux).sum(axis=1)
    rows = counted >= 4
    if rows.sum() < 20:
        return ErrorModel(1.0, FLOOR)
    f, e = flux[rows], flux_err[rows]
    median = np.nanmedian(f, axis=1)
    correction = np.sqrt(counted[rows] / (counted[rows] - 1.0))
    scatter = 1.4826 * np.nanmedian(np.abs(f - median[:, None]), axis=1) * correction
    formal = np.nanmedian(e, axis=1)
    faint = formal > 0.02 * median
    factor = float(np.median(scatter[faint] / formal[faint])) if faint.sum() >= 20 else 1.0
    factor = min(max(factor, 1.0), 3.0)
    bright = (formal < 0.004 * median) & (median > 0)
    floor = FLOOR
    if bright.sum() >= 10:
        excess = (scatter[bright] / median[bright]) ** 2 - (factor * formal[bright] / median[bright]) ** 2
        floor = max(float(np.sqrt(max(np.median(excess), 0.0))), FLOOR)
    return ErrorModel(factor, floor)
