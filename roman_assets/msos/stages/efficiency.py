"""Detection efficiency of a season of a detector, by injection into its light curves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl

from roman_assets.errors import InputError
from roman_assets.msos.classify import MICROLENSING
from roman_assets.msos.efficiency import LIGHT_CURVE, Counts, counts, efficiency_map, recover
from roman_assets.msos.injection import (
    CONTROL,
    PLANET,
    POINT_LENS,
    InjectionConfig,
    find_targets,
    main_element,
)
from roman_assets.msos.light_curves import SATURATED
from roman_assets.msos.stages.common import CODE, Check, Progress, StageResult, season_partition, silent
from roman_assets.msos.stages.season import (
    CATALOGUE,
    SeasonCurves,
    kept_attributes,
    open_curves,
    place_of,
    season_facts,
)
from roman_assets.platform.workspace import Workspace
from roman_assets.products.archive import archive_metadata
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord

KIND = "detection_efficiency"
#: More false events among controls than this share means that the search is not to be trusted.
FALSE_LIMIT = 0.01


def detection_efficiency(
    workspace: Workspace, season: str, detector: str, config: InjectionConfig = InjectionConfig(),
    progress: Progress = silent,
) -> StageResult:  # fmt: skip
    """Inject point lenses and planets into every pointing's light curves and count what the search finds."""
    result = StageResult()
    partition = season_partition(season, detector)
    tables = []
    for curves_record in workspace.products.current("season_light_curves", partition):
        identity = Identity((curves_record.sha256,), CODE[KIND], {"config": repr(config)})
        record = workspace.products.lookup(KIND, partition, part=curves_record.part, identity=identity)
        if record is None:
            try:
                record = _make(workspace, partition, season, detector, curves_record, identity, config, progress)
            except InputError as error:
                result.caveats.append(f"{curves_record.part}: nothing injected: {error}")
                continue
        result.records.append(record)
        tables.append(workspace.products.read_table(record))
    if not tables:
        result.caveats.append("there are no light curves of this season and detector to inject into")
    _summarise(result, tables, f"{season} {detector}")
    return result


def _make(
    workspace: Workspace, partition: str, season: str, detector: str, curves_record: ProductRecord,
    identity: Identity, config: InjectionConfig, progress: Progress,
) -> ProductRecord:  # fmt: skip
    curves = open_curves(workspace, curves_record)
    series = {element: curves.masked(element) for element in curves.blocks}
    element = main_element(series)
    targets = find_targets(
        series, curves.objects["object_id"].to_numpy(), float(curves_record.attributes["zero_point"]), config,
        excluded=_known_events(workspace, partition, curves_record),
    )  # fmt: skip
    recovered = recover(
        series, targets, season, detector, config, saturated=_saturated(curves, element),
        progress=lambda done, total: progress(f"{curves_record.part}: {done} of {total} injections"),
    )  # fmt: skip
    table = efficiency_map(recovered, config).with_row_index("cell").with_columns(
        pl.col("cell").cast(pl.Int32), season=pl.lit(season), field=pl.lit(str(curves_record.attributes["field"])),
        detector=pl.lit(detector), optical_element=pl.lit(element), medium=pl.lit(LIGHT_CURVE),
    )  # fmt: skip
    found = counts(recovered)
    facts = season_facts(workspace, season, curves_record)
    archived = replace(
        facts, counts=found.__dict__, inject_medium=LIGHT_CURVE,
        versions={**(facts.versions or {}), KIND: CODE[KIND]},
    )  # fmt: skip
    return workspace.products.put_table(
        KIND, partition, table, identity, part=curves_record.part,
        attributes={**kept_attributes(curves_record), **found.__dict__}, sky=place_of(curves_record),
        s_region=curves_record.s_region, archive=archive_metadata(KIND, archived),
    )  # fmt: skip


def _known_events(workspace: Workspace, partition: str, curves_record: ProductRecord) -> list[int]:
    """Rows of stars that the search called microlensing, in these light curves: they carry a signal of their own."""
    events = workspace.products.current("season_events", partition)
    stars = [
        workspace.products.read_table(r, ["star", "event_class", "origin"])
        .filter(pl.col("event_class").is_in(MICROLENSING) & (pl.col("origin") == CATALOGUE))
        for r in events if r.part == curves_record.part
    ]  # fmt: skip
    return sorted({int(star) for table in stars for star in table["star"]})


def _saturated(curves: SeasonCurves, element: str) -> Any:
    flag = curves.blocks[element].flag
    return ((flag & SATURATED) != 0).mean(axis=1) > 0.5


def _summarise(result: StageResult, tables: list[pl.DataFrame], title: str) -> None:
    from roman_assets.msos.plots import efficiency_figure

    if not tables:
        result.figures = {"injected": 0}
        return
    table = pl.concat(tables)
    total = Counts(*(sum(int(r.attributes[k]) for r in result.records) for k in ("tp", "fp", "tn", "fn")))
    by_kind = {
        kind: table.filter(pl.col("kind") == kind).select(pl.col("injected").sum(), pl.col("detected").sum()).row(0)
        for kind in (POINT_LENS, PLANET, CONTROL)
    }
    result.figures = {
        "injected": total.tp + total.fn, "tp": total.tp, "fp": total.fp, "tn": total.tn, "fn": total.fn,
        "efficiency_point_lens": by_kind[POINT_LENS][1] / max(by_kind[POINT_LENS][0], 1),
        "efficiency_planet": by_kind[PLANET][1] / max(by_kind[PLANET][0], 1),
    }  # fmt: skip
    result.pictures["efficiency"] = efficiency_figure(table, title)
    share = total.fp / max(total.fp + total.tn, 1)
    result.checks.append(
        Check("false_events", share <= FALSE_LIMIT, "curves without a signal are not called microlensing", {"share": share})
    )
