"""Redshift kernels against scipy's NNLS, numpy's columns and numerical integrals; bits at every vector level."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, optimize

from roman_assets.errors import InputError
from roman_assets.kernels.call import lib, pointer
from roman_assets.kernels.redshift import LineTable, ScanTemplates, nnls, redshift_scan

prop = settings(max_examples=40, deadline=None, derandomize=True)
seeds = st.integers(0, 2**32 - 1)
STEP = 1e-3
LINES = LineTable.of([656.461, 500.824, 496.030, 372.9], [1, 1, 1 / 2.98, 1], [4e-4] * 4, [0, 1, 1, 2], 3)


def templates(n_continua: int = 4) -> ScanTemplates:
    grid = np.arange(np.log(180), np.log(2100), STEP)
    wave = np.exp(grid)
    rows = [(wave / 700) ** slope * np.where(wave < 400, 0.5, 1) for slope in np.linspace(-2, 2, n_continua)]
    return ScanTemplates(grid, np.array(rows).reshape(n_continua, len(grid)), LINES)


def spectrum(rng: np.random.Generator, n: int = 400) -> tuple[np.ndarray, ...]:
    wavelength = np.linspace(1000, 1930, n) + rng.uniform(-1, 1, n)
    weight = rng.uniform(1, 30, n) * (rng.random(n) > 0.05)
    return wavelength, rng.normal(1, 0.3, n), weight, rng.uniform(1.5, 3) * (wavelength / 1500) ** 0.5


@prop
@given(seed=seeds, n=st.integers(1, 24), rows=st.integers(24, 60))
def test_nnls_is_scipys(seed, n, rows):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0.2, 1, (rows, n)) * rng.uniform(0.01, 100, n), rng.normal(0, 1, rows)
    expected, norm = optimize.nnls(a, b)
    x = nnls(a.T @ a, a.T @ b)
    assert (x >= 0).all()
    assert np.linalg.norm(a @ x - b) == pytest.approx(norm, rel=1e-9)
    np.testing.assert_allclose(x * np.linalg.norm(a, axis=0), expected * np.linalg.norm(a, axis=0), atol=1e-5)


@prop
@given(seed=seeds)
def test_nnls_with_twins_and_absent_columns(seed):
    """Collinear columns have no unique solution, but their fit is as good; an absent column gets 0."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0, 1, (30, 5))
    a = np.column_stack([a, a[:, 0], a[:, 1] + a[:, 2], np.zeros(30)])
    b = rng.normal(0.5, 1, 30)
    x = nnls(a.T @ a, a.T @ b)
    assert x[-1] == 0
    assert np.linalg.norm(a @ x - b) == pytest.approx(optimize.nnls(a, b)[1], rel=1e-6)


def test_nnls_refuses():
    for matrix, right in (
        ([[1, 2], [3, 1]], [1, 1]),
        ([[-1.0]], [1]),
        ([[np.nan]], [1]),
        (np.eye(25), np.ones(25)),
        (np.eye(2), np.ones(3)),
    ):
        with pytest.raises(InputError):
            nnls(matrix, right)


@prop
@given(seed=seeds, z=st.floats(0.05, 3), n_continua=st.sampled_from([0, 1, 4, 7]))
def test_scan_is_nnls_of_the_columns(seed, z, n_continua):
    """With flat priors the scan is scipy's NNLS on the columns that numpy draws."""
    rng = np.random.default_rng(seed)
    t, (wavelength, flux, weight, lsf) = templates(n_continua), spectrum(rng)
    log_z = np.log1p(z) + STEP * np.arange(11)
    # A line of which only the far wing is in the band fits noise: where it is cut then matters.
    at = np.outer(LINES.wavelength, np.exp(log_z))
    edge = np.minimum(abs(at - wavelength[0]), abs(at - wavelength[-1])).min(axis=1)
    assume((edge > 60).all() and ((at > wavelength[0]) & (at < wavelength[-1])).any())
    scan = redshift_scan(t, wavelength, flux, weight, lsf, log_z, np.zeros(3))
    for k in (0, 7, 10):
        columns = t.columns(wavelength, lsf, log_z[k]) * np.sqrt(weight)[:, None]
        right = flux * np.sqrt(weight)
        assert scan.chi2[k] == pytest.approx(optimize.nnls(columns, right)[1] ** 2, rel=2e-6)
        assert ((right - columns @ scan.amplitude[k]) ** 2).sum() == pytest.approx(scan.chi2[k], rel=2e-6)


@prop
@given(seed=seeds)
def test_penalty_is_the_exponential_prior(seed):
    """The amplitudes minimise chi2 / 2 + rate x amplitude."""
    rng = np.random.default_rng(seed)
    t, (wavelength, flux, weight, lsf) = templates(1), spectrum(rng)
    rate = rng.uniform(0, 30, 3)
    scan = redshift_scan(t, wavelength, flux, weight, lsf, [np.log(2.2)], rate)
    columns = t.columns(wavelength, lsf, np.log(2.2))

    def objective(x):
        return 0.5 * (weight * (flux - columns @ x) ** 2).sum() + rate @ x[1:]

    reference = optimize.minimize(
        objective, scan.amplitude[0] + 0.1, bounds=[(0, None)] * 4, method="L-BFGS-B", options={"ftol": 1e-14}
    )
    assert objective(scan.amplitude[0]) <= reference.fun + 1e-6


