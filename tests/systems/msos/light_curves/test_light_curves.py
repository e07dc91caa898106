"""Daily sums that add up in any order, alerts, and the transpose to objects."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roman_assets.systems.msos.light_curves.series import (
    ALERT_RULES,
    SPARSE_ALERT_RULES,
    UNUSED_FLAGS,
    AlertRule,
    alert_rules,
    daily_sums,
    list_column,
    rising,
    transpose,
    usable,
)
from roman_assets.systems.msos.photometry.exposure_fit import (
    BAD_FIT,
    COSMIC_RAY,
    EDGE,
    MASKED,
    NO_DATA,
    SATURATED,
    UNSOLVED,
)

quick = settings(max_examples=25, deadline=None, derandomize=True)


def random_block(rng, stars=6, epochs=20, bad=0.1):
    flux = rng.normal(100, 3, (stars, epochs))
    error = rng.uniform(2, 4, (stars, epochs))
    flag = np.where(rng.random((stars, epochs)) < bad, rng.choice([1, 2, 4, 8, 16, 32], (stars, epochs)), 0)
    flux[flag == NO_DATA] = np.nan
    mjd = np.sort(rng.uniform(61000, 61010, epochs))
    return mjd, flux, error, flag.astype(np.uint8)


def sums_of(star, mjd, flux, error, flag, cut):
    reference = np.full(len(flux), 100.0)
    return daily_sums(star, mjd[cut], flux[:, cut], error[:, cut], flag[:, cut], reference)


def test_sums_by_hand():
    flux = np.array([[10.0, 30.0, np.nan, 12.0]])
    error = np.array([[1.0, 2.0, 1.0, 1.0]])
    flag = np.array([[0, 0, NO_DATA, MASKED]], dtype=np.uint8)
    mjd = np.array([1.0, 2.0, 3.0, 4.0])
    row = daily_sums(np.array([7], dtype=np.int32), mjd, flux, error, flag, np.array([10.0])).row(0, named=True)
    assert row["star"] == 7
    assert row["n"] == 2
    assert row["sum_w"] == pytest.approx(1.25)
    assert row["sum_wf"] == pytest.approx(10 + 7.5)
    assert row["sum_wf2"] == pytest.approx(100 + 225)
    assert (row["first_mjd"], row["last_mjd"]) == (1.0, 2.0)
    assert row["n_high"] == 1
    assert row["max_snr"] == pytest.approx(10)
    assert row["max_mjd"] == 2.0


def test_star_without_a_good_point():
    flux = np.full((1, 3), np.nan)
    flag = np.full((1, 3), NO_DATA, dtype=np.uint8)
    table = daily_sums(np.array([0], np.int32), np.arange(3.0), flux, flux, flag, np.array([1.0]))
    row = table.row(0, named=True)
    assert row["n"] == row["n_high"] == row["sum_w"] == row["max_snr"] == 0
    assert np.isnan([row["first_mjd"], row["last_mjd"], row["max_mjd"]]).all()


@pytest.mark.parametrize(
    ("bit", "used"),
    [(b, True) for b in (0, EDGE, SATURATED, BAD_FIT)] + [(b, False) for b in (NO_DATA, MASKED, COSMIC_RAY, UNSOLVED)],
)
def test_usable_by_flag(bit, used):
    one = np.ones((1, 1))
    assert usable(one, one, np.full((1, 1), bit, np.uint8)).item() is used
    assert bool(bit & UNUSED_FLAGS) is not used


@pytest.mark.parametrize(("flux", "error"), [(np.nan, 1.0), (1.0, np.nan), (1.0, 0.0), (1.0, -1.0), (1.0, np.inf)])
def test_usable_needs_numbers(flux, error):
    flag = np.zeros((1, 1), np.uint8)
    assert not usable(np.full((1, 1), flux), np.full((1, 1), error), flag).item()


# --- alerts --------------------------------------------------------------------------------------------


def series(values, error=1.0):
    flux = np.atleast_2d(np.asarray(values, dtype=float))
    return np.arange(flux.shape[1]) * 0.01, flux, np.full(flux.shape, error), np.zeros(flux.shape, np.uint8)


def alerts(values, rules=ALERT_RULES, flag=None, reference_err=0.0):
    mjd, flux, error, zeros = series(values)
    count = len(flux)
    return rising(
        mjd, flux, error, zeros if flag is None else flag, np.zeros(count), np.full(count, reference_err), rules
    )


def test_a_run_of_high_points_alerts():
    found = alerts([[0] * 5 + [8.0] * 6, [0.0] * 11])
    assert found["row"].to_list() == [0]
    row = found.row(0, named=True)
    assert (row["n_high"], row["dchi2"]) == (6, pytest.approx(6 * 64))
    assert row["first_high_mjd"] == pytest.approx(0.05)
    assert row["mjd"] == pytest.approx(0.10)
    assert (row["flux"], row["flux_err"]) == (8.0, 1.0)


def test_both_rules():
    assert alerts([7.1] * 5).height == 1
    assert alerts([7.0] * 5).height == 0, "dchi2 245 with 5 points"
    assert alerts([5.5] * 9).height == 1, "dchi2 272 with 9 points"
    assert alerts([9.0] * 4).height == 0, "four points are too few at this cadence"
    assert alerts([9.0] * 4, SPARSE_ALERT_RULES).height == 0, "324 < 400"
    assert alerts([11.0] * 4, SPARSE_ALERT_RULES).height == 1


def test_a_low_point_breaks_a_run_and_a_bad_one_does_not():
    broken = [8.0, 8.0, 8.0, 0.0, 8.0, 8.0, 8.0]
    assert alerts(broken).height == 0
    flag = np.zeros((1, 7), np.uint8)
    flag[0, 3] = COSMIC_RAY
    row = alerts(broken, flag=flag).row(0, named=True)
    assert row["n_high"] == 6
    assert row["dchi2"] == pytest.approx(6 * 64)


def test_a_single_cosmic_ray_does_not_alert():
    values = np.zeros(20)
    values[7] = 1e6
    assert alerts(values).height == 0


def test_an_uncertain_reference_dampens():
    assert alerts([8.0] * 6, reference_err=3.0).height == 0


def test_noise_alone_is_quiet():
    assert alerts(np.random.default_rng(0).normal(0, 1, (500, 100))).height == 0


def test_no_epoch_no_alert():
    assert alerts(np.empty((3, 0))).height == 0


def test_rules_follow_the_cadence():
    assert alert_rules(96) == ALERT_RULES
    assert alert_rules(8) == SPARSE_ALERT_RULES
    assert alert_rules(24)[0] == AlertRule(5, 250.0)


# --- transpose -----------------------------------------------------------------------------------------


@quick
@given(seed=st.integers(0, 10_000), data=st.data())
def test_transpose_does_not_depend_on_the_order_of_arrival(seed, data):
    rng = np.random.default_rng(seed)
    stars, epochs = 7, 5
    parts, mjd = [], list(rng.uniform(0, 10, epochs))
    for _ in range(epochs):
        rows = rng.permutation(stars)[: rng.integers(1, stars + 1)].astype(np.int32)
        parts.append(
            pl.DataFrame(
                {
                    "star": rows,
                    "flux": rng.normal(size=len(rows)),
                    "flux_err": rng.random(len(rows)),
                    "flag": np.zeros(len(rows), np.uint8),
                }
            )
        )
    order = data.draw(st.permutations(range(epochs)))
    block = transpose(parts, mjd, stars)
    other = transpose([parts[k] for k in order], [mjd[k] for k in order], stars)
    for name in ("mjd", "flux", "flux_err", "flag"):
        np.testing.assert_array_equal(getattr(block, name), getattr(other, name))
    assert (np.diff(block.mjd) > 0).all()
    for column, k in enumerate(np.argsort(mjd)):
        present = parts[k]["star"].to_numpy()
        np.testing.assert_allclose(block.flux[present, column], parts[k]["flux"].to_numpy(), rtol=1e-6)
        absent = np.setdiff1d(np.arange(stars), present)
        assert np.isnan(block.flux[absent, column]).all()
        assert (block.flag[absent, column] == NO_DATA).all()


def test_list_column():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    column = list_column(values, pl.Float32)
    assert column.dtype == pl.List(pl.Float32)
    assert column.to_list() == values.tolist()
    assert list_column(np.empty((2, 0)), pl.Float32).to_list() == [[], []]
    assert list_column(np.array([[1, 2]], np.uint8), pl.UInt8).dtype == pl.List(pl.UInt8)


def test_errors_are_rounded_to_a_part_in_sixteen_thousand() -> None:
    from roman_assets.systems.msos.light_curves.series import rounded_errors

    errors = np.float32(10) ** np.random.default_rng(4).uniform(-6, 6, 20_000).astype(np.float32)
    rounded = rounded_errors(errors)
    assert np.abs(rounded / errors - 1).max() <= 1 / 16384
    assert np.abs((rounded / errors - 1).mean()) < 1e-6  # to the nearest, not downwards
    np.testing.assert_array_equal(rounded, rounded_errors(rounded))
    special = np.array([np.nan, np.inf, 0.0], dtype=np.float32)
    np.testing.assert_array_equal(rounded_errors(special), special)
