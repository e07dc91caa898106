"""Pictures of spectra for the people who run the pipeline: PNG, a few tens of kB each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from roman_assets.gdps.spectrum import Spectrum
from roman_assets.msos.plots import png_of

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
            image[rows].T, origin="lower", aspect="auto", cmap="gray", vmin=-0.2 * limit, vmax=limit, extent=extent,
            interpolation="nearest",
        )  # fmt: skip
        axes.set_ylabel(name, fontsize=7)
        axes.set_yticks([])
    _draw(panels[-1], spectrum)
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
