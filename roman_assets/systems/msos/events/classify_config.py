"""All thresholds of the classification."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from roman_assets.bounds import THRESHOLD, check_bounds, whole
from roman_assets.systems.msos.models.point_lens import FitOptions
from roman_assets.systems.msos.search.templates import SearchConfig


@dataclass(frozen=True)
class ClassifyConfig:
    """All thresholds of the classification.

    dense_per_day: cadence [1/d] from which a series is dense. A dense event needs `min_run_dense` consecutive
    points over 3 sigma (Johnson et al. 2020 ask for 6), or `min_run_binned` consecutive bins of teff / 2
    and a strength of `min_strength_binned` (long faint events; correlated noise of some days looks like them, and
    a season is too short to measure it); a sparse one `min_high_sparse` points.
    min_dchi2_without: what must remain without the best point, and `min_share_without` as a share of dchi2.
    min_strength: dchi2 over the square of the red noise scale of the curve outside the event.
    explained_single, explained_lens: share of the curve's excess chi2 that the lens must explain to be looked
    at no further, and to be a lens at all; chi2 may exceed dof by a share of `noise_tolerance` before it
    counts as unexplained. anomaly_dchi2, anomaly_share: residual bump or dip that makes an anomaly, over the noise
    scale squared and as a share of the lens's own signal at the same time (flux errors of a bright event are never
    perfect).
    outburst_gain, outburst_share: by how much an outburst must beat the lens, absolutely and as a share of
    dchi2. periodic_misfit: excess of the lens's chi2, in standard deviations of chi2, below which no period is
    considered. sparse_sigma: threshold of a high point in a sparse series, whose baseline is itself uncertain
    by a fraction of sigma. restless_share, restless_dchi2: dchi2 of a dip outside the event, as a share of the
    brightening's and absolutely, that no lens explains. slow_share, slow_dchi2: teff as a share of the dense
    series, from which a brightening must reach that dchi2. repeat_share, repeat_dchi2: dchi2 of a further
    brightening that counts as a repeat, as a share of the first and over the square of the red noise scale.
    """

    dense_per_day: float = 24.0
    min_run_dense: int = 6
    min_run_binned: int = 5
    min_strength_binned: float = 200.0
    min_high_sparse: int = 4
    min_dchi2_without: float = 30.0
    min_share_without: float = 0.02
    min_strength: float = 60.0
    explained_single: float = 0.98
    explained_lens: float = 0.6
    noise_tolerance: float = 0.05
    anomaly_dchi2: float = 100.0
    anomaly_share: float = 3e-6
    outburst_gain: float = 30.0
    outburst_share: float = 0.01
    restless_share: float = 0.15
    restless_dchi2: float = 30.0
    slow_share: float = 0.1
    slow_dchi2: float = 1000.0
    repeat_share: float = 0.1
    repeat_dchi2: float = 60.0
    repeats_variable: int = 3
    colour_sigma: float = 4.0
    periodic_misfit: float = 2.5
    sparse_sigma: float = 2.7
    fit: FitOptions = field(default_factory=FitOptions)
    search: SearchConfig = field(default_factory=SearchConfig)

    def __post_init__(self) -> None:
        counts = ("min_run_dense", "min_run_binned", "min_high_sparse", "repeats_variable")
        numbers = [f.name for f in fields(self) if f.name not in (*counts, "fit", "search")]
        check_bounds(self, **dict.fromkeys(counts, whole(0, 10**9)), **dict.fromkeys(numbers, THRESHOLD))
