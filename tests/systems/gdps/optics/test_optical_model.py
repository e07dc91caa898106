"""The SSC optical model against exact values of another implementation, on all detectors, forward and inverse."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.optical_model import DETECTORS, OpticalModel, read_optical_model

ELEMENTS = ("grism", "prism")


@pytest.fixture(scope="module")
def folder(shared_data: Path) -> Path:
    return shared_data / "optical_model"


def _model(folder: Path, element: str) -> OpticalModel:
    return read_optical_model(folder / f"Roman_{element}_OpticalModel_v0.8.yaml")


def _cases(folder: Path, element: str) -> list[tuple[str, str, pl.DataFrame]]:
    table = pl.read_csv(folder / f"trace_{element}.csv", schema_overrides={"order": pl.String})
    return [
        (f"WFI{sca:02d}", order, rows) for (sca, order), rows in table.group_by(["sca", "order"], maintain_order=True)
    ]


@pytest.mark.parametrize("element", ELEMENTS)
def test_traces_of_all_detectors(folder: Path, element: str) -> None:
    model = _model(folder, element)
    cases = _cases(folder, element)
    assert {detector for detector, _, _ in cases} == set(DETECTORS)
    for detector, order, rows in cases:
        x, y = model.on(detector).trace(rows["x0"], rows["y0"], rows["wavelength_um"], order)
        assert np.abs(x - rows["x_disp"].to_numpy()).max() < 1e-6
        assert np.abs(y - rows["y_disp"].to_numpy()).max() < 1e-6


@pytest.mark.parametrize("element", ELEMENTS)
def test_inverses(folder: Path, element: str) -> None:
    """The undispersed place, and the wavelength of a row, from the exact dispersed places."""
    model = _model(folder, element)
    cases = _cases(folder, element)
    assert cases
    for detector, order, rows in cases:
        trace = model.on(detector)
        x0, y0, wave, x, y = (rows[c].to_numpy() for c in ("x0", "y0", "wavelength_um", "x_disp", "y_disp"))
        back_x, back_y = trace.undispersed(x, y, wave, order)
        assert max(np.abs(back_x - x0).max(), np.abs(back_y - y0).max()) < 1e-6
        found = trace.wavelength_at(x0, y0, y, order)
        error_px = np.abs((found - wave) / trace.dispersion(x0, y0, wave, order))
        assert error_px.max() < 1e-6


def test_known_place(folder: Path) -> None:
    x, y = _model(folder, "grism").on("WFI01").trace(2044.5, 2044.5, 1.0, "1")
    assert (float(x), float(y)) == pytest.approx((2039.537, 1506.841), abs=1e-3)


def test_grid_has_the_bits_of_points(folder: Path) -> None:
    trace = _model(folder, "grism").on("WFI07")
    rng = np.random.default_rng(2)
    x0, y0, wave = rng.uniform(1, 4088, 33), rng.uniform(1, 4088, 33), rng.uniform(0.95, 1.95, 21)
    grid = trace.trace_grid(x0, y0, wave, "1")
    points = trace.trace(x0[:, None], y0[:, None], wave, "1")
    assert all(np.array_equal(g, p) for g, p in zip(grid, points, strict=True))


def test_slopes_and_jacobian_are_derivatives(folder: Path) -> None:
    trace = _model(folder, "prism").on("WFI12")
    x0, y0, wave, step = 1200.0, 3100.0, np.array([0.8, 1.2, 1.7]), 1e-5
    high, low = (np.stack(trace.trace(x0, y0, wave + s * step, "1")) for s in (1, -1))
    assert np.allclose(np.stack(trace.slopes(x0, y0, wave, "1")), (high - low) / (2 * step), rtol=1e-6, atol=1e-3)
    moved = np.stack(trace.trace(x0 + 0.01, y0, wave, "1")) - np.stack(trace.trace(x0, y0, wave, "1"))
    assert np.allclose(trace.jacobian(x0, y0, wave, "1")[:, :, 0].T, moved / 0.01, atol=1e-5)


def test_an_order_without_coefficients_is_left_out(folder: Path) -> None:
    model = _model(folder, "grism")
    assert tuple(model.orders) == ("1", "0", "2")
    with pytest.raises(InputError, match="m1"):
        model.on("WFI01").trace(1.0, 1.0, 1.2, "m1")
    with pytest.raises(InputError, match="WFI01 to WFI18"):
        model.on("WFI19")


def _spoiled(change: str) -> tuple[str, object]:
    path, _, value = change.partition("=")
    return path, yaml.safe_load(value) if value else None


@pytest.mark.parametrize(
    "change",
    [
        "meta.product_type=other",
        "meta.optical_element=mirror",
        "meta.unit_wl=nm",
        "optical_model.wl_min=5.0",
        "optical_model.wl_transform=cubic",
        "optical_model.orders_defined=[]",
        "detector_model.xy_centers={}",
        "detector_model.plate_scale=-1",
        "optical_model.orders.1.ids_ijk_coeff=[[1.0]]",
        "optical_model.dimen_ids=3",
        "detector_model.pos_angle_detector=10",
    ],
)
def test_spoiled_files_name_their_field(folder: Path, tmp_path: Path, change: str) -> None:
    tree = yaml.safe_load((folder / "Roman_grism_OpticalModel_v0.8.yaml").read_text())
    path, value = _spoiled(change)
    *parents, last = path.split(".")
    at = tree
    for name in parents:
        at = at[name] if name in at else at[int(name)]
    at[last] = value
    spoiled = tmp_path / "model.yaml"
    spoiled.write_text(yaml.safe_dump(tree))
    with pytest.raises(InputError) as caught:
        read_optical_model(spoiled)
    assert caught.value.field
    assert parents[0] in caught.value.field
    assert caught.value.file == str(spoiled)


@pytest.mark.parametrize("content", ["", "- 1", "a: [", "\0"])
def test_what_is_no_model(tmp_path: Path, content: str) -> None:
    path = tmp_path / "no.yaml"
    path.write_text(content)
    with pytest.raises(InputError):
        read_optical_model(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_optical_model(tmp_path / "absent.yaml")
