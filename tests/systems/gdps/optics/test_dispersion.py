"""The dispersion kernel against exact polygon clipping through the real optical model, order by order."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.kernels.dispersion import BinTrace, CutoutBox, Factors, Stamps, disperse, disperse_onto
from roman_assets.systems.gdps.optics.dispersion import (
    DispersedSource,
    WavelengthBins,
    Window,
    add_cutout,
    place_source,
    plane_shares,
    straight_slopes,
    take_cutout,
    wavelength_edges,
)
from roman_assets.systems.gdps.optics.exact_dispersion import exact_image
from roman_assets.systems.gdps.optics.nominal import nominal_optical_model
from roman_assets.systems.gdps.optics.optical_model import OpticalTrace, read_optical_model
from roman_assets.systems.gdps.sources.morphology import PSF_OVERSAMPLE, shears, stamps_of_samples

F64 = NDArray[np.float64]
SIGMA, HALF, PITCH = 0.66, 7, 1 / 14
NODES = np.array([0.95, 1.2, 1.45, 1.7, 1.95])


ROUND = np.eye(2) * SIGMA**2


def ellipse(major: float, minor: float, angle: float) -> F64:
    """Covariance of a Gaussian galaxy seen through the round PSF."""
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s], [s, c]])
    return turn @ np.diag([major**2, minor**2]) @ turn.T + ROUND


def gauss_cells(pitch: float, covariance: F64 = ROUND) -> F64:
    """A Gaussian in uniform cells that has this covariance, the cells' own included."""
    count = 2 * round(5.2 * math.sqrt(np.linalg.eigvalsh(covariance)[-1]) / pitch)
    at = (np.arange(count) + 0.5 - count / 2) * pitch
    x, y = np.meshgrid(at, at)
    (a, b), (_, d) = np.linalg.inv(covariance - np.eye(2) * pitch**2 / 12)
    shares = np.exp(-0.5 * (a * x**2 + 2 * b * x * y + d * y**2))
    return shares / shares.sum()


def gauss_stamps(
    trace: OpticalTrace,
    x0: float,
    y0: float,
    order: str,
    nodes: F64,
    slopes: F64 | None = None,
    covariance: F64 = ROUND,
    half: int = HALF,
) -> Stamps:
    """The same Gaussian through the local matrices, sheared or not, and over the pixel, by its Fourier transform."""
    k = 2 * np.pi * np.fft.fftfreq(PSF_OVERSAMPLE * (2 * half + 1), 1 / PSF_OVERSAMPLE)
    ky, kx = k[:, None], k[None, :]
    planes = []
    shear = shears(np.zeros(len(nodes)) if slopes is None else slopes)
    for m in shear @ trace.jacobian(x0, y0, nodes, order):
        (a, b), (_, d) = m @ covariance @ m.T
        transform = np.exp(-(a * kx**2 + 2 * b * kx * ky + d * ky**2) / 2)
        transform *= np.sinc(kx / 2 / np.pi) * np.sinc(ky / 2 / np.pi)
        planes.append(np.fft.fftshift(np.fft.ifft2(transform).real) * PSF_OVERSAMPLE**2)
    return stamps_of_samples(planes, half, slopes)


@pytest.fixture(scope="module")
def grism(shared_data: Path) -> OpticalTrace:
    return read_optical_model(shared_data / "optical_model" / "Roman_grism_OpticalModel_v0.8.yaml").on("WFI03")


@pytest.fixture(scope="module")
def prism(shared_data: Path) -> OpticalTrace:
    return read_optical_model(shared_data / "optical_model" / "Roman_prism_OpticalModel_v0.8.yaml").on("WFI03")


