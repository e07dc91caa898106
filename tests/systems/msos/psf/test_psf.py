"""Effective PSFs: the model, reference files, normalisation, centring, and the empirical build."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.kernels.photometry import PaddedFrame, Stars, joint_fit, psf_stamps, render
from roman_assets.simulate.psf import pixel_integrated_psf
from roman_assets.systems.msos.psf.build import improve_psf
from roman_assets.systems.msos.psf.effective_psf import (
    CORE_RADIUS_PX,
    EffectivePsf,
    core_centroid,
    model_psf,
    normalised,
    recentred,
    reference_psf,
    spline_coefficients,
)
from roman_assets.systems.msos.psf.stamps import HALF_SIZES, sky_basis, stamp_halves
from tests.optional import needed


@pytest.mark.parametrize(("detector", "element"), [("WFI01", "F146"), ("WFI18", "F146"), ("WFI07", "F087")])
def test_model_is_centred_and_normalised(detector, element):
    psf = model_psf(detector, element)
    assert psf.origin == "model"
    assert psf.coefficients.shape[0] % 2 == 1
    assert 0.85 < psf.encircled_energy(CORE_RADIUS_PX) < psf.encircled_energy(30.0) < 1.0
    assert np.hypot(*core_centroid(psf)) < 0.06
    assert 0.02 < psf.sharpness < 0.5


def test_model_agrees_with_the_optics():
    """Against GalSim's PSF of the same detector, which the simulator draws with."""
    needed("galsim")
    psf = model_psf("WFI01", "F146")
    truth = pixel_integrated_psf("WFI01", "F146", oversample=4, half_width_px=12, position=(2043.5, 2043.5))
    half, centre = truth.shape[0] // 2, psf.values.shape[0] // 2
    cut = psf.values[centre - half : centre + half + 1, centre - half : centre + half + 1]
    assert np.abs(cut - truth).max() < 0.03 * truth.max()


def test_unknown_element_is_refused():
    with pytest.raises(InputError, match="reference file"):
        model_psf("WFI01", "F999")


def test_values_are_what_the_kernels_draw():
    psf = model_psf("WFI01", "F146")
    (stamp,) = psf_stamps(psf.spline, Stars.of([0.25], [-0.5], 7))
    centre = psf.values.shape[0] // 2
    # Pixel (0, 0) lies (-0.25, +0.5) px from the star: one grid point to the left, two up.
    assert stamp[7, 7] == pytest.approx(psf.values[centre + 2, centre - 1], rel=1e-4)


def test_encircled_energy_grows_and_sharpness_is_mean_of_stamps():
    psf = model_psf("WFI01", "F146")
    energies = [psf.encircled_energy(r) for r in (0.5, 1, 2, 4, 8, 16)]
    assert np.all(np.diff(energies) > 0)
    rng = np.random.default_rng(0)
    stamps = psf_stamps(psf.spline, Stars.of(rng.uniform(0, 1, 400), rng.uniform(0, 1, 400), 15))
    assert np.mean([(s.astype(float) ** 2).sum() for s in stamps]) == pytest.approx(psf.sharpness, rel=0.02)


def test_normalised_and_recentred():
    psf = model_psf("WFI01", "F146")
    again = normalised(replace(psf, coefficients=psf.coefficients * 1.7), "WFI01", "F146")
    np.testing.assert_allclose(again.coefficients, psf.coefficients, rtol=1e-9)
    moved = replace(psf, coefficients=spline_coefficients(np.roll(psf.values, (1, -2), (0, 1))))
    x, y = core_centroid(moved)
    centred, (dx, dy) = recentred(moved)
    assert np.hypot(*core_centroid(centred)) < 2e-3
    assert (dx, dy) == pytest.approx((-2 / 4, 1 / 4), abs=0.05)
    assert (x, y) == pytest.approx((-0.5, 0.25), abs=0.2)


def test_spline_coefficients_interpolate():
    values = np.random.default_rng(0).normal(size=(41, 41))
    psf = EffectivePsf(spline_coefficients(values), 4, "model", "")
    np.testing.assert_allclose(psf.values[2:-2, 2:-2], values[2:-2, 2:-2], atol=1e-6)


# --- reference files -----------------------------------------------------------------------------------


def write_reference(path, stack, xs, ys, oversample=4):
    import asdf

    tree = {"meta": {"oversample": oversample, "pixel_x": list(xs), "pixel_y": list(ys)}, "psf": stack}
    asdf.AsdfFile({"roman": tree}).write_to(path)
    return path


def test_reference_file_is_interpolated_over_the_detector(tmp_path):
    axis = np.arange(-40, 41) / 4
    r2 = axis[:, None] ** 2 + axis[None, :] ** 2
    bells = np.array([np.exp(-r2 / (2 * s**2)) / (2 * np.pi * s**2) for s in (0.5, 0.6, 0.7, 0.8)])
    path = write_reference(tmp_path / "epsf.asdf", bells[None, None], [0, 4087, 0, 4087], [0, 0, 4087, 4087])
    corner, middle = reference_psf(path, 0, 0), reference_psf(path)
    np.testing.assert_allclose(corner.values[2:-2, 2:-2], bells[0][2:-2, 2:-2], atol=1e-6)
    np.testing.assert_allclose(middle.values[2:-2, 2:-2], bells.mean(0)[2:-2, 2:-2], atol=1e-6)
    assert middle.origin == "reference"
    assert "epsf.asdf" in middle.normalisation
    outside = reference_psf(path, -500, -500)
    np.testing.assert_array_equal(outside.coefficients, corner.coefficients)


