"""Difference photometry of a season of a detector: sources that its catalogue does not have, and their light curves."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame
from roman_assets.exposures.records import RegisteredExposure
from roman_assets.platform.making import left_out_attribute, left_out_still, withdraw_others
from roman_assets.platform.policy import judged, refused, verdict
from roman_assets.platform.stopping import stop_here
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.difference.grid import ReferenceGrid, SeasonCube, fill, saturating, time_bins
from roman_assets.systems.msos.difference.photometry import Stamps
from roman_assets.systems.msos.difference.residual import ConstantSky, Registration, residual_image
from roman_assets.systems.msos.difference.search import DifferenceConfig
from roman_assets.systems.msos.difference.sources import ONE_SIDED, Candidates, Source, Verdicts, find_candidates, judge
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS, list_column, rounded_errors
from roman_assets.systems.msos.photometry.calibration import PositionTerms
from roman_assets.systems.msos.photometry.exposure_fit import NO_DATA
from roman_assets.systems.msos.stages.common import (
    CODE,
    OBJECT_ORDER,
    Check,
    Progress,
    StageResult,
    season_partition,
    silent,
)
from roman_assets.systems.msos.stages.daily_light_curves import PART
from roman_assets.systems.msos.stages.reference_catalog import load_frame, read_psf
from roman_assets.systems.msos.stages.season_curves import DIFFERENCE_CURVES as CURVES
from roman_assets.systems.msos.stages.season_curves import epochs_of, kept_attributes, place_of, season_facts
from roman_assets.systems.msos.tables import DIFFERENCE_LIGHT_CURVES, DIFFERENCE_SOURCES

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
        pointing = _Pointing.of(workspace, record)
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


@dataclass(frozen=True)
class _Pointing:
    """What belongs to the light curves of a pointing: their epochs, the catalogue, calibrated parts, exposures."""

    workspace: Workspace
    record: ProductRecord
    catalogue: ProductRecord
    epsf: ProductRecord
    element: str
    epochs: pl.DataFrame
    parts: dict[str, ProductRecord]
    exposures: dict[str, RegisteredExposure]

    @classmethod
    def of(cls, workspace: Workspace, record: ProductRecord) -> _Pointing:
        products = workspace.products
        made = products.history("reference_catalog", record.partition, record.part)
        catalogue = next(r for r in made if r.sha256 == record.attributes["catalogue"])
        psfs = products.history("epsf", record.partition, record.part)
        epsf = next(r for r in psfs if r.sha256 == catalogue.attributes["epsf"])
        element = str(catalogue.attributes["optical_element"])
        epochs = products.read_table(epochs_of(workspace, record), ["exposure_id", "epoch", "mjd", "optical_element"])
        epochs = epochs.filter(pl.col("optical_element") == element).sort("epoch")
        facts = {"season": record.attributes["season"], "detector": record.attributes["detector"]}
        wanted = set(epochs["exposure_id"])
        # Those that the light curves were made of, though newer ones may have followed.
        parts = {
            r.part: r for r in products.current(PART, None, **facts) if r.part in wanted and r.sha256 in record.inputs
        }
        exposures = {e.exposure_id: e for e in workspace.registry.exposures(**facts) if e.exposure_id in wanted}
        return cls(workspace, record, catalogue, epsf, element, epochs, parts, exposures)

    def identity(self, config: DifferenceConfig, left_out: Collection[str]) -> Identity:
        """Made of the exposures that were used: those of the light curves but for `left_out`."""
        # The light curves stand for the catalogue and the calibrated parts they were made of.
        bytes_ = (e.sha256 for name, e in sorted(self.exposures.items()) if name not in left_out)
        settings: dict[str, Any] = {"config": repr(config), **left_out_attribute(left_out)}
        return Identity((self.record.sha256, self.epsf.sha256, *bytes_), CODE[SOURCES], settings)

    def usable(self, name: str) -> bool:
        """Whether an exposure that was left out once can be used now; raises a transient fault."""
        if name not in self.epochs["exposure_id"]:
            return False
        nothing: list[Caveat] = []
        with judged(nothing, name, "left out"):
            self.load(self.epochs["exposure_id"].to_list().index(name))
        return not nothing

    @cached_property
    def stars(self) -> pl.DataFrame:
        return self.workspace.products.read_table(self.catalogue, ["star", "ra", "dec", "x", "y", "flux"])

    @cached_property
    def sky(self) -> ConstantSky:
        ra, dec, x, y, flux = (self.stars[n].to_numpy().astype(np.float64) for n in ("ra", "dec", "x", "y", "flux"))
        psf, phase_map = read_psf(self.workspace, self.epsf)
        return ConstantSky(ra, dec, x, y, flux, psf, phase_map)

    def load(self, number: int) -> tuple[Frame, Registration]:
        """An exposure by its epoch; raises InputError where it cannot be used."""
        name = self.epochs["exposure_id"][number]
        if name not in self.parts or name not in self.exposures:
            raise InputError(
                "no calibrated photometry of these light curves", file=name, remedy="process its day again"
            )
        facts = self.parts[name].attributes
        terms = facts.get("position_terms")
        ny, nx = self.catalogue.attributes["shape"]
        return load_frame(self.exposures[name]), Registration(
            (float(facts["shift_x"] or 0.0), float(facts["shift_y"] or 0.0)),
            float(facts["scale"]),
            None if terms is None else PositionTerms(np.array(terms, dtype=np.float64), (ny, nx)),
        )


def _make(
    pointing: _Pointing, partition: str, season: str, config: DifferenceConfig, progress: Progress
) -> list[ProductRecord]:
    """Sources and light curves of one pointing; both without rows where nothing could be searched or was found."""
    record, products = pointing.record, pointing.workspace.products
    caveats: list[Caveat] = []
    left_out: list[str] = []
    search = None
    with judged(caveats, record.part, "no difference photometry"):
        search = _search(pointing, config, _Refusals(pointing, caveats, left_out, progress))
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


def _search(pointing: _Pointing, config: DifferenceConfig, refusals: _Refusals) -> _Search:
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


def _first(pointing: _Pointing, count: int, refusals: _Refusals) -> tuple[Frame, Registration]:
    """The first exposure that can be read: its pixels are the reference."""
    for number in range(count):
        try:
            return pointing.load(number)
        except Exception as error:
            refusals(number, error)
    raise InputError("no exposure can be read", file=pointing.record.part, remedy="see the caveats of its days")


class _Refusals:
    """Which exposures are left out, and why; every one once."""

    def __init__(self, pointing: _Pointing, caveats: list[Caveat], left_out: list[str], progress: Progress) -> None:
        self.pointing, self.caveats, self.left_out, self.progress = pointing, caveats, left_out, progress

    def __call__(self, number: int, error: Exception | None) -> None:
        """Called for every exposure; raises an error that is no reason to leave it out."""
        stop_here()
        name = str(self.pointing.epochs["exposure_id"][number])
        if error is None:
            if (number + 1) % 100 == 0:
                self.progress(f"{number + 1} of {self.pointing.epochs.height} exposures")
        elif name not in self.left_out:
            exposure = self.pointing.exposures.get(name)
            what = "left out of the difference photometry"
            self.caveats.append(
                verdict(error, name, what)
                if exposure is None
                else refused(self.pointing.workspace, exposure, error, what)
            )
            self.left_out.append(name)


@contextmanager
def _scratch(size: int) -> Iterator[Path | None]:
    """A folder for arrays of `size` bytes in all that do not go into memory; None where they do."""
    if size <= IN_MEMORY:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="roman_difference_") as folder:
        yield Path(folder)


def _cut_out(
    pointing: _Pointing, cube: SeasonCube, found: Candidates, stamps: Stamps, stars: tuple[F64, F64], progress: Progress
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


def _tables(pointing: _Pointing, season: str, search: _Search) -> tuple[pl.DataFrame, pl.DataFrame]:
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
    good = ((flag & UNUSED_FLAGS) == 0).sum(axis=1)
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
            good = (flag & UNUSED_FLAGS) == 0
            title = f"x {source['x']:.1f}  y {source['y']:.1f}  {source['significance']:.0f} σ"
            drawn.append((title, mjd[good], flux[good], error[good]))
    return difference_figure(drawn)