@pytest.mark.parametrize(("element", "order"), [("grism", "1"), ("grism", "0"), ("grism", "2"), ("prism", "1")])
@pytest.mark.parametrize("place", [(2100.3, 2200.7), (310.9, 3900.2)])
@pytest.mark.parametrize("sheared", [False, True])
def test_against_exact_clipping(
    request: pytest.FixtureRequest, element: str, order: str, place: tuple[float, float], sheared: bool
) -> None:
    """Error below 1e-3 of the brightest pixel, flux to 1e-6, with a spectrum that jumps from bin to bin."""
    trace = request.getfixturevalue(element)
    edges = wavelength_edges(trace, *place, order)
    first = len(edges) // 3
    edges = edges[first : first + (9 if order != "0" else 5)]
    light = np.random.default_rng(1).uniform(0.3, 1, len(edges) - 1)
    x, y = trace.trace(*place, edges, order)
    window = Window(np.floor(x.min()) - 12, np.floor(y.min()) - 12, 30, int(np.ptp(y)) + 28)
    nodes = np.array([edges[0], edges[-1]])
    slopes = straight_slopes(trace, *place, order, edges, nodes, HALF) if sheared else None
    assert sheared == (slopes is not None)
    stamps = gauss_stamps(trace, *place, order, nodes, slopes)
    source = place_source(trace, window, *place, order, WavelengthBins.of(edges, nodes), stamps)
    image = np.zeros((window.ny, window.nx))
    add_cutout(image, source.box, source.image(light))
    exact = exact_image(trace, window, *place, gauss_cells(PITCH), PITCH, order, edges, light, steps=12)
    assert exact.sum() == pytest.approx(light.sum(), rel=1e-6)
    assert image.sum() == pytest.approx(light.sum(), rel=1e-6)
    assert np.abs(image - exact).max() < 1e-3 * exact.max()


@pytest.mark.parametrize("element", ["grism", "prism"])
@pytest.mark.parametrize(
    ("covariance", "pitch", "half"),
    [
        (ROUND, PITCH, 7),
        (ellipse(0.6, 0.3, 0.7), PITCH, 7),
        (ellipse(2.2, 0.5, 0.8), 1 / 7, 15),
        (ellipse(2.2, 2.0, 2.0), 1 / 6, 15),
    ],
)
def test_a_line_against_exact_clipping(
    request: pytest.FixtureRequest, element: str, covariance: F64, pitch: float, half: int
) -> None:
    """All light in one bin, the strictest case: points and galaxies, drawn as sums of products."""
    trace = request.getfixturevalue(element)
    place = (310.9, 3900.2)
    edges = wavelength_edges(trace, *place, "1")
    bins = WavelengthBins.of(edges, NODES[1:4])
    light = np.zeros(len(edges) - 1)
    lit = len(light) * 2 // 5
    light[lit] = 3.0
    x, y = trace.trace(*place, edges[lit], "1")
    window = Window(np.floor(x) - half - 8, np.floor(y) - half - 8, 2 * half + 16, 2 * half + 16)
    slopes = straight_slopes(trace, *place, "1", edges, bins.nodes, half)
    assert slopes is not None
    stamps = gauss_stamps(trace, *place, "1", bins.nodes, slopes, covariance, half)
    assert stamps.rank > 0
    image = np.zeros((window.ny, window.nx), dtype=np.float32)
    place_source(trace, window, *place, "1", bins, stamps).add_to(image, light)
    cells = gauss_cells(pitch, covariance)
    exact = exact_image(trace, window, *place, cells, pitch, "1", edges, light, steps=8)
    assert image.sum(dtype=np.float64) == pytest.approx(exact.sum(), rel=2e-6)
    assert np.abs(image - exact).max() < 1e-3 * exact.max()


def some_source(
    seed: int = 0, bins: int = 60, planes: int = 3, tilt: float = 0.1, sheared: bool = False, rank: int = 0
) -> DispersedSource:
    rng = np.random.default_rng(seed)
    samples: F64 | Factors = rng.uniform(size=(planes, 22, 26))
    if rank and sheared:
        samples = Factors(rng.normal(size=(planes, 22, rank)), rng.normal(size=(rank, 26)))
    stamps = Stamps(samples, (2, 2), -5, -6, [tilt] * planes if sheared else None)
    y = 8.3 + 0.47 * np.arange(bins + 1)
    x = 12.1 + tilt * (y - y[0])
    trace = BinTrace(x, y, *plane_shares(np.linspace(1, 2, bins + 1), np.linspace(1, 2, planes)))
    return DispersedSource(stamps, trace, trace.box(stamps, 40))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.floats(-0.5, 0.5), st.integers(1, 4), st.booleans(), st.sampled_from([0, 4, 12]))
