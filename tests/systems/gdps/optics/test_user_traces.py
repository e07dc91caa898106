"""A user's own trace configuration, made ready for extraction: kind, orders, and what it does not give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.nominal import nominal_optical_model, nominal_throughput
from roman_assets.systems.gdps.optics.optical_model import read_optical_model
from roman_assets.systems.gdps.optics.trace_configs import read_axe, read_grismconf
from roman_assets.systems.gdps.optics.user_traces import read_traces
from tests.systems.gdps.grismconf_files import as_grismconf
from tests.systems.gdps.optics.test_trace_configs import AXE

NOMINAL = nominal_optical_model("grism").on("WFI01")
AREAS = nominal_throughput("grism", "WFI01")
#: An aXe file of light along columns: |DYDX| is large. Order 1 from 0.95 to 1.9 um; see the aXe tests for the keywords.
AXE_COLUMNS = """BEAMA 0 10
DYDX_ORDER_A 1
DYDX_A_0 0
DYDX_A_1 100
DISP_ORDER_A 1
DLDP_A_0 9500
DLDP_A_1 9.5
SENSITIVITY_A first.fits
BEAMB 0 10
DYDX_ORDER_B 0
DYDX_B_0 1
DISP_ORDER_B 1
DLDP_B_0 9500
DLDP_B_1 950
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "traces.conf"
    path.write_text(text)
    return path


def test_a_reference_written_as_grismconf_is_the_reference(tmp_path: Path) -> None:
    path = written(tmp_path, as_grismconf(NOMINAL, {"1": "+1", "0": "0", "2": "+2"}))
    own = read_traces(path).for_throughput(AREAS)
    assert own.trace.orders == ("1", "0")
    assert own.trace.dispersion_axis == "y"
    assert own.trace.origin.name == "traces.conf"
    wave = np.linspace(1.0, 1.9, 7)
    for order in own.trace.orders:
        for mine, theirs in zip(
            own.trace.trace(300, 3500, wave, order), NOMINAL.trace(300, 3500, wave, order), strict=True
        ):
            assert np.abs(mine - theirs).max() < 1e-5


def test_the_field_of_the_real_model_goes_into_a_configuration(shared_data: Path, tmp_path: Path) -> None:
    real = read_optical_model(shared_data / "optical_model" / "Roman_grism_OpticalModel_v0.8.yaml").on("WFI07")
    path = written(tmp_path, as_grismconf(real, {"1": "+1"}, field=5, along=6))
    own = read_traces(path).trace
    wave = np.linspace(1.0, 1.9, 7)
    for mine, theirs in zip(own.trace(900, 700, wave, "1"), real.trace(900, 700, wave, "1"), strict=True):
        assert np.abs(mine - theirs).max() < 0.02


def test_limits_are_told(tmp_path: Path) -> None:
    text = as_grismconf(NOMINAL, {"1": "+1", "0": "0", "2": "+2"}) + "WEDGE_F158 0.1 0.2\n"
    own = read_traces(written(tmp_path, text)).for_throughput(AREAS)
    said = "\n".join(own.limits)
    for words in (
        "traces.conf (GRISMCONF configuration)",
        "order 1 from 0.900 to 2.000 um",
        "contamination by order 0",
        "without effective area, not modelled: 2",
        "sensitivity.fits",
        "not read",
        AREAS.origin.name,
        "WEDGE_F158",
    ):
        assert words in said, words


def test_an_order_that_holds_for_a_part_of_the_first_is_left_out_and_told(tmp_path: Path) -> None:
    text = as_grismconf(NOMINAL, {"1": "+1", "0": "0"})
    text = text.replace("DISPL_0_0 0.9", "DISPL_0_0 1.2")
    own = read_traces(written(tmp_path, text)).for_throughput(AREAS)
    assert own.trace.orders == ("1",)
    assert "0 (1.200 to 2.300 um)" in "\n".join(own.limits)