def test_evidence_is_the_integral_over_one_amplitude():
    rng = np.random.default_rng(3)
    t, (wavelength, flux, weight, lsf) = templates(0), spectrum(rng)
    z, rate = np.log(1.9), np.array([0.4, 0.0, 0.0])  # only H-alpha lies in the band ...
    wavelength, lsf = np.linspace(1150, 1400, 400), np.full(400, 2.0)  # ... of these pixels
    scan = redshift_scan(t, wavelength, flux, weight, lsf, [z], rate)
    line = t.columns(wavelength, lsf, z)[:, 0]

    def integrand(a):
        return rate[0] * np.exp(-0.5 * (weight * (flux - a * line) ** 2).sum() - rate[0] * a - scan.log_evidence[0])

    top = scan.amplitude[0, 0]
    width = 1 / np.sqrt((weight * line**2).sum())
    total = integrate.quad(integrand, max(top - 10 * width, 0), top + 10 * width, epsabs=1e-10)[0]
    assert total == pytest.approx(1, rel=1e-5)


def test_volume_of_two_correlated_columns():
    """The product of marginals is an approximation: within a quarter for a correlation of one half."""
    h = np.array([[1, 0.5], [0.5, 1]])
    for mode in ([3.0, 2.0], [0.5, 0.8], [8.0, 9.0]):
        x = np.array(mode)
        c = h @ x
        got = np.exp(lib.roman_orthant_log_volume(2, 0, pointer(h), pointer(c), pointer(x)))
        y, weights = np.polynomial.legendre.leggauss(200)
        nodes = 10 * (y + 1)
        a, b = np.meshgrid(nodes - x[0], nodes - x[1], indexing="ij")
        values = np.exp(-0.5 * (a * a + b * b + a * b)) * np.outer(weights, weights) * 100
        assert got == pytest.approx(values.sum(), rel=0.25)


def test_same_bits_at_every_level(monkeypatch):
    rng = np.random.default_rng(1)
    t, data = templates(), spectrum(rng)
    log_z = np.concatenate([np.log(1.2) + STEP * np.arange(50), rng.uniform(0.1, 1, 30)])
    seen = set()
    for level in ("baseline", "v3", "v4"):
        monkeypatch.setenv("ROMAN_SIMD", level)
        scan = redshift_scan(t, *data, log_z, np.full(3, 0.2))
        seen.add(scan.chi2.tobytes() + scan.log_evidence.tobytes() + scan.amplitude.tobytes())
    assert len(seen) == 1


def test_masked_pixels_do_not_matter():
    rng = np.random.default_rng(2)
    t, (wavelength, flux, weight, lsf) = templates(), spectrum(rng)
    first = redshift_scan(t, wavelength, flux, weight, lsf, [0.5, 0.6], np.ones(3))
    second = redshift_scan(t, wavelength, np.where(weight == 0, 1e6, flux), weight, lsf, [0.5, 0.6], np.ones(3))
    assert first.chi2.tobytes() == second.chi2.tobytes()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"flux": np.nan}, "flux"),
        ({"weight": np.inf}, "weight"),
        ({"log_1pz": [5.0]}, "log_1pz"),
        ({"lsf": np.ones(3)}, "lsf"),
        ({"rate": [1.0]}, "rate"),
        ({"log_1pz": [np.nan]}, "log_1pz"),
    ],
)
def test_scan_refuses(change, field):
    rng = np.random.default_rng(2)
    names = dict(zip(("wavelength", "flux", "weight", "lsf"), spectrum(rng), strict=True))
    call = names | {"log_1pz": [0.5], "rate": [1.0] * 3}
    for name, value in change.items():
        call[name] = np.where(np.arange(400) == 7, value, call[name]) if np.isscalar(value) else value
    with pytest.raises(InputError) as error:
        redshift_scan(templates(), **call)
    assert error.value.field == field


def test_unsorted_wavelengths_and_negative_weights_are_refused():
    rng = np.random.default_rng(2)
    wavelength, flux, weight, lsf = spectrum(rng)
    with pytest.raises(InputError, match="weight"):
        redshift_scan(templates(), wavelength, flux, weight - 1, lsf, [0.5], np.ones(3))
    wavelength[[5, 6]] = wavelength[[6, 5]]
    with pytest.raises(InputError, match=r"field wavelength: .* not increasing"):
        redshift_scan(templates(), wavelength, flux, weight, lsf, [0.5], np.ones(3))


def test_templates_refuse_what_the_kernel_cannot_use():
    grid = np.arange(5.0, 7.0, 0.01)
    with pytest.raises(InputError, match="equal steps"):
        ScanTemplates(grid**1.1, np.ones((1, len(grid))), LINES)
    with pytest.raises(InputError, match="13 continua"):
        ScanTemplates(grid, np.ones((13, len(grid))), LINES)
    with pytest.raises(InputError, match="not finite"):
        ScanTemplates(grid, np.full((1, len(grid)), np.nan), LINES)
