"""Models beyond the point lens, on light curves whose truth is known."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from roman_assets.errors import InputError
from roman_assets.kernels.events import finite_source
from roman_assets.systems.msos.events.finder import EventConfig, find_events
from roman_assets.systems.msos.events.models import ModelConfig, choose, higher_models, model_curve
from roman_assets.systems.msos.models.binary_magnification import BinaryLensConfig
from roman_assets.systems.msos.models.lens_models import LensModel, fit_binary_source, fit_finite_source, fit_parallax
from roman_assets.systems.msos.models.parallax import Observer
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, PointLensFit, fit_point_lens

ONE_SEASON = 60000 + np.arange(0, 72, 0.03)
TWO_SEASONS = np.concatenate([60000 + np.arange(0, 72, 0.05), 60183 + np.arange(0, 72, 0.05)])
FIELD = Observer(268.0, -29.5)
ERROR = 0.5


def point_source(u: np.ndarray) -> np.ndarray:
    return np.asarray((u * u + 2) / (u * np.sqrt(u * u + 4)))


def observed(mjd: np.ndarray, flux: np.ndarray, seed: int, t0: float) -> tuple[LightCurve, PointLensFit]:
    noisy = flux + np.random.default_rng(seed).normal(0, ERROR, len(mjd))
    curve = LightCurve((Band("F146", mjd, noisy, np.full(len(mjd), ERROR)),))
    return curve, fit_point_lens(curve, [(t0, 1.0)])


def disc(mjd: np.ndarray) -> np.ndarray:
    return 40 * finite_source(np.hypot(0.02, (mjd - 60030) / 15), 0.03) + 10


def moving(mjd: np.ndarray) -> np.ndarray:
    north, east = FIELD.offsets(mjd, 60030.0)
    tau = (mjd - 60030) / 60 + 0.3 * north - 0.2 * east
    return 200 * point_source(np.hypot(tau, 0.2 + 0.3 * east + 0.2 * north)) + 10


def two(mjd: np.ndarray) -> np.ndarray:
    first, second = (point_source(np.hypot(u0, (mjd - t0) / 15)) for u0, t0 in ((0.2, 60030), (0.05, 60040)))
    return 45 * first + 5 * second + 10


def near(model: LensModel, name: str, truth: float, sigmas: float = 4.0) -> bool:
    return abs(model[name] - truth) < sigmas * model.error(name)


def test_a_start_far_from_any_event_is_no_error() -> None:
    """The minimiser came to such a place from the point-lens fit of a planetary event of a tiny field."""
    curve, lens = observed(ONE_SEASON, disc(ONE_SEASON), 1, 60030)
    for te in (1e-320, 1e300):
        assert not fit_finite_source(curve, replace(lens, te=te)).chi2 < lens.chi2 - 1e3


@pytest.mark.parametrize("seed", [1, 2])
def test_a_finite_source_is_measured(seed: int) -> None:
    curve, lens = observed(ONE_SEASON, disc(ONE_SEASON), seed, 60030)
    model = fit_finite_source(curve, lens)
    assert model.usable
    assert model.converged
    for name, truth in (("t0", 60030), ("u0", 0.02), ("te", 15), ("rho", 0.03)):
        assert near(model, name, truth), name
    assert abs(model.fs[0, 0] - 40) < 4 * model.fs_err[0, 0]
    assert model.chi2 < model.dof + 5 * np.sqrt(2 * model.dof)


def test_parallax_is_measured_for_one_sign_of_u0() -> None:
    curve, lens = observed(TWO_SEASONS, moving(TWO_SEASONS), 3, 60030)
    both = fit_parallax(curve, lens, FIELD)
    assert sorted(np.sign(m["u0"]) for m in both) == [-1, 1]
    assert both[0].chi2 <= both[1].chi2
    right = max(both, key=lambda m: m["u0"])
    assert right.chi2 < right.dof + 5 * np.sqrt(2 * right.dof)
    # The frame of the fit has its origin at the point lens's peak, not exactly at the truth's.
    assert near(right, "pi_ee", -0.2, 5)
    assert near(right, "pi_en", 0.3, 5)


def test_two_sources_are_measured() -> None:
    curve, lens = observed(ONE_SEASON, two(ONE_SEASON), 4, 60030)
    model = fit_binary_source(curve, lens)
    assert model is not None
    assert model.usable
    for name, truth in (("t0", 60030), ("u0", 0.2), ("te", 15), ("t0_2", 60040), ("u0_2", 0.05)):
        assert near(model, name, truth), name
    assert model.fs[0] == pytest.approx([45, 5], rel=0.2)


#: Two lenses are tried on all of these and win on none: a coarse grid and few fits do.
QUICK = EventConfig(
    models=ModelConfig(binary=BinaryLensConfig(alphas=12, log_q=(-3.0,), rhos=(1e-3,), starts=2, kept=1))
)


@pytest.mark.parametrize(
    ("flux", "mjd", "expected"),
    [(disc, ONE_SEASON, "finite_source"), (moving, TWO_SEASONS, "parallax"), (two, ONE_SEASON, "binary_source")],
)
def test_events_get_the_model_that_made_them(
    flux: Callable[[np.ndarray], np.ndarray], mjd: np.ndarray, expected: str
) -> None:
    values = flux(mjd)
    noisy = values + np.random.default_rng(5).normal(0, ERROR, len(mjd))
    table = find_events(
        {"F146": mjd},
        {"F146": noisy[None]},
        {"F146": np.full((1, len(mjd)), ERROR)},
        QUICK,
        sky=([FIELD.ra], [FIELD.dec]),
    )
    # Parallax of few au leaves both signs of u0: the second row is the twin.
    assert set(table["event_class"]) == {expected}
    assert table["degeneracy"].to_list() == list(range(len(table)))
    assert len(table) <= (2 if expected == "parallax" else 1)
    event = table.with_columns(ra=pl.lit(FIELD.ra), dec=pl.lit(FIELD.dec)).row(0, named=True)
    assert event["chi2"] < event["chi2_pspl"]
    assert model_curve(event, "F146", mjd) == pytest.approx(values, abs=5 * ERROR)


@pytest.mark.parametrize("seed", range(6))
def test_a_point_lens_stays_one(seed: int) -> None:
    u = np.hypot(0.1, (ONE_SEASON - 60030) / 15)
    curve, lens = observed(ONE_SEASON, 40 * point_source(u) + 10, seed, 60030)
    models = higher_models(curve, lens, FIELD)
    assert {m.name for m in models} >= {"FSPL", "PSPL_PARALLAX"}
    assert choose(models, lens) is None


def test_short_curves_and_missing_fits_are_refused() -> None:
    curve, lens = observed(ONE_SEASON[1000:1006], disc(ONE_SEASON[1000:1006]), 1, 60030)
    assert higher_models(curve, lens) == []
    with pytest.raises(InputError):
        fit_finite_source(curve, lens)
    with pytest.raises(InputError, match="place"):
        Observer(1, 2, "moon")
    with pytest.raises(InputError, match="ra"):
        Observer(np.nan, 0)


def test_offsets_vanish_at_the_reference() -> None:
    north, east = FIELD.offsets([60029.99, 60030.0, 60030.01], 60030.0)
    assert np.abs([*north, *east]).max() < 1e-7


def test_l2_is_a_hundredth_further_out() -> None:
    earth = Observer(268.0, -29.5, "earth")
    for ours, theirs in zip(FIELD.projected([60000.0, 60090.0]), earth.projected([60000.0, 60090.0]), strict=True):
        assert ours == pytest.approx(1.01 * theirs)


def test_annual_parallax_agrees_with_mulensmodel() -> None:
    mulens = pytest.importorskip("MulensModel")
    mjd = np.linspace(57000, 57400, 60)
    model = mulens.Model(
        {"t_0": 2457180.5, "u_0": 0.3, "t_E": 60.0, "pi_E_N": 0.3, "pi_E_E": -0.2, "t_0_par": 2457180.5},
        coords="17:52:00 -29:30:00",
    )
    event = {
        "t0": 57180.0,
        "u0": 0.3,
        "te": 60.0,
        "pi_en": 0.3,
        "pi_ee": -0.2,
        "t0_par": 57180.0,
        "ra": 268.0,
        "dec": -29.5,
        "model": "PSPL_PARALLAX",
        "bands": ["F146"],
        "fs": [1.0],
        "fb": [0.0],
    }
    # Ours is seen from L2, a hundredth further out: the parallax vector scales with it.
    ours = model_curve(event | {"pi_en": 0.3 / 1.01, "pi_ee": -0.2 / 1.01}, "F146", mjd)
    assert ours == pytest.approx(model.get_magnification(mjd + 2400000.5), rel=1e-5)


def test_a_step_out_of_the_numbers_is_a_bad_fit_and_no_failure() -> None:
    """A faint spike leaves tE free, and the fit may ask for exp(800) days."""
    from roman_assets.systems.msos.models import lens_models

    curve, _ = observed(ONE_SEASON, disc(ONE_SEASON), 1, 60030.0)
    fs, fb, residual, _ = lens_models._project(
        curve, np.array([800.0]), lambda p, band: np.exp(p[0]) * np.ones((1, len(band))) / band.mjd, 1
    )
    assert fs[0, 0] == 0
    assert fb[0] == pytest.approx(float(np.mean(curve.bands[0].flux)))
    assert np.isfinite(residual).all()
