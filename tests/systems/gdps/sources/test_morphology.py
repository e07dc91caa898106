"""Profiles by their transforms, the PSF table, and stamps: against integrals done another way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import gamma, j0

from roman_assets.errors import InputError
from roman_assets.systems.gdps.sources.morphology import (
    PSF_OVERSAMPLE,
    Shape,
    SpectralPsf,
    exponential_transform,
    half_size,
    source_stamps,
    stamps_of_samples,
    vaucouleurs_transform,
)


def _hankel(profile: object, k: float) -> float:
    """2 pi integral of r f(r) J0(k r), by brute force, over the same without J0."""
    r = np.linspace(1e-6, 60.0, 600_001)
    weight = profile(r) * r  # type: ignore[operator]
    return float((weight * j0(k * r)).sum() / weight.sum())


@pytest.mark.parametrize("k", [0.3, 1.0, 4.0])
def test_exponential_transform(k: float) -> None:
    assert float(exponential_transform(k)) == pytest.approx(
        _hankel(lambda r: np.exp(-1.6783469900166605 * r), k), abs=2e-4
    )


@pytest.mark.parametrize("k", [0.1, 0.5, 2.0, 8.0])
def test_vaucouleurs_transform(k: float) -> None:
    b = 7.669249442500866
    # In s = r^(1/4) the integrand is smooth: total 8! / b^8 by the gamma function.
    s = np.linspace(0, 7.0, 400_001)
    integrand = 4 * s**7 * np.exp(-b * s) * j0(k * s**4)
    expected = np.trapezoid(integrand, s) / (4 * gamma(8) / b**8)
    assert float(vaucouleurs_transform(k)) == pytest.approx(expected, abs=3e-3)


def test_ellipse_is_turned_and_stretched() -> None:
    """Second moments of a drawn ellipse: major axis at its angle, ratio of the axes."""
    shape = Shape(2.0, 0.5, 0.6)
    count = 256
    k = 2 * np.pi * np.fft.fftfreq(count)
    image = np.fft.fftshift(np.fft.ifft2(shape.transform(k[None, :], k[:, None])).real)
    axis = np.arange(count) - count // 2
    y, x = np.meshgrid(axis, axis, indexing="ij")
    near = np.hypot(x, y) < 40
    xx, yy, xy = (float((image * v)[near].sum()) for v in (x * x, y * y, x * y))
    assert 0.5 * np.arctan2(2 * xy, xx - yy) == pytest.approx(0.6, abs=0.01)
    roots = np.linalg.eigvalsh([[xx, xy], [xy, yy]])
    assert np.sqrt(roots[0] / roots[1]) == pytest.approx(0.5, abs=0.02)


def test_psf_widens_to_the_red_and_is_centred() -> None:
    psf = SpectralPsf.of("WFI07")
    middle = psf.values.shape[1] // 2
    peaks = psf.values[:, middle, middle]
    assert (np.diff(peaks) < 0).all()
    totals = psf.values.sum(axis=(1, 2)) / PSF_OVERSAMPLE**2
    assert ((totals > 0.96) & (totals < 1.0)).all()
    axis = np.arange(-12, 13) / PSF_OVERSAMPLE
    core = psf.values[:, middle - 12 : middle + 13, middle - 12 : middle + 13]
    assert np.abs((core.sum(axis=1) @ axis) / core.sum(axis=(1, 2))).max() < 5e-3
    with pytest.raises(InputError, match="WFI01"):
        SpectralPsf.of("WFI19")


def test_stamps_hold_the_light_at_every_phase() -> None:
    psf = SpectralPsf.of("WFI01")
    point = source_stamps(psf, Shape(), [1.2, 1.7], [np.eye(2)] * 2, 23)
    galaxy = source_stamps(psf, Shape(1.5, 0.7, 0.2, 0.3), [1.2, 1.7], [np.eye(2)] * 2, 23)
    for stamps in (point, galaxy):
        sums = stamps.phases.astype(np.float64).sum(axis=(3, 4))
        assert np.allclose(sums, sums.mean(axis=(1, 2), keepdims=True), rtol=8e-3)
        assert 0.95 < sums.mean() < 1.0
    assert point.phases.max() > 2 * galaxy.phases.max()


@pytest.mark.parametrize("half", [7, 23])
def test_stamps_of_galaxies_are_convolved_at_full_resolution(half: int) -> None:
    """Only the samples that are kept are transformed back: they are those of the whole."""
    psf, shape, matrix = SpectralPsf.of("WFI01"), Shape(1.2, 0.6, 0.5, 0.4), np.array([[1.01, 0.02], [-0.01, 0.97]])
    count = PSF_OVERSAMPLE * (2 * half + 1)
    ky = 2 * np.pi * np.fft.fftfreq(count, 1 / PSF_OVERSAMPLE)[:, None]
    kx = 2 * np.pi * np.fft.rfftfreq(count, 1 / PSF_OVERSAMPLE)[None, :]
    profile = shape.transform(*(matrix.T[k, 0] * kx + matrix.T[k, 1] * ky for k in (0, 1)))
    fine = np.fft.irfft2(np.fft.rfft2(psf.samples(1.4, half, matrix)) * profile, s=(count, count))
    expected = stamps_of_samples([fine], half).phases
    assert np.allclose(source_stamps(psf, shape, [1.4], [matrix], half).phases, expected, atol=1e-7 * expected.max())


def test_a_matrix_stretches_the_image() -> None:
    """Flux is kept and the width along y grows with the matrix."""
    psf = SpectralPsf.of("WFI01")
    plain, stretched = (
        source_stamps(psf, Shape(2.0), [1.4], [np.diag([1.0, scale])], 31).phases[0, 0, 0].astype(np.float64)
        for scale in (1.0, 1.2)
    )
    assert stretched.sum() == pytest.approx(plain.sum(), rel=0.01)
    y = np.arange(len(plain)) - len(plain) // 2
    near = np.abs(y) < 12
    spread = [float((p.sum(axis=1) * y**2)[near].sum() / p.sum(axis=1)[near].sum()) for p in (plain, stretched)]
    assert 1.1 < np.sqrt(spread[1] / spread[0]) < 1.25


def test_half_sizes_grow_with_light_and_size() -> None:
    assert half_size(Shape(), 1.0) < half_size(Shape(), 1e4)
    assert half_size(Shape(), 1.0) < half_size(Shape(4.0), 1.0)


@pytest.mark.parametrize("values", [(-1.0, 1.0), (1.0, 0.0), (1.0, 1.5), (np.nan, 1.0)])
def test_impossible_shapes(values: tuple[float, float]) -> None:
    with pytest.raises(InputError, match="no profile"):
        Shape(*values)
