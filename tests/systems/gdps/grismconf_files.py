"""Trace models written as GRISMCONF configurations, by least squares over the field."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

import numpy as np

from roman_assets.systems.gdps.optics.traces import TraceModel

SIDE = 4088.0


def _terms(degree: int) -> list[tuple[int, int]]:
    """Powers of x and y in the order of the files: 1, x, y, x2, xy, y2, ..."""
    return [(n - k, k) for n in range(degree + 1) for k in range(n + 1)]


def as_grismconf(trace: TraceModel, orders: Mapping[str, str], *, field: int = 2, along: int = 3) -> str:
    """The text of a configuration: our names of the orders to the file's; `field` and `along` are degrees."""
    lines = [f"NAXIS {SIDE:.0f} {SIDE:.0f}"]
    x, y, t = (v.ravel() for v in np.meshgrid(*[np.linspace(1, SIDE, 9)] * 2, np.linspace(0, 1, 21), indexing="ij"))
    columns = [(x / SIDE) ** p * (y / SIDE) ** q * t**i for i, (p, q) in product(range(along + 1), _terms(field))]
    scale = np.array([SIDE ** -(p + q) for p, q in _terms(field)])
    for order, name in orders.items():
        low, high = trace.band(order)
        at = trace.trace(x, y, low + (high - low) * t, order)
        lines += [f"BEAM_{name}", f"SENSITIVITY_{name} sensitivity.fits"]
        lines += [f"DISPL_{name}_0 {low!r}", f"DISPL_{name}_1 {high - low!r}"]
        for axis, offset in (("X", at[0] - x), ("Y", at[1] - y)):
            fit = np.linalg.lstsq(np.stack(columns, axis=1), offset, rcond=None)[0].reshape(along + 1, -1) * scale
            lines += [f"DISP{axis}_{name}_{i} " + " ".join(f"{c!r}" for c in row.tolist()) for i, row in enumerate(fit)]
    return "\n".join(lines) + "\n"
