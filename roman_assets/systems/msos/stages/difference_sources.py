"""Difference photometry of a season of a detector: sources that its catalogue does not have, and their light curves."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.platform.making import left_out_attribute, left_out_still, withdraw_others
from roman_assets.platform.policy import judged
from roman_assets.platform.stopping import stop_here
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.curve_tables import DIFFERENCE_LIGHT_CURVES, DIFFERENCE_SOURCES
from roman_assets.systems.msos.difference.grid import ReferenceGrid, SeasonCube, fill, saturating, time_bins
from roman_assets.systems.msos.difference.photometry import UNUSED_DIFFERENCES, Stamps
from roman_assets.systems.msos.difference.residual import Registration, residual_image
from roman_assets.systems.msos.difference.search import DifferenceConfig
from roman_assets.systems.msos.difference.sources import ONE_SIDED, Candidates, Source, Verdicts, find_candidates, judge
from roman_assets.systems.msos.light_curves.series import list_column, rounded_errors
from roman_assets.systems.msos.photometry.exposure_fit import NO_DATA
from roman_assets.systems.msos.stages.common import OBJECT_ORDER, Check, Progress, StageResult, season_partition, silent
from roman_assets.systems.msos.stages.difference_inputs import Pointing, Refusals
from roman_assets.systems.msos.stages.season_curves import DIFFERENCE_CURVES as CURVES
from roman_assets.systems.msos.stages.season_curves import epochs_of, kept_attributes, place_of, season_facts

F64 = NDArray[np.float64]
SOURCES = "difference_sources"
#: Arrays larger than this [bytes] lie on the scratch disk (TMPDIR) instead of in memory.
IN_MEMORY = 1_000_000_000
#: Bins that a search in time needs, and stars this close to a candidate are subtracted when it is measured [px].
LEAST_BINS, SUBTRACTED_PX = 3, 40.0
#: Sources drawn; gates: false brightenings expected, sources per catalogued star.
SHOWN, MOST_FALSE, MOST_PER_STAR = 6, 2, 0.02


def difference_sources(
    workspace: Workspace,
    season: str,
    detector: str,
    config: DifferenceConfig = DifferenceConfig(),
    progress: Progress = silent,
) -> StageResult:
    """Search the residuals of every pointing's exposures for sources that brighten, and measure them."""
    result = StageResult()
    partition = season_partition(season, detector)
    tables, curves = [], []
    for record in workspace.products.current("season_light_curves", partition):
        pointing = Pointing.of(workspace, record)
        (last,) = workspace.products.current(SOURCES, partition, record.part) or (None,)
        identity = pointing.identity(config, left_out_still(last, pointing.usable))
        found = [
            workspace.products.lookup(k, partition, part=record.part, identity=identity) for k in (SOURCES, CURVES)
        ]
        made = [r for r in found if r is not None]
        if len(made) < len(found):
            made = _make(pointing, partition, season, config, progress)
        result.records += made
        result.caveats.extend(made[0].caveats)
        tables.append(workspace.products.read_table(made[0]))
        if tables[-1].height:
            curves.append((record, workspace.products.read_table(made[1])))
        progress(f"{record.part}: {tables[-1].height} sources")
    if not tables:
        result.caveat(Code.NOTHING, "", "there are no light curves of this season and detector yet")
    withdraw_others(workspace, (SOURCES, CURVES), partition, result.records)
    _summarise(workspace, result, tables, curves)
    return result


