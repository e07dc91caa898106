"""All orders of all sources on one exposure: operators, spectra, and the image that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.systems.gdps.optics.dispersion import (
    FARTHEST_PX,
    DispersedSource,
    WavelengthBins,
    Window,
    add_cutout,
    place_source,
    straight_slopes,
    wavelength_edges,
)
from roman_assets.systems.gdps.optics.throughput import Throughput
from roman_assets.systems.gdps.optics.traces import MAIN, TraceModel
from roman_assets.systems.gdps.sources.morphology import Shape, SpectralPsf, half_size, source_stamps
from roman_assets.systems.gdps.sources.source_list import SkyToPixels, SourceList

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
#: Wavelengths [um] at which a source's profile is made, in the main order and in the others.
NODES, FEW_NODES = (0.75, 0.95, 1.2, 1.45, 1.7, 1.95), (1.1, 1.7)
#: Noise of a pixel [electrons/s] against which stamps are sized: the sky of a 300 s exposure.
USUAL_NOISE = 0.05
#: Across the dispersion no source is moved farther than this [px]; cut-outs have room for it.
FARTHEST_MOVE_PX = 0.5


@dataclass(frozen=True)
class Band:
    """Wavelength bins of one order: every `stride`-th edge of the main grid, and rates for unit flux in the fine bins."""

    order: str
    stride: int
    edges: F64
    rates: F64  # (main bins,) electrons/s of 1 W m-2 nm-1

    @cached_property
    def bins(self) -> WavelengthBins:
        """The order's bins, and the wavelengths at which profiles are made for them."""
        wanted = NODES if self.order == MAIN else FEW_NODES
        return WavelengthBins.of(self.edges, [n for n in wanted if self.edges[0] - 0.1 < n < self.edges[-1] + 0.1])

    def light(self, spectrum: F64) -> F64:
        """Electrons/s in the order's bins of a spectrum (main bins,) [W m-2 nm-1]."""
        fine = spectrum * self.rates
        return fine if self.stride == 1 else np.add.reduceat(fine, np.arange(0, len(fine), self.stride))

    def spread(self, light: F64) -> F64:
        """Adjoint of `light`: (main bins,) from the order's bins."""
        return self.rates * (light if self.stride == 1 else np.repeat(light, self.stride)[: len(self.rates)])


