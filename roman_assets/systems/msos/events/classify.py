"""What a brightening is: a lens, a cataclysmic or periodic variable, an artefact, or not clear.

The rules compare models on the data of the curve alone and say why; how often such a verdict is right is
`class_probability`'s to say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from roman_assets.systems.msos.events.class_probability import Kind, probabilities
from roman_assets.systems.msos.events.classify_config import ClassifyConfig
from roman_assets.systems.msos.events.evidence import Evidence
from roman_assets.systems.msos.models.point_lens import LightCurve, PointLensFit

SINGLE_LENS, ANOMALOUS_LENS = "single_lens", "microlensing"
FINITE_SOURCE, PARALLAX, BINARY_SOURCE, BINARY_LENS = "finite_source", "parallax", "binary_source", "binary_lens"
CATACLYSMIC, VARIABLE, ARTEFACT, UNCLEAR = "cataclysmic", "variable", "artefact", "unclear"
#: Classes that are microlensing. One without a sub-class ("microlensing") has one dominant symmetric
#: brightening and significant residuals that no single lens explains: a binary lens or a planet.
MICROLENSING = (SINGLE_LENS, FINITE_SOURCE, PARALLAX, BINARY_SOURCE, BINARY_LENS, ANOMALOUS_LENS)
CLASSES = (*MICROLENSING, CATACLYSMIC, VARIABLE, ARTEFACT, UNCLEAR)

VETO_FEW_POINTS, VETO_ONE_EXPOSURE, VETO_NEIGHBOURS = 1, 2, 4
VETO_COLOUR, VETO_PERIOD, VETO_ASYMMETRY = 8, 16, 32


@dataclass(frozen=True)
class Classification:
    """Class of a candidate with the reason in words, veto bits, and what decided.

    probability: that a candidate like this is of that class (of any kind of lens, for a lens; noise, for unclear);
    p_microlensing: that it is a lens of any kind.
    """

    event_class: str
    probability: float
    p_microlensing: float
    reason: str
    veto: int
    explained: float
    strength: float


@dataclass(frozen=True)
class _Verdict:
    event_class: str
    reason: str
    veto: int = 0


_KIND_OF = {CATACLYSMIC: Kind.CATACLYSMIC, VARIABLE: Kind.VARIABLE, ARTEFACT: Kind.ARTEFACT, UNCLEAR: Kind.NOISE}


def classify(
    curve: LightCurve, found: Mapping[str, float], lens: PointLensFit, config: ClassifyConfig = ClassifyConfig()
) -> Classification:
    """Class of a candidate.

    Parameters
    ----------
    curve
        The light curve; its band with most points is the one that was searched.
    found
        Row of `search.search` for it.
    lens
        Its point-lens fit.
    """
    if not lens.fitted:
        reason = "too few points for a lens model"
        return Classification(UNCLEAR, 0.5, 0.5, reason, VETO_FEW_POINTS, 0.0, 0.0)
    e = Evidence(curve, found, lens, config)
    verdict = next(
        (v for rule in (_artefact, _periodic, _few_points, _outburst, _restless, _slow, _weak) if (v := rule(e))), None
    ) or _lens_verdict(e)
    chances = probabilities(e)
    of_class = chances[_KIND_OF.get(verdict.event_class, Kind.LENS)]
    return Classification(
        verdict.event_class, of_class, chances[Kind.LENS], verdict.reason, verdict.veto, e.explained, e.strength
    )


def _artefact(e: Evidence) -> _Verdict | None:
    c = e.config
    dchi2, without = float(e.found["dchi2"]), float(e.found["dchi2_without_best_point"])
    single = without < c.min_dchi2_without or without < c.min_share_without * dchi2
    if single and e.high.sum() < c.min_high_sparse:
        reason = f"one exposure holds the signal: dchi2 {dchi2:.0f}, {without:.0f} without it"
        return _Verdict(ARTEFACT, reason, VETO_ONE_EXPOSURE)
    if e.lens.negative_source:
        sources = zip(e.lens.bands, e.lens.fs, e.lens.fs_err, strict=True)
        dips = [b for b, s, d in sources if s < -c.colour_sigma * d]
        if dips or len(e.curve.bands) == 1:
            return _Verdict(ARTEFACT, f"negative source flux in {', '.join(dips) or e.main.name}", VETO_COLOUR)
    return None


def _few_points(e: Evidence) -> _Verdict | None:
    c, high = e.config, int(e.high.sum())
    if not e.dense:
        if high >= c.min_high_sparse:
            return None
        reason = f"only {high} high points (a sparse series needs {c.min_high_sparse})"
    else:
        strong = e.binned_run >= c.min_run_binned and e.strength >= c.min_strength_binned
        if e.run >= c.min_run_dense or strong:
            return None
        reason = (
            f"only {e.run} consecutive points over 3 sigma (needs {c.min_run_dense}), {e.binned_run} bins of teff/2 "
            f"and dchi2 {e.strength:.0f} over the noise (need {c.min_run_binned} and {c.min_strength_binned:.0f})"
        )
    return _Verdict(UNCLEAR, reason, VETO_FEW_POINTS)


def _periodic(e: Evidence) -> _Verdict | None:
    if e.periodic is None or e.periodic_gain <= 1.0:
        return None
    reason = f"a period of {e.periodic.period:.4g} d explains the curve better than a lens"
    return _Verdict(VARIABLE, reason, VETO_PERIOD)


def _outburst(e: Evidence) -> _Verdict | None:
    """Outbursts, and objects that brighten again and again."""
    if e.outburst is not None and e.outburst_gain > 1.0:
        text = f"rise in {e.outburst.rise:.2g} d, decay over {e.outburst.decay:.2g} d: an outburst beats a lens"
        text += f"; {e.brightenings} brightenings" if e.brightenings > 1 else ""
        return _Verdict(CATACLYSMIC, text, VETO_ASYMMETRY)
    if e.brightenings >= e.config.repeats_variable:
        return _Verdict(VARIABLE, f"brightens {e.brightenings} times or more", VETO_PERIOD)
    return None


def _restless(e: Evidence) -> _Verdict | None:
    """A star that dims outside the event as it brightened in it varies by itself, or its errors do."""
    c = e.config
    if e.dip < max(c.restless_share * float(e.found["dchi2_without_best_point"]), c.restless_dchi2):
        return None
    return _Verdict(VARIABLE, f"dims elsewhere (dchi2 {e.dip:.0f}) as lenses do not")


def _slow(e: Evidence) -> _Verdict | None:
    """A faint brightening as slow as the series is long cannot be told from a drift of the photometry."""
    c, teff = e.config, max(e.lens.teff, e.teff)
    if teff < c.slow_share * e.span or e.strength > c.slow_dchi2 or not e.dense:
        return None
    return _Verdict(UNCLEAR, f"a slow rise (teff {teff:.0f} d in {e.span:.0f} d) of dchi2 {e.strength:.0f} only")


def _weak(e: Evidence) -> _Verdict | None:
    if e.strength < e.config.min_strength:
        if e.noise.red > 1.5:
            return _Verdict(VARIABLE, f"not above the object's own variability ({e.noise.red:.1f} times its errors)")
        return _Verdict(UNCLEAR, f"weak: dchi2 {e.strength:.0f} without the best point")
    if e.explained < e.config.explained_lens:
        return _Verdict(UNCLEAR, f"a lens explains only {100 * e.explained:.0f} % of the curve's variation")
    return None


def _lens_verdict(e: Evidence) -> _Verdict:
    notes, lens = [], e.lens
    if e.anomaly > 0:
        notes.append(f"residuals from a single lens of dchi2 {e.anomaly:.0f}")
    if not all(e.sides):
        notes.append("only one side of the peak is covered")
    if lens.degenerate:
        notes.append("u0, tE and blend are degenerate")
    if lens.blend == "zero":
        notes.append("no blend in the model: the data do not constrain one")
    if not lens.converged:
        notes.append("the fit did not converge")
    start = "one dominant symmetric brightening" if e.anomaly > 0 else "a single point lens fits"
    text = f"{start} (dchi2 {lens.dchi2:.0f} over a constant, {100 * e.explained:.0f} % explained)"
    return _Verdict(ANOMALOUS_LENS if e.anomaly > 0 else SINGLE_LENS, "; ".join([text, *notes]))
