"""Cost of ingestion, in CPU time of one core: bytes, registry, sensor.  Each function returns rows.

A row is ``{name, ours, peer, unit, ratio, setup}``; ``ratio`` is peer / ours.  The peer of the file checks
is ``asdf.open`` reading the planes with checksum validation, which checks less; that of the header is
``asdf.open`` without pixels.  Run: ``python -m benchmarks.ingest_bench``.
"""

from __future__ import annotations

import hashlib
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from roman_assets.exposures.ingest import ingest
from roman_assets.exposures.landing import FileList, LandedFile, Landing, Listing
from roman_assets.exposures.level2.asdf_bytes import NO_COMPRESSION
from roman_assets.exposures.level2.guards import ManifestEntry, check_file
from roman_assets.exposures.level2.reader import read_header, validate
from roman_assets.exposures.quarantine import Quarantine
from roman_assets.exposures.registry import Arrival, Delivery, Outcome, Registry
from roman_assets.survey.calendar import SHIPPED, load_calendar

Row = dict[str, Any]
FILE_BYTES = 10_000_000
_NAME = "r0000201001001001{visit:03d}_0001_wfi01_f146_cal.asdf"


def rows() -> list[Row]:
    """All rows of this file."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        return [*file_rows(root), *registry_rows(root), *sensor_rows(root)]


def file_rows(root: Path) -> list[Row]:
    """Hash, block walk, header, checks and commit of files of 10 MB."""
    import asdf

    landing = root / "files"
    landing.mkdir()
    paths = [make_file(landing, visit) for visit in range(1, 17)]
    megabytes = paths[0].stat().st_size / 1e6
    layout = check_file(paths[0]).layout
    packed = sum(block.compression != NO_COMPRESSION for block in layout.blocks)
    setup = (
        f"16 files of {megabytes:.1f} MB in page cache, {len(layout.blocks)} blocks ({packed} compressed), "
        f"tree of {layout.tree[1] / 1e3:.0f} kB; median"
    )
    manifest = {p.name: ManifestEntry(p.name, p.stat().st_size, _sha256(p)) for p in paths}
    calendar = load_calendar(SHIPPED)

    class Delivered(FileList):
        def list(self) -> Listing:
            return replace(super().list(), manifest=manifest)

    def run(source: FileList, name: str) -> float:
        registry = Registry(f"sqlite:///{root}/{name}.sqlite")
        start = time.process_time()
        report = ingest(source, registry, Quarantine(root / "q"), calendar, full=False)
        spent = time.process_time() - start
        assert len(report.registered) == len(paths), report
        return spent / len(paths) * 1e3

    def asdf_open(path: Path) -> None:
        with asdf.open(path, validate_checksums=True, memmap=False) as file:
            for name in ("data", "err", "dq", "var_poisson"):
                np.asarray(file["roman"][name])

    def asdf_header(path: Path) -> None:
        with asdf.config_context() as config:
            config.validate_on_read = False
            with asdf.open(path) as file:
                assert file["roman"]["meta"]["instrument"]["detector"] == "WFI01"

    validate(paths[0], full=False)
    asdf_open(paths[0])
    asdf_header(paths[0])
    with_manifest = statistics.median(run(Delivered(paths), f"m{i}") for i in range(5))
    without = statistics.median(run(FileList(paths), f"n{i}") for i in range(5))
    peer = statistics.median(_cpu_ms(lambda p=p: asdf_open(p)) for p in paths)  # type: ignore[misc]
    peer_header = statistics.median(_cpu_ms(lambda p=p: asdf_header(p)) for p in paths)  # type: ignore[misc]
    header = statistics.median(_cpu_ms(lambda p=p: read_header(p)) for p in paths)  # type: ignore[misc]
    digest = statistics.median(_cpu_ms(lambda p=p: _sha256(p)) for p in paths)  # type: ignore[misc]
    return [
        _row("ingest, sha256 of the manifest", with_manifest, peer, "ms CPU / 10 MB file", setup),
        _row("ingest, no manifest (sha256 and block MD5)", without, peer, "ms CPU / 10 MB file", setup),
        _row("read_header", header, peer_header, "ms CPU / file", setup),
        _row("of which sha256 and reading", digest, math.nan, "ms CPU / 10 MB file", setup),
    ]


def registry_rows(root: Path) -> list[Row]:
    """Registry rows a second, in batches of 500, with season and field of each."""
    header = read_header(make_file(root, 1, megabytes=0.1))
    calendar = load_calendar(SHIPPED)
    registry = Registry(f"sqlite:///{root}/rows.sqlite")
    batches = [
        [
            Arrival(
                replace(header, exposure_id=f"r{b:03d}{i:03d}", filename=f"{b}_{i}.asdf"),
                f"/l/{b}/{i}",
                1,
                f"{b:03d}{i:061d}",
            )
            for i in range(500)
        ]
        for b in range(10)
    ]
    start, wall = time.process_time(), time.perf_counter()
    for batch in batches:
        registry.register(batch, calendar)
    cpu, wall = time.process_time() - start, time.perf_counter() - wall
    setup = f"5,000 rows, batches of 500, SQLite WAL with fsync; {5000 / wall:.0f} rows/s of wall time"
    return [_row("registry rows", 5000 / cpu, math.nan, "rows / CPU s", setup)]


def sensor_rows(root: Path) -> list[Row]:
    """One look at 25,000 known objects."""
    place = root / "many"
    place.mkdir()
    for i in range(25_000):
        (place / f"{i:05d}.asdf").touch()
    landing = Landing(place, settle_seconds=0)
    registry = Registry(f"sqlite:///{root}/many.sqlite")
    files: list[LandedFile] = landing.list().files
    registry.log([Delivery(f.name, f.uri, f.size, f.version, Outcome.QUARANTINED) for f in files])
    calendar = load_calendar(SHIPPED)

    def tick() -> None:
        report = ingest(landing, registry, Quarantine(root / "q"), calendar)
        assert report.known == len(files)

    spent = statistics.median(_cpu_ms(tick) for _ in range(3)) / 1e3
    setup = "folder with 25,000 known files, SQLite, nothing new"
    return [_row("tick with nothing new", spent, math.nan, "CPU s", setup)]


def make_file(folder: Path, visit: int, megabytes: float = FILE_BYTES / 1e6) -> Path:
    """A Level 2 file of about the given size, uncompressed, with the header of real ones."""
    import gwcs
    from astropy import coordinates, units
    from astropy.modeling import models
    from astropy.time import Time
    from gwcs import coordinate_frames as frames
    from roman_datamodels.datamodels import ImageModel

    side = int(math.sqrt(megabytes * 1e6 / 12))  # 12 bytes of random pixels in four planes
    model = ImageModel.create_fake_data(shape=(side, side))
    noise = np.random.default_rng(visit)
    model.data = noise.normal(5, 1, (side, side)).astype(np.float32)
    model.err = model.data.astype(np.float16)
    model.var_poisson = model.data.astype(np.float16)
    model.dq = noise.integers(0, 1 << 31, (side, side)).astype(np.uint32)
    model.dq2 = np.zeros((1, 1), np.uint32)
    for name in ("chisq", "dumo"):
        model[name] = np.zeros((1, 1), np.float16)
    for name in ("left", "right", "top", "bottom"):
        model[f"border_ref_pix_{name}"] = np.zeros((1, 1, 1), np.float32)
        model[f"dq_border_ref_pix_{name}"] = np.zeros((1, 1), np.uint32)
    model.amp33 = np.zeros((1, 1, 1), np.uint16)
    name = _NAME.format(visit=visit)
    meta = model.meta
    meta.filename = name
    meta.exposure.exposure_time = 66.0
    meta.exposure.start_time = Time("2027-03-01T02:00:00.000", scale="utc")
    meta.exposure.end_time = Time("2027-03-01T02:01:06.000", scale="utc")
    meta.exposure.type = "WFI_IMAGE"
    meta.instrument.detector = "WFI01"
    meta.instrument.optical_element = "F146"
    meta.observation.visit_id = name[1:20]
    meta.observation.exposure = 1
    meta.pointing.target_ra, meta.pointing.target_dec = 268.0, -29.2
    scale = 0.11 / 3600
    transform = (
        (models.Shift(-side / 2) & models.Shift(-side / 2))
        | (models.Scale(-scale) & models.Scale(scale))
        | models.Pix2Sky_TAN()
        | models.RotateNative2Celestial(268.0, -29.2, 180.0)
    )
    detector = frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    sky = frames.CelestialFrame(reference_frame=coordinates.ICRS(), name="icrs", unit=(units.deg, units.deg))
    meta.wcs = gwcs.WCS([(detector, transform), (sky, None)])
    path = folder / name
    model.save(str(path), all_array_compression=None)
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _cpu_ms(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return (time.process_time() - start) * 1e3


def _row(name: str, ours: float, peer: float, unit: str, setup: str) -> Row:
    known = math.isfinite(peer)
    return {
        "name": name,
        "ours": ours,
        "peer": peer if known else None,
        "unit": unit,
        "ratio": peer / ours if known else None,
        "setup": setup,
    }


if __name__ == "__main__":
    for row in rows():
        ratio = f"asdf.open: {row['ratio']:.1f}x" if row["ratio"] else ""
        print(f"{row['name']:45s} {row['ours']:10.2f} {row['unit']:22s} {ratio:18s} {row['setup']}")
