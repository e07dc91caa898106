"""Planets of the 2018 data challenge, event by event, from the light curve to (s, q).

    python -m benchmarks.planets_validation [data folder] [docs/dc2018.md]

searches, fits and classifies every curve as the pipeline does, compares with the truth and, given a file, writes the
table into it. Takes half an hour of CPU. The truth's t0 and u0 refer to the centre of mass, the
pipeline's to the centre of magnification: solutions are brought to the centre of mass, with their covariance. The challenge
says no position: the middle of its bulge fields serves for the parallax.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from roman_assets.systems.msos.events.classify import MICROLENSING, SINGLE_LENS
from roman_assets.systems.msos.events.finder import find_events_in_curves
from roman_assets.systems.msos.events.light_curve_files import read_light_curves
from roman_assets.systems.msos.models.binary_magnification import centre_of_magnification
from roman_assets.systems.msos.models.binary_minimum import BINARY_LENS
from roman_assets.systems.msos.models.point_lens import Band, LightCurve

Row = dict[str, Any]
#: delta-chi2 of the truth over a single lens from which a planet must be seen (Penny et al. 2019).
VISIBLE = 160.0
MJD_ZERO = 2400000.5
#: ra, dec [deg] near the middle of the survey's bulge fields.
FIELD = (268.3, -29.2)


def rows(data_folder: str | Path) -> list[Row]:
    """name, value, required, data_set, passed."""
    return summary(table(data_folder))


def table(data_folder: str | Path) -> list[Row]:
    """One row per event: truth, class, best solution, what agrees."""
    truth = pl.read_parquet(Path(data_folder) / "dc2018/truth.parquet").to_dicts()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # the processes that follow fill the cores
    # Threads of polars and forks do not go together.
    with ProcessPoolExecutor(os.cpu_count(), mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_event, [str(data_folder)] * len(truth), truth))


def _event(data_folder: str, truth: Row) -> Row:
    name = str(truth["id"])
    as_read = read_light_curves(Path(data_folder) / "dc2018/light_curves.parquet")[name]
    # The Sun's place needs MJD, the challenge counts in BJD.
    curve = LightCurve(tuple(Band(b.name, b.mjd - MJD_ZERO, b.flux, b.flux_err) for b in as_read.bands))
    truth = truth | {"t0": truth["t0_bjd"] - MJD_ZERO}
    found = find_events_in_curves({name: curve}, sky={name: FIELD}).sort("degeneracy").to_dicts()
    best = found[0] if found else None
    solutions = [e for e in found if e["event_class"] in MICROLENSING]
    hosts = [_same_host(e, truth) for e in solutions]
    return {
        "truth": truth,
        "class": best["event_class"] if best else "nothing found",
        "dchi2": best["dchi2_binary"] if best else None,
        "chi2_dof": best["chi2"] / best["dof"] if best else None,
        "solutions": solutions,
        "planet": any(_same_planet(e, truth) for e in solutions),
        "host": any(hosts),
    }


def _same_planet(event: Row, truth: Row) -> bool:
    """(s, q), or the close or wide twin of it."""
    if event["model"] != BINARY_LENS:
        return False
    near = min(abs(np.log10(event["s"] / truth["s"])), abs(np.log10(event["s"] * truth["s"]))) <= 0.1
    return bool(near and abs(np.log10(event["q"] / truth["q"])) <= 0.3)


def _same_host(event: Row, truth: Row) -> bool:
    values, errors = _at_centre_of_mass(event)
    pulls = [
        (values[0] - truth["t0"]) / errors[0],
        (abs(values[1]) - abs(truth["u0"])) / errors[1],
        (values[2] - truth["tE"]) / errors[2],
    ]
    event["pulls"] = [round(float(p), 1) for p in pulls]
    return bool(np.all(np.abs(pulls) < 3.0))


def _at_centre_of_mass(event: Row) -> tuple[list[float], list[float]]:
    """t0, u0, tE of a solution with respect to the centre of mass, and their errors."""
    names = list(event["parameters"])
    p = np.array([event[name] for name in names], dtype=np.float64)
    angle = names.index("alpha") if "alpha" in names else None
    if angle is not None:
        p[angle] = np.radians(p[angle])
    if "dalpha_dt" in names:
        p[names.index("dalpha_dt")] = np.radians(event["dalpha_dt"])

    def moved(p: Any) -> Any:
        v = dict(zip(names, p, strict=True))
        shift, alpha = 0.0, v.get("alpha", 0.0)
        if event["model"] == BINARY_LENS:
            shift = float(centre_of_magnification(v["s"], v["q"]))
        # x = tau cos - u sin + shift, y = tau sin + u cos: the same path seen from the origin.
        return np.array([v["t0"] - shift * np.cos(alpha) * v["te"], v["u0"] - shift * np.sin(alpha), v["te"]])

    covariance = np.reshape(event["covariance"], (len(p), len(p)))
    slopes = []
    for i in range(len(p)):
        h = np.zeros_like(p)
        h[i] = 1e-6 * max(abs(p[i]), 1.0) if names[i] != "t0" else 1e-4
        slopes.append((moved(p + h) - moved(p - h)) / (2 * h[i]))
    variance = np.diag(np.array(slopes).T @ covariance @ np.array(slopes))
    return moved(p).tolist(), np.sqrt(np.where(variance > 0, variance, np.nan)).tolist()


def summary(events: list[Row]) -> list[Row]:
    """The requirements."""
    visible = [e for e in events if e["truth"]["cls"] == "omcassan" and e["truth"]["dchi2_single"] > VISIBLE]
    variables = [e for e in events if e["truth"]["cls"] == "dccv"]
    flagged = sum(e["class"] in MICROLENSING and e["class"] != SINGLE_LENS for e in visible)
    planets, hosts = sum(e["planet"] for e in visible), sum(e["host"] for e in visible)
    wrong, n = sum(e["class"] in MICROLENSING for e in variables), len(visible)

    def row(name: str, value: str, required: str, passed: bool) -> Row:
        return {
            "name": f"data challenge: {name}",
            "value": value,
            "required": required,
            "data_set": "dc2018",
            "passed": passed,
        }

    return [
        row("planets with dchi2 > 160 flagged as anomalous", f"{flagged} of {n}", "all", flagged == n),
        row(
            "log q within 0.3 and log s within 0.1 of the truth, twins counted",
            f"{planets} of {n}",
            ">= 70 %",
            planets >= 0.7 * n,
        ),
        row("t0, u0 and tE of the host within 3 sigma of the truth", f"{hosts} of {n}", ">= 90 %", hosts >= 0.9 * n),
        row("cataclysmic variables rejected", f"{len(variables) - wrong} of {len(variables)}", "all", wrong == 0),
    ]


def document(events: list[Row]) -> str:
    """The page docs/dc2018.md."""
    lines = [
        "# The 2018 data challenge, event by event",
        "",
        "Made by `python -m benchmarks.planets_validation ../shared/data docs/dc2018.md`: every light curve (W149 and "
        "Z087, 38,568 epochs) goes through the search, the fits and the classification of the pipeline, without any "
        "knowledge of the truth. Solutions are those reported in the event tables; twins are the further solutions "
        "that the data cannot tell from the best. `dchi2` is the gain of two lenses over one. t0 and u0 are compared at "
        "the centre of mass.",
        "",
        "| requirement | value | required |",
        "|---|---|---|",
        *(
            f"| {r['name'].removeprefix('data challenge: ')} | {r['value']} | {r['required']} |"
            for r in summary(events)
        ),
        "",
        "| id | truth: dchi2, log s, log q | class | dchi2 | chi2/dof | log s | log q | twins' log s | planet | host |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for e in events:
        t = e["truth"]
        planet = f"{t['dchi2_single']:.0f}, {np.log10(t['s']):.2f}, {np.log10(t['q']):.2f}"
        true = "cataclysmic" if t["cls"] == "dccv" else planet
        pairs = [s for s in e["solutions"] if s["model"] == BINARY_LENS]
        logs = [f"{np.log10(s['s']):.2f}" for s in pairs]
        cells = [
            str(t["id"]),
            true,
            e["class"],
            f"{e['dchi2']:.0f}" if e["dchi2"] else "",
            f"{e['chi2_dof']:.3f}" if e["chi2_dof"] else "",
            logs[0] if logs else "",
            f"{np.log10(pairs[0]['q']):.2f}" if pairs else "",
            ", ".join(dict.fromkeys(logs[1:])),
            *(("yes" if e[k] else "no") if t["cls"] != "dccv" else "" for k in ("planet", "host")),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    folder = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("ROMAN_VALIDATION_DATA", "../shared/data")
    judged = table(folder)
    for requirement in summary(judged):
        print(requirement)
    for event in judged:
        if event["truth"]["cls"] == "omcassan" and not (event["host"] and event["planet"]):
            print(event["truth"])
            for solution in event["solutions"]:
                print({k: solution[k] for k in ("model", "pulls", "u0", "te", "s", "q", "pi_en", "pi_ee", "chi2")})
    if len(sys.argv) > 2:
        Path(sys.argv[2]).write_text(document(judged))
