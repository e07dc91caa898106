"""The picture of a redshift: its probability, and the spectrum with the model that gives it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from roman_assets.exposures.figures import png_of
from roman_assets.systems.gdps.redshift.measure import Redshift
from roman_assets.systems.gdps.redshift.zwarn import names
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

F64 = NDArray[np.float64]
_UNIT = 1e-20


def redshift_figure(spectrum: Spectrum, result: Redshift, title: str) -> bytes:
    """zPDF with its first two solutions above; spectrum with continuum, lines and errors below; a PNG of some tens of kB."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 5.0), dpi=90, layout="constrained")
    FigureCanvasAgg(figure)
    top, below = figure.subplots(2, 1, height_ratios=(1, 1.8))
    _draw_pdf(top, result)
    _draw_spectrum(below, spectrum, result)
    warnings = ", ".join(names(result.zwarn)) or "no warning"
    figure.suptitle(f"{title}: {result.kind or 'no class'}, {warnings}", fontsize=9, parse_math=False)
    return png_of(figure)


def _draw_pdf(axes: Any, result: Redshift) -> None:
    """Logarithmic: a second solution of some per cent must show."""
    if result.pdf is None:
        axes.text(0.5, 0.5, "no redshift: too few good pixels", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    pdf = result.pdf
    drawn = np.maximum(pdf.density, pdf.density.max() * 1e-12)
    axes.fill_between(pdf.z, drawn.min() * 0.1, drawn, color="0.85")
    axes.plot(pdf.z, drawn, "k-", lw=0.8)
    for solution, colour, label in zip(result.solutions[:2], ("C3", "C0"), ("primary", "secondary"), strict=False):
        text = f"{label} {solution.z:.5f}, P = {solution.probability:.3g}"
        axes.axvline(solution.z, color=colour, lw=1, ls="-" if label == "primary" else "--", label=text)
    axes.set_yscale("log")
    axes.set_ylim(pdf.density.max() * 1e-7, pdf.density.max() * 5)
    axes.set_xlim(min(0.0, float(pdf.z[0])), max(3.0, float(pdf.z[-1]) * 1.02))
    axes.set_xlabel("z", fontsize=8)
    axes.set_ylabel("p(z)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, loc="upper right")


def _draw_spectrum(axes: Any, spectrum: Spectrum, result: Redshift) -> None:
    good = spectrum.good
    flux = np.where(good, spectrum.flux, np.nan) / _UNIT
    sigma = np.sqrt(np.where(good, spectrum.variance, np.nan)) / _UNIT
    axes.fill_between(spectrum.wavelength, flux - sigma, flux + sigma, color="0.85", step="mid", lw=0)
    axes.plot(spectrum.wavelength, flux, color="0.45", lw=0.5, drawstyle="steps-mid", label="spectrum ± 1 σ")
    finite = flux[good]
    if finite.size:
        low, high = np.percentile(finite, [0.5, 99.8])
        room = 0.15 * (high - low) or 1.0
        axes.set_ylim(low - room, high + 3 * room)
    if result.lines is not None:
        axes.plot(result.wavelength, result.lines.continuum / _UNIT, "C0-", lw=1, label="continuum")
        axes.plot(
            result.wavelength, (result.lines.continuum + result.lines.emission) / _UNIT, "C3-", lw=0.9, label="lines"
        )
        for line in result.lines.lines:
            if line.sn > 3:
                at = line.wavelength * (1 + result.z)
                axes.axvline(at, color="C3", lw=0.5, ls=":")
                axes.annotate(
                    f"{line.name} {line.sn:.0f}σ",
                    (at, 0.98),
                    xycoords=("data", "axes fraction"),
                    rotation=90,
                    fontsize=6,
                    va="top",
                    ha="right",
                )
    axes.set_xlabel("wavelength in vacuum [nm]", fontsize=8)
    axes.set_ylabel("flux [1e-20 W m$^{-2}$ nm$^{-1}$]", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, loc="lower right", ncols=3)
