"""The pdf's bookkeeping: quantiles, cumulative, storage, solutions, priors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.systems.gdps.redshift.posterior import (
    ClassPosterior,
    Pdf,
    RedshiftConfig,
    combine,
    log_z_prior,
    solutions,
)

CONFIG = RedshiftConfig()


def two_peaks(share: float = 0.8) -> ClassPosterior:
    """Gaussians at z = 1 (sigma 1e-4, with this share) and z = 2 (sigma 1e-3), each on its own fine points."""
    within = np.linspace(-6, 6, 61)
    z = np.unique(np.concatenate([np.linspace(0, 4, 1001), 1 + 1e-4 * within, 2 + 1e-3 * within]))
    density = (
        share * np.exp(-0.5 * ((z - 1) / 1e-4) ** 2) / 1e-4 + (1 - share) * np.exp(-0.5 * ((z - 2) / 1e-3) ** 2) / 1e-3
    )
    return ClassPosterior("galaxy", z, np.log(density + 1e-300), np.zeros(len(z)), np.zeros((len(z), 1)))


@settings(max_examples=20, deadline=None, derandomize=True)
@given(share=st.floats(0.51, 0.99))
def test_two_solutions(share):
    pdf = combine([two_peaks(share)])
    assert np.trapezoid(pdf.density, pdf.z) == pytest.approx(1)
    first, second = solutions(pdf, CONFIG)
    assert (first.z, second.z) == (pytest.approx(1, abs=1e-6), pytest.approx(2, abs=1e-5))
    assert first.probability == pytest.approx(share, abs=1e-3)
    assert first.z_max - first.z_min == pytest.approx(2e-4, rel=0.01)
    assert second.z_max - second.z_min == pytest.approx(2e-3, rel=0.01)


def test_cumulative_inverts_quantile():
    pdf = combine([two_peaks()])
    fractions = np.linspace(0.01, 0.99, 23)
    assert [pdf.cumulative(z) for z in pdf.quantile(fractions)] == pytest.approx(fractions.tolist(), abs=1e-9)
    assert pdf.cumulative(-1) == 0
    assert pdf.cumulative(9) == pytest.approx(1)


def test_stored_pdf_is_smaller_and_the_same():
    pdf = combine([two_peaks()])
    stored = pdf.stored(CONFIG.pdf_floor)
    assert len(stored.z) < 0.2 * len(pdf.z)
    assert np.trapezoid(stored.density, stored.z) == pytest.approx(1, abs=1e-3)
    for z in (0.5, 0.9999, 1.00005, 1.5, 2.0005, 3):
        assert stored.cumulative(z) == pytest.approx(pdf.cumulative(z), abs=1e-3)


def test_a_flat_pdf_stays_whole():
    z = np.linspace(0, 4, 500)
    pdf = combine([ClassPosterior("galaxy", z, np.zeros(500), np.zeros(500), np.zeros((500, 1)))])
    assert pdf.quantile(np.array([0.25, 0.5])) == pytest.approx([1, 2])
    (only,) = solutions(pdf, CONFIG)
    assert only.probability == pytest.approx(1)
    assert only.z_max - only.z_min == pytest.approx(4 * 0.68268, rel=1e-3)


def test_classes_share_the_probability():
    other = two_peaks()
    heavy = ClassPosterior("qso", other.z, other.log_density + np.log(3), other.chi2, other.amplitude)
    pdf = combine([other, heavy])
    assert pdf.class_probability == {"galaxy": pytest.approx(0.25), "qso": pytest.approx(0.75)}


@pytest.mark.parametrize("kind", ["galaxy", "qso", "star"])
def test_priors_are_normalised(kind):
    low, high = CONFIG.z_range[kind]
    z = np.linspace(low, high, 4000)
    assert np.trapezoid(np.exp(log_z_prior(z, kind, CONFIG)), z) == pytest.approx(1, rel=1e-3)


def test_pdf_without_width_has_quantiles():
    """All probability in one cell does not divide by zero."""
    pdf = Pdf(np.array([0.0, 1, 1.0001, 1.0002, 2]), np.array([0.0, 0, 1e4, 0, 0]), {}, 0.0)
    assert 1 <= pdf.quantile(np.array([0.5]))[0] <= 1.0002
