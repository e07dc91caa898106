"""The neighbour veto: an event whose light leaks into a neighbouring entry is one event."""

from __future__ import annotations

import polars as pl

from roman_assets.systems.msos.events.neighbours import VETO_NEIGHBOUR, veto_ghosts

PIXEL_DEG = 0.11 / 3600
CLASSES = ("single_lens", "microlensing")


def table(
    separation_px: float, t0: tuple[float, float] = (100.0, 100.05), dchi2: tuple[float, float] = (3000.0, 120.0)
) -> pl.DataFrame:
    """Two candidates of teff 0.1 d, the second `separation_px` south of the first."""
    return pl.DataFrame(
        {
            "object_id": [1, 2],
            "ra": [268.0, 268.0],
            "dec": [-29.0, -29.0 - separation_px * PIXEL_DEG],
            "t0": t0,
            "teff": [0.1, 0.1],
            "t0_err": [0.001, None],
            "dchi2_flat": dchi2,
            "event_class": ["single_lens", "single_lens"],
            "probability": [0.98, 0.98],
            "p_microlensing": [0.98, 0.98],
            "veto": [0, 1],
            "reason": ["a lens", "a lens"],
        },
        schema_overrides={"veto": pl.UInt32, "probability": pl.Float32, "p_microlensing": pl.Float32},
    )


def test_the_weaker_signal_is_the_ghost() -> None:
    found = veto_ghosts(table(0.9), CLASSES)
    assert found["event_class"].to_list() == ["single_lens", "artefact"]
    assert found["veto"].to_list() == [0, 1 | VETO_NEIGHBOUR]
    assert "object 1" in found["reason"][1]
    assert veto_ghosts(table(0.9, dchi2=(120.0, 3000.0)), CLASSES)["event_class"].to_list() == [
        "artefact",
        "single_lens",
    ]


def test_events_apart_in_time_or_place_are_two() -> None:
    assert veto_ghosts(table(0.9, t0=(100.0, 100.5)), CLASSES)["event_class"].to_list() == ["single_lens"] * 2
    assert veto_ghosts(table(4.0), CLASSES)["event_class"].to_list() == ["single_lens"] * 2


def test_other_classes_are_left_alone() -> None:
    mixed = table(0.9).with_columns(event_class=pl.Series(["variable", "single_lens"]))
    assert veto_ghosts(mixed, CLASSES).equals(mixed)
    assert veto_ghosts(table(0.9)[:0], CLASSES).height == 0


def test_solutions_of_one_event_are_no_ghosts_of_each_other() -> None:
    """Two rows of one object: degenerate models of the same light curve."""
    twins = table(0.0).with_columns(object_id=pl.Series([1, 1]))
    assert veto_ghosts(twins, CLASSES)["event_class"].to_list() == ["single_lens"] * 2


def halo(
    fs: tuple[float, float], separation_px: float = 40.0, t0: tuple[float, float] = (100.0, 100.01)
) -> pl.DataFrame:
    return table(separation_px, t0).with_columns(u0=pl.Series([0.05, 0.5]), fs=pl.Series(fs))


def test_the_halo_of_a_very_bright_event_is_none() -> None:
    """40 px away the halo of 2e7 DN/s may be some 1,000 DN/s in another star's core, with doubt."""
    assert veto_ghosts(halo((1e6, 3.0)), CLASSES)["event_class"].to_list() == ["single_lens", "artefact"]
    for other in (
        halo((1e6, 5e4)),  # far brighter than any halo there
        halo((1e6, 3.0), t0=(100.0, 101.5)),
        halo((1e6, 3.0), separation_px=600.0),
        halo((50.0, 3.0)),  # a faint event has no halo
    ):
        assert veto_ghosts(other, CLASSES)["event_class"].to_list() == ["single_lens"] * 2
