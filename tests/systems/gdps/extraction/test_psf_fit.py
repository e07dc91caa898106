"""The width of an exposure's PSF, from its stars."""

from __future__ import annotations

import pytest

from roman_assets.systems.gdps.extraction.psf_fit import USUAL_BLUR_PX, psf_of_exposure
from roman_assets.systems.gdps.optics.dispersion import Window
from tests.systems.gdps.conftest import catalogue, make_field

WINDOW = Window(1500.0, 1500.0, 150, 1000)


@pytest.mark.parametrize("blur", [0.05, 0.2])
def test_blur_is_found(blur: float) -> None:
    table = catalogue([30.2, 75.5, 120.7], [500.0, 480.0, 520.0], [18.0, 18.5, 18.2], [0.0] * 3, WINDOW)
    field = make_field(table, WINDOW, blur=blur)
    psf = psf_of_exposure(field.frame, WINDOW, field.sources, field.trace, field.throughput)
    assert psf.blur == pytest.approx(blur, abs=0.05)


@pytest.mark.parametrize(("mag", "size"), [(18.0, 0.3), (23.0, 0.0)])
def test_without_bright_stars_the_usual_width(mag: float, size: float) -> None:
    table = catalogue([30.2, 75.5, 120.7], [500.0, 480.0, 520.0], [mag] * 3, [size] * 3, WINDOW)
    field = make_field(table, WINDOW)
    assert psf_of_exposure(field.frame, WINDOW, field.sources, field.trace, field.throughput).blur == USUAL_BLUR_PX
