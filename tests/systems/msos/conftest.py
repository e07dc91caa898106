"""A tiny simulated survey with its truth: one detector, eight dithered visits of 112 x 112 px, measured once."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from roman_assets.exposures.level2.frames import Frame, prepare
from roman_assets.exposures.level2.reader import Image, read_image
from roman_assets.simulate.config import MiniSurvey
from roman_assets.simulate.survey import simulate_survey
from roman_assets.systems.msos.catalogue.detection import CatalogueResult, build_catalogue
from roman_assets.systems.msos.photometry.exposure_fit import ExposurePhotometry, fit_exposure
from roman_assets.systems.msos.psf.effective_psf import EffectivePsf, model_psf

CONFIG = MiniSurvey(seed=11, detectors=("WFI01",), days=1, visits_per_day=8, size_px=112, n_events=2, n_variables=2)


@dataclass(frozen=True)
class Survey:
    """Images, frames and true stars; `constant` leaves out events and variables."""

    images: tuple[Image, ...]
    frames: tuple[Frame, ...]
    stars: pl.DataFrame
    constant: NDArray[np.bool_]
    psf: EffectivePsf

    @property
    def flux(self) -> NDArray[np.float64]:
        """True fluxes outside events [DN/s]."""
        return np.asarray(10 ** (-0.4 * (self.stars["mag_f146"].to_numpy() - CONFIG.zero_point)))

    def inside(self, margin: float = 0.0) -> NDArray[np.bool_]:
        """True stars on the first exposure, `margin` px off its edge."""
        x, y, last = self.stars["x"].to_numpy(), self.stars["y"].to_numpy(), CONFIG.size_px - 1 - margin
        return np.asarray((x >= margin) & (x <= last) & (y >= margin) & (y <= last))

    def bright(self, faintest: float) -> NDArray[np.bool_]:
        """Constant true stars inside by 4 px and brighter than `faintest` [mag]."""
        return np.asarray(self.inside(4) & self.constant & (self.stars["mag_f146"].to_numpy() < faintest))


@pytest.fixture(scope="session")
def survey_folder(tmp_path_factory: pytest.TempPathFactory, galsim: ModuleType) -> Path:
    """The simulated files; the first of several pytest workers makes them, the others wait."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, lock, done = (shared / f"msos_survey{end}" for end in ("", ".lock", ".done"))
    try:
        lock.mkdir()
    except FileExistsError:
        deadline = time.monotonic() + 600
        while not done.exists():
            assert time.monotonic() < deadline, "the other worker did not finish the simulation"
            time.sleep(0.1)
    else:
        simulate_survey(CONFIG, folder, workers=1)
        done.touch()
    return folder


@pytest.fixture(scope="session")
def survey(survey_folder: Path) -> Survey:
    """The survey, read and prepared."""
    truth = survey_folder / "truth"
    epochs = pl.read_parquet(truth / "epochs.parquet")
    images = tuple(read_image(survey_folder / "exposures" / name) for name in epochs["filename"])
    stars = pl.read_parquet(truth / "stars.parquet")
    varying = [pl.read_parquet(truth / f"{n}.parquet")["source_id"] for n in ("events", "variables")]
    constant = ~stars["source_id"].is_in(pl.concat(varying).implode()).to_numpy()
    frames = tuple(prepare(image) for image in images)
    return Survey(images, frames, stars, constant, model_psf("WFI01", "F146"))


@pytest.fixture(scope="session")
def catalogue(survey: Survey) -> CatalogueResult:
    """The blind catalogue of all eight exposures."""
    return build_catalogue(survey.frames, survey.psf)


@pytest.fixture(scope="session")
def photometry(survey: Survey) -> list[ExposurePhotometry]:
    """Every exposure measured at the true positions, warm start from fluxes 5 % off."""
    ra, dec = survey.stars["ra"].to_numpy(), survey.stars["dec"].to_numpy()
    wrong = survey.flux * np.random.default_rng(1).uniform(0.95, 1.05, len(ra))
    return [fit_exposure(frame, ra, dec, wrong, survey.psf) for frame in survey.frames]


def nearest(survey: Survey, catalogue: CatalogueResult) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Entry nearest to every true star, and its distance [px]."""
    tree = cKDTree(np.column_stack([catalogue.stars.x, catalogue.stars.y]))
    distance, entry = tree.query(survey.stars.select("x", "y").to_numpy())
    return entry, distance
