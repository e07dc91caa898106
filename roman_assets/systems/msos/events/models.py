"""Which model an event gets, and its columns in the event tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roman_assets.bounds import NOT_NEGATIVE, THRESHOLD, check_bounds, whole
from roman_assets.kernels.events import finite_source, point_lens_excess
from roman_assets.systems.msos.events import classify
from roman_assets.systems.msos.models.binary_lens import fit_binary_lens
from roman_assets.systems.msos.models.binary_magnification import BinaryLensConfig, binary_magnification, parallax_shift
from roman_assets.systems.msos.models.binary_minimum import BINARY_LENS, orbit
from roman_assets.systems.msos.models.lens_models import (
    BINARY_SOURCE,
    FSPL,
    PARALLAX,
    LensModel,
    fit_binary_source,
    fit_finite_source,
    fit_parallax,
    preferred,
)
from roman_assets.systems.msos.models.parallax import Observer
from roman_assets.systems.msos.models.point_lens import LightCurve, PointLensFit

F64 = NDArray[np.float64]
#: Class of an event whose best model this is.
CLASS_OF = {
    FSPL: classify.FINITE_SOURCE,
    PARALLAX: classify.PARALLAX,
    BINARY_SOURCE: classify.BINARY_SOURCE,
    BINARY_LENS: classify.BINARY_LENS,
}
#: Ends of the columns chi2_ and dchi2_ of each model.
COLUMNS_OF = {
    FSPL: ("fspl", "fspl"),
    PARALLAX: ("parallax", "parallax"),
    BINARY_SOURCE: ("binary_source", "binary_source"),
    BINARY_LENS: ("binary_lens", "binary"),
}


@dataclass(frozen=True)
class ModelConfig:
    """When models beyond the point lens are tried and believed.

    An event with at least `min_points` points and `min_dchi2` over a constant is worth them; a finite source needs
    |u0| below `max_u0_finite`, parallax tE above `min_te_parallax` [d]. A model is chosen by BIC among those that
    lower chi2 by `least_gain` (times chi2/dof of the best, where that exceeds one), and, two lenses apart, only if it
    leaves less than `most_left` of the point lens's excess of chi2, or none that is significant: what a second lens
    did must not be put down to a second source. Two lenses are tried on an event with an anomaly, or that another
    model describes better than a point lens (it takes most of a minute). Solutions of the chosen model within
    `twin_dchi2` (times chi2/dof) of the best are degenerate with it. Where the star's place is unknown, and parallax
    with it, neither second sources nor second lenses are tried beyond tE of `max_te_unplaced` [d]: they would take
    the blame for the Earth's motion.
    """

    min_points: int = 100
    min_dchi2: float = 500.0
    max_u0_finite: float = 1.0
    min_te_parallax: float = 10.0
    least_gain: float = 50.0
    most_left: float = 0.1
    twin_dchi2: float = 16.0
    max_te_unplaced: float = 60.0
    binary: BinaryLensConfig = field(default_factory=BinaryLensConfig)

    def __post_init__(self) -> None:
        check_bounds(
            self,
            min_points=whole(1, 10**9),
            min_dchi2=THRESHOLD,
            max_u0_finite=NOT_NEGATIVE,
            min_te_parallax=THRESHOLD,
            least_gain=THRESHOLD,
            most_left=NOT_NEGATIVE,
            twin_dchi2=NOT_NEGATIVE,
            max_te_unplaced=THRESHOLD,
        )


def higher_models(
    curve: LightCurve,
    lens: PointLensFit,
    observer: Observer | None = None,
    config: ModelConfig = ModelConfig(),
    *,
    anomalous: bool = False,
) -> list[LensModel]:
    """The models worth trying on an event, fitted; parallax only where the observer is known.

    `anomalous`: the residuals of the point lens have a significant bump or dip.
    """
    if not lens.fitted or len(curve) < config.min_points or lens.dchi2 < config.min_dchi2:
        return []
    models: list[LensModel | None] = []
    if lens.u0 < config.max_u0_finite:
        models.append(fit_finite_source(curve, lens))
    if observer is not None and lens.te > config.min_te_parallax:
        models.extend(fit_parallax(curve, lens, observer))
    placed = observer is not None or lens.te < config.max_te_unplaced
    if placed:
        models.append(fit_binary_source(curve, lens))
    fitted = [m for m in models if m is not None]
    if placed and (anomalous or preferred(fitted, lens, config.least_gain) is not None):
        rival = min((m.bic for m in fitted if m.usable and m.converged), default=np.inf)
        fitted.extend(fit_binary_lens(curve, lens, config.binary, observer, rival))
    return fitted


def choose(models: list[LensModel], lens: PointLensFit, config: ModelConfig = ModelConfig()) -> LensModel | None:
    """The model to believe instead of the point lens; errors too small for the data do not make one."""
    best = min((m.chi2 / m.dof for m in models if m.dof > 0), default=1.0)
    enough = [m for m in models if m.name == BINARY_LENS or _explains(m, lens, config)]
    return preferred(enough, lens, config.least_gain * max(best, 1.0))


def _explains(model: LensModel, lens: PointLensFit, config: ModelConfig) -> bool:
    left = model.chi2 - model.dof
    return left < max(config.most_left * (lens.chi2 - lens.dof), 3 * float(np.sqrt(2 * model.dof)))


def twins(models: list[LensModel], chosen: LensModel, config: ModelConfig = ModelConfig()) -> list[LensModel]:
    """Other solutions that the data cannot tell from the chosen one, best first: of its model, and two lenses for two
    sources or the other way round."""
    most = chosen.chi2 + config.twin_dchi2 * max(chosen.chi2 / max(chosen.dof, 1), 1.0)
    names = {BINARY_LENS, BINARY_SOURCE} if chosen.name in (BINARY_LENS, BINARY_SOURCE) else {chosen.name}
    alike = [m for m in models if m is not chosen and m.name in names and m.chi2 < most]
    return sorted(alike, key=lambda m: m.chi2)


def model_columns(models: list[LensModel], chosen: LensModel | None, lens: PointLensFit) -> dict[str, Any]:
    """Columns that the models add to, and the chosen one changes in, an event's row."""
    row: dict[str, Any] = {}
    for m in models:
        absolute, relative = COLUMNS_OF[m.name]
        if m.chi2 < row.get(f"chi2_{absolute}", np.inf):
            row |= {f"chi2_{absolute}": m.chi2, f"dchi2_{relative}": lens.chi2 - m.chi2}
    if chosen is None:
        return row
    for name in chosen.parameters:
        unit = float(np.degrees(1.0)) if name in ("alpha", "dalpha_dt") else 1.0
        row |= {name: chosen[name] * unit, f"{name}_err": _finite(chosen.error(name) * unit)}
    row |= {
        "model": chosen.name,
        "teff": abs(chosen["u0"]) * chosen["te"],
        "parameters": list(chosen.parameters),
        "covariance": chosen.covariance.ravel().tolist(),
        "bands": list(chosen.bands),
        "fs": chosen.fs[:, 0].tolist(),
        "fs_err": chosen.fs_err[:, 0].tolist(),
        "fb": chosen.fb.tolist(),
        "fb_err": chosen.fb_err.tolist(),
        "chi2": chosen.chi2,
        "dof": chosen.dof,
    }
    if "pi_en" in chosen.parameters:
        row["t0_par"] = lens.t0
    if chosen.name == BINARY_SOURCE:
        row["fs_2"] = chosen.fs[:, 1].tolist()
    return row


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None


