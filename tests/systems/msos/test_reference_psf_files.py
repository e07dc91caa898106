"""ePSF reference files that cannot be used: refused in one sentence that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import asdf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from roman_assets.systems.msos.psf.effective_psf import reference_psf
from tests.hostile import NOTHING, damaged, refused

AXIS = np.arange(-20, 21) / 4
BELL = np.exp(-(AXIS[:, None] ** 2 + AXIS[None, :] ** 2))[None, None, None]


def written(path: Path, **change: Any) -> Path:
    """A reference file, some of whose entries are others; None leaves one out."""
    meta: dict[str, Any] = {"oversample": 4, "pixel_x": [0.0], "pixel_y": [0.0]}
    meta |= {k: v for k, v in change.items() if k in meta}
    tree: dict[str, Any] = {"meta": {k: v for k, v in meta.items() if v is not None}, "psf": change.get("psf", BELL)}
    asdf.AsdfFile(change.get("whole", {"roman": tree})).write_to(path)
    return path


@pytest.mark.parametrize("name", NOTHING)
def test_files_of_nothing_invalid(tmp_path: Path, name: str) -> None:
    file = tmp_path / "epsf.asdf"
    file.write_bytes(NOTHING[name]())
    assert refused(reference_psf, file) is not None


@pytest.mark.parametrize(
    "change",
    [
        {"whole": {"other": 1}},
        {"whole": {"roman": None}},
        {"whole": {"roman": [1, 2]}},
        {"whole": {"roman": {"meta": 5, "psf": BELL}}},
        {"oversample": None},
        {"oversample": 0},
        {"oversample": -4},
        {"oversample": 10**9},
        {"oversample": "four"},
        {"oversample": [4]},
        {"oversample": float("nan")},
        {"pixel_x": []},
        {"pixel_x": [1.0, 2.0]},
        {"pixel_x": ["a"]},
        {"pixel_x": [float("nan")]},
        {"pixel_y": [float("inf")]},
        {"pixel_y": []},
        {"pixel_x": 7},
        {"psf": np.zeros((0, 0, 0, 0, 0))},
        {"psf": np.zeros((1, 1, 1, 0, 0))},
        {"psf": BELL * np.nan},
        {"psf": BELL[..., :-1]},
        {"psf": BELL[..., :-1, :-1]},
        {"psf": BELL[0]},
        {"psf": "text"},
        {"psf": None},
        {"psf": {"a": 1}},
        {"psf": (BELL * 1j)},
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_hostile_reference_psfs_invalid(tmp_path: Path, change: dict[str, Any]) -> None:
    assert reference_psf(written(tmp_path / "good.asdf")).oversample == 4
    assert refused(reference_psf, written(tmp_path / "epsf.asdf", **change)) is not None


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32 - 1), places=st.integers(1, 40), head=st.booleans())
@pytest.mark.filterwarnings("ignore")
def test_damaged_reference_psfs_invalid(
    tmp_path_factory: pytest.TempPathFactory, seed: int, places: int, head: bool
) -> None:
    file = written(tmp_path_factory.mktemp("damaged") / "epsf.asdf")
    data = file.read_bytes()
    split = data.index(b"\n...") if head else len(data)
    file.write_bytes(damaged(data[:split], seed, places) + data[split:])
    refused(reference_psf, file)


@pytest.mark.parametrize("field", ["allocated", "used", "data"])
def test_sizes_that_no_file_has_invalid(tmp_path: Path, field: str) -> None:
    """A header of a block that declares 572 GiB: a wrong file, which memory is not asked for."""
    file = written(tmp_path / "epsf.asdf")
    data = bytearray(file.read_bytes())
    start = data.index(b"\xd3BLK") + 6 + 4 + 4 + 8 * ["allocated", "used", "data"].index(field)
    data[start : start + 8] = (614_180_336_776).to_bytes(8, "big")
    file.write_bytes(bytes(data))
    assert refused(reference_psf, file) is not None


def test_what_is_no_file_invalid(tmp_path: Path) -> None:
    (tmp_path / "epsf.asdf").mkdir()
    for place in (tmp_path / "epsf.asdf", tmp_path / "absent.asdf", tmp_path / ("x" * 300)):
        assert refused(reference_psf, place) is not None