def _make(
    pointing: Pointing, partition: str, season: str, config: DifferenceConfig, progress: Progress
) -> list[ProductRecord]:
    """Sources and light curves of one pointing; both without rows where nothing could be searched or was found."""
    record, products = pointing.record, pointing.workspace.products
    caveats: list[Caveat] = []
    left_out: list[str] = []
    search = None
    with judged(caveats, record.part, "no difference photometry"):
        search = _search(pointing, config, Refusals(pointing, caveats, left_out, progress))
    identity = pointing.identity(config, left_out)
    sources, curves = DIFFERENCE_SOURCES.empty(), DIFFERENCE_LIGHT_CURVES.empty()
    facts: dict[str, Any] = {"candidates": 0, "false": 0, "threshold": None, "megapixels": 0.0, "rejected": {}}
    if search is not None:
        facts = search.facts
        if search.verdicts.sources:
            sources, curves = _tables(pointing, season, search)
    attributes = {
        **kept_attributes(record),
        **facts,
        **left_out_attribute(left_out),
        "optical_element": pointing.element,
        "season_light_curves": record.sha256,
        "stars": pointing.stars.height,
    }
    common: dict[str, Any] = {
        "part": record.part,
        "attributes": attributes,
        "caveats": caveats,
        "sky": place_of(record),
        "s_region": record.s_region,
    }
    archive = (
        archive_metadata("light_curve", season_facts(pointing.workspace, season, record)) if curves.height else None
    )
    return [
        products.put_table(SOURCES, partition, sources, identity, **common),
        products.put_table(CURVES, partition, curves, identity, archive=archive, **common),
    ]


@dataclass(frozen=True)
class _Search:
    grid: ReferenceGrid
    bins: list[tuple[int, int]]
    stars: tuple[F64, F64]  # catalogued ones in the reference pixels
    candidates: Candidates
    verdicts: Verdicts
    facts: dict[str, Any]


def _search(pointing: Pointing, config: DifferenceConfig, refusals: Refusals) -> _Search:
    progress = refusals.progress
    mjd = pointing.epochs["mjd"].to_numpy()
    bins = time_bins(mjd, config.bin_days, config.least_in_bin)
    if len(bins) < LEAST_BINS:
        raise InputError(
            f"{len(mjd)} exposures make {len(bins)} bins of time",
            field="bins",
            remedy=f"it takes {LEAST_BINS} of {config.least_in_bin} exposures",
        )
    sky = pointing.sky
    first = _first(pointing, len(mjd), refusals)
    grid = ReferenceGrid.of(*first)
    ny, nx = grid.shape
    with _scratch(2 * 4 * len(bins) * 4 * ny * nx) as folder:
        cube = SeasonCube.empty(grid, bins, len(sky.ra), folder)
        fill(cube, sky, pointing.load, refusals)
        x, y = first[0].to_pixels(sky.ra, sky.dec)
        x, y = x + first[1].shift[0], y + first[1].shift[1]
        found = find_candidates(cube, x, y, saturating(cube), sky.psf, config)
        progress(f"{len(found.peaks)} candidates above {found.sigma:.1f} sigma, {len(found.known)} stars vary")
        runs = [(bins[s][0], bins[s + n - 1][1]) for s, n in zip(found.peaks.start, found.peaks.length, strict=True)]
        with _scratch(2 * 4 * len(runs) * len(mjd) * 225) as stamp_folder:
            stamps = Stamps.empty(len(runs), len(mjd), stamp_folder)
            _cut_out(pointing, cube, found, stamps, (x, y), progress)
            floor = float(pointing.record.attributes.get(f"error_floor_{pointing.element}", 0.0))
            verdicts = judge(found, stamps, runs, x, y, sky.psf, floor)
    facts = {
        "candidates": len(found.peaks),
        "varying_stars": len(found.known),
        "threshold": round(found.sigma, 3),
        "dips": found.dips,
        "false": found.false,
        "rejected": verdicts.rejected,
        "megapixels": ny * nx / 1e6,
        "exposures": int(cube.used.sum()),
        "bins": len(bins),
    }
    return _Search(grid, bins, (x, y), found, verdicts, facts)


def _first(pointing: Pointing, count: int, refusals: Refusals) -> tuple[Frame, Registration]:
    """The first exposure that can be read: its pixels are the reference."""
    for number in range(count):
        try:
            return pointing.load(number)
        except Exception as error:
            refusals(number, error)
    raise InputError("no exposure can be read", file=pointing.record.part, remedy="see the caveats of its days")


