"""The picture of an event: every season, model and residuals, and its anomaly close up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from roman_assets.systems.msos.events.classify import ANOMALOUS_LENS
from roman_assets.systems.msos.events.models import model_curve
from roman_assets.systems.msos.models.anomaly import host_lens
from roman_assets.systems.msos.models.binary_minimum import BINARY_LENS
from roman_assets.systems.msos.models.point_lens import Band, LightCurve, fit_point_lens, model_flux
from roman_assets.systems.msos.plots import event_figure

#: Half width of the panel of an anomaly, in widths of it.
CLOSE = 8.0


def event_picture(event: Mapping[str, Any], series: Sequence[tuple[str, Any, Any, Any]]) -> bytes:
    """Light curves (name, mjd, flux, flux_err) of an event in its bands, all on the first band's scale: PNG.

    `event` is a row of an event table.
    """
    fs, fb = (dict(zip(event["bands"], event[name], strict=True)) for name in ("fs", "fb"))
    first = event["bands"][0]
    drawn = []
    for name, mjd, flux, error in series:
        factor = fs[first] / fs[name] if fs[name] else 1.0
        drawn.append((name, mjd, (flux - fb[name]) * factor + fb[first], error * abs(factor)))
    times = np.concatenate([d[1] for d in drawn])
    grid = [np.linspace(times.min(), times.max(), 800), times, event["t0"] + event["teff"] * np.linspace(-5, 5, 400)]
    anomaly, host = None, None
    if event.get("model") == BINARY_LENS or event.get("event_class") == ANOMALOUS_LENS:
        curve = LightCurve((Band(first, *(np.concatenate([d[k] for d in drawn]) for k in (1, 2, 3))),))
        host, found = host_lens(curve, fit_point_lens(curve, [(event["t0"], event["teff"])]))
        if found is not None and host.fitted:
            anomaly = (found.time, CLOSE * found.width)
            grid.append(found.time + CLOSE * found.width * np.linspace(-1, 1, 400))
    at = np.unique(np.concatenate(grid))
    at = at[(at >= times.min()) & (at <= times.max())]
    model = model_curve(event, first, at)
    single = model_flux(host, first, at) if host is not None and anomaly is not None else None
    shape = f"t0={event['t0']:.3f}  u0={event['u0']:.3f}  tE={event['te']:.2f} d"
    if event.get("model") == BINARY_LENS:
        shape += f"  s={event['s']:.3f}  q={event['q']:.2g}"
    title = f"{event.get('object_id', '')}  {shape}  Δχ²={event['dchi2_flat']:.0f}"
    return event_figure(drawn, (at, model), title, anomaly, single)
