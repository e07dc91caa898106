"""Grism and prism spectroscopy (GDPS): traces, dispersion, contamination, extraction, redshifts."""
