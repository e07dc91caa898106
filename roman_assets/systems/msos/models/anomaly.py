"""What a point lens does not explain of an event: the strongest bump or dip, and the host without it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from roman_assets.systems.msos.models.point_lens import LightCurve, PointLensFit, fit_point_lens, model_flux
from roman_assets.systems.msos.search.templates import SearchConfig, search

F64 = NDArray[np.float64]
#: dchi2 from which a single bump or dip is believed to be the anomaly.
SHAPED = 100.0


@dataclass(frozen=True)
class Anomaly:
    """The strongest deviation from a point lens: time and width (half of it) [d], bump or dip, dchi2 of it."""

    time: float
    width: float
    bump: bool
    dchi2: float


def find_anomaly(curve: LightCurve, lens: PointLensFit) -> Anomaly | None:
    """The strongest bump or dip in the residuals of the band with most points; None where there is none."""
    main = max(curve.bands, key=len)
    residual = main.flux - model_flux(lens, main.name, main.mjd)
    found = search(
        main.mjd,
        np.stack([residual, -residual]),
        np.stack([main.flux_err] * 2),
        SearchConfig(teff_min=0.02, teff_max=max(2.0 * lens.te, 0.05)),
    )
    i = int(np.argmax(found["dchi2_without_best_point"].fill_nan(0).to_numpy()))
    row = found.row(i, named=True)
    ragged = _ragged(main.mjd, residual / main.flux_err)
    if ragged is not None and row["dchi2_without_best_point"] < SHAPED < ragged.dchi2:
        return ragged
    if row["template"] == 0:
        return None
    return Anomaly(row["t0"], row["teff"], i == 0, row["dchi2_without_best_point"])


def _ragged(mjd: F64, z: F64, sigmas: float = 7.0, shortest: int = 4) -> Anomaly | None:
    """The stretch of points whose residuals z (n,), in errors, scatter most beyond the curve's own scatter.

    What a planet near the peak does is neither a bump nor a dip but both in turn. The most significant point of a
    stretch does not count.
    """
    square = z * z / max(1.0, float(np.median(z * z)) / 0.4549)
    sums = np.concatenate([[0.0], np.cumsum(square)])
    best: tuple[float, int, int] | None = None
    n = shortest
    while n <= len(z) // 4:
        excess = sums[n:] - sums[:-n] - n
        for at in np.argsort(excess)[-3:]:
            without = float(excess[at] - square[at : at + n].max())
            if without > sigmas * np.sqrt(2.0 * n) and (best is None or without > best[0]):
                best = (without, int(at), n)
        n *= 2
    if best is None:
        return None
    stretch = slice(best[1], best[1] + best[2])
    time = float(np.average(mjd[stretch], weights=square[stretch]))
    width = float(np.sqrt(np.average((mjd[stretch] - time) ** 2, weights=square[stretch])))
    return Anomaly(time, max(width, 0.02), bool(z[stretch].sum() > 0), best[0])


def host_lens(curve: LightCurve, lens: PointLensFit, rounds: int = 2) -> tuple[PointLensFit, Anomaly | None]:
    """The point lens without the anomaly in its data, and the anomaly in its residuals."""
    found = find_anomaly(curve, lens)
    if found is not None and found.bump and abs(found.time - lens.t0) > 3.0 * max(lens.teff, found.width):
        lens, found = _longer(curve, lens, found)
    for _ in range(rounds):
        if found is None:
            break
        reach = 3.0 * found.width
        kept = LightCurve(tuple(b.select(np.abs(b.mjd - found.time) > reach) for b in curve.bands))
        again = fit_point_lens(kept, [(lens.t0, lens.teff)], blend="free")
        if not again.fitted or not again.converged or abs(again.t0 - lens.t0) > lens.te:
            break
        after = find_anomaly(curve, again)
        # A lens that fits the rest better but the anomaly much worse has lost its peak.
        if after is None or abs(after.time - found.time) > reach:
            break
        lens, found = again, replace(after, dchi2=found.dchi2)
    return lens, found


def _longer(curve: LightCurve, lens: PointLensFit, found: Anomaly) -> tuple[PointLensFit, Anomaly]:
    """Host and anomaly the other way round, where the second brightening is the longer one: a planet far from its
    host can be the brighter event."""
    kept = LightCurve(tuple(b.select(np.abs(b.mjd - lens.t0) > 5.0 * lens.teff) for b in curve.bands))
    other = fit_point_lens(kept, [(found.time, found.width)], blend="free")
    if not other.fitted or not other.converged or other.te < 2.0 * lens.te:
        return lens, found
    return other, Anomaly(lens.t0, lens.teff, True, lens.dchi2)
