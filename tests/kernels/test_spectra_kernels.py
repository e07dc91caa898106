"""Wrappers of the spectroscopy kernels: arguments, and the same bits at every vector level."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.kernels.dispersion import BinTrace, Factors, Stamps, clip_quads, disperse, disperse_adjoint
from roman_assets.kernels.spectra import MAX_TERMS, Geometry, Optics, trace_grid, trace_points

GEOMETRY = Geometry(2044.5, 2044.5, -20.0, 10.0, 100.0, 3e-5)


def optics(**change: Any) -> Optics:
    rng = np.random.default_rng(1)
    given: dict[str, Any] = {
        "xmap": rng.normal(size=(2, 2)),
        "ymap": rng.normal(size=(2, 2)),
        "ids": rng.normal(size=(3, 2, 2)),
        "crv": rng.normal(size=(2, 2, 2)),
        "reference": 1.5,
        "logarithmic": True,
        "geometry": GEOMETRY,
    }
    return Optics(**(given | change))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ymap": np.ones((3, 2))}, "ymap"),
        ({"ids": np.ones((2, 2))}, "ids"),
        ({"crv": np.full((2, 2, 2), np.nan)}, "optics"),
        ({"ids": np.ones((MAX_TERMS + 1, 2, 2))}, "ids"),
        ({"geometry": Geometry(1, 1, 0, 0, 0, 1)}, "optics"),
        ({"reference": -1.0}, "optics"),
    ],
)
def test_bad_optics(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        optics(**change)
    assert caught.value.field == field


def test_bad_places() -> None:
    with pytest.raises(InputError, match="positive"):
        trace_points(optics(), 1.0, 1.0, [1.2, 0.0])
    with pytest.raises(InputError, match="shape"):
        trace_grid(optics(), np.ones(3), np.ones(2), np.ones(4))
    x, y = trace_points(optics(), np.nan, 1.0, 1.2)
    assert np.isnan(x)
    assert np.isnan(y)


@pytest.mark.parametrize("level", ["v3", "v4"])
@pytest.mark.parametrize(("slopes", "rank"), [(None, 0), ([0.01, 0.01], 0), ([0.01, 0.01], 8)])
def test_same_bits_at_every_level(
    monkeypatch: pytest.MonkeyPatch, level: str, slopes: list[float] | None, rank: int
) -> None:
    rng = np.random.default_rng(2)
    factors = Factors(rng.normal(size=(2, 30, rank)), rng.normal(size=(rank, 30)))
    stamps = Stamps(factors if rank else rng.uniform(size=(2, 30, 30)), (2, 2), -7, -7, slopes)
    y = 20 + 0.5 * np.arange(81)
    trace = BinTrace(30 + 0.01 * y, y, np.zeros(80, np.int32), np.linspace(0, 1, 80))
    box = trace.box(stamps, 90)
    light, pixels = rng.uniform(size=80), rng.normal(size=(box.ny, box.nx)).astype(np.float32)
    results = []
    for name in ("baseline", level):
        monkeypatch.setenv("ROMAN_SIMD", name)
        results.append(
            (
                disperse(stamps, trace, light, box).tobytes(),
                disperse_adjoint(stamps, trace, pixels, box).tobytes(),
                trace_points(optics(), rng.uniform(size=40) * 0 + 7, 9.0, np.linspace(1, 2, 40))[0].tobytes(),
            )
        )
    assert results[0] == results[1]


def test_clipping_keeps_areas() -> None:
    """Random convex quadrilaterals inside the image: overlaps sum to the shoelace area."""
    rng = np.random.default_rng(3)
    angle = np.sort(rng.uniform(0, 2 * np.pi, (200, 4)), axis=1)
    x, y = 10 + 3 * np.cos(angle), 12 + 3 * np.sin(angle)
    row, column, area, start = clip_quads(x, y, (30, 30))
    shoelace = 0.5 * np.abs((x * np.roll(y, -1, axis=1) - np.roll(x, -1, axis=1) * y).sum(axis=1))
    assert np.allclose(np.add.reduceat(area, start[:-1]), shoelace, atol=1e-12)
    assert (row >= 0).all()
    assert (column < 30).all()
    with pytest.raises(InputError):
        clip_quads([[0.0, 1.0, np.nan, 0.0]], [[0.0, 0.0, 1.0, 1.0]], (5, 5))