def test_axe_has_one_order_that_has_a_meaning(tmp_path: Path) -> None:
    own = read_traces(written(tmp_path, AXE_COLUMNS)).for_throughput(AREAS)
    assert own.trace.orders == ("1",)
    said = "\n".join(own.limits)
    assert "aXe configuration" in said
    assert "B" in said.split("not modelled: ")[1]
    low, high = own.trace.band("1")
    assert (low, high) == pytest.approx((0.95, 0.95 + 9.5e-4 * 1000), abs=2e-3)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "DISPL_+1_0, BEAMA"),
        ("A = 1\nnothing of the kind\n", "DISPL_+1_0, BEAMA"),
        (AXE, "dispersion_axis"),
        (AXE_COLUMNS.replace("9500\n", "950\n").replace("DLDP_A_1 9.5", "DLDP_A_1 0.95"), "1"),
        (AXE_COLUMNS.replace("DLDP_A_0 9500", "DLDP_A_0 x"), "DLDP_A_0"),
        (AXE_COLUMNS.replace("_A", "_C").replace("BEAMA", "BEAMC"), "order"),
        ("DISPL_-1_0 1\nDISPL_-1_1 1\nDISPX_-1_0 0\nDISPY_-1_0 0\nDISPY_-1_1 900\n", "order"),
        ("NAXIS 2048\n" + AXE_COLUMNS, "NAXIS"),
    ],
)
def test_what_cannot_be_used_names_file_field_and_remedy(tmp_path: Path, text: str, field: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_traces(path).for_throughput(AREAS)
    assert Path(str(caught.value.file)).name == "traces.conf"
    assert caught.value.field == field
    assert caught.value.remedy


def test_field_polynomials_of_axe_are_about_the_reference_pixel(shared_data: Path) -> None:
    """HRC: REFX and REFY 512 (aXe manual, 5.2.2); YOFF at the reference pixel is its first coefficient."""
    model = read_axe(shared_data / "trace_configs" / "ACS.HRC_refx.conf")
    wave = 0.478355  # DLDP_A_0 there: the trace's beginning
    x, y = (float(v) for v in model.trace(512.0, 512.0, wave, "A"))
    assert (x, y) == pytest.approx((512.0, 512.0 - 1.78463), abs=1e-6)
    x0, y0, dx = 800.0, 200.0, 50.0
    u, v = x0 - 512, y0 - 512
    slope = -0.796319 + 7.10246e-6 * u + 9.55948e-6 * v
    length = dx * np.hypot(1, slope)
    wave = 1e-4 * (
        4783.55 + 0.00657371 * u - 0.0126691 * v
        + (23.5107 - 0.000677401 * u + 0.00127958 * v) * length
        + (0.00170758 + 1.77847e-7 * u + 1.97777e-7 * v) * length**2
    )  # fmt: skip
    x, y = (float(v) for v in model.trace(x0, y0, wave, "A"))
    assert x == pytest.approx(x0 + dx, abs=1e-6)
    assert y == pytest.approx(y0 + slope * dx - 1.78463 - 0.000149007 * u + 0.000436432 * v, abs=1e-6)


def test_public_configurations(shared_data: Path) -> None:
    """NIRISS GR150R disperses along columns; G141 along rows, which extraction does not know, and its middle is NAXIS / 2."""
    folder = shared_data / "trace_configs"
    own = read_traces(folder / "NIRISS_V3_NIRISS_F150W_GR150R.conf").for_throughput(AREAS)
    assert own.trace.orders[0] == "1"
    assert own.trace.band("1") == pytest.approx((0.75, 2.3))
    with pytest.raises(InputError, match="rows") as caught:
        read_traces(folder / "WFC3_IR_G141.conf").for_throughput(AREAS)
    assert caught.value.field == "dispersion_axis"
    assert read_grismconf(folder / "WFC3_IR_G141.conf").orders == ("+1", "0", "+2", "+3", "-1", "+4")
