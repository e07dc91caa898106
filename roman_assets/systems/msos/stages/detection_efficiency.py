"""Detection efficiency of a season of a detector, by injection into its light curves and images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from roman_assets.platform.making import left_out_attribute, left_out_still, withdraw_others
from roman_assets.platform.policy import judged
from roman_assets.platform.workspace import Workspace
from roman_assets.products.caveats import Caveat, Code
from roman_assets.products.identity import Identity
from roman_assets.products.records import ProductRecord
from roman_assets.systems.msos.archive import archive_metadata
from roman_assets.systems.msos.efficiency.image_injection import IMAGES
from roman_assets.systems.msos.efficiency.injection import (
    CONTROL,
    PLANET,
    POINT_LENS,
    InjectionConfig,
    draw,
    find_targets,
    main_element,
)
from roman_assets.systems.msos.efficiency.recovery import (
    LIGHT_CURVE,
    Counts,
    agreement,
    counts,
    efficiency_map,
    recover,
)
from roman_assets.systems.msos.events.classify import MICROLENSING
from roman_assets.systems.msos.photometry.exposure_fit import SATURATED
from roman_assets.systems.msos.stages.common import CODE, Check, Progress, StageResult, season_partition, silent
from roman_assets.systems.msos.stages.image_efficiency import SeasonImages, recover_in_images
from roman_assets.systems.msos.stages.season_curves import (
    CATALOGUE,
    SeasonCurves,
    kept_attributes,
    open_curves,
    place_of,
    season_facts,
)

KIND = "detection_efficiency"
#: More false events among controls than this share means that the search is not to be trusted.
FALSE_LIMIT = 0.01
#: Share of signals that must have the same fate in images and light curves.
MEDIA_AGREE = 0.8


def detection_efficiency(
    workspace: Workspace,
    season: str,
    detector: str,
    config: InjectionConfig = InjectionConfig(),
    progress: Progress = silent,
) -> StageResult:
    """Inject point lenses and planets into every pointing's light curves, a sample of them into its images too, and
    count what the search finds."""
    result = StageResult()
    partition = season_partition(season, detector)
    tables: dict[str, list[pl.DataFrame]] = {LIGHT_CURVE: [], IMAGES: []}
    for curves_record in workspace.products.current("season_light_curves", partition):
        inputs = _Inputs.of(workspace, partition, curves_record)
        records = inputs.known(config)
        if records[LIGHT_CURVE] is None or (config.image_injections and records[IMAGES] is None):
            with judged(result.caveats, curves_record.part, "nothing injected"):
                records = _make(inputs, season, detector, config, progress)
        for medium, record in records.items():
            if record is not None:
                result.records.append(record)
                result.caveats.extend(record.caveats)
                tables[medium].append(workspace.products.read_table(record))
    withdraw_others(workspace, (KIND,), partition, result.records)
    if not tables[LIGHT_CURVE]:
        result.caveat(Code.NOTHING, "", "there are no light curves of this season and detector to inject into")
    _summarise(result, tables, f"{season} {detector}")
    return result


def _part(part: str, medium: str) -> str:
    return part if medium == LIGHT_CURVE else f"{part}/{medium}"


@dataclass(frozen=True)
class _Inputs:
    """What the efficiency of a pointing is made of: its light curves, events already found in them, its images."""

    workspace: Workspace
    curves: ProductRecord
    events: tuple[ProductRecord, ...]
    images: SeasonImages

    @classmethod
    def of(cls, workspace: Workspace, partition: str, curves: ProductRecord) -> _Inputs:
        events = workspace.products.current("season_events", partition, curves.part)
        return cls(workspace, curves, tuple(events), SeasonImages.of(workspace, curves))

    def identity(self, config: InjectionConfig, medium: str, left_out: Collection[str] = ()) -> Identity:
        """Made of what is used: of images, those but for `left_out`."""
        inputs = [self.curves.sha256, *(r.sha256 for r in self.events)]
        settings: dict[str, Any] = {"config": repr(config), "medium": medium}
        if medium == IMAGES:
            inputs += self.images.hashes(left_out)
            settings |= left_out_attribute(left_out)
        return Identity(tuple(inputs), CODE[KIND], settings)

    def known(self, config: InjectionConfig) -> dict[str, ProductRecord | None]:
        """The maps that were made before, by medium."""
        products, found = self.workspace.products, {}
        for medium in (LIGHT_CURVE, IMAGES):
            part = _part(self.curves.part, medium)
            (last,) = products.current(KIND, self.curves.partition, part) or (None,)
            left_out = left_out_still(last, self.images.usable) if medium == IMAGES else ()
            found[medium] = products.lookup(
                KIND, self.curves.partition, part=part, identity=self.identity(config, medium, left_out)
            )
        return found

    def known_events(self) -> list[int]:
        """Rows of stars that the search called microlensing, in these light curves: they carry a signal of their own."""
        stars = [
            self.workspace.products.read_table(r, ["star", "event_class", "origin"]).filter(
                pl.col("event_class").is_in(MICROLENSING) & (pl.col("origin") == CATALOGUE)
            )
            for r in self.events
        ]
        return sorted({int(star) for table in stars for star in table["star"]})


def _make(
    inputs: _Inputs, season: str, detector: str, config: InjectionConfig, progress: Progress
) -> dict[str, ProductRecord | None]:
    """The maps of both media, from the same signals."""
    workspace, curves_record = inputs.workspace, inputs.curves
    curves = open_curves(workspace, curves_record)
    series = {element: curves.masked(element) for element in curves.blocks}
    element = main_element(series)
    targets = find_targets(
        series,
        curves.objects["object_id"].to_numpy(),
        float(curves_record.attributes["zero_point"]),
        config,
        excluded=inputs.known_events(),
    )
    mjd = series[element][0]
    injections = draw(targets, (float(mjd.min()), float(mjd.max())), season, detector, config)
    recovered = recover(
        series,
        targets,
        injections,
        config,
        saturated=_saturated(curves, element),
        progress=lambda done, total: progress(f"{curves_record.part}: {done} of {total} injections"),
    )
    made: dict[str, ProductRecord | None] = {LIGHT_CURVE: None, IMAGES: None}
    in_images = pl.DataFrame()
    caveats: list[Caveat] = []
    left_out: list[str] = []
    if config.image_injections:
        in_images, caveats, left_out = recover_in_images(inputs.images, element, injections, config, progress)
    if in_images.height:
        both, same, missed = agreement(recovered, in_images)
        extra = {"in_both_media": both, "same_in_both": same, "missed_in_images": missed}
        extra |= left_out_attribute(left_out)
        made[IMAGES] = _put(inputs, IMAGES, left_out, in_images, config, caveats, extra)
        caveats = []
    made[LIGHT_CURVE] = _put(inputs, LIGHT_CURVE, (), recovered, config, caveats, {})
    return made


def _put(
    inputs: _Inputs,
    medium: str,
    left_out: Collection[str],
    recovered: pl.DataFrame,
    config: InjectionConfig,
    caveats: Sequence[Caveat],
    extra: dict[str, Any],
) -> ProductRecord:
    workspace, curves_record = inputs.workspace, inputs.curves
    season, detector = str(curves_record.attributes["season"]), str(curves_record.attributes["detector"])
    cells = efficiency_map(recovered, config)
    if medium == IMAGES:  # a sample: most cells are empty
        cells = cells.filter(pl.col("injected") > 0)
    facts = season_facts(workspace, season, curves_record)
    table = cells.with_row_index("cell").with_columns(
        pl.col("cell").cast(pl.Int32),
        season=pl.lit(season),
        field=pl.lit(str(curves_record.attributes["field"])),
        detector=pl.lit(detector),
        optical_element=pl.lit(facts.optical_element),
        medium=pl.lit(medium),
    )
    found = counts(recovered)
    archived = replace(
        facts, counts=found.__dict__, inject_medium=medium, versions={**(facts.versions or {}), KIND: CODE[KIND]}
    )
    return workspace.products.put_table(
        KIND,
        curves_record.partition,
        table,
        inputs.identity(config, medium, left_out),
        part=_part(curves_record.part, medium),
        caveats=caveats,
        attributes={**kept_attributes(curves_record), **found.__dict__, "medium": medium, **extra},
        sky=place_of(curves_record),
        s_region=curves_record.s_region,
        archive=archive_metadata(KIND, archived),
    )


def _saturated(curves: SeasonCurves, element: str) -> Any:
    flag = curves.blocks[element].flag
    return ((flag & SATURATED) != 0).mean(axis=1) > 0.5


def _summarise(result: StageResult, tables: dict[str, list[pl.DataFrame]], title: str) -> None:
    from roman_assets.systems.msos.plots import efficiency_figure

    if not tables[LIGHT_CURVE]:
        result.figures = {"injected": 0}
        result.not_judged("false_events", "media_agree")
        return
    table = pl.concat(tables[LIGHT_CURVE])
    curves = [r for r in result.records if r.attributes["medium"] == LIGHT_CURVE]
    total = Counts(*(sum(int(r.attributes[k]) for r in curves) for k in ("tp", "fp", "tn", "fn")))
    by_kind = {
        kind: table.filter(pl.col("kind") == kind).select(pl.col("injected").sum(), pl.col("detected").sum()).row(0)
        for kind in (POINT_LENS, PLANET, CONTROL)
    }
    result.figures = {
        "injected": total.tp + total.fn,
        "tp": total.tp,
        "fp": total.fp,
        "tn": total.tn,
        "fn": total.fn,
        "efficiency_point_lens": by_kind[POINT_LENS][1] / max(by_kind[POINT_LENS][0], 1),
        "efficiency_planet": by_kind[PLANET][1] / max(by_kind[PLANET][0], 1),
    }
    result.picture("efficiency", efficiency_figure, table, title)
    share = total.fp / max(total.fp + total.tn, 1)
    result.checks.append(
        Check(
            "false_events",
            share <= FALSE_LIMIT,
            "curves without a signal are not called microlensing",
            {"share": share},
        )
    )
    images = [r.attributes for r in result.records if r.attributes["medium"] == IMAGES]
    if not images:
        result.not_judged("media_agree")
    else:
        both, same, missed = (
            sum(int(a[k]) for a in images) for k in ("in_both_media", "same_in_both", "missed_in_images")
        )
        result.figures |= {"injected_into_images": both, "same_in_both_media": same, "missed_in_images": missed}
        result.checks.append(
            Check(
                "media_agree",
                same >= MEDIA_AGREE * both if both >= 8 else None,
                f"at least {MEDIA_AGREE:.0%} of the signals are found, or not, whatever they were injected into",
                {"in_both_media": both, "same": same, "missed_in_images": missed},
            )
        )