def model_curve(event: Mapping[str, Any], band: str, mjd: ArrayLike) -> F64:
    """Flux (n,) of an event's model in a band at times (n,) [d]; `event` is a row of an event table."""
    times = np.asarray(mjd, dtype=np.float64)
    k = list(event["bands"]).index(band)
    t0, u0, te, model = event["t0"], event["u0"], event["te"], event.get("model", "PSPL")
    if model == FSPL:
        shape = finite_source(np.hypot(u0, (times - t0) / te), event["rho"])
    elif model == PARALLAX:
        north, east = Observer(event["ra"], event["dec"]).offsets(times, event["t0_par"])
        tau = (times - t0) / te + event["pi_en"] * north + event["pi_ee"] * east
        u = np.maximum(np.hypot(tau, u0 + event["pi_en"] * east - event["pi_ee"] * north), 1e-9)
        shape = (u * u + 2) / (u * np.sqrt(u * u + 4))
    elif model == BINARY_LENS:
        s: Any = event["s"]
        alpha: Any = float(np.radians(event["alpha"]))
        shift: Any = (0.0, 0.0)
        if event.get("pi_en") is not None:
            offsets = Observer(event["ra"], event["dec"]).offsets(times, event["t0_par"])
            shift = parallax_shift(event["pi_en"], event["pi_ee"], offsets)
        if event.get("ds_dt") is not None:
            s, alpha = orbit(s, alpha, event["ds_dt"], np.radians(event["dalpha_dt"]), times, event["t0_par"])
        shape = binary_magnification(times, t0, u0, te, event["rho"], s, event["q"], alpha, shift=shift)
    else:
        shape = 1 + point_lens_excess(times, t0, abs(u0), te)
    flux = event["fs"][k] * shape + event["fb"][k]
    if model == BINARY_SOURCE:
        flux = flux + event["fs_2"][k] * (1 + point_lens_excess(times, event["t0_2"], abs(event["u0_2"]), te))
    return np.asarray(flux)
