"""aXe and GRISMCONF files: places and wavelengths by hand, inverse, and files that are wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.dispersion import wavelength_edges
from roman_assets.systems.gdps.optics.trace_configs import read_axe, read_grismconf

AXE = """; a made-up G141-like configuration
INSTRUMENT X
BEAMA 15 196
DYDX_ORDER_A 1
DYDX_A_0 0.5 1e-3 0
DYDX_A_1 0.01 0 2e-6
DISP_ORDER_A 1
DLDP_A_0 8900.0 0.1 0 0 0 1e-5
DLDP_A_1 45.0 0 1e-4
XOFF_A 0.25
YOFF_A -0.5   # px
BEAMB 100 200
DYDX_ORDER_B 0
DYDX_B_0 1.5
DISP_ORDER_B 2
DLDP_B_0 1000
DLDP_B_1 100
DLDP_B_2 0.05
"""
GRISMCONF = """BEAM_+1
DISPX_+1_0 -5 1e-3 0
DISPX_+1_1 2 0 0
DISPY_+1_0 -400 0 1e-3
DISPY_+1_1 1000 0 0
DISPY_+1_2 20 0 0
DISPL_+1_0 0.9
DISPL_+1_1 1.1
"""


@pytest.fixture
def axe(tmp_path: Path) -> Path:
    path = tmp_path / "axe.conf"
    path.write_text(AXE)
    return path


@pytest.fixture
def grismconf(tmp_path: Path) -> Path:
    path = tmp_path / "grism.conf"
    path.write_text(GRISMCONF)
    return path


def test_axe_by_hand(axe: Path) -> None:
    """At dx = 100 the straight trace is 100 sqrt(1 + slope^2) long."""
    model = read_axe(axe)
    x0, y0, dx = 300.0, 400.0, 100.0
    slope = 0.01 + 2e-6 * y0
    length = dx * np.hypot(1, slope)
    wave = (8900 + 0.1 * x0 + 1e-5 * y0**2 + (45 + 1e-4 * y0) * length) * 1e-4
    x, y = model.trace(x0, y0, wave, "A")
    assert float(x) == pytest.approx(x0 + dx + 0.25, abs=1e-8)
    assert float(y) == pytest.approx(y0 + 0.5 + 1e-3 * x0 + slope * dx - 0.5, abs=1e-8)
    assert model.dispersion_axis == "x"
    assert model.orders == ("A", "B")
    low, high = model.band("A")
    assert low < wave < high


def test_axe_second_degree(axe: Path) -> None:
    model = read_axe(axe)
    x, _ = model.trace(10.0, 10.0, (1000 + 100 * 150 + 0.05 * 150**2) * 1e-4, "B")
    assert float(x) == pytest.approx(160.0, abs=1e-8)


def test_grismconf_by_hand(grismconf: Path) -> None:
    model = read_grismconf(grismconf)
    x0, y0, t = 800.0, 900.0, 0.3
    x, y = model.trace(x0, y0, 0.9 + 1.1 * t, "+1")
    assert float(x) == pytest.approx(x0 - 5 + 0.8 + 2 * t, abs=1e-9)
    assert float(y) == pytest.approx(y0 - 400 + 0.9 + 1000 * t + 20 * t**2, abs=1e-9)
    assert model.dispersion_axis == "y"
    assert model.band("+1") == pytest.approx((0.9, 2.0))


def test_angstroms_are_told_from_micrometres(grismconf: Path) -> None:
    grismconf.write_text(GRISMCONF.replace("0.9", "9000").replace("1.1", "11000"))
    assert read_grismconf(grismconf).band("+1") == pytest.approx((0.9, 2.0))


@pytest.mark.parametrize("kind", ["axe", "grismconf"])
def test_inverses_and_slopes(request: pytest.FixtureRequest, kind: str) -> None:
    path = request.getfixturevalue(kind)
    model, order = (read_axe(path), "A") if kind == "axe" else (read_grismconf(path), "+1")
    wave = np.linspace(*model.band(order), 9)[1:-1]
    x, y = model.trace(500.0, 480.0, wave, order)
    back = model.undispersed(x, y, wave, order)
    assert np.allclose(back[0], 500, atol=1e-7)
    assert np.allclose(back[1], 480, atol=1e-7)
    assert np.allclose(model.wavelength_at(500.0, 480.0, model.along(x, y), order), wave, atol=1e-9)
    step = 1e-5
    high, low = (np.stack(model.trace(500.0, 480.0, wave + s * step, order)) for s in (1, -1))
    assert np.allclose(
        np.stack(model.slopes(500.0, 480.0, wave, order)), (high - low) / (2 * step), rtol=1e-5, atol=1e-4
    )
    edges = wavelength_edges(model, 500.0, 480.0, order)
    assert np.abs(np.diff(model.along(*model.trace(500.0, 480.0, edges, order)))).max() < 0.55


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (("BEAMA 15 196", "BEAMA 15"), "BEAMA"),
        (("DYDX_A_1 0.01 0 2e-6", ""), "DYDX_A_1"),
        (("DLDP_A_1 45.0 0 1e-4", "DLDP_A_1 a b"), "DLDP_A_1"),
        (("DISP_ORDER_A 1", "DISP_ORDER_A -2"), "DISP_ORDER_A"),
        (("DYDX_A_0 0.5 1e-3 0", "DYDX_A_0 0.5 1e-3"), "DYDX_A_0"),
        (("DLDP_A_1 45.0 0 1e-4", "DLDP_A_1 0"), "A"),
    ],
)
def test_wrong_axe_files(axe: Path, change: tuple[str, str], field: str) -> None:
    axe.write_text(AXE.replace(*change))
    with pytest.raises(InputError) as caught:
        read_axe(axe)
    assert caught.value.field == field


def test_files_of_another_kind(axe: Path, grismconf: Path, tmp_path: Path) -> None:
    for read, path in ((read_axe, grismconf), (read_grismconf, axe)):
        with pytest.raises(InputError, match="no order"):
            read(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_axe(tmp_path / "absent.conf")
