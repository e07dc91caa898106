"""Pictures of spectra for the people who run the pipeline: PNG, a few tens of kB each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from roman_assets.exposures.figures import png_of
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

_UNIT = 1e-20


def cutout_figure(cutout: Mapping[str, Any], spectrum: Spectrum, title: str) -> bytes:
    """A trace as observed, its contamination, the decontaminated trace, and the spectrum below it, by wavelength.

    `cutout`: one source's entry of a `spectra_2d` product.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(4, 1, sharex=True, height_ratios=(1, 1, 1, 2.4))
    wave = cutout["wavelength"][:, 0].astype(float)
    rows = np.flatnonzero(np.isfinite(wave))
    rows = rows[np.argsort(wave[rows])]
    seen = np.where(cutout["weights"] > 0, cutout["science"], np.nan)
    images = (seen + cutout["contamination"], cutout["contamination"], seen)
    finite = seen[np.isfinite(seen)]
    limit = float(np.percentile(np.abs(finite), 99)) if finite.size else 1.0
    extent = (float(wave[rows[0]]), float(wave[rows[-1]]), -0.5, cutout["science"].shape[1] - 0.5)
    for axes, image, name in zip(panels, images, ("observed", "contamination", "decontaminated"), strict=False):
        axes.imshow(
            image[rows].T,
            origin="lower",
            aspect="auto",
            cmap="gray",
            vmin=-0.2 * limit,
            vmax=limit,
            extent=extent,
            interpolation="nearest",
        )
        axes.set_ylabel(name, fontsize=7)
        axes.set_yticks([])
    _draw(panels[-1], spectrum)
    figure.suptitle(title, fontsize=9)
    return png_of(figure)


def series_figure(visits: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Brightness by time above the spectra of all visits, coloured by time; visits: rows of `spectral_series`."""
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 4.6), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    light, spectra = figure.subplots(2, 1, height_ratios=(1, 1.8))
    colours = colormaps["viridis"](np.linspace(0, 0.9, len(visits)))
    top = 0.0
    for visit, colour in zip(visits, colours, strict=True):
        light.errorbar(visit["mjd"], visit["brightness"], visit["brightness_err"], fmt="o", ms=4, color=colour)
        good = np.asarray(visit["flags"]) == 0
        flux = np.where(good, np.asarray(visit["flux"], dtype=float), np.nan) / _UNIT
        spectra.step(visit["wavelength"], flux, lw=0.7, where="mid", color=colour, label=f"MJD {visit['mjd']:.2f}")
        top = max(top, float(np.nanpercentile(flux, 98)) if good.any() else 0.0)
    light.axhline(1.0, color="0.7", lw=0.8, zorder=0)
    light.set_xlabel("MJD [d]", fontsize=8)
    light.set_ylabel("over the mean", fontsize=8)
    spectra.set_ylim(-0.1 * top, 1.3 * top if top > 0 else 1.0)
    spectra.set_xlabel("wavelength [nm]", fontsize=8)
    spectra.set_ylabel("1e-20 W m-2 nm-1", fontsize=8)
    for axes in (light, spectra):
        axes.tick_params(labelsize=7)
    if len(visits) <= 8:
        spectra.legend(fontsize=7, loc="upper right")
    figure.suptitle(title, fontsize=9)
    return png_of(figure)


def _draw(axes: Any, spectrum: Spectrum) -> None:
    good = spectrum.good
    flux = np.where(good, spectrum.flux, np.nan) / _UNIT
    sigma = np.sqrt(np.where(good, spectrum.variance, np.nan)) / _UNIT
    axes.fill_between(spectrum.wavelength, flux - sigma, flux + sigma, color="0.8", step="mid", lw=0)
    axes.step(spectrum.wavelength, flux, "k-", lw=0.6, where="mid", label="flux")
    axes.plot(spectrum.wavelength, spectrum.contamination / _UNIT, "C1-", lw=0.6, label="contamination taken out")
    if good.any():
        low, high = np.nanpercentile(flux, [1, 99])
        axes.set_ylim(min(0.0, 1.3 * low), max(1.3 * high, 1e-3))
    axes.set_xlabel("wavelength [nm]", fontsize=8)
    axes.set_ylabel("1e-20 W m-2 nm-1", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, loc="upper right")