@contextmanager
def _scratch(size: int) -> Iterator[Path | None]:
    """A folder for arrays of `size` bytes in all that do not go into memory; None where they do."""
    if size <= IN_MEMORY:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="roman_difference_") as folder:
        yield Path(folder)


def _cut_out(
    pointing: Pointing, cube: SeasonCube, found: Candidates, stamps: Stamps, stars: tuple[F64, F64], progress: Progress
) -> None:
    """Cut the candidates out of every exposure that took part in the search."""
    from scipy.spatial import cKDTree

    if not len(found.peaks):
        return
    ra, dec = cube.grid.sky(found.peaks.x, found.peaks.y)
    tree = cKDTree(np.column_stack([found.peaks.x, found.peaks.y]))
    place = np.column_stack([np.where(np.isfinite(v), v, 1e9) for v in stars])
    near = tree.query(place, p=np.inf)[0] < SUBTRACTED_PX
    for number in np.flatnonzero(cube.used):
        stop_here()
        # It could be used a moment ago: if it cannot now, the step fails and is tried again.
        frame, registration = pointing.load(int(number))
        background = cube.backgrounds[int(number)]
        residual = residual_image(frame, pointing.sky, registration, background=background, only=near)
        stamps.cut(int(number), frame, residual, registration, pointing.sky, ra, dec)
    progress(f"{len(found.peaks)} candidates measured in {int(cube.used.sum())} exposures")


