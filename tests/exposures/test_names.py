"""File names, both ways; hostile names."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roman_assets.errors import InputError
from roman_assets.exposures.names import (
    DETECTORS,
    OPTICAL_ELEMENTS,
    CoronagraphName,
    ExposureName,
    MosaicName,
    parse_coronagraph_name,
    parse_exposure_name,
    parse_mosaic_name,
    plain_name,
)

GOOD = "r0000201001001001001_0001_wfi01_f146_cal.asdf"


def below(digits: int):
    return st.integers(0, 10**digits - 1)


suffixes = st.from_regex(r"[a-z][a-z0-9]{0,10}", fullmatch=True).filter(lambda s: s.upper() not in OPTICAL_ELEMENTS)
exposure_names = st.builds(
    ExposureName,
    below(5),
    below(2),
    below(3),
    below(3),
    below(3),
    below(3),
    below(4),
    st.sampled_from(DETECTORS),
    st.none() | st.sampled_from(OPTICAL_ELEMENTS),
    suffixes,
)


@given(exposure_names)
def test_exposure_name_round_trip(name):
    assert parse_exposure_name(name.filename) == name
    assert len(name.visit_id) == 19


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused(text):
    with contextlib.suppress(InputError):
        assert parse_exposure_name(text).filename.removesuffix(".asdf") == text.removesuffix(".asdf")


@given(st.integers(0, len(GOOD) - 1), st.characters(min_codepoint=128))
def test_no_character_beyond_ascii_is_taken_for_another(position, character):
    """Look-alike letters and digits of other scripts would make two names of one exposure."""
    with pytest.raises(InputError):
        parse_exposure_name(GOOD[:position] + character + GOOD[position + 1 :])


def test_parts_of_a_name():
    name = parse_exposure_name("r0000213002004005006_0042_wfi18_grism_cal.asdf")
    assert (name.program, name.execution_plan, name.pass_, name.segment) == (2, 13, 2, 4)
    assert (name.observation, name.visit, name.exposure) == (5, 6, 42)
    assert (name.detector, name.optical_element, name.suffix) == ("WFI18", "GRISM", "cal")
    assert name.exposure_id() == "r0000213002004005006_0042_wfi18_grism"
    assert name.observation_id(1, 2, "0a") == "0000213002004005006" + "01" + "2" + "0a" + "0042"


def test_observation_id_of_the_shared_files():
    assert parse_exposure_name(GOOD).observation_id(0, 1, "01") == "000020100100100100100101" + "0001"


@pytest.mark.parametrize(("group", "sequence", "activity"), [(100, 1, "01"), (0, 10, "01"), (0, 1, "1")])
def test_observation_id_out_of_range(group, sequence, activity):
    with pytest.raises(InputError, match="out of range"):
        parse_exposure_name(GOOD).observation_id(group, sequence, activity)


def test_element_missing_from_the_name_comes_from_the_header():
    name = parse_exposure_name("r0000201001001001001_0001_wfi01_cal.asdf")
    assert name.optical_element is None
    assert name.exposure_id("F146") == "r0000201001001001001_0001_wfi01_f146"
    with pytest.raises(InputError, match="no optical element"):
        name.exposure_id()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../" + GOOD,
        "/" + GOOD,
        "a/" + GOOD,
        "a\\" + GOOD,
        GOOD + "\n",
        GOOD + "\0",
        " " + GOOD,
        GOOD.upper(),
        GOOD.replace("wfi01", "wfi19"),
        GOOD.replace("wfi01", "wfi00"),
        GOOD.replace("f146", "f999"),
        GOOD.replace("r0000", "r000"),
        GOOD.replace("_0001_", "_001_"),
        GOOD.replace("0000201", "00002\u06601"),
        GOOD.replace("_cal", "_" + "c" * 200),
        "x" * 5000,
        GOOD + ".asdf",
        GOOD.replace(".asdf", ".fits"),
    ],
)
def test_hostile_and_malformed_names_are_refused(name):
    with pytest.raises(InputError, match="Remedy") as caught:
        parse_exposure_name(name)
    # The message goes into logs: it may hold no control character and not the whole of a long name.
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@given(st.text(max_size=200))
def test_plain_name_never_holds_a_path(text):
    try:
        name = plain_name(text)
    except InputError:
        return
    assert not set("/\\") & set(name)
    assert name not in ("", ".", "..")


def test_mosaic_name_round_trip():
    text = "r00001_p_v01001001001001_270p65x70y49_f158_coadd.asdf"
    assert parse_mosaic_name(text) == MosaicName(1, "p", "v01001001001001", "270p65x70y49", "F158", "coadd")
    assert parse_mosaic_name(text).filename == text
    with pytest.raises(InputError):
        parse_mosaic_name(text.replace("270p65x70y49", "270p65"))


def test_coronagraph_name_round_trip():
    text = "cgi_0000201001001001001_20270301t0200001_l1_.fits"
    assert parse_coronagraph_name(text) == CoronagraphName("0000201001001001001", "20270301t0200001", "l1_")
    assert parse_coronagraph_name(text).filename == text
    for bad in (text.replace("l1_", "l5_"), text.replace("t02", "x02"), text.replace(".fits", ".asdf")):
        with pytest.raises(InputError):
            parse_coronagraph_name(bad)
