"""The contract of a spectrum: what it refuses, and which pixels it calls good."""

from __future__ import annotations

import numpy as np
import pytest

from roman_assets.errors import InputError
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

GOOD = {
    "wavelength": np.linspace(1000, 1900, 6),
    "flux": np.ones(6),
    "variance": np.ones(6),
    "contamination": np.zeros(6),
    "flags": np.zeros(6, np.uint32),
    "lsf_sigma": np.ones(6),
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("flux", np.ones(5)),
        ("flags", np.zeros(7, np.uint32)),
        ("wavelength", np.linspace(1900, 1000, 6)),
        ("wavelength", [1, 2, 2, 3, 4, 5]),
        ("wavelength", [1, 2, np.nan, 3, 4, 5]),
        ("wavelength", [-1, 2, 3, 4, 5, 6]),
        ("lsf_sigma", np.zeros(6)),
        ("lsf_sigma", np.full(6, np.nan)),
        ("variance", np.ones((2, 3))),
    ],
)
def test_refuses(name, value):
    with pytest.raises(InputError) as error:
        Spectrum(**(GOOD | {name: value}))
    assert error.value.field == name


def test_refuses_nothing_at_all():
    with pytest.raises(InputError, match="at least one pixel"):
        Spectrum(**{name: values[:0] for name, values in GOOD.items()})


def test_good_pixels():
    flux, variance = np.ones(6), np.ones(6)
    flux[0], variance[1], variance[2], variance[3] = np.nan, np.inf, 0, -1
    flags = np.array([0, 0, 0, 0, 4, 0], np.uint32)
    spectrum = Spectrum(**(GOOD | {"flux": flux, "variance": variance, "flags": flags}))
    assert spectrum.good.tolist() == [False] * 5 + [True]
    assert len(spectrum) == 6