def _tables(pointing: Pointing, season: str, search: _Search) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The sources and their light curves, in order of their place on the sky."""
    from scipy.spatial import cKDTree

    from roman_assets.survey.healpix import cells_of

    sources, stars = search.verdicts.sources, pointing.stars
    x, y = np.array([s.x for s in sources]), np.array([s.y for s in sources])
    ra, dec = search.grid.sky(x, y)
    cells = cells_of(ra, dec, OBJECT_ORDER)
    order = np.argsort(cells, kind="stable")
    mjd = pointing.epochs["mjd"].to_numpy()
    distance, nearest = cKDTree(np.column_stack(search.stars)).query(np.column_stack([x, y]))
    head = pl.DataFrame({"object_id": cells, "ra": ra, "dec": dec}).with_columns(
        season=pl.lit(season),
        field=pl.lit(str(pointing.record.attributes["field"])),
        detector=pl.lit(str(pointing.record.attributes["detector"])),
        optical_element=pl.lit(pointing.element),
    )
    table = pl.concat([head, pl.DataFrame([_row(s, search, mjd) for s in sources])], how="horizontal").with_columns(
        nearest_star=pl.Series(stars["star"].to_numpy()[nearest]),
        nearest_distance=pl.Series(distance),
        nearest_flux=pl.Series(stars["flux"].to_numpy()[nearest]),
    )
    number = pl.int_range(stars.height, stars.height + len(sources), dtype=pl.Int32).alias("star")
    return table[order].with_columns(number), _curves(head[order].with_columns(number).drop("season"), search, order)


def _row(source: Source, search: _Search, mjd: F64) -> dict[str, Any]:
    sided = source.first == search.bins[0][0] or source.last == search.bins[-1][1]
    return {
        "x": source.x,
        "y": source.y,
        "x_err": source.x_err,
        "y_err": source.y_err,
        "significance": source.significance,
        "significance_without_best": source.without_best,
        "threshold": search.candidates.sigma,
        "first_mjd": mjd[source.first],
        "last_mjd": mjd[source.last - 1],
        "peak_mjd": mjd[source.peak_at],
        "n_exposures": source.exposures,
        "flux": source.mean,
        "flux_err": source.mean_err,
        "peak_flux": source.peak,
        "peak_flux_err": source.peak_err,
        "reference_flux": source.reference,
        "reference_flux_err": source.reference_err,
        "chi2": source.chi2,
        "error_factor": source.factor,
        "n_together": source.neighbours,
        "flag": source.flag | (ONE_SIDED if sided else 0),
    }


def _curves(head: pl.DataFrame, search: _Search, order: NDArray[np.int64]) -> pl.DataFrame:
    curves = [search.verdicts.curves[k] for k in order]
    flux, error = (np.array([getattr(c, n) for c in curves], dtype=np.float32) for n in ("flux", "error"))
    flag = np.array([c.flag for c in curves], dtype=np.uint8)
    flag[~np.isfinite(flux)] |= NO_DATA
    good = ((flag & UNUSED_DIFFERENCES) == 0).sum(axis=1)
    return head.with_columns(
        n_good=pl.Series(good.astype(np.int32)),
        flux=list_column(flux, pl.Float32),
        flux_err=list_column(rounded_errors(error), pl.Float32),
        flag=list_column(flag, pl.UInt8),
    )


def _summarise(
    workspace: Workspace,
    result: StageResult,
    tables: Sequence[pl.DataFrame],
    curves: Sequence[tuple[ProductRecord, pl.DataFrame]],
) -> None:
    facts = [r.attributes for r in result.records if r.kind == SOURCES]
    sources = sum(t.height for t in tables)
    rejected: dict[str, int] = {}
    for fact in facts:
        for reason, count in fact["rejected"].items():
            rejected[reason] = rejected.get(reason, 0) + count
    area, stars = sum(f["megapixels"] for f in facts), sum(f["stars"] for f in facts)
    limits = [f["threshold"] for f in facts if f["threshold"] is not None]
    result.figures = {
        "sources": sources,
        "candidates": sum(f["candidates"] for f in facts),
        "rejected": ", ".join(f"{reason} {count}" for reason, count in sorted(rejected.items())) or "none",
        "varying_stars": sum(f.get("varying_stars", 0) for f in facts),
        "threshold_sigma": max(limits, default=float("nan")),
        "dips_above_it": sum(f["false"] for f in facts),
        "sources_per_megapixel": sources / area if area else float("nan"),
    }
    result.checks += [
        Check(
            "false_brightenings",
            all(f["false"] <= MOST_FALSE + 2 * f["megapixels"] for f in facts) if facts else None,
            "dips of the residuals, which are no sources, hardly ever reach the threshold",
            {"dips_above_threshold": result.figures["dips_above_it"]},
        ),
        Check(
            "source_rate",
            sources <= 10 + MOST_PER_STAR * stars if facts else None,
            f"fewer than {MOST_PER_STAR:.0%} of the number of catalogued stars: more means a failed subtraction",
            {"sources": sources, "stars": stars},
        ),
    ]
    if sources:
        result.picture("sources", _picture, workspace, pl.concat(tables), curves)


def _picture(workspace: Workspace, table: pl.DataFrame, curves: Sequence[tuple[ProductRecord, pl.DataFrame]]) -> bytes:
    """Difference light curves of the most significant sources."""
    from roman_assets.systems.msos.plots import difference_figure

    best = table.sort("significance", descending=True).head(SHOWN)
    drawn = []
    for source in best.iter_rows(named=True):
        for record, rows in curves:
            own = rows.filter(pl.col("object_id") == source["object_id"])
            if not own.height:
                continue
            epochs = workspace.products.read_table(epochs_of(workspace, record), ["epoch", "mjd", "optical_element"])
            mjd = epochs.filter(pl.col("optical_element") == source["optical_element"]).sort("epoch")["mjd"].to_numpy()
            flux, error, flag = (np.array(own[name][0].to_list()) for name in ("flux", "flux_err", "flag"))
            good = (flag & UNUSED_DIFFERENCES) == 0
            title = f"x {source['x']:.1f}  y {source['y']:.1f}  {source['significance']:.0f} σ"
            drawn.append((title, mjd[good], flux[good], error[good]))
    return difference_figure(drawn)
