"""Extraction of a user's own files: no registry, no products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from roman_assets.errors import InputError
from roman_assets.exposures.level2.frames import Frame, prepare
from roman_assets.exposures.level2.reader import ExposureHeader, read_header, read_image
from roman_assets.exposures.names import DISPERSERS
from roman_assets.exposures.rejection import Rejected
from roman_assets.platform.stage import Progress, silent
from roman_assets.systems.gdps.extraction.exposure import ExposureSpectra, extract_exposure, spectra_by_model
from roman_assets.systems.gdps.extraction.joint_fit import fit_jointly
from roman_assets.systems.gdps.optics.dispersion import Window
from roman_assets.systems.gdps.optics.nominal import REFERENCE_VARIABLE, references
from roman_assets.systems.gdps.optics.optical_model import OpticalModel
from roman_assets.systems.gdps.optics.subarray import window_of_file
from roman_assets.systems.gdps.optics.throughput import Throughput
from roman_assets.systems.gdps.optics.traces import TraceModel
from roman_assets.systems.gdps.optics.user_traces import UserTraces, read_traces
from roman_assets.systems.gdps.sources.catalogues import read_catalogues, sources_near
from roman_assets.systems.gdps.sources.source_list import SourceList
from roman_assets.systems.gdps.stages.common import combined_table
from roman_assets.systems.gdps.stages.spectra_tables import position_angle, spectra_table


@dataclass
class ExtractedFiles:
    """spectra_1d and combined_spectra; what could not be done, in words; name, source and sha256 of the references."""

    tables: dict[str, pl.DataFrame]
    caveats: list[str] = field(default_factory=list)
    references: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Loaded:
    """An exposure with what its extraction needs; throughput in DN/s."""

    header: ExposureHeader
    frame: Frame
    window: Window
    near: pl.DataFrame
    trace: TraceModel
    throughput: Throughput


def extract_files(
    paths: Sequence[Path],
    catalogue_path: Path,
    reference: Path | None = None,
    progress: Progress = silent,
    *,
    jointly: bool = False,
    traces: Path | None = None,
) -> ExtractedFiles:
    """Spectra of all sources on dispersed exposures, by exposure and combined.

    An exposure that cannot be used is named in the caveats and left out. `jointly`: the spectra that contaminate each
    other are solved for over all exposures together (`joint_fit.py`), which are all held in memory then. `traces`: an
    aXe or GRISMCONF configuration instead of the optical model; what it does not give goes to `progress`.

    Raises
    ------
    InputError
        The catalogue, the reference files or the configuration are unusable, or no exposure is usable.
    """
    own = None if traces is None else read_traces(traces)
    catalogue = read_catalogues(catalogue_path)
    near, caveats = _usable(paths, catalogue)
    if jointly and near:
        everything = pl.concat([table for _, table in near.values()]).unique("id").sort("id")
        near = {path: (header, everything) for path, (header, _) in near.items()}
    if own is not None and near:
        header = next(iter(near.values()))[0]
        for text in own.for_throughput(_references(header, reference)[1]).limits:
            progress(text)
    tables, used = _extracted(near, reference, own, progress, caveats, jointly=jointly)
    if not tables:
        raise InputError("no exposure is usable: " + "; ".join(caveats), file=paths[0] if paths else None)
    whole = pl.concat(tables).sort("source_id", "mjd")
    element = next(iter(near.values()))[0].optical_element
    return ExtractedFiles({"spectra_1d": whole, "combined_spectra": combined_table(whole, element)}, caveats, used)


def _extracted(
    near: dict[Path, tuple[ExposureHeader, pl.DataFrame]],
    reference: Path | None,
    own: UserTraces | None,
    progress: Progress,
    caveats: list[str],
    *,
    jointly: bool,
) -> tuple[list[pl.DataFrame], dict[str, str]]:
    """Rows of spectra of every exposure that can be extracted, and the references they were made with."""
    used: dict[str, str] = {}
    tables, kept = [], []
    for path, (header, table) in near.items():
        try:
            one = _load(path, header, table, reference, own)
            spectra = extract_exposure(one.frame, one.window, SourceList.of(table), one.trace, one.throughput)
        except (Rejected, InputError) as error:
            caveats.append(f"{path}: {error}")
            continue
        progress(f"{path.name}: {len(spectra.sources)} spectra, {spectra.references['optical_model']}")
        used = used or spectra.references
        if jointly:
            kept.append((one, spectra))
        else:
            tables.append(_rows(one, spectra))
    if kept:
        tables = [_rows(one, spectra) for one, spectra in _together(kept, progress)]
    return tables, used


def _usable(
    paths: Sequence[Path], catalogue: pl.DataFrame
) -> tuple[dict[Path, tuple[ExposureHeader, pl.DataFrame]], list[str]]:
    """Headers of dispersed exposures, all of one element, with the sources near them; and what is wrong with the others."""
    usable: dict[Path, tuple[ExposureHeader, pl.DataFrame]] = {}
    caveats = []
    for path in paths:
        try:
            header = read_header(path)
            if header.optical_element not in DISPERSERS:
                raise InputError(
                    f"{header.optical_element} disperses nothing",
                    file=path,
                    field="optical_element",
                    remedy="give grism or prism exposures",
                )
            usable[path] = header, sources_near(catalogue, header)[0]
        except (Rejected, InputError) as error:
            caveats.append(f"{path}: {error}")
    if len({header.optical_element for header, _ in usable.values()}) > 1:
        raise InputError("grism and prism do not combine", field="exposures", remedy="extract them one after the other")
    return usable, caveats


def _references(header: ExposureHeader, reference: Path | None) -> tuple[OpticalModel, Throughput]:
    variables = {REFERENCE_VARIABLE: str(reference) if reference else ""}
    return references(header.optical_element.lower(), header.detector, variables)


def _load(
    path: Path, header: ExposureHeader, near: pl.DataFrame, reference: Path | None, own: UserTraces | None
) -> _Loaded:
    model, throughput = _references(header, reference)
    trace = model.on(header.detector) if own is None else own.for_throughput(throughput).trace
    window, gain = window_of_file(path, header.shape)
    frame = prepare(read_image(path))
    return _Loaded(header, frame, window, near, trace, throughput.scaled(1 / gain))


def _rows(one: _Loaded, spectra: ExposureSpectra) -> pl.DataFrame:
    return spectra_table(spectra, one.header, position_angle(one.frame), one.near)


def _together(
    found: list[tuple[_Loaded, ExposureSpectra]], progress: Progress
) -> list[tuple[_Loaded, ExposureSpectra]]:
    """The same exposures with all spectra solved for together; one alone has nothing to add."""
    if len(found) < 2:
        return found
    sources = SourceList.of(found[0][0].near)
    models = [spectra.model for _, spectra in found]
    solved = fit_jointly([one.frame for one, _ in found], models, range(len(sources)))
    progress(f"{len(found)} exposures together: {solved.iterations} iterations")
    return [
        (one, spectra_by_model(one.frame, spectra.model, sources, one.trace, one.throughput)) for one, spectra in found
    ]
