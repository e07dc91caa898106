"""The picture of a redshift, with and without one."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from roman_assets.systems.gdps.redshift.figure import redshift_figure
from roman_assets.systems.gdps.redshift.measure import measure_redshift
from tests.systems.gdps.galaxy_spectra import galaxy, star_forming


@pytest.mark.parametrize("kind", ["good", "single", "gap", "none"])
def test_figure(kind):
    spectrum = galaxy(0.75, {"Ha": 8e-19}) if kind == "single" else star_forming(1.55)
    if kind == "gap":
        spectrum = replace(spectrum, flux=np.where(np.arange(len(spectrum)) < 200, np.nan, spectrum.flux))
    if kind == "none":
        spectrum = replace(spectrum, flags=np.ones(len(spectrum), np.uint32))
    picture = redshift_figure(spectrum, measure_redshift(spectrum), "source 7")
    assert len(picture) < 60_000
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB")).astype(int)
    red = (pixels[..., 0] > 180) & (pixels[..., 1] < 110) & (pixels[..., 2] < 110)
    # The solution and the fit are red; nothing is without a redshift.
    assert red.sum() > 500 if kind != "none" else red.sum() == 0
