"""Injection of point lenses and planets into real light curves, to learn what the event finder would miss.

A signal is added to the curve of a star of the season: its epochs, gaps, masks and noise are the survey's own. Every
random number follows from (season, detector, star), so that the same curves always get the same signals.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from roman_assets.bounds import ANY, COUNT, NOT_NEGATIVE, POSITIVE, THRESHOLD, Bound, check_bounds, check_range, whole
from roman_assets.errors import InputError
from roman_assets.systems.msos.events.finder import EventConfig
from roman_assets.systems.msos.events.models import ModelConfig
from roman_assets.systems.msos.models.binary_magnification import binary_magnification
from roman_assets.systems.msos.models.point_lens import magnification

F64 = NDArray[np.float64]
#: Curves by optical element: mjd (epochs,) [d], flux and flux_err (stars, epochs) [DN/s], NaN where masked.
Curves = Mapping[str, tuple[NDArray[np.float64], NDArray[np.float32], NDArray[np.float32]]]

POINT_LENS, PLANET, CONTROL = "point_lens", "planet", "control"
#: Curves without a signal: as measured, mirrored about the baseline, or with their days in random order.
AS_MEASURED, MIRRORED, SHUFFLED = "as_measured", "mirrored", "shuffled"


@dataclass(frozen=True)
class InjectionConfig:
    """What is injected, and what counts as detected.

    Point lenses fill the cells between te_edges [d] (log-uniform inside a cell), u0_edges (uniform) and mag_edges
    (magnitude of the source), `per_cell` in each; t0 is uniform over the season's epochs. Planets sit on the grid
    log_s x log_q, `planets_per_cell` on each point, with alpha uniform, te log-uniform, u0 uniform and rho
    log-uniform in the given ranges, on sources of planet_mag. A star's light is the source's to a share drawn
    uniformly from source_fraction, once for each star. `controls` curves carry no signal.

    A candidate is the injected event if its class is microlensing and its t0 within match_te tE of the truth. A
    planet is detected if, besides, the best single lens leaves more than planet_dchi2 (Penny et al. 2019, ApJS
    241, 3). `image_injections` of the signals go into the images too, inside a window of `image_px` px, on stars at
    least `image_apart` px from each other. `confidence` is that of the binomial intervals; `events` is the
    configuration of the event finder.
    """

    te_edges: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
    u0_edges: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    mag_edges: tuple[float, ...] = (17.0, 19.0, 21.0, 22.0, 23.0, 24.0, 25.0)
    per_cell: int = 8
    source_fraction: tuple[float, float] = (0.3, 1.0)
    log_s: tuple[float, ...] = (-0.5, -0.3, -0.15, 0.0, 0.15, 0.3, 0.5)
    log_q: tuple[float, ...] = (-5.0, -4.5, -4.0, -3.5, -3.0, -2.5, -2.0)
    planets_per_cell: int = 20
    planet_te: tuple[float, float] = (5.0, 50.0)
    planet_u0: tuple[float, float] = (0.0, 1.0)
    planet_rho: tuple[float, float] = (5e-4, 1e-2)
    planet_mag: tuple[float, float] = (17.0, 23.0)
    controls: int = 1000
    match_te: float = 1.0
    planet_dchi2: float = 160.0
    min_points: int = 8
    image_injections: int = 24
    image_px: int = 512
    image_apart: float = 12.0
    confidence: float = 0.6827
    # Models beyond the point lens only name the sub-class.
    events: EventConfig = field(default_factory=lambda: EventConfig(models=ModelConfig(min_dchi2=np.inf)))

    def __post_init__(self) -> None:
        check_bounds(
            self,
            te_edges=POSITIVE,
            u0_edges=NOT_NEGATIVE,
            mag_edges=ANY,
            per_cell=whole(1, 100_000),
            source_fraction=Bound(gt=0, le=1),
            log_s=Bound(ge=-3, le=3),
            log_q=Bound(ge=-10, le=3),
            planets_per_cell=whole(0, 100_000),
            planet_te=POSITIVE,
            planet_u0=NOT_NEGATIVE,
            planet_rho=POSITIVE,
            planet_mag=ANY,
            controls=whole(0, 10_000_000),
            match_te=NOT_NEGATIVE,
            planet_dchi2=THRESHOLD,
            min_points=COUNT,
            image_injections=whole(0, 100_000),
            image_px=whole(1, 8192),
            image_apart=NOT_NEGATIVE,
            confidence=Bound(gt=0, le=1 - 1e-12),
        )
        for name in ("te_edges", "u0_edges", "mag_edges"):
            edges = np.asarray(getattr(self, name))
            if len(edges) < 2 or not np.isfinite(edges).all() or (np.diff(edges) <= 0).any():
                raise InputError(
                    f"{edges.tolist()} are no edges of cells", field=name, remedy="give increasing numbers"
                )
        check_range(self, "source_fraction", "planet_te", "planet_u0", "planet_rho", "planet_mag", strictly=False)


@dataclass(frozen=True)
class Injection:
    """One curve to make: `row` of the star in the curves, and the signal, NaN where the kind has no such parameter.

    t0 MJD; te [d]; alpha [deg], from the direction host to planet to the source's velocity; `seed` of what else is random.
    """

    serial: int
    kind: str
    row: int
    source_fraction: float
    source_mag: float
    seed: int
    control: str | None = None
    t0: float = np.nan
    u0: float = np.nan
    te: float = np.nan
    rho: float = np.nan
    s: float = np.nan
    q: float = np.nan
    alpha: float = np.nan

    def magnification(self, mjd: F64) -> F64:
        """A (n,) at times (n,) [d]; 1 for a control."""
        if self.kind == CONTROL:
            return np.ones(len(mjd))
        if self.kind == PLANET:
            angle = float(np.radians(self.alpha))
            return binary_magnification(mjd, self.t0, self.u0, self.te, self.rho, self.s, self.q, angle)
        return magnification(mjd, self.t0, self.u0, self.te)


@dataclass(frozen=True)
class Targets:
    """Stars that can carry an injection: row in the curves, object_id, baseline flux [DN/s] and its magnitude, (n,)."""

    row: NDArray[np.int64]
    object_id: NDArray[np.int64]
    flux: F64
    mag: F64


def main_element(curves: Curves) -> str:
    """The element with most epochs, which is searched; InputError if there are no curves."""
    if not curves:
        raise InputError("there are no light curves", field="optical_element", remedy="materialize them first")
    return max(curves, key=lambda name: len(curves[name][0]))


def find_targets(
    curves: Curves,
    object_id: NDArray[np.int64],
    zero_point: float,
    config: InjectionConfig = InjectionConfig(),
    excluded: Sequence[int] = (),
) -> Targets:
    """Stars with enough points and a positive baseline in the main element, without the rows `excluded`.

    Raises
    ------
    InputError
        There is no such star.
    """
    _, flux, error = curves[main_element(curves)]
    good = np.isfinite(flux) & (error > 0)
    base = baseline(flux, good)
    keep = (good.sum(axis=1) >= config.min_points) & (base > 0)
    keep[list(excluded)] = False
    row = np.flatnonzero(keep)
    if row.size == 0:
        raise InputError(
            f"none of {len(flux)} stars has {config.min_points} usable points and a positive flux",
            field="flux",
            remedy="process more exposures, or lower min_points",
        )
    mag = zero_point - 2.5 * np.log10(base[row])
    return Targets(row, np.asarray(object_id, dtype=np.int64)[row], base[row], mag)


def baseline(flux: NDArray[np.float32], good: NDArray[np.bool_]) -> F64:
    """Median of the good points of each curve (stars, epochs); NaN where there is none."""
    counted = np.sort(np.where(good, flux, np.inf).astype(np.float64), axis=1)
    n = good.sum(axis=1)
    rows = np.arange(len(flux))
    if flux.shape[1] == 0:
        return np.full(len(flux), np.nan)
    low, high = counted[rows, np.maximum(n - 1, 0) // 2], counted[rows, np.minimum(n // 2, flux.shape[1] - 1)]
    return np.where(n > 0, 0.5 * (low + np.where(n > 0, high, 0.0)), np.nan)


def seed_of(*words: object) -> int:
    """A seed of 64 bits that follows from the words, the same in every process."""
    return int.from_bytes(hashlib.sha256("|".join(str(w) for w in words).encode()).digest()[:8], "big")


def draw(
    targets: Targets, span: tuple[float, float], season: str, detector: str, config: InjectionConfig = InjectionConfig()
) -> list[Injection]:
    """All injections of a pointing: point lenses, planets, controls; t0 in `span` (first and last epoch, MJD).

    Cells of magnitude without a star stay empty. Stars take turns in an order that follows from their identifiers.
    """
    order = np.argsort([seed_of(season, detector, i) for i in targets.object_id], kind="stable")
    low, high = config.source_fraction
    unit = np.array([np.random.default_rng(seed_of(season, detector, i, "share")).random() for i in targets.object_id])
    share = low + (high - low) * unit
    source_mag = targets.mag - 2.5 * np.log10(share)
    turns: dict[tuple[str, int], int] = {}

    def turn(kind: str, star: int) -> tuple[int, np.random.Generator]:
        count = turns[kind, star] = turns.get((kind, star), -1) + 1
        seed = seed_of(season, detector, targets.object_id[star], kind, count)
        return seed, np.random.default_rng(seed)

    made: list[Injection] = []
    for kind, star, parameters in _cells(order, source_mag, config):
        seed, rng = turn(kind, star)
        drawn = _parameters(kind, parameters, rng, span, config)
        control = (MIRRORED, SHUFFLED)[len(made) % 2] if kind == CONTROL else None
        made.append(
            Injection(
                len(made),
                kind,
                int(targets.row[star]),
                float(share[star]),
                float(source_mag[star]),
                seed,
                control,
                **drawn,
            )
        )
    return made


def _cells(
    order: NDArray[np.int64], source_mag: F64, config: InjectionConfig
) -> Iterator[tuple[str, int, tuple[int, int]]]:
    """Kind, star (index into the targets) and cell (te, u0 or log_s, log_q) of each injection."""
    for low, high in zip(config.mag_edges[:-1], config.mag_edges[1:], strict=True):
        members = order[(source_mag[order] >= low) & (source_mag[order] < high)]
        count = 0
        for _ in range(config.per_cell if members.size else 0):
            for te in range(len(config.te_edges) - 1):
                for u0 in range(len(config.u0_edges) - 1):
                    yield POINT_LENS, int(members[count % members.size]), (te, u0)
                    count += 1
    low, high = config.planet_mag
    members = order[(source_mag[order] >= low) & (source_mag[order] < high)]
    count = 0
    for _ in range(config.planets_per_cell if members.size else 0):
        for s in range(len(config.log_s)):
            for q in range(len(config.log_q)):
                yield PLANET, int(members[count % members.size]), (s, q)
                count += 1
    for repeat in range(config.controls):
        yield CONTROL, int(order[repeat % order.size]), (0, 0)


def _parameters(
    kind: str, cell: tuple[int, int], rng: np.random.Generator, span: tuple[float, float], config: InjectionConfig
) -> dict[str, float]:
    def uniform(low: float, high: float) -> float:
        return float(low + (high - low) * rng.random())

    def log_uniform(low: float, high: float) -> float:
        return float(np.exp(uniform(float(np.log(low)), float(np.log(high)))))

    i, j = cell
    if kind == POINT_LENS:
        # An impact parameter of zero is a point source on a point lens: infinite.
        return {
            "t0": uniform(*span),
            "te": log_uniform(config.te_edges[i], config.te_edges[i + 1]),
            "u0": max(uniform(config.u0_edges[j], config.u0_edges[j + 1]), 1e-4),
        }
    if kind == PLANET:
        return {
            "t0": uniform(*span),
            "te": log_uniform(*config.planet_te),
            "u0": max(uniform(*config.planet_u0), 1e-4),
            "rho": log_uniform(*config.planet_rho),
            "s": 10 ** config.log_s[i],
            "q": 10 ** config.log_q[j],
            "alpha": uniform(0.0, 360.0),
        }
    return {}


@dataclass(frozen=True)
class NoiseLaw:
    """Variance of a flux F [DN/s] of this detector and element: read + slope F + (floor F)^2 [(DN/s)^2].

    `saturation` is the flux above which stars are saturated.
    """

    read: float
    slope: float
    floor: float
    saturation: float = np.inf

    def variance(self, flux: F64) -> F64:
        """Variance (n,) at fluxes (n,)."""
        positive = np.maximum(flux, 0.0)
        return self.read + self.slope * positive + (self.floor * positive) ** 2


def noise_law(flux: F64, flux_err: F64, saturated: NDArray[np.bool_] | None = None, bins: int = 24) -> NoiseLaw:
    """The law from baselines (n,) and typical errors (n,) of the stars; NaN does not count.

    Medians in bins of flux, then non-negative least squares of relative variances: crowded stars, whose errors are
    larger, do not matter. `saturated` (n,) stars set the limit of saturation.

    Raises
    ------
    InputError
        No star has a positive flux and error.
    """
    from scipy.optimize import nnls

    limit = _saturation(flux, saturated)
    use = np.isfinite(flux) & np.isfinite(flux_err) & (flux > 0) & (flux_err > 0)
    if not use.any():
        raise InputError("no star has a positive flux and error", field="flux", remedy="check the light curves")
    order = np.flatnonzero(use)[np.argsort(flux[use], kind="stable")]
    groups = np.array_split(order, min(bins, len(order)))
    f = np.array([np.median(flux[g]) for g in groups])
    variance = np.array([np.median(flux_err[g]) for g in groups]) ** 2
    terms = np.stack([np.ones_like(f), f, f**2], axis=1) / variance[:, None]
    size = np.maximum(np.linalg.norm(terms, axis=0), 1e-300)
    solution = nnls(terms / size, np.ones(len(f)))[0] / size
    return NoiseLaw(float(solution[0]), float(solution[1]), float(np.sqrt(solution[2])), limit)


def _saturation(flux: F64, saturated: NDArray[np.bool_] | None) -> float:
    """The lowest flux above which at least half of the stars are saturated."""
    if saturated is None:
        return np.inf
    counted = np.flatnonzero(np.isfinite(flux))
    order = counted[np.argsort(-flux[counted], kind="stable")]
    share = np.cumsum(saturated[order]) / np.arange(1, len(order) + 1)
    mostly = np.flatnonzero((share >= 0.5) & saturated[order])
    return float(flux[order[mostly[-1]]]) if mostly.size else np.inf


def inject(flux: F64, flux_err: F64, added: F64, base: float, law: NoiseLaw) -> tuple[F64, F64]:
    """A curve with the flux `added` (n,) [DN/s] to its baseline, and its errors.

    The star's own noise stays, in its order, and grows as the errors do: variance + law(base + added) - law(base).
    Points that would saturate become NaN.
    """
    grown = law.variance(base + added) - law.variance(np.full(len(added), base))
    error = np.sqrt(np.maximum(flux_err**2 + grown, flux_err**2 * 0.01))
    with np.errstate(invalid="ignore", divide="ignore"):
        factor = np.where(flux_err > 0, error / flux_err, 1.0)
    # Nothing added changes nothing, to the bit.
    factor, error = np.where(added == 0, 1.0, factor), np.where(added == 0, flux_err, error)
    result = np.where(added == 0, flux, base + added + (flux - base) * factor)
    lost = (base + added > law.saturation) & (added != 0)
    return np.where(lost, np.nan, result), np.where(lost, np.nan, error)


def without_signal(
    control: str | None, mjd: F64, flux: F64, flux_err: F64, base: float, rng: np.random.Generator
) -> tuple[F64, F64]:
    """A curve of a star that no lens can have brightened: see AS_MEASURED, MIRRORED, SHUFFLED."""
    if control == MIRRORED:
        return 2.0 * base - flux, flux_err
    if control == SHUFFLED:
        order = np.argsort(mjd, kind="stable")
        day = np.floor(mjd[order]).astype(np.int64)
        days = rng.permutation(np.unique(day))
        taken = np.concatenate([order[day == d] for d in days]) if days.size else order
        shuffled, error = np.empty_like(flux), np.empty_like(flux_err)
        shuffled[order], error[order] = flux[taken], flux_err[taken]
        return shuffled, error
    return flux, flux_err
