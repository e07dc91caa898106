"""An empirical ePSF from crowded exposures: all stars, all pixels, one linear least-squares problem.

Given fluxes, positions and sky, the images are linear in the spline coefficients of the ePSF, so the
correction that removes the residuals is found by conjugate gradients with rendering as the operator and
its adjoint (`splat`) as the gradient. No star needs to be isolated. Where the exposures say nothing
(the far wings) a Gaussian prior keeps the optical model, and the correction is smooth on the scale that the
telescope's aperture allows, so that noise between the sampled sub-pixel phases does not enter. Compare
Anderson & King (2000), who average samples of isolated stars instead.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from roman_assets.kernels.photometry import PaddedFrame, SplinePsf, Stars, render, splat
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
#: Prior on a coefficient: this fraction of its model value, and this much anywhere [1/px].
PRIOR_RELATIVE, PRIOR_FLOOR = 1.0, 2e-6
#: Gaussian width of the smoothness of corrections [px]; the optics pass nothing above 1.4 cycles per px.
SMOOTHNESS_PX = 0.30


def improve_psf(
    psf: EffectivePsf,
    prior: EffectivePsf,
    frame: PaddedFrame,
    stars: Sequence[Stars],
    flux: F64,
    residual: F32,
    weight: F32,
    *,
    iterations: int = 20,
) -> EffectivePsf:
    """The ePSF whose residuals are least, given everything else.

    Parameters
    ----------
    psf, prior
        Present ePSF, and the model that holds where the data are silent (same grid).
    stars
        Positions of the PSF stars in each image.
    flux
        (n,) their fluxes [DN/s].
    residual, weight
        (images, *frame.shape) residual of the present model [DN/s] and weight [1/(DN/s)^2].

    Returns
    -------
    EffectivePsf
        Not normalised: `psf.normalised` does that.
    """
    from scipy.ndimage import gaussian_filter

    sigma = PRIOR_RELATIVE * np.abs(prior.coefficients) + PRIOR_FLOOR
    precision = 1.0 / sigma**2

    def smooth(grid: F64) -> F64:
        return np.asarray(gaussian_filter(grid, SMOOTHNESS_PX * psf.oversample, mode="constant", truncate=6.0))

    def gradient(images: Sequence[F32]) -> F64:
        total = np.zeros_like(psf.coefficients)
        for where, image in zip(stars, images, strict=True):
            total += splat(psf.spline, frame, where, flux, image)
        return smooth(total)

    def normal(step: F64) -> F64:
        trial = SplinePsf(smooth(step), psf.oversample)
        images = [render(trial, frame, where, flux) * w for where, w in zip(stars, weight, strict=True)]
        return gradient(images) + precision * step

    right = gradient([r * w for r, w in zip(residual, weight, strict=True)])
    # The prior pulls the smooth part of the earlier corrections back, too.
    right -= precision * smooth(psf.coefficients - prior.coefficients)
    # The diagonal of the normal matrix, up to the spline's overlap: it makes core and wings converge together.
    step = np.zeros_like(right)
    diagonal = _diagonal(psf, frame, stars, flux, weight) + precision
    remainder = right
    scaled = remainder / diagonal
    direction = scaled
    size = float((remainder * scaled).sum())
    for _ in range(iterations if size > 0 else 0):
        image = normal(direction)
        length = size / float((direction * image).sum())
        step = step + length * direction
        remainder = remainder - length * image
        scaled = remainder / diagonal
        following = float((remainder * scaled).sum())
        if following < 1e-10 * size:
            break
        direction = scaled + (following / size) * direction
        size = following
    return EffectivePsf(psf.coefficients + smooth(step), psf.oversample, "empirical", "not normalised")


def _diagonal(psf: EffectivePsf, frame: PaddedFrame, stars: Sequence[Stars], flux: F64, weight: F32) -> F64:
    """Sum over stars and pixels of w f^2 B_k, which bounds the sum of w f^2 B_k^2."""
    total = np.zeros_like(psf.coefficients)
    for where, w in zip(stars, weight, strict=True):
        total += splat(psf.spline, frame, where, flux**2, w)
    return total * 0.3
