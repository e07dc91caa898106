"""Code versions of the spectroscopic assets: raise one when its results change (a golden-output test guards them)."""

from __future__ import annotations

CODE = {
    "dispersed_exposures": "1",
    "contamination_models": "3",
    "spectra_2d": "2",
    "spectra_1d": "3",
    "combined_spectra": "2",
    "spectral_series": "1",
    "redshifts": "2",
}
