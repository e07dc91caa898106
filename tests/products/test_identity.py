"""Identities: equal for equal makings, different for any difference, refused where no hash is possible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.products.identity import Identity, canonical_json

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_order_of_keys_and_kind_of_sequence_do_not_matter(config):
    other = {key: tuple(v) if isinstance(v, list) else v for key, v in reversed(list(config.items()))}
    assert Identity(("x",), "1", config).digest == Identity(("x",), "1", other).digest


def test_order_of_arrival_of_inputs_does_not_matter():
    assert Identity(("a", "b", "c"), "1").digest == Identity(("c", "a", "b"), "1").digest


@pytest.mark.parametrize(
    "other",
    [
        Identity(("a",), "1", {"k": 1}, "1"),
        Identity(("a", "b", "b"), "1", {"k": 1}, "1"),
        Identity(("a", "b"), "2", {"k": 1}, "1"),
        Identity(("a", "b"), "1", {"k": 1.5}, "1"),
        Identity(("a", "b"), "1", {"k": 1, "l": None}, "1"),
        Identity(("a", "b"), "1", {"k": 1}, "2"),
    ],
)
def test_every_part_enters_the_digest(other):
    assert other.digest != Identity(("a", "b"), "1", {"k": 1}, "1").digest


def test_digest_is_stable_across_versions_of_this_program():
    # A change here makes every product of every archive anew.
    assert Identity(("a", "b"), "1", {"k": [1, 2.5, "x", None, True]}, "1").digest == (
        "c2359d54aab31eca21609f70f1a843305397cdbd68cd450a30fbcab6683e2139"
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: 2}, {"a", "b"}, b"x"])
def test_what_has_no_canonical_text_is_refused(value):
    with pytest.raises(InputError, match="cannot be hashed"):
        canonical_json({"k": value})
