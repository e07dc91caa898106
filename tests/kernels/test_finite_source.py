"""Finite-source magnification against quadrature made elsewhere, a sum over the disc, and limits."""

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.kernels.events import finite_source

VALUES = (
    Path(os.environ.get("ROMAN_VALIDATION_DATA", Path(__file__).parents[3] / "shared" / "data"))
    / "microlensing_values/finite_source_point_lens.csv"
)


def point_source(u: np.ndarray | float) -> np.ndarray:
    return np.asarray((np.square(u) + 2) / (u * np.sqrt(np.square(u) + 4)))


@pytest.mark.skipif(not VALUES.exists(), reason="shared/data is not here")
@pytest.mark.parametrize(("limb", "column"), [(0.0, 2), (0.5, 3)])
def test_values_by_quadrature(limb: float, column: int) -> None:
    table = np.loadtxt(VALUES, delimiter=",")
    ours = [finite_source([u], rho, limb)[0] for u, rho in table[:, :2]]
    assert ours == pytest.approx(table[:, column], rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(rho=st.floats(1e-4, 2), ratio=st.floats(0, 6), limb=st.floats(0, 1))
def test_mean_over_the_disc(rho: float, ratio: float, limb: float) -> None:
    """A midpoint sum in polar coordinates around the lens, whose area element cancels the singularity."""
    u = ratio * rho
    nearest = max(u - rho, 0.0)
    radius = nearest + (np.arange(1000) + 0.5) / 1000 * (u + rho - nearest)
    angle = (np.arange(1000) + 0.5) / 1000 * (np.pi if ratio <= 1 else np.arcsin(1 / ratio))
    r, theta = np.meshgrid(radius, angle, indexing="ij")
    distance2 = (r**2 + u**2 - 2 * r * u * np.cos(theta)) / rho**2
    inside = distance2 < 1
    brightness = np.where(inside, 1 - limb * (1 - np.sqrt(np.where(inside, 1 - distance2, 0))), 0) * r
    expected = (brightness * point_source(r)).sum() / brightness.sum()
    assert finite_source([u], rho, limb)[0] == pytest.approx(expected, rel=6e-3)


@settings(max_examples=60, deadline=None)
@given(rho=st.floats(1e-6, 3), limb=st.sampled_from([0.0, 0.6]))
def test_falls_with_separation_and_joins_the_expansion(rho: float, limb: float) -> None:
    u = np.concatenate([np.linspace(0, 3, 61), np.geomspace(3.1, 3000, 80)]) * rho
    values = finite_source(u, rho, limb)
    assert (np.diff(values) <= 1e-9 * values[1:]).all()
    assert (values > 1 - 1e-12).all()
    near_far = finite_source(np.array([999.0, 1001.0]) * rho, rho, limb)
    assert near_far == pytest.approx(point_source(np.array([999.0, 1001.0]) * rho), rel=3e-6)


def test_a_centred_disc() -> None:
    assert finite_source([0.0], 0.01)[0] == pytest.approx(np.sqrt(1 + 4 / 0.01**2), rel=1e-12)
    assert finite_source([-0.004], 0.01)[0] == finite_source([0.004], 0.01)[0]


@pytest.mark.parametrize(
    ("u", "rho", "limb"), [(np.nan, 0.1, 0), (0.1, 0, 0), (0.1, np.nan, 0), (0.1, 0.1, 1.5), (0.1, -1, 0)]
)
def test_bad_values_are_refused(u: float, rho: float, limb: float) -> None:
    with pytest.raises(InputError):
        finite_source([u], rho, limb)
