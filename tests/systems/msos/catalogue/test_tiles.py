"""Catalogues by tiles and grids of ePSFs, against the simulated survey and images drawn with known ePSFs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import sky_of
from roman_assets.kernels.photometry import PaddedFrame, Stars, render
from roman_assets.systems.msos.catalogue import tiles
from roman_assets.systems.msos.catalogue.tiles import tiled_catalogue
from roman_assets.systems.msos.photometry.exposure_fit import fit_exposure
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf, model_psf, spline_coefficients
from roman_assets.systems.msos.psf.grid import DetectorPsf, cells_of
from roman_assets.systems.msos.stages.psf_files import psf_tree, read_psf
from roman_assets.systems.msos.stages.reference_catalog import CatalogueConfig
from tests.systems.msos.conftest import CONFIG

MARGIN = 20


@pytest.fixture(scope="module")
def tiled(survey):
    with pytest.MonkeyPatch.context() as patch:
        # The survey of the tests is small: so are its tiles and their margins.
        patch.setattr(tiles, "MARGIN_PX", MARGIN)
        said = []
        return tiled_catalogue(survey.frames, survey.psf, tile_px=CONFIG.size_px // 2, progress=said.append), said


def test_cells():
    assert cells_of((4088, 4088), 1024) == (4, 4)
    assert cells_of((512, 512), 1024) == (1, 1)
    assert cells_of((1024, 2048), 1024) == (1, 2)


def test_a_window_sees_the_same_sky(survey):
    frame = survey.frames[1]
    part = frame.cut(-7, 11, 40, 30)
    assert part.shape == (30, 40)
    assert not part.good[:, :7].any()
    np.testing.assert_array_equal(part.data[:, 7:], frame.data[11:41, :33])
    x, y = np.array([3.0, 20.0]), np.array([2.0, 15.5])
    ra, dec = sky_of(frame.wcs, x, y)
    inside = part.to_pixels(ra, dec)
    whole = frame.to_pixels(ra, dec)
    np.testing.assert_allclose(inside, (whole[0] + 7, whole[1] - 11), atol=1e-9)
    np.testing.assert_allclose(sky_of(part.wcs, x + 7, y - 11), (ra, dec), rtol=1e-13)


def test_a_window_off_the_array_is_empty(survey):
    assert not survey.frames[0].cut(10_000, 0, 20, 20).good.any()


def test_tiles_find_what_the_whole_finds(survey, catalogue, tiled):
    found, said = tiled
    bright = catalogue.stars.flux > 20 * catalogue.flux_err
    tree = cKDTree(np.column_stack([found.stars.x, found.stars.y]))
    distance, entry = tree.query(np.column_stack([catalogue.stars.x, catalogue.stars.y])[bright])
    ratio = found.stars.flux[entry] / catalogue.stars.flux[bright]
    assert (distance < 0.2).mean() > 0.95
    assert abs(np.median(ratio) - 1) < 0.02
    assert not tree.query_pairs(0.3)
    assert {text.split(":")[0] for text in said} == {f"tile {n}/4" for n in (1, 2, 3, 4)}
    assert found.residual.shape == (1, CONFIG.size_px, CONFIG.size_px)
    assert len(found.ra) == len(found.stars) == len(found.saturated)
    x, y = survey.frames[0].to_pixels(found.ra, found.dec)
    np.testing.assert_allclose(x, found.stars.x, atol=2e-3)
    np.testing.assert_allclose(y, found.stars.y, atol=2e-3)


def test_every_tile_has_an_epsf_and_the_grid_is_stored_and_read(tiled):
    found, _ = tiled
    assert len(found.psf.cells) == 4
    tree = psf_tree(found)
    assert tree["coefficients"].shape[:2] == (2, 2)
    assert tree["cell_px"] == CONFIG.size_px // 2
    store = SimpleNamespace(products=SimpleNamespace(read_asdf=lambda record: tree))
    again, phase_map = read_psf(store, None)
    assert again.cell_px == found.psf.cell_px
    for before, after in zip(found.psf.cells, again.cells, strict=True):
        np.testing.assert_array_equal(before.coefficients, after.coefficients)
    assert len({psf.coefficients.tobytes() for psf in again.cells}) == 4
    np.testing.assert_array_equal(phase_map.coefficients, found.phase_map.coefficients)


def test_frames_of_one_tile_are_not_cut(survey, catalogue):
    whole = tiled_catalogue(survey.frames, survey.psf)
    np.testing.assert_array_equal(whole.stars.flux, catalogue.stars.flux)


def test_bad_tiles_are_refused(survey, monkeypatch):
    with pytest.raises(InputError, match="tile_px"):
        tiled_catalogue(survey.frames, survey.psf, tile_px=10)
    with pytest.raises(InputError, match="no exposure"):
        tiled_catalogue([], survey.psf)
    grid = DetectorPsf(((survey.psf,) * 3,), CONFIG.size_px / 2)
    monkeypatch.setattr(tiles, "MARGIN_PX", MARGIN)
    with pytest.raises(InputError, match="make them agree"):
        tiled_catalogue(survey.frames, grid, tile_px=CONFIG.size_px // 2)
    assert CatalogueConfig().tile_px == tiles.TILE_PX


def test_one_cell_or_four_equal_cells_measure_the_same(survey):
    ra, dec = survey.stars["ra"].to_numpy(), survey.stars["dec"].to_numpy()
    frame, half = survey.frames[0], CONFIG.size_px / 2
    one = fit_exposure(frame, ra, dec, survey.flux, survey.psf)
    same = fit_exposure(frame, ra, dec, survey.flux, DetectorPsf.of(survey.psf))
    np.testing.assert_array_equal(one.flux, same.flux)
    four = fit_exposure(frame, ra, dec, survey.flux, DetectorPsf(((survey.psf,) * 2,) * 2, half))
    seen = np.isfinite(one.flux)
    assert np.abs((four.flux - one.flux)[seen] / one.flux_err[seen]).max() < 1e-2


def wider(psf: EffectivePsf, sigma: float) -> EffectivePsf:
    from scipy.ndimage import gaussian_filter

    values = gaussian_filter(psf.values, sigma * psf.oversample)
    return EffectivePsf(spline_coefficients(values), psf.oversample, psf.origin, psf.normalisation)


def test_each_star_gets_the_epsf_of_its_cell(survey):
    """Two halves of a detector, one of them out of focus: a grid measures both, one ePSF is wrong in one."""
    sharp = model_psf("WFI01", "F146")
    soft, frame = wider(sharp, 0.35), survey.frames[0]
    grid = DetectorPsf(((sharp, soft),), CONFIG.size_px / 2)
    rng = np.random.default_rng(4)
    x, y = rng.uniform(6, CONFIG.size_px - 7, (2, 60))
    flux = rng.uniform(200, 400, 60)
    geometry = PaddedFrame(*frame.shape)
    image = grid.render(geometry, Stars.of(x, y, 31), flux, np.full(geometry.shape, 1.0, dtype=np.float32))
    right = x >= CONFIG.size_px / 2 - 0.5
    drawn = render(soft.spline, geometry, Stars.of(x[right], y[right], 31), flux[right])
    drawn += render(sharp.spline, geometry, Stars.of(x[~right], y[~right], 31), flux[~right])
    np.testing.assert_allclose(image[geometry.inner], drawn[geometry.inner] + 1.0, rtol=1e-4)
    frame = frame.cut(0, 0, *frame.shape[::-1])
    frame.data, frame.good = image[geometry.inner].copy(), np.ones(frame.shape, dtype=bool)
    ra, dec = sky_of(frame.wcs, x, y)
    ours, single = (fit_exposure(frame, ra, dec, flux, psf) for psf in (grid, sharp))
    assert np.abs(ours.flux / flux - 1).max() < 0.01
    assert abs(np.median(single.flux[right] / flux[right]) - 1) > 0.02
