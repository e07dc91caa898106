"""Small Level 2 files for the tests: one valid file of roman_datamodels, and its parts to be damaged."""

from __future__ import annotations

import hashlib
import re
import struct
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest

from roman_assets.exposures.level2.asdf_bytes import NO_COMPRESSION, walk
from roman_assets.exposures.level2.guards import ManifestEntry, check_bytes
from roman_assets.exposures.rejection import Reason, Rejected

NAME = "r0000201001001001001_0001_wfi01_f146_cal.asdf"
SIDE = 32
SKY = 5.0


@dataclass(frozen=True)
class Payload:
    """One block to be written; sizes and checksum are those of the bytes unless a test lies about them."""

    stored: bytes
    compression: bytes = NO_COMPRESSION
    data_bytes: int | None = None
    md5: bytes | None = None

    def pack(self) -> bytes:
        size = len(self.stored)
        md5 = hashlib.md5(self.stored).digest() if self.md5 is None else self.md5
        claimed = size if self.data_bytes is None else self.data_bytes
        header = struct.pack(">I4sQQQ16s", 0, self.compression, size, size, claimed, md5)
        return b"\xd3BLK" + struct.pack(">H", len(header)) + header + self.stored


@dataclass(frozen=True)
class Parts:
    """An ASDF file taken apart: tree text and blocks; ``bytes`` puts it together with a right index."""

    tree: bytes
    blocks: tuple[Payload, ...] = field(default_factory=tuple)

    @property
    def bytes(self) -> bytes:
        out, offsets = self.tree, []
        for block in self.blocks:
            offsets.append(len(out))
            out += block.pack()
        index = "".join(f"- {offset}\n" for offset in offsets)
        return out + f"#ASDF BLOCK INDEX\n%YAML 1.1\n---\n{index}...\n".encode()

    def edit(self, *changes: tuple[str, str]) -> Parts:
        """Replace texts of the tree; each must be there, so that no test checks an unchanged file."""
        tree = self.tree.decode()
        for old, new in changes:
            assert old in tree, old
            tree = tree.replace(old, new, 1)
        return replace(self, tree=tree.encode())

    def sub(self, pattern: str, new: str) -> Parts:
        tree, count = re.subn(pattern, new, self.tree.decode(), count=1)
        assert count == 1, pattern
        return replace(self, tree=tree.encode())

    def block(self, index: int, payload: Payload) -> Parts:
        blocks = list(self.blocks)
        blocks[index] = payload
        return replace(self, blocks=tuple(blocks))

    def source(self, plane: str) -> int:
        """Number of the block that holds a plane."""
        found = re.search(rf"\n  {plane}: !core/ndarray-[0-9.]+\n    source: ([0-9]+)", self.tree.decode())
        assert found, plane
        return int(found[1])

    def pixels(self, plane: str, values: np.ndarray) -> Parts:
        return self.block(self.source(plane), Payload(values.tobytes()))


def take_apart(data: bytes) -> Parts:
    layout = walk(data, "test file")
    payloads = (
        Payload(data[b.data_offset : b.data_offset + b.used_bytes], b.compression, b.data_bytes, b.md5)
        for b in layout.blocks
    )
    return Parts(data[: layout.tree[1]], tuple(payloads))


def make_wcs(ra: float = 268.0, dec: float = -29.2):
    import gwcs
    from astropy import coordinates, units
    from astropy.modeling import models
    from gwcs import coordinate_frames as frames

    degrees = 0.11 / 3600
    middle = (SIDE - 1) / 2
    transform = (
        (models.Shift(-middle) & models.Shift(-middle))
        | (models.Scale(-degrees) & models.Scale(degrees))
        | models.Pix2Sky_TAN()
        | models.RotateNative2Celestial(ra, dec, 180.0)
    )
    detector = frames.Frame2D(name="detector", unit=(units.pix, units.pix))
    sky = frames.CelestialFrame(reference_frame=coordinates.ICRS(), name="icrs", unit=(units.deg, units.deg))
    return gwcs.WCS([(detector, transform), (sky, None)])


def make_valid(path: Path) -> None:
    """Write a valid exposure of 32 x 32 pixels with roman_datamodels."""
    from astropy.time import Time
    from roman_datamodels.datamodels import ImageModel

    model = ImageModel.create_fake_data(shape=(SIDE, SIDE))
    noise = np.random.default_rng(1)
    model.data = (SKY + noise.normal(0, 0.5, (SIDE, SIDE))).astype(np.float32)
    model.err = np.full((SIDE, SIDE), 0.5, np.float16)
    model.var_poisson = np.full((SIDE, SIDE), 0.2, np.float16)
    model.dq = np.zeros((SIDE, SIDE), np.uint32)
    meta = model.meta
    meta.filename = NAME
    meta.exposure.type = "WFI_IMAGE"
    meta.exposure.exposure_time = 66.0
    meta.exposure.start_time = Time("2027-03-01T02:00:00.000", scale="utc")
    meta.exposure.end_time = Time("2027-03-01T02:01:06.000", scale="utc")
    meta.instrument.detector = "WFI01"
    meta.instrument.optical_element = "F146"
    meta.observation.visit_id = "0000201001001001001"
    meta.observation.exposure = 1
    meta.observation.program = 2
    meta.photometry.conversion_megajanskys = 0.25
    meta.photometry.pixel_area = 2.8e-13
    meta.pointing.target_ra = 268.0
    meta.pointing.target_dec = -29.2
    meta.wcs = make_wcs()
    model.save(str(path))


def number_of(visit: int, exposure: int, detector: int, element: str = "f146") -> str:
    return f"r0000201001001001{visit:03d}_{exposure:04d}_wfi{detector:02d}_{element}_cal.asdf"


def another(parts: Parts, visit: int = 1, exposure: int = 1, detector: int = 1, day: str = "2027-03-01") -> Parts:
    """The valid file as another exposure."""
    name = number_of(visit, exposure, detector)
    return parts.edit(
        (f"filename: {NAME}", f"filename: {name}"),
        ("visit_id: '0000201001001001001'", f"visit_id: '0000201001001001{visit:03d}'"),
        ("detector: WFI01", f"detector: WFI{detector:02d}"),
        ("2027-03-01T02:00:00.000", f"{day}T02:{exposure % 59:02d}:00.000"),
        ("2027-03-01T02:01:06.000", f"{day}T02:{exposure % 59 + 1:02d}:06.000"),
    ).sub(r"exposure: 1\b", f"exposure: {exposure}")


def write(folder: Path, parts: Parts, name: str = NAME) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(parts.bytes)
    return path


def reason_of(data: bytes, **options) -> Reason:
    with pytest.raises(Rejected, match="Remedy") as caught:
        check_bytes(data, "some.asdf", **options)
    assert "some.asdf" in str(caught.value)
    return caught.value.reason


def manifest_of(data: bytes) -> ManifestEntry:
    return ManifestEntry(NAME, len(data), hashlib.sha256(data).hexdigest())
