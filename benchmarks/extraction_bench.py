"""What the spectra of one full detector cost: models of all sources and orders, extraction in two and one dimensions.

A simulated grism exposure of 4088 x 4088 px with 1,060 sources (nominal optical model and effective areas, no order 2),
read and extracted in a process of its own: CPU time without reading, and the most memory that the process held.
No peer extracts a whole detector with contamination of its own accord, so the rows have none.
Run: ``python -m benchmarks.extraction_bench``.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SIDE, GALAXIES, STARS = 4088, 1000, 60


def rows() -> list[Row]:
    """All rows."""
    from roman_assets.simulate.dispersed import DispersedField, simulate_dispersed

    field = DispersedField(
        width=SIDE, height=SIDE, galaxies=GALAXIES, stars=STARS, rolls=(20.0,), magnitudes=(20.0, 25.0)
    )
    with tempfile.TemporaryDirectory() as name:
        (path,) = simulate_dispersed(field, Path(name))
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            seconds, gigabytes, spectra = pool.apply(extracted, (path, Path(name) / "sources" / "catalogue.parquet"))
    setup = f"{SIDE} x {SIDE} px, {GALAXIES + STARS} sources, {spectra} spectra, orders 0 and 1 of the nominal model"
    return [
        {"name": name, "ours": value, "peer": None, "unit": unit, "ratio": None, "setup": setup}
        for name, value, unit in (
            ("extraction.detector_s", seconds, "CPU s"),
            ("extraction.detector_gb", gigabytes, "GB"),
        )
    ]


def extracted(path: Path, catalogue: Path) -> tuple[float, float, int]:
    """CPU seconds of one extraction, largest memory of this process [GB], number of spectra."""
    import polars as pl

    from roman_assets.exposures.level2.frames import prepare
    from roman_assets.exposures.level2.reader import read_header, read_image
    from roman_assets.systems.gdps.extraction.exposure import extract_exposure
    from roman_assets.systems.gdps.optics.nominal import nominal_optical_model, nominal_throughput
    from roman_assets.systems.gdps.optics.subarray import window_of_file
    from roman_assets.systems.gdps.sources.source_list import SourceList

    header = read_header(path)
    window, gain = window_of_file(path, header.shape)
    frame, sources = prepare(read_image(path)), SourceList.of(pl.read_parquet(catalogue))
    trace = nominal_optical_model("grism").on(header.detector)
    throughput = nominal_throughput("grism", header.detector).scaled(1 / gain)
    start = time.process_time()
    found = extract_exposure(frame, window, sources, trace, throughput)
    seconds = time.process_time() - start
    return seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9, len(found.sources)


if __name__ == "__main__":
    for row in rows():
        print(row)
