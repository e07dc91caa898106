"""The neighbour veto: one event, seen twice because two entries of the catalogue share its light.

In a crowded field the PSF of a brightening star overlaps with other entries; what the joint fit hands to a
neighbour rises and falls with the event. Of candidates that peak together within a few pixels, the one with
the strongest signal is the event, the others are its ghosts. A very bright one has ghosts farther away, in the halo that
no model of its PSF reaches: they are as faint as that halo.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.survey.instrument import PIXEL_DEG
from roman_assets.survey.sky import MAS_DEG, unit_vectors

F64 = NDArray[np.float64]
#: Two events this close [mas] (three pixels) that peak together are one: chance has no part in it.
RADIUS_MAS = 330.0
#: They peak together within the longer effective time scale, four errors of their times and half an hour.
SAME_PEAK_SIGMA, SAME_PEAK_DAYS, MOST_ERROR_DAYS = 4.0, 0.02, 0.1
#: Light of a star's halo in the core of another one d pixels away: less than this share of it over d^3. Diffraction by an
#: aperture falls as d^-3: some 0.1 lambda/D d^-3 a pixel, ten pixels of a core, and a factor of three for doubt.
HALO_SHARE = 4.0
#: Where the light of diffraction spikes is farther out than the model of the PSF follows it [px]: their share.
SPIKE_PX, SPIKE_SHARE = 31.0, 30.0
#: A ghost has the light curve of its event, and its own fit any impact parameter: smaller ones tell nothing of its flux.
SEEN_U0 = 0.1
#: Halos that reach less far are within the model of the PSF [DN/s px^3].
LEAST_HALO = 3e3
VETO_NEIGHBOUR = 4
GHOST_CLASS = "artefact"
#: Chance that an event beside a stronger one at the same time is its light, not another event.
GHOST_CHANCE = 0.9


def veto_ghosts(events: pl.DataFrame, classes: tuple[str, ...]) -> pl.DataFrame:
    """`events` with the ghosts among those of `classes` called artefacts, with bit 4 of veto and a reason.

    Needs the columns object_id, ra, dec [deg], t0, t0_err, teff [d], u0, fs [DN/s], dchi2_flat, event_class,
    probability, p_microlensing, veto and reason. Rows keep their order.
    """
    rows = [i for i, name in enumerate(events["event_class"]) if name in classes]
    if len(rows) < 2:
        return events
    from scipy.spatial import cKDTree

    place = unit_vectors(events["ra"].to_numpy()[rows], events["dec"].to_numpy()[rows])
    reach = 2 * np.sin(np.deg2rad(RADIUS_MAS * MAS_DEG) / 2)
    t0, teff, signal = (events[name].to_numpy()[rows] for name in ("t0", "teff", "dchi2_flat"))
    error = np.nan_to_num(events["t0_err"].cast(pl.Float64).fill_null(0.0).to_numpy()[rows])
    objects = events["object_id"].gather(rows).to_list()
    ghosts = _in_halos(place, t0, error, objects, _amplitude(events, rows, 0.01), _amplitude(events, rows, SEEN_U0))
    for a, b in cKDTree(place).query_pairs(reach):
        if objects[a] == objects[b]:  # solutions of one event
            continue
        tolerance = (
            max(teff[a], teff[b])
            + SAME_PEAK_SIGMA * min(np.hypot(error[a], error[b]), MOST_ERROR_DAYS)
            + SAME_PEAK_DAYS
        )
        if abs(t0[a] - t0[b]) < tolerance:
            smaller, larger = (a, b) if signal[a] < signal[b] else (b, a)
            if smaller not in ghosts or signal[larger] > signal[ghosts[smaller]]:
                ghosts[smaller] = larger
    return _called_ghosts(events, rows, ghosts, place) if ghosts else events


def _amplitude(events: pl.DataFrame, rows: list[int], least: float) -> F64:
    """Flux that each event adds at its peak, in the band where it adds most, (n,) [DN/s]; NaN where the table lacks it.

    Impact parameters count as no smaller than `least`.
    """
    if not {"u0", "fs"} <= set(events.columns):
        return np.full(len(rows), np.nan)
    u = np.maximum(np.abs(events["u0"].cast(pl.Float64).fill_null(float("nan")).to_numpy()[rows]), least)
    source = events["fs"]
    if source.dtype == pl.List:
        source = source.list.max()
    fs = source.cast(pl.Float64).fill_null(float("nan")).to_numpy()[rows]
    return np.asarray(fs * ((u * u + 2) / (u * np.sqrt(u * u + 4)) - 1))


def _in_halos(place: F64, t0: F64, error: F64, objects: list[int], amplitude: F64, seen: F64) -> dict[int, int]:
    """Events no brighter than the halo of a much brighter one that peaks with them: ghost and event by row.

    amplitude is the flux that events add at their peaks, seen what they add where a season samples them (n,) [DN/s].
    """
    from scipy.spatial import cKDTree

    found: dict[int, int] = {}
    tree = cKDTree(place)
    pixel = np.deg2rad(PIXEL_DEG)
    for bright in np.argsort(-np.nan_to_num(amplitude)):
        if not amplitude[bright] * HALO_SHARE > LEAST_HALO:
            break
        if bright in found:
            continue
        reach = (SPIKE_SHARE * amplitude[bright]) ** (1 / 3) * pixel  # a spike of 1 DN/s
        for other in tree.query_ball_point(place[bright], reach):
            distance = float(np.linalg.norm(place[other] - place[bright])) / pixel
            late = abs(t0[other] - t0[bright])
            same = late < SAME_PEAK_SIGMA * min(np.hypot(error[other], error[bright]), MOST_ERROR_DAYS) + SAME_PEAK_DAYS
            share = HALO_SHARE if distance < SPIKE_PX else SPIKE_SHARE
            faint = seen[other] * distance**3 < share * amplitude[bright]
            if objects[other] != objects[bright] and faint and same and other not in found:
                found[other] = int(bright)
    return found


def _called_ghosts(events: pl.DataFrame, rows: list[int], ghosts: dict[int, int], place: F64) -> pl.DataFrame:
    """The table with the ghosts called so, and why."""
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
