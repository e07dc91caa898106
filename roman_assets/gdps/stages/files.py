"""Extraction of a user's own files: no registry, no products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from roman_assets.errors import InputError
from roman_assets.exposures.names import DISPERSERS
from roman_assets.exposures.reader import ExposureHeader, read_header, read_image
from roman_assets.exposures.rejection import Rejected
from roman_assets.gdps.combination import combine
from roman_assets.gdps.extraction import extract_exposure
from roman_assets.gdps.nominal import REFERENCE_VARIABLE, references
from roman_assets.gdps.source_catalogues import read_catalogues, sources_near
from roman_assets.gdps.sources import SourceList
from roman_assets.gdps.stages.common import rows_table, spectrum_columns, spectrum_of
from roman_assets.gdps.stages.extraction import position_angle, spectra_table
from roman_assets.gdps.subarray import window_of_file
from roman_assets.msos.frames import prepare
from roman_assets.platform.stage import Progress, silent
from roman_assets.products.gdps_tables import COMBINED_SPECTRA


@dataclass
class ExtractedFiles:
    """spectra_1d and combined_spectra; what could not be done, in words."""

    tables: dict[str, pl.DataFrame]
    caveats: list[str] = field(default_factory=list)


def extract_files(
    paths: Sequence[Path], catalogue_path: Path, reference: Path | None = None, progress: Progress = silent
) -> ExtractedFiles:
    """Spectra of all sources on dispersed exposures, by exposure and combined.

    An exposure that cannot be used is named in the caveats and left out.

    Raises
    ------
    InputError
        The catalogue or the reference files are unusable, or no exposure is usable.
    """
    catalogue, caveats, frames = read_catalogues(catalogue_path), [], []
    headers: dict[Path, ExposureHeader] = {}
    for path in paths:
        try:
            headers[path] = header = read_header(path)
            if header.optical_element not in DISPERSERS:
                del headers[path]
                raise InputError(
                    f"{header.optical_element} disperses nothing", file=path, field="optical_element",
                    remedy="give grism or prism exposures",
                )  # fmt: skip
        except (Rejected, InputError) as error:
            caveats.append(f"{path}: {error}")
    elements = {header.optical_element for header in headers.values()}
    if len(elements) > 1:
        raise InputError("grism and prism do not combine", field="exposures", remedy="extract them one after the other")
    for path, header in headers.items():
        try:
            near, _ = sources_near(catalogue, header)
            model, throughput = references(
                header.optical_element.lower(), header.detector, {REFERENCE_VARIABLE: str(reference) if reference else ""}
            )
            window, gain = window_of_file(path, header.shape)
            frame = prepare(read_image(path))
            found = extract_exposure(
                frame, window, SourceList.of(near), model.on(header.detector), throughput.scaled(1 / gain)
            )
        except (Rejected, InputError) as error:
            caveats.append(f"{path}: {error}")
            continue
        frames.append(spectra_table(found, header, position_angle(frame), near))
        progress(f"{path.name}: {len(found.sources)} spectra, {found.references['optical_model']}")
    if not frames:
        raise InputError("no exposure is usable: " + "; ".join(caveats), file=paths[0] if paths else None)
    table = pl.concat(frames).sort("source_id", "mjd")
    return ExtractedFiles({"spectra_1d": table, "combined_spectra": combined_table(table, elements.pop())}, caveats)


def combined_table(table: pl.DataFrame, element: str) -> pl.DataFrame:
    """`combined_spectra` of rows of `spectra_1d_part` of several exposures, sorted by source and time."""
    rows = []
    for (source_id,), same in table.group_by(["source_id"], maintain_order=True):
        members = same.to_dicts()
        spectrum = combine([spectrum_of(row) for row in members])
        rows.append({
            "source_id": source_id, "ra": members[0]["ra"], "dec": members[0]["dec"], "optical_element": element,
            "n_exposures": len(members), "position_angles": [m["position_angle"] for m in members],
            "first_mjd": members[0]["mjd"], "last_mjd": members[-1]["mjd"], "exptime": sum(m["exptime"] for m in members),
            **spectrum_columns(spectrum, element),
        })  # fmt: skip
    return rows_table(rows, COMBINED_SPECTRA)