def test_project_is_the_adjoint_of_image(seed: int, tilt: float, planes: int, sheared: bool, rank: int) -> None:
    source = some_source(seed, planes=planes, tilt=tilt, sheared=sheared, rank=rank)
    rng = np.random.default_rng(seed + 1)
    light, pixels = rng.normal(size=source.trace.bins), rng.normal(size=(source.box.ny, source.box.nx))
    forward = float((source.image(light).astype(float) * pixels.astype(np.float32)).sum())
    assert source.project(pixels) @ light == pytest.approx(forward, abs=1e-4 * np.abs(light).sum())


def test_stamps_sheared_for_another_trace_are_refused() -> None:
    source = some_source(tilt=0.1, sheared=True)
    other = some_source(tilt=0.12)
    wrong = DispersedSource(source.stamps, other.trace, other.box)
    with pytest.raises(InputError, match="refused"):
        wrong.image(np.ones(other.trace.bins))


@pytest.mark.parametrize("sheared", [False, True])
def test_image_is_linear_and_local(sheared: bool) -> None:
    source = some_source(sheared=sheared)
    light = np.zeros(source.trace.bins)
    light[30] = 2.0
    image = source.image(light)
    assert np.allclose(image, 2 * source.image(light / 2), rtol=1e-6)
    rows = np.flatnonzero(image.any(axis=1)) + source.box.row
    assert rows.min() >= source.trace.y[30] - 5 - 3
    assert rows.max() <= source.trace.y[31] - 5 + 11 + 3


@pytest.mark.parametrize(("sheared", "rank"), [(False, 0), (True, 0), (True, 8)])
@pytest.mark.parametrize("shape", [(40, 60), (30, 14), (7, 21)])
def test_drawn_onto_an_image_as_its_cutout(sheared: bool, rank: int, shape: tuple[int, int]) -> None:
    """Also where the image ends amid the source."""
    source = some_source(sheared=sheared, rank=rank)
    light = np.random.default_rng(4).uniform(size=source.trace.bins)
    image, expected = np.full(shape, 3.0, dtype=np.float32), np.full(shape, 3.0)
    source.add_to(image, light)
    add_cutout(expected, source.box, source.image(light))
    assert np.abs(expected - 3).max() > 0.1
    assert np.allclose(image, expected, atol=2e-6 * np.abs(expected).max())


def test_images_that_cannot_be_drawn_on() -> None:
    source = some_source(sheared=True)
    light = np.ones(source.trace.bins)
    fixed = np.zeros((9, 9), dtype=np.float32)
    fixed.flags.writeable = False
    for image in (np.zeros((9, 9)), np.zeros((9, 18), dtype=np.float32)[:, ::2], fixed):
        with pytest.raises(InputError, match=r"field image: .* cannot be written to"):
            source.add_to(image, light)
    with pytest.raises(InputError, match="finite"):
        source.add_to(np.zeros((9, 9), dtype=np.float32), np.full_like(light, np.inf))
    with pytest.raises(InputError, match="sheared"):
        disperse_onto(np.zeros((9, 9), dtype=np.float32), some_source().stamps, source.trace, light)


@pytest.mark.parametrize("rank", [4, 8])
def test_factors_draw_their_products(rank: int) -> None:
    source = some_source(sheared=True, rank=rank)
    rng = np.random.default_rng(1)
    along, across = rng.normal(size=(3, 22, rank)), rng.normal(size=(rank, 26))
    stamps, of_factors = (Stamps(v, (2, 2), -5, -6, [0.1] * 3) for v in (along @ across, Factors(along, across)))
    assert np.allclose(of_factors.phases, stamps.phases, atol=1e-5)
    plain = DispersedSource(stamps, source.trace, source.box)
    source = DispersedSource(of_factors, source.trace, source.box)
    light = rng.uniform(size=source.trace.bins)
    image = plain.image(light)
    assert np.allclose(source.image(light), image, atol=2e-6 * np.abs(image).max())
    back = plain.project(image)
    assert np.allclose(source.project(image), back, atol=1e-5 * np.abs(back).max())


@pytest.mark.parametrize("sheared", [False, True])
def test_moving_by_a_whole_pixel_moves_the_image(sheared: bool) -> None:
    source = some_source(tilt=0.0, sheared=sheared)
    light = np.ones(source.trace.bins)
    moved = source.moved(0.999999999999)
    assert np.allclose(moved.image(light)[:, 1:], source.image(light)[:, :-1], atol=1e-3)


