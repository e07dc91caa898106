"""Daily light curves: calibrated parts, additive sums, alerts."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.platform.making import withdraw_others
from roman_assets.platform.policy import judged
from roman_assets.platform.stopping import stop_here
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.light_curves.series import (
    UNUSED_FLAGS,
    SeriesBlock,
    alert_rules,
    daily_sums,
    rising,
    transpose,
    usable,
)
from roman_assets.systems.msos.photometry.calibration import FLOOR, ZeroPoint, ensemble_zero_point, position_terms
from roman_assets.systems.msos.search.daily import DailyConfig, brightening
from roman_assets.systems.msos.stages.common import (
    CODE,
    Check,
    Progress,
    StageResult,
    day_partition,
    finite,
    season_partition,
    silent,
)
from roman_assets.systems.msos.stages.psf_photometry import PART as PHOTOMETRY_PART

PART, MANIFEST, SUMS, ALERTS = "daily_light_curves_part", "daily_light_curves", "daily_sums", "alerts"
#: Gates: spread of zero points over a day, their distance from the reference, scatter over the noise.
ZERO_POINT_SPREAD, ZERO_POINT_OFFSET, SCATTER_LIMIT, BIAS_LIMIT = 0.01, 0.05, 1.5, 0.01


@dataclass
class Calibrated:
    """One calibrated exposure: its product and its table."""

    record: ProductRecord
    table: pl.DataFrame


def daily(workspace: Workspace, day: str, detector: str, progress: Progress = silent) -> StageResult:
    """Calibrate a day's photometry part by part, then sum it and look for rising objects."""
    result = StageResult()
    partition = day_partition(day, detector)
    season = workspace.calendar.season_of(day)
    catalogues = {
        r.sha256: r
        for r in workspace.products.current("reference_catalog", season_partition(season or "none", detector))
    }
    parts: dict[tuple[str, str], list[Calibrated]] = defaultdict(list)
    tables: dict[str, pl.DataFrame] = {}
    for photometry in workspace.products.current(PHOTOMETRY_PART, partition):
        catalogue = catalogues.get(photometry.attributes["catalogue"])
        if catalogue is None:
            result.caveat(
                Code.SUPERSEDED, photometry.part, "measured with a superseded catalogue: process the day again"
            )
            continue
        if catalogue.sha256 not in tables:
            tables[catalogue.sha256] = workspace.products.read_table(
                catalogue, ["object_id", "star", "ra", "dec", "x", "y", "flux", "flux_err"]
            )
        stop_here()
        with judged(result.caveats, photometry.part, "not calibrated"):
            calibrated = _calibrate(workspace, partition, photometry, catalogue, tables[catalogue.sha256])
            parts[catalogue.part, str(photometry.attributes["optical_element"])].append(calibrated)
            result.records.append(calibrated.record)
            result.caveats.extend(calibrated.record.caveats)
    withdraw_others(workspace, (PART,), partition, result.records)
    alerts = []
    for (pointing, element), members in sorted(parts.items()):
        catalogue = next(c for c in catalogues.values() if c.part == pointing)
        alerts.append(
            _sum_up(workspace, partition, pointing, element, members, catalogue, tables[catalogue.sha256], result)
        )
    withdraw_others(workspace, (SUMS,), partition, result.records)
    _close(workspace, partition, day, detector, season, alerts, result)
    progress(f"{len(result.records)} products, {result.figures['alerts']} alerts")
    return result


def _calibrate(
    workspace: Workspace, partition: str, photometry: ProductRecord, catalogue: ProductRecord, reference: pl.DataFrame
) -> Calibrated:
    """One exposure on the reference zero point."""
    identity = Identity((photometry.sha256, catalogue.sha256), CODE["daily_light_curves"])
    found = workspace.products.lookup(PART, partition, part=photometry.part, identity=identity)
    if found is not None:
        return Calibrated(found, workspace.products.read_table(found))
    raw = workspace.products.read_table(photometry)
    facts = dict(photometry.attributes)
    caveats = []
    sensitivity = np.ones(raw.height)
    if facts["optical_element"] == catalogue.attributes["optical_element"]:
        usable = (raw["flag"].to_numpy() & UNUSED_FLAGS) == 0
        flux, error, expected, expected_err = (_f64(t[c]) for t in (raw, reference) for c in ("flux", "flux_err"))
        fluxes = (flux, error, expected, expected_err, usable)
        zero = ensemble_zero_point(*fluxes)
        ny, nx = catalogue.attributes["shape"]
        terms = position_terms(_f64(reference["x"]), _f64(reference["y"]), (ny, nx), *fluxes, zero)
        sensitivity = 1.0 + terms(_f64(reference["x"]), _f64(reference["y"]))
        facts["position_rms"] = finite(terms.rms)
        facts["position_terms"] = [finite(float(c)) for c in terms.coefficients]
    else:
        # Another filter has no reference fluxes, stars' colours being unknown: the headers' AB zero points put
        # its fluxes on the one of the catalogue, which so serves magnitudes of every filter.
        offset = float(facts["zero_point"]) - float(catalogue.attributes["zero_point"])
        zero = ZeroPoint(10 ** (0.4 * offset), FLOOR, 0, float("nan"))
        text = f"{facts['optical_element']} is calibrated by its header only"
        caveats.append(Caveat(Code.CALIBRATION, photometry.part, text))
    factor = pl.Series(1.0 / (zero.scale * sensitivity))
    table = raw.select("star", flux=pl.col("flux") * factor, flux_err=pl.col("flux_err") * factor, flag=pl.col("flag"))
    residual = _bias(table, reference) if zero.n_stars else (float("nan"), float("nan"))
    facts |= {
        "scale": zero.scale,
        "scale_err": zero.scale_err,
        "calibrators": zero.n_stars,
        "scatter": finite(zero.scatter),
        "bias": finite(residual[0]),
        "noise_ratio": finite(residual[1]),
    }
    record = workspace.products.put_table(
        PART,
        partition,
        table,
        identity,
        part=photometry.part,
        attributes=facts,
        caveats=caveats,
        sky=None if photometry.ra is None or photometry.dec is None else (photometry.ra, photometry.dec),
        s_region=photometry.s_region,
    )
    return Calibrated(record, table)


