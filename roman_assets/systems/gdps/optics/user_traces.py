"""Trace configurations that a user brings for extraction (`roman extract --traces`): aXe or GRISMCONF, told by keywords.

They give trace and dispersion, and nothing else is taken from them: effective areas are Roman's or the user's
(`throughput.py`). Orders get the names that effective areas have (1, 0, -1, 2). aXe's beam A is its first order; what
its other beams are differs from file to file, so that they are not used. Places are those of the file: pixels of the
whole detector.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from roman_assets.doors import reading
from roman_assets.errors import InputError
from roman_assets.survey.instrument import SIDE_PX
from roman_assets.systems.gdps.optics.throughput import FAINTEST_SHARE, Throughput
from roman_assets.systems.gdps.optics.trace_configs import (
    AXE,
    GRISMCONF,
    Beam,
    ConfigLines,
    ConfigTrace,
    axe_trace,
    grismconf_trace,
)
from roman_assets.systems.gdps.optics.traces import MAIN

_MIDDLE = (SIDE_PX / 2, SIDE_PX / 2)
#: Ends of two orders' bands that are the same, rounding or not [um].
_SAME_UM = 1e-6


@dataclass(frozen=True)
class UserTraces:
    """A configuration ready for extraction.

    Attributes
    ----------
    trace
        Its orders under the names of effective areas, the first order first.
    left_out
        Orders of the file that are not in `trace`, as the file calls them.
    sensitivities, wedges
        Files of sensitivity, and offsets by filter, that it names and that are not used.
    path
        Of the file, for messages.
    """

    path: str | Path
    trace: ConfigTrace
    left_out: tuple[str, ...]
    sensitivities: tuple[str, ...]
    wedges: tuple[str, ...]
    limits: tuple[str, ...] = ()

    def for_throughput(self, throughput: Throughput) -> UserTraces:
        """The orders that effective areas give light to, and what a user must know of them, in words (`limits`).

        An order whose wavelengths are a part of the first order's only is left out: its trace is not known where the
        spectra are.

        Raises
        ------
        InputError
            Light runs along rows, or the first order and its effective area have no wavelength in common.
        """
        low, high = self.trace.band(MAIN)
        self._check(throughput, low, high)
        dark = [order for order in self.trace.orders if order not in throughput.curves]
        ends = {order: self.trace.band(order) for order in self.trace.orders if order not in dark}
        short = {o: (a, b) for o, (a, b) in ends.items() if a > low + _SAME_UM or b < high - _SAME_UM}
        used = {order: self.trace.beams[order] for order in ends if order not in short}
        origin = self.trace.origin
        said = [
            f"traces: {origin.name} ({origin.source}): order {MAIN} from {low:.3f} to {high:.3f} um; contamination by "
            + (f"order {', '.join(o for o in used if o != MAIN)}" if len(used) > 1 else "no other order")
        ]
        if dark:
            said.append(f"orders without effective area, not modelled: {', '.join(dark)}")
        if self.left_out:
            said.append(f"beams of unknown order, not modelled: {', '.join(self.left_out)}")
        if short:
            parts = ", ".join(f"{order} ({a:.3f} to {b:.3f} um)" for order, (a, b) in short.items())
            said.append(f"orders that hold for a part of order {MAIN} only, not modelled: {parts}")
        named = f"the sensitivities that the configuration names ({', '.join(self.sensitivities)}) are not read"
        areas = f"effective areas: {throughput.origin.name} ({throughput.origin.source})"
        said.append(f"{areas}; {named if self.sensitivities else 'the configuration names no sensitivity'}")
        if self.wedges:
            said.append(f"offsets by filter are not applied: {', '.join(self.wedges)}")
        trace = ConfigTrace(self.trace.element, used, self.trace.middle, origin)
        return replace(self, trace=trace, limits=tuple(said))

    def _check(self, throughput: Throughput, low: float, high: float) -> None:
        if self.trace.dispersion_axis != "y":
            raise InputError(
                "the dispersion runs along rows",
                file=self.path,
                field="dispersion_axis",
                remedy="turn the exposures and their configuration by 90 deg",
            )
        blue, red = throughput.band(MAIN, FAINTEST_SHARE)
        if not (low < red and blue < high):
            raise InputError(
                f"order {MAIN} holds from {low:.3f} to {high:.3f} um, its effective area from {blue:.3f} to {red:.3f} um",
                file=self.path,
                field=MAIN,
                remedy="give the configuration of this element, or its effective areas (--reference)",
            )


def read_traces(path: str | Path) -> UserTraces:
    """The configuration in an aXe or GRISMCONF file.

    Raises
    ------
    InputError
        The file cannot be read, is neither, has no first order, or a keyword is missing or wrong: file, field, remedy.
    """
    with reading(path, "a trace configuration", "give an aXe or GRISMCONF configuration"):
        lines = ConfigLines(path, GRISMCONF)
        if any(re.fullmatch(r"DISPL_.+_0", key) for key in lines.words):
            return _for_extraction(grismconf_trace(lines, lines.middle(_MIDDLE)), lines)
        if any(re.fullmatch(r"BEAM[A-Z]", key) for key in lines.words):
            lines = ConfigLines(path, AXE)
            return _for_extraction(axe_trace(lines, lines.middle(_MIDDLE)), lines)
    raise InputError(
        "neither an aXe nor a GRISMCONF configuration",
        file=path,
        field="DISPL_+1_0, BEAMA",
        remedy="give a file with the keywords of one of them",
    )


def _for_extraction(trace: ConfigTrace, lines: ConfigLines) -> UserTraces:
    beams: dict[str, Beam] = {}
    for name, beam in trace.beams.items():
        number = MAIN if name == "A" else name.removeprefix("+")
        if re.fullmatch(r"-?[0-9]+", number):
            beams[number] = beam
    if MAIN not in beams:
        raise InputError(
            f"there is no first order among {', '.join(trace.orders)}",
            file=lines.path,
            field="order",
            remedy="give a configuration with order +1 (GRISMCONF) or beam A (aXe)",
        )
    ordered = {MAIN: beams.pop(MAIN), **beams}
    kept = {id(beam) for beam in ordered.values()}
    return UserTraces(
        lines.path,
        ConfigTrace(trace.element, ordered, trace.middle, trace.origin),
        tuple(name for name, beam in trace.beams.items() if id(beam) not in kept),
        tuple(
            dict.fromkeys(words[0] for key, words in lines.words.items() if key.startswith("SENSITIVITY_") and words)
        ),
        tuple(key for key in lines.words if key.startswith("WEDGE_")),
    )
