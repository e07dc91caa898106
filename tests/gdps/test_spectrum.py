"""The contract of a spectrum."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.gdps.spectrum import Spectrum

GOOD = {
    "wavelength": np.array([1000.0, 1001.0, 1002.0]), "flux": np.ones(3), "variance": np.ones(3),
    "contamination": np.zeros(3), "flags": np.zeros(3, dtype=np.uint32), "lsf_sigma": np.ones(3),
}  # fmt: skip


def test_good_spectrum() -> None:
    assert len(Spectrum(**GOOD)) == 3


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("wavelength", np.array([1000.0, 1000.0, 1002.0])), ("wavelength", np.array([1000.0, np.nan, 1002.0])),
        ("flux", np.ones(2)), ("flux", np.ones(3, dtype=np.float32)), ("flux", np.array([1.0, np.nan, 1.0])),
        ("variance", np.zeros(3)), ("variance", np.full(3, np.inf)), ("flags", np.zeros(3)),
        ("lsf_sigma", np.zeros(3)),
    ],
)  # fmt: skip
def test_bad_spectrum(name: str, values: np.ndarray) -> None:
    with pytest.raises(InputError) as caught:
        Spectrum(**(GOOD | {name: values}))
    assert name in str(caught.value.field)


def test_flagged_pixels_may_be_anything() -> None:
    flags = np.array([1, 0, 0], dtype=np.uint32)
    Spectrum(**(GOOD | {"flags": flags, "variance": np.array([np.inf, 1.0, 1.0])}))
