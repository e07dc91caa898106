"""The neighbour veto: one event, seen twice because two entries of the catalogue share its light.

In a crowded field the PSF of a brightening star overlaps with other entries; what the joint fit hands to a
neighbour rises and falls with the event. Of candidates that peak together within a few pixels, the one with
the strongest signal is the event, the others are its ghosts.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from roman_assets.survey.sky import MAS_DEG, unit_vectors

#: Two events this close [mas] (three pixels) that peak together are one: chance has no part in it.
RADIUS_MAS = 330.0
#: They peak together within the longer effective time scale, four errors of their times and half an hour.
SAME_PEAK_SIGMA, SAME_PEAK_DAYS = 4.0, 0.02
VETO_NEIGHBOUR = 4
GHOST_CLASS = "artefact"
#: Chance that an event beside a stronger one at the same time is its light, not another event.
GHOST_CHANCE = 0.9


def veto_ghosts(events: pl.DataFrame, classes: tuple[str, ...]) -> pl.DataFrame:
    """`events` with the ghosts among those of `classes` called artefacts, with bit 4 of veto and a reason.

    Needs the columns object_id, ra, dec [deg], t0, t0_err, teff [d], dchi2_flat, event_class, probability,
    p_microlensing, veto and reason. Rows keep their order.
    """
    rows = [i for i, name in enumerate(events["event_class"]) if name in classes]
    if len(rows) < 2:
        return events
    from scipy.spatial import cKDTree

    place = unit_vectors(events["ra"].to_numpy()[rows], events["dec"].to_numpy()[rows])
    reach = 2 * np.sin(np.deg2rad(RADIUS_MAS * MAS_DEG) / 2)
    t0, teff, signal = (events[name].to_numpy()[rows] for name in ("t0", "teff", "dchi2_flat"))
    error = np.nan_to_num(events["t0_err"].cast(pl.Float64).fill_null(0.0).to_numpy()[rows])
    ghosts: dict[int, int] = {}
    objects = events["object_id"].gather(rows).to_list()
    for a, b in cKDTree(place).query_pairs(reach):
        if objects[a] == objects[b]:  # solutions of one event
            continue
        tolerance = max(teff[a], teff[b]) + SAME_PEAK_SIGMA * min(np.hypot(error[a], error[b]), 0.1) + SAME_PEAK_DAYS
        if abs(t0[a] - t0[b]) < tolerance:
            smaller, larger = (a, b) if signal[a] < signal[b] else (b, a)
            if smaller not in ghosts or signal[larger] > signal[ghosts[smaller]]:
                ghosts[smaller] = larger
    if not ghosts:
        return events
    names, chances = events["event_class"].to_list(), events["probability"].to_list()
    lens = events["p_microlensing"].to_list()
    vetoes, reasons = events["veto"].to_list(), events["reason"].to_list()
    for ghost, event in ghosts.items():
        row, other = rows[ghost], rows[event]
        distance = np.rad2deg(np.linalg.norm(place[ghost] - place[event])) / MAS_DEG
        names[row], chances[row], vetoes[row] = GHOST_CLASS, GHOST_CHANCE, vetoes[row] | VETO_NEIGHBOUR
        lens[row] = min(lens[row], 1.0 - GHOST_CHANCE)
        reasons[row] = f"brightens with object {events['object_id'][other]} {distance:.0f} mas away: light of one event"
    return events.with_columns(
        event_class=pl.Series(names),
        probability=pl.Series(chances, dtype=events.schema["probability"]),
        p_microlensing=pl.Series(lens, dtype=events.schema["p_microlensing"]),
        veto=pl.Series(vetoes, dtype=events.schema["veto"]),
        reason=pl.Series(reasons),
    )