def test_a_bin_shared_by_two_planes() -> None:
    """Half way between two nodes the image is the mean of the planes' images."""
    rng = np.random.default_rng(3)
    planes = rng.uniform(size=(2, 22, 22))
    place = [10.2, 10.2], [12.7, 12.7]
    images = []
    for samples, plane, share in ((planes, 0, 0.5), (planes[:1], 0, 0.0), (planes[1:], 0, 0.0)):
        stamps = Stamps(samples, (2, 2), -5, -5)
        trace = BinTrace(*place, [plane], [share])
        images.append(disperse(stamps, trace, [1.0], trace.box(stamps, 40)))
    assert np.allclose(images[0], (images[1] + images[2]) / 2, atol=1e-6)


def test_cutouts_beyond_the_image() -> None:
    image = np.zeros((6, 5))
    box = CutoutBox(-2, 3, 4, 4)
    cutout = np.arange(16.0).reshape(4, 4)
    add_cutout(image, box, cutout)
    assert np.array_equal(image[:2, 3:], cutout[2:, :2])
    assert image.sum() == cutout[2:, :2].sum()
    assert np.array_equal(take_cutout(image, box), np.pad(cutout[2:, :2], ((2, 0), (0, 2))))
    add_cutout(image, CutoutBox(50, 50, 4, 4), cutout)
    assert not take_cutout(image, CutoutBox(50, 50, 4, 4)).any()


def test_bins_are_as_narrow_as_asked() -> None:
    trace = nominal_optical_model("prism").on("WFI01")
    edges = wavelength_edges(trace, 2000.0, 2000.0, "1", sampling_px=0.4)
    _, y = trace.trace(2000.0, 2000.0, edges, "1")
    assert np.abs(np.diff(y)).max() <= 0.4 * 1.02


def test_plane_shares() -> None:
    plane, share = plane_shares([0.9, 1.0, 1.2, 1.6, 2.2], [1.0, 1.4, 1.8])
    assert plane.tolist() == [0, 0, 1, 1]
    assert share == pytest.approx([0.0, 0.25, 0.0, 1.0])


def test_bad_arguments() -> None:
    source = some_source()
    with pytest.raises(InputError, match="finite"):
        source.image(np.full(source.trace.bins, np.nan))
    with pytest.raises(InputError, match="shape"):
        source.image(np.ones(3))
    with pytest.raises(InputError, match="shape"):
        source.project(np.ones((2, 2)))
    with pytest.raises(InputError, match="finite"):
        BinTrace([0.0, np.nan], [0.0, 1.0], [0], [0.0])
    with pytest.raises(InputError, match="whole number"):
        Stamps(np.ones((1, 3, 4)), (2, 2), 0, 0)
    with pytest.raises(InputError, match="finite"):
        Stamps(np.full((1, 4, 4), np.inf), (2, 2), 0, 0)
    for rank, value, slopes, said in (
        (3, 1.0, [0.0], "factors"),
        (4, np.nan, [0.0], "finite"),
        (4, 1.0, None, "sheared"),
        (0, 1.0, [0.0], "factors"),
    ):
        with pytest.raises(InputError, match=said):
            Stamps(Factors(np.ones((1, 4, rank)), np.full((rank, 4), value)), (2, 2), 0, 0, slopes)
    with pytest.raises(InputError, match="whole number"):
        Stamps(Factors(np.ones((1, 4, 4)), np.ones((4, 5))), (2, 2), 0, 0, [0.0])
    with pytest.raises(InputError, match="shape"):
        Stamps(Factors(np.ones((1, 4, 4)), np.ones((8, 4))), (2, 2), 0, 0, [0.0])
    with pytest.raises(InputError, match="refused"):
        disperse(source.stamps, source.trace, np.ones(source.trace.bins), CutoutBox(0, 0, 40, 4))
    trace = nominal_optical_model("grism").on("WFI01")
    with pytest.raises(InputError, match="rise"):
        WavelengthBins.of([1.2, 1.1], [1, 1.2, 1.3])
    with pytest.raises(InputError, match="planes"):
        place_source(trace, Window(0, 0, 9, 9), 5.0, 5.0, "1", WavelengthBins.of([1.1, 1.2], [1.0]), source.stamps)