def _bias(table: pl.DataFrame, reference: pl.DataFrame) -> tuple[float, float]:
    """Median relative deviation of faint usable stars from the reference, and scatter over noise of bright ones.

    The ensemble fixes the bright end; a wrong sky or ePSF shows as a bias of fainter stars.
    """
    flux, error = _f64(table["flux"]), _f64(table["flux_err"])
    expected, expected_err = _f64(reference["flux"]), _f64(reference["flux_err"])
    with np.errstate(invalid="ignore", divide="ignore"):
        snr = expected / error
        pull = (flux - expected) / np.hypot(np.hypot(error, expected_err), FLOOR * expected)
        good = (table["flag"].to_numpy() == 0) & np.isfinite(pull)
        faint, bright = good & (snr > 10) & (snr < 30), good & (snr > 50)
        bias = float(np.median(flux[faint] / expected[faint] - 1)) if faint.sum() >= 20 else float("nan")
        noise = 1.4826 * float(np.median(np.abs(pull[bright]))) if bright.sum() >= 20 else float("nan")
    return bias, noise


def _f64(series: pl.Series) -> NDArray[np.float64]:
    return series.to_numpy().astype(np.float64)


def stack(members: Sequence[Calibrated], stars: int) -> SeriesBlock:
    """Exposures as one block, in order of time."""
    mjd = [float(m.record.attributes["mjd"]) for m in members]
    return transpose([m.table for m in members], mjd, stars)


def _sum_up(
    workspace: Workspace,
    partition: str,
    pointing: str,
    element: str,
    members: Sequence[Calibrated],
    catalogue: ProductRecord,
    reference: pl.DataFrame,
    result: StageResult,
) -> pl.DataFrame:
    """Additive sums of a pointing and filter; returns its alerts."""
    block = stack(members, reference.height)
    flux, error = block.flux.astype(np.float64), block.flux_err.astype(np.float64)
    baseline, baseline_err = _f64(reference["flux"]), _f64(reference["flux_err"])
    if element != catalogue.attributes["optical_element"]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # stars without a point
            baseline = np.nanmedian(flux, axis=1)
    sums = daily_sums(reference["star"].to_numpy(), block.mjd, flux, error, block.flag, baseline)
    identity = Identity(
        tuple(m.record.sha256 for m in members), CODE["daily_light_curves"], {"catalogue": catalogue.sha256}
    )
    attributes = {
        **{k: members[0].record.attributes[k] for k in ("day", "detector", "season", "field")},
        "optical_element": element,
        "pointing": pointing,
        "catalogue": catalogue.sha256,
    }
    part = f"{pointing}/{element}"
    record = workspace.products.lookup(SUMS, partition, part=part, identity=identity)
    if record is None:
        record = workspace.products.put_table(SUMS, partition, sums, identity, part=part, attributes=attributes)
    result.records.append(record)
    if element != catalogue.attributes["optical_element"]:
        return pl.DataFrame()
    runs = rising(block.mjd, flux, error, block.flag, baseline, baseline_err, alert_rules(len(block.mjd)))
    runs = runs.with_columns(rule=pl.lit("run"), baseline=reference["flux"].gather(runs["row"]).cast(pl.Float64))
    past = _history(workspace, record, result)
    slow = brightening(past, block.mjd, flux, error, block.flag, baseline, baseline_err)
    last = usable(flux, error, block.flag).shape[1] - 1 - usable(flux, error, block.flag)[:, ::-1].argmax(axis=1)
    rows = slow["row"].to_numpy()
    slow = slow.with_columns(
        rule=pl.lit("template"),
        mjd=pl.Series(block.mjd[last[rows]]),
        flux=pl.Series(flux[rows, last[rows]]),
        flux_err=pl.Series(error[rows, last[rows]]),
    )
    found = pl.concat([runs, slow.with_columns(pl.col("row").cast(runs["row"].dtype))], how="diagonal_relaxed")
    return found.drop("row").with_columns(
        reference.select("object_id", "star", "ra", "dec")[found["row"].to_list()],
        field=pl.lit(attributes["field"]),
        detector=pl.lit(attributes["detector"]),
        optical_element=pl.lit(element),
    )


