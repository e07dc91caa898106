"""Inputs that fuzzers begin with: valid files of every reader, and bytes for the kernels."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from tests.exposures.level2_files import NAME, Parts, make_valid, take_apart
from tests.hostile import fits_table, parquet

CORPUS = Path(__file__).with_name("corpus")
T = np.linspace(0.0, 40.0, 12)
FLUX = 10 + 50 / (1 + (T - 20) ** 2)
WAVE = np.linspace(1000.0, 1900.0, 12)
TEXTS = (
    "time,flux,flux_err\n" + "".join(f"{t:g},{f:g},1\n" for t, f in zip(T, FLUX, strict=True)),
    "# id band mjd mag mag_err\n" + "".join(f"a F146 {t:g} 21.{k} 0.1\n" for k, t in enumerate(T)),
    "".join(f"{t:g} 20.5 0.05\n" for t in T),
    "object_id,time,flux,error\nx,1,2,nan\nx,2,,1\ny,3,null,-\n",
)
IPAC = (
    "\\TIME_SERIES_DATA_FILTER = 'I'\n|HJD   |MAG |MAG_ERR|\n|double|real|real   |\n"
    " 2450000.5 19.1 0.02\n 2450001.5 19.0 0.02\n"
)


@lru_cache(maxsize=1)
def level2() -> bytes:
    """A valid Level 2 exposure of 32 x 32 px."""
    with tempfile.TemporaryDirectory() as folder:
        make_valid(Path(folder) / NAME)
        return (Path(folder) / NAME).read_bytes()


@lru_cache(maxsize=1)
def level2_parts() -> Parts:
    """The same taken apart."""
    return take_apart(level2())


def of(target: str) -> list[bytes]:
    """Seeds of a target of readers.py; of a kernel, random bytes of several lengths."""
    lists = parquet(id=["a"], time=[T.tolist()], flux=[FLUX.tolist()], flux_err=[(0 * T + 1).tolist()])
    wide = parquet(id=["a"], wavelength=[WAVE.tolist()], flux=[WAVE.tolist()], error=[WAVE.tolist()])
    made = {
        "light_curves_text": [text.encode() for text in TEXTS],
        "light_curves_ipac": [IPAC.encode()],
        "light_curves_parquet": [parquet(time=T, flux=FLUX, flux_err=T * 0 + 1), lists],
        "spectra_fits": [
            fits_table(wavelength=WAVE, flux=WAVE, error=WAVE),
            fits_table(loglam=WAVE, flux=WAVE, ivar=WAVE),
        ],
        "spectra_parquet": [parquet(wavelength=WAVE, flux=WAVE, error=WAVE), wide],
    }
    if target == "asdf_file":
        return [level2()]
    if target == "asdf_tree":
        return [level2_parts().tree]
    # What made something fail once is tried again.
    known = [path.read_bytes() for path in sorted(CORPUS.glob(f"{target}_*"))]
    rng = np.random.default_rng(1)
    return known + (made.get(target) or [rng.bytes(size) for size in (8, 32, 64, 200, 500, 1000)])