def test_reference_file_normalised_per_oversampled_pixel(tmp_path):
    axis = np.arange(-40, 41) / 4
    bell = np.exp(-(axis[:, None] ** 2 + axis[None, :] ** 2) / 0.5)
    stack = (bell / bell.sum())[None, None, None]
    psf = reference_psf(write_reference(tmp_path / "e.asdf", stack, [2000], [2000]))
    assert psf.encircled_energy(9) == pytest.approx(1, rel=1e-3)


def test_simulated_reference_file_is_read(tmp_path):
    """What simulate writes as a rad epsf file gives the simulator's own PSF."""
    needed("galsim")
    from roman_assets.simulate.reference import write_epsf_reference

    path = write_epsf_reference(tmp_path / "roman_epsf_wfi01_f146.asdf", "WFI01", "F146")
    psf, model = reference_psf(path), model_psf("WFI01", "F146")
    assert psf.encircled_energy(3.0) == pytest.approx(model.encircled_energy(3.0), rel=0.02)


def test_damaged_reference_file_is_refused(tmp_path):
    garbage = tmp_path / "garbage.asdf"
    garbage.write_bytes(b"not asdf")
    with pytest.raises(InputError, match=r"garbage\.asdf"):
        reference_psf(garbage)
    with pytest.raises(InputError, match="shape"):
        reference_psf(write_reference(tmp_path / "flat.asdf", np.zeros((9, 9)), [0], [0]))
    even = write_reference(tmp_path / "even.asdf", np.ones((1, 1, 1, 80, 80)), [0], [0])
    with pytest.raises(InputError, match="central sample"):
        reference_psf(even)
    with pytest.raises(InputError, match="absent"):
        reference_psf(tmp_path / "absent.asdf")


# --- stamps --------------------------------------------------------------------------------------------


def test_stamps_reach_as_far_as_their_light():
    psf = model_psf("WFI01", "F146")
    halves = stamp_halves([0, 1, 1e2, 1e4, 1e6, -1e6], 0.3, psf)
    assert halves[0] == HALF_SIZES[0]
    assert (np.diff(halves[:5]) >= 0).all()
    assert halves[4] == halves[5] == HALF_SIZES[-1]
    assert {int(h) % 4 for h in halves} == {3}


def test_sky_basis_is_legendre():
    basis = sky_basis(PaddedFrame(30, 40), 2)
    assert basis.shape[0] == 6
    inner = basis[(slice(None), *PaddedFrame(30, 40).inner)]
    np.testing.assert_array_equal(inner[0], 1)
    gram = np.einsum("aij,bij->ab", inner, inner) / inner[0].size
    assert np.abs(gram - np.diag(np.diag(gram))).max() < 0.05
    assert sky_basis(PaddedFrame(1, 1), 1).shape[0] == 3


# --- the empirical ePSF --------------------------------------------------------------------------------


def test_exposures_correct_a_wrong_psf():
    """Crowded noisy stars drawn with one PSF, measured with another: the build moves towards the truth."""
    truth = model_psf("WFI01", "F146")
    axis = truth.radius
    wrong = replace(truth, coefficients=truth.coefficients * (1 + 0.08 * np.cos(2.5 * axis) * (axis < 4)))
    rng = np.random.default_rng(4)
    frame = PaddedFrame(96, 96)
    n, exposures = 220, 6
    x, y, flux = rng.uniform(0, 95, n), rng.uniform(0, 95, n), rng.uniform(500, 5000, n)
    places = [Stars.of(x + dx, y + dy, 11) for dx, dy in rng.uniform(-0.5, 0.5, (exposures, 2))]
    weight = np.stack([frame.padded(np.full((96, 96), 4.0)) for _ in places])
    data = np.stack([render(truth.spline, frame, p, flux) for p in places])
    data += np.where(weight > 0, rng.normal(0, 0.5, data.shape), 0).astype(np.float32)
    fit = joint_fit(wrong.spline, frame, places, data, weight, sky_basis(frame, 0), flux)
    better = improve_psf(wrong, wrong, frame, places, fit.flux, fit.residual, weight)
    core = truth.radius < 2.5

    def shape_error(psf: EffectivePsf) -> float:
        scale = (psf.values[core] @ truth.values[core]) / (psf.values[core] @ psf.values[core])
        return float(np.abs(scale * psf.values - truth.values)[core].max() / truth.values.max())

    assert shape_error(better) < 0.3 * shape_error(wrong)
    assert better.origin == "empirical"


def test_prior_holds_where_the_exposures_are_silent():
    psf = model_psf("WFI01", "F146")
    frame = PaddedFrame(48, 48)
    places = [Stars.of([24.0], [24.0], 7)]
    zero = np.zeros((1, *frame.shape), dtype=np.float32)
    weight = np.stack([frame.padded(np.full((48, 48), 1.0))])
    same = improve_psf(psf, psf, frame, places, np.array([1000.0]), zero, weight)
    np.testing.assert_allclose(same.coefficients, psf.coefficients, atol=1e-12)