def _history(workspace: Workspace, today: ProductRecord, result: StageResult) -> list[pl.DataFrame]:
    """Sums of the season's earlier days of the same pointing, filter and catalogue, in order of time."""
    facts = today.attributes
    sums = workspace.products.current(SUMS, None, season=facts["season"], detector=facts["detector"])
    # By the calendar, not by the season that was written into them when they were made.
    of_season = [r for r in sums if workspace.calendar.season_of(str(r.attributes["day"])) == facts["season"]]
    used = earlier_sums(of_season, today)
    result.figures["earlier_days"] = max(result.figures.get("earlier_days", 0), len(used))
    result.history.extend(r.sha256 for r in used)
    columns = ["star", "sum_w", "sum_wf", "first_mjd", "last_mjd"]
    return [workspace.products.read_table(r, columns) for r in used]


def earlier_sums(sums: Sequence[ProductRecord], today: ProductRecord) -> list[ProductRecord]:
    """Those of a season's and detector's sums that the alerts of one of them look back on, in order of time."""
    facts = today.attributes
    earlier = [
        r
        for r in sums
        if r.part == today.part
        and r.attributes["catalogue"] == facts["catalogue"]
        and str(r.attributes["day"]) < str(facts["day"])
    ]
    return sorted(earlier, key=lambda r: str(r.attributes["day"]))[-DailyConfig().days :]


def _close(
    workspace: Workspace,
    partition: str,
    day: str,
    detector: str,
    season: str | None,
    alerts: Sequence[pl.DataFrame],
    result: StageResult,
) -> None:
    """Alerts, manifest, figures, picture and checks of the day."""
    from roman_assets.systems.msos.plots import zero_point_figure
    from roman_assets.systems.msos.tables import ALERTS as ALERTS_TABLE

    parts = [r for r in result.records if r.kind == PART]
    attributes = {"day": day, "detector": detector, "season": season}
    identity = Identity(tuple(r.sha256 for r in parts), CODE["daily_light_curves"])
    table = pl.concat([a for a in alerts if a.width] or [ALERTS_TABLE.empty()], how="diagonal_relaxed")
    # Alerts also depend on the days before.
    searched = Identity((*identity.inputs, *sorted(result.history)), CODE["daily_light_curves"])
    for kind in (ALERTS, MANIFEST):
        record = workspace.products.lookup(kind, partition, identity=searched if kind == ALERTS else identity)
        if record is None and kind == ALERTS:
            record = workspace.products.put_table(kind, partition, table, searched, attributes=attributes)
        elif record is None:
            document = {"parts": {r.part: r.sha256 for r in parts}}
            record = workspace.products.put_json(
                kind, partition, document, identity, attributes=attributes, caveats=result.caveats
            )
        result.records.append(record)
    facts = [r.attributes for r in parts if r.attributes["calibrators"]]
    scale = np.array([f["scale"] for f in facts])
    bias = [f["bias"] for f in facts if f["bias"] is not None]
    noise = [f["noise_ratio"] for f in facts if f["noise_ratio"] is not None]
    result.figures |= {
        "exposures": len(parts),
        "alerts": table.height,
        "zero_point_spread_mmag": 1085.7 * float(np.std(scale)) if scale.size else float("nan"),
        "median_bias": float(np.median(bias)) if bias else float("nan"),
        "noise_ratio": float(np.median(noise)) if noise else float("nan"),
    }
    if facts:
        mjd, error = (np.array([f[name] for f in facts]) for name in ("mjd", "scale_err"))
        result.picture("zero_points", zero_point_figure, mjd, scale, error, f"{day} {detector}")
    result.checks += _checks(scale, bias, noise)


def _checks(scale: NDArray[np.float64], bias: Sequence[float], noise: Sequence[float]) -> list[Check]:
    """Gates of the day; None where no exposure could be judged."""
    spread, offset = (float(np.std(scale)), float(np.max(np.abs(scale - 1)))) if scale.size else (None, None)
    middle = float(np.median(bias)) if bias else None
    ratio = float(np.median(noise)) if noise else None
    stable = None if spread is None or offset is None else spread < ZERO_POINT_SPREAD and offset < ZERO_POINT_OFFSET
    return [
        Check(
            "zero_point_stability",
            stable,
            f"zero points of the day agree to {ZERO_POINT_SPREAD:.0%} and lie within {ZERO_POINT_OFFSET:.0%} of "
            "the reference",
            {"spread": spread, "largest_offset": offset},
        ),
        Check(
            "photometric_bias",
            None if middle is None else abs(middle) < BIAS_LIMIT,
            f"faint stars agree with the reference to {BIAS_LIMIT:.0%}",
            {"bias": middle},
        ),
        Check(
            "photometric_scatter",
            None if ratio is None else ratio < SCATTER_LIMIT,
            f"bright stars scatter less than {SCATTER_LIMIT} times the noise",
            {"noise_ratio": ratio},
        ),
    ]
