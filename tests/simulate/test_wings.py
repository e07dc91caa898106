"""The wings table that stands in for GalSim at run time."""

from pathlib import Path

import numpy as np
import polars as pl

import roman_assets.systems.msos
from roman_assets.simulate.wings import DETECTORS, ELEMENTS, psf_wings_table, radial_profile, write_wings
from tests.optional import needed

SHIPPED = Path(next(iter(roman_assets.systems.msos.__path__))) / "data" / "psf_wings.parquet"


def test_radial_profile_of_a_gaussian():
    offset = np.arange(-120, 121) / 4
    sigma = 3.0
    image = np.exp(-(offset[:, None] ** 2 + offset[None, :] ** 2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    radii = np.array([0.0, 2.0, 4.0, 8.0])
    profile, energy = radial_profile(image, 4, radii)
    np.testing.assert_allclose(energy[1:], 1 - np.exp(-(radii[1:] ** 2) / (2 * sigma**2)), atol=0.01)
    np.testing.assert_allclose(profile[2], np.exp(-(4.0**2) / 18) / (2 * np.pi * 9), rtol=0.02)


def test_shipped_table_is_complete_small_and_sane():
    table = pl.read_parquet(SHIPPED)
    assert SHIPPED.stat().st_size < 100_000
    assert set(table["detector"]) == set(DETECTORS)
    assert set(table["optical_element"]) == set(ELEMENTS)
    energy = table.sort("radius_px").group_by("detector", "optical_element", maintain_order=True)
    for (detector, element), group in energy:
        values = group["encircled_energy"].to_numpy()
        assert np.all(np.diff(values) >= 0), (detector, element)
        assert 0.97 < values[-1] < 1.0, (detector, element)
    f146 = table.filter((pl.col("optical_element") == "F146") & (pl.col("radius_px") == 7.0))
    assert f146["encircled_energy"].is_between(0.87, 0.92).all()


def test_shipped_table_is_what_the_tool_makes(tmp_path):
    needed("galsim")
    made = psf_wings_table(("WFI07",), ("F146",))
    path = write_wings(tmp_path / "deep" / "wings.parquet", made)
    shipped = pl.read_parquet(SHIPPED).filter((pl.col("detector") == "WFI07") & (pl.col("optical_element") == "F146"))
    for column in ("profile", "encircled_energy"):
        np.testing.assert_allclose(pl.read_parquet(path)[column].to_numpy(), shipped[column].to_numpy(), atol=1e-6)
