"""The table of monochromatic PSFs against GalSim."""

from __future__ import annotations

import numpy as np

from roman_assets.simulate.spectral_psf import CORE_HALF_PX, OVERSAMPLE, UNIT, WAVELENGTHS, monochromatic_psf
from roman_assets.systems.gdps.sources.morphology import PSF_OVERSAMPLE, PSF_UNIT, _psf_table
from tests.optional import needed


def test_table_is_galsims() -> None:
    needed("galsim")
    table = _psf_table()
    assert table["detector"].n_unique() == 18
    assert sorted(table["wavelength_um"].unique()) == sorted(WAVELENGTHS)
    assert (PSF_OVERSAMPLE, PSF_UNIT) == (OVERSAMPLE, UNIT)
    row = table.row(5 * len(WAVELENGTHS) + 2, named=True)
    samples = monochromatic_psf(row["detector"], row["wavelength_um"], half_px=12)
    cut = slice((12 - CORE_HALF_PX) * OVERSAMPLE, (12 + CORE_HALF_PX) * OVERSAMPLE + 1)
    core = np.array(row["core"]).reshape(2 * CORE_HALF_PX * OVERSAMPLE + 1, -1) * UNIT
    assert np.abs(core - samples[cut, cut]).max() < 2e-3 * core.max()