def _bands(trace: TraceModel, throughput: Throughput, x: float, y: float) -> tuple[F64, list[Band]]:
    """The main grid's edges [um] and the bands of all orders that carry light."""
    low, high = throughput.band(MAIN, 1e-3)
    model_low, model_high = trace.band(MAIN)
    grid = wavelength_edges(trace, x, y, MAIN, band=(max(low, model_low), min(high, model_high)))
    bands = []
    for order in trace.orders:
        rates = throughput.rates(order, grid)
        if not rates.max() > 0:
            continue
        needed = wavelength_edges(trace, x, y, order, band=(grid[0], grid[-1]))
        stride = max((len(grid) - 1) // (len(needed) - 1), 1)
        edges = grid[::stride] if (len(grid) - 1) % stride == 0 else np.append(grid[:-1:stride], grid[-1])
        bands.append(Band(order, stride, edges, rates))
    if not bands or bands[0].order != MAIN:
        raise InputError("the throughput has no order 1", file=throughput.origin.name, field="order")
    return grid, bands


@dataclass
class PlacedSource:
    """One source on the exposure: its operators by order, and its present model."""

    index: int
    orders: dict[str, DispersedSource]
    spectrum: F64  # (main bins,) [W m-2 nm-1]
    colours: F64  # the same by the photometry alone
    images: dict[str, F32] = field(default_factory=dict)  # by order, at `spectrum`
    response: F32 | None = None  # order 1 for 1 W m-2 nm-1
    offset: float = 0.0  # across the dispersion, from where the catalogue puts it [px]


@dataclass
class Scene:
    """Sources on one exposure.

    Attributes
    ----------
    grid
        (bins + 1,) edges of the wavelength bins that all spectra here have [um].
    bands
        By order, the main one first.
    sources
        Those of which any light falls on the window.
    shape
        (ny, nx) of the window.
    """

    grid: F64
    bands: list[Band]
    sources: list[PlacedSource]
    shape: tuple[int, int]

    @property
    def centres(self) -> F64:
        """(bins,) wavelengths [um]."""
        return (self.grid[1:] + self.grid[:-1]) / 2

    def set_spectrum(self, source: PlacedSource, spectrum: F64) -> None:
        """Gives a source another spectrum; its images follow."""
        source.spectrum = spectrum
        for band in self.bands:
            if band.order in source.orders:
                source.images[band.order] = source.orders[band.order].image(band.light(spectrum))

    def moved_image(self, source: PlacedSource, offset: float) -> F32:
        """The main order's image, in its cut-out, of a source moved by `offset` px across the dispersion."""
        return source.orders[MAIN].moved(offset).image(self.bands[0].light(source.spectrum))

    def move(self, source: PlacedSource, offset: float) -> None:
        """Moves all orders of a source by `offset` px across the dispersion, FARTHEST_MOVE_PX in all at most."""
        to = float(np.clip(source.offset + offset, -FARTHEST_MOVE_PX, FARTHEST_MOVE_PX))
        offset, source.offset = to - source.offset, to
        source.orders = {order: placed.moved(offset) for order, placed in source.orders.items()}
        self.set_spectrum(source, source.spectrum)
        if MAIN in source.orders:
            source.response = source.orders[MAIN].image(self.bands[0].rates)

    def model(self) -> F64:
        """(ny, nx) float64 [electrons/s], all orders of all sources."""
        total = np.zeros(self.shape)
        for source in self.sources:
            for order, image in source.images.items():
                add_cutout(total, source.orders[order].box, image)
        return total


def build_scene(
    sources: SourceList,
    to_pixels: SkyToPixels,
    window: Window,
    trace: TraceModel,
    throughput: Throughput,
    psf: SpectralPsf,
) -> Scene:
    """Places all sources; spectra are those of their colours.

    Sources far off the window are kept if any of their orders reaches it.

    Raises
    ------
    InputError
        The element disperses along rows, which extraction does not know, or the throughput lacks order 1.
    """
    if trace.dispersion_axis != "y":
        raise InputError(
            "the dispersion runs along rows",
            file=trace.origin.name,
            field="dispersion_axis",
            remedy="turn the exposure and its configuration by 90 deg",
        )
    x, y, shapes = sources.on(to_pixels)
    middle = window.xstart + window.nx / 2, window.ystart + window.ny / 2
    grid, bands = _bands(trace, throughput, *middle)
    spectra = sources.spectrum((grid[1:] + grid[:-1]) / 2)
    placed = []
    for index in range(len(sources)):
        if not (
            -FARTHEST_PX < x[index] < window.nx + FARTHEST_PX and -FARTHEST_PX < y[index] < window.ny + FARTHEST_PX
        ):
            continue
        at = x[index] + window.xstart, y[index] + window.ystart
        orders = _orders(trace, window, at, shapes[index], psf, bands, spectra[index])
        if orders:
            placed.append(PlacedSource(index, orders, spectra[index], spectra[index]))
    scene = Scene(grid, bands, placed, (window.ny, window.nx))
    for source in placed:
        scene.set_spectrum(source, source.spectrum)
        if MAIN in source.orders:
            source.response = source.orders[MAIN].image(bands[0].rates)
    return scene


def _orders(
    trace: TraceModel,
    window: Window,
    at: tuple[float, float],
    shape: Shape,
    psf: SpectralPsf,
    bands: Sequence[Band],
    spectrum: F64,
) -> dict[str, DispersedSource]:
    """Operators of the orders that reach the window."""
    result = {}
    for band in bands:
        x, y = trace.trace(at[0], at[1], band.edges, band.order)
        light = band.light(spectrum)
        length = max(float(np.abs(np.diff(trace.along(x, y))).sum()), 1.0)
        half = half_size(shape, float(light.sum()) / min(length, len(light)) / USUAL_NOISE)
        x, y = x - window.xstart, y - window.ystart
        if x.max() < -half or x.min() > window.nx + half or y.max() < -half or y.min() > window.ny + half:
            continue
        nodes = band.bins.nodes
        slopes = straight_slopes(trace, *at, band.order, band.edges, nodes, half)
        stamps = source_stamps(psf, shape, nodes, trace.jacobian(at[0], at[1], nodes, band.order), half, slopes)
        placed = place_source(trace, window, *at, band.order, band.bins, stamps)
        if placed.seen(window.nx):
            result[band.order] = placed
    return result
