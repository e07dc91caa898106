"""Code versions of the spectroscopic assets: raise one when its results change (a golden-output test guards them)."""

from __future__ import annotations

CODE = {
    "dispersed_exposures": "1",
    "contamination_models": "4",
    "spectra_2d": "2",
    "spectra_1d": "4",
    "combined_spectra": "3",
    "spectral_series": "2",
    "redshifts": "3",
}
