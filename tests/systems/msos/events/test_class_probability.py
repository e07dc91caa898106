"""Stated chances: they add up, follow the evidence, and shift with what is known of the mix."""

import numpy as np
import pytest

from roman_assets.systems.msos.events.class_probability import KINDS, Kind, design, features, probabilities
from roman_assets.systems.msos.events.classify_config import ClassifyConfig
from roman_assets.systems.msos.events.evidence import Evidence
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, fit_point_lens
from roman_assets.systems.msos.search.templates import search
from tests.systems.msos.event_curves import dense_epochs, paczynski


def evidence(true, mjd, rng, error=3.0):
    flux = true + rng.normal(0, error, true.shape)
    curve = LightCurve((Band("F146", mjd, flux, np.full(true.shape, error)),))
    found = search(mjd, flux[None], np.full((1, len(mjd)), error)).row(0, named=True)
    return Evidence(curve, found, fit_point_lens(curve, [(found["t0"], found["teff"])]), ClassifyConfig())


@pytest.fixture(scope="module")
def kinds():
    rng = np.random.default_rng(8)
    mjd = dense_epochs(rng, 2500)
    x = mjd - mjd[700]
    return {
        Kind.LENS: evidence(80 + 20 * paczynski(mjd, mjd[1100], 0.2, 3.0), mjd, rng),
        Kind.CATACLYSMIC: evidence(100 + 60 * np.clip(x / 0.15, 0, 1) * np.exp(-np.maximum(x, 0) / 3.0), mjd, rng),
        Kind.VARIABLE: evidence(100 * 10 ** (-0.06 * np.sin(2 * np.pi * mjd / 1.3)), mjd, rng),
    }


def test_chances_add_up_and_name_what_is_plain(kinds):
    for kind, e in kinds.items():
        chances = probabilities(e)
        assert set(chances) == set(KINDS)
        assert sum(chances.values()) == pytest.approx(1.0)
        assert max(chances, key=chances.get) == kind
        assert chances[kind] > 0.7


def test_a_prior_shifts_the_odds_by_its_ratio(kinds):
    e = kinds[Kind.CATACLYSMIC]
    flat = probabilities(e)
    rare = probabilities(e, dict.fromkeys(KINDS, 1.0) | {Kind.LENS: 1e-3})
    odds = [c[Kind.LENS] / c[Kind.CATACLYSMIC] for c in (flat, rare)]
    assert odds[1] == pytest.approx(1e-3 * odds[0], rel=1e-6)


def test_features_are_finite_and_a_wild_one_is_held(kinds):
    for e in kinds.values():
        values = np.array(list(features(e).values()))
        assert np.isfinite(values).all()
        assert np.abs(values).max() < 100
    far = design(np.array([[1e9, -1e9]]), np.zeros(2), np.ones(2))
    np.testing.assert_array_equal(far, [[1, 5, -5, 25, 25]])
