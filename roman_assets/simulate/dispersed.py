"""A small field with truth seen through grism or prism: Level 2 exposures at several rolls and days, and its catalogue.

The light is spread by the nominal optical model, effective areas and PSF of gdps, so it shows that the pipeline works
from file to redshift, and tells little of how right those are: `make validate` judges them on an independent scene.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.bounds import NOT_NEGATIVE, POSITIVE, Bound, check_bounds, check_range, whole
from roman_assets.errors import InputError
from roman_assets.simulate.config import MiniSurvey, Visit
from roman_assets.simulate.detector import Frame, bad_pixels, expose
from roman_assets.simulate.geometry import DetectorFrame
from roman_assets.simulate.level2 import ExposureFacts, image_model
from roman_assets.systems.gdps.extraction.scene import Scene, build_scene
from roman_assets.systems.gdps.optics.dispersion import Window
from roman_assets.systems.gdps.optics.nominal import nominal_optical_model, nominal_throughput
from roman_assets.systems.gdps.sources.morphology import SpectralPsf
from roman_assets.systems.gdps.sources.source_list import SourceList

F64 = NDArray[np.float64]
#: Zodiacal light [electrons/s/px] (at its minimum; roman-technical-information).
ZODIACAL = {"GRISM": 0.65, "PRISM": 0.95}
#: Title and survey of the programme an element's exposures are of.
PROGRAMS = {"GRISM": ("Wide area grism field", "HLWAS"), "PRISM": ("Time domain prism field", "HLTDS")}
#: Sources are at least this far apart [px]: nearer ones would be one entry of a catalogue.
APART_PX = 10.0
#: Lines of star-forming galaxies: rest wavelength in vacuum [nm], flux relative to H-alpha.
LINES = {
    "OII": (372.8, 0.5),
    "Hb": (486.27, 0.3),
    "OIII4960": (496.03, 0.25),
    "OIII5008": (500.82, 0.75),
    "Ha": (656.46, 1.0),
    "SII": (672.6, 0.2),
}


@dataclass(frozen=True)
class DispersedField:
    """A window of one detector seen at several rolls [deg] on each of some days.

    Galaxies of `magnitudes` (AB, F158) at `redshifts`, H-alpha of `line_flux` [W m-2] on average; width and height of
    the window [px]; one exposure of `exposure_time_s` per roll, from noon of each day. The first star is brighter by
    `change` of itself on the last day, by proportional shares of that on those between.
    """

    element: str = "GRISM"
    seed: int = 5
    detector: str = "WFI01"
    galaxies: int = 14
    stars: int = 3
    rolls: tuple[float, ...] = (20.0, 35.0, 200.0)
    width: int = 320
    height: int = 1150
    redshifts: tuple[float, float] = (1.05, 1.85)
    magnitudes: tuple[float, float] = (20.5, 23.0)
    line_flux: float = 1.2e-18
    exposure_time_s: float = 400.0
    ra: float = 150.1
    dec: float = 2.2
    days: tuple[str, ...] = ("2027-10-01",)
    change: float = 0.0

    def __post_init__(self) -> None:
        check_bounds(
            self,
            seed=whole(0, 2**63),
            galaxies=whole(0, 100_000),
            stars=whole(0, 100_000),
            rolls=Bound(ge=-360, le=360),
            width=whole(32, 4088),
            height=whole(32, 4088),
            redshifts=NOT_NEGATIVE,
            magnitudes=Bound(ge=0, le=50),
            line_flux=NOT_NEGATIVE,
            exposure_time_s=POSITIVE,
            ra=Bound(ge=0, le=360),
            dec=Bound(ge=-90, le=90),
            change=Bound(ge=-1, le=1e6),
        )
        check_range(self, "redshifts", "magnitudes", strictly=False)
        if self.element not in PROGRAMS:
            raise InputError(f"no element {self.element!r}", field="element", remedy=f"use {' or '.join(PROGRAMS)}")
        for name in ("rolls", "days"):
            if not getattr(self, name):
                raise InputError(f"there are no {name}", field=name, remedy="give at least one")
        if self.galaxies + self.stars < 1:
            raise InputError("there is no source", field="galaxies, stars", remedy="give at least one")

    def brightness(self, day: int) -> float:
        """Of the first star on a day, relative to the first."""
        return 1.0 + self.change * day / max(len(self.days) - 1, 1)

    @property
    def window(self) -> Window:
        """Where it lies on the detector."""
        return Window(2044 - self.width // 2, 2044 - self.height // 2, self.width, self.height)

    def frame(self, roll: float) -> DetectorFrame:
        """Its pointing at a roll."""
        return DetectorFrame(self.ra, self.dec, (self.width - 1) / 2, (self.height - 1) / 2, roll)


def simulate_dispersed(
    field: DispersedField, folder: Path, progress: Callable[[int, int], None] | None = None
) -> list[Path]:
    """Writes exposures/*.asdf, sources/catalogue.parquet and truth/spectra.parquet; returns the exposures.

    The same field gives the same bytes. Truth: id, class (galaxy, star), z, ha_flux [W m-2], mag_f158 on the first day.
    """
    rng = np.random.default_rng(np.random.SeedSequence(field.seed))
    catalogue, truth = _sources(field, rng)
    for name in ("exposures", "sources", "truth"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    catalogue.write_parquet(folder / "sources" / "catalogue.parquet")
    truth.write_parquet(folder / "truth" / "spectra.parquet")
    sources, psf = SourceList.of(catalogue), SpectralPsf.of(field.detector)
    trace = nominal_optical_model(field.element.lower()).on(field.detector)
    throughput = nominal_throughput(field.element.lower(), field.detector)
    paths: list[Path] = []
    count = len(field.days) * len(field.rolls)
    for number, (day, roll) in enumerate(itertools.product(range(len(field.days)), field.rolls)):
        scene = build_scene(sources, field.frame(roll).to_pixel, field.window, trace, throughput, psf)
        _give_spectra(scene, sources, truth, {field.galaxies + 1: field.brightness(day)})
        image = scene.model() + ZODIACAL[field.element]
        paths.append(_write(field, folder / "exposures", number, field.days[day], roll, image, rng))
        if progress:
            progress(number + 1, count)
    return paths


def _sources(field: DispersedField, rng: np.random.Generator) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Catalogue and truth; sources lie so that most traces fall on the window at every roll."""
    count = field.galaxies + field.stars
    frame = field.frame(field.rolls[0])
    x, y = _places(count, 0.42 * field.width, rng)
    ra, dec = frame.to_sky(frame.x_ref + x, frame.y_ref + 30 + y)
    star = np.arange(count) >= field.galaxies
    mag = np.where(star, rng.uniform(18.5, 20.5, count), rng.uniform(*field.magnitudes, count))
    redshift = np.where(star, 0.0, rng.uniform(*field.redshifts, count))
    colour = np.where(star, 0.35, rng.uniform(-0.1, 0.25, count))  # F106 - F184
    line = np.where(star, 0.0, field.line_flux * rng.lognormal(0.0, 0.4, count))
    catalogue = pl.DataFrame(
        {
            "id": np.arange(1, count + 1),
            "ra": ra,
            "dec": dec,
            "mag_f106": mag + 0.7 * colour,
            "mag_f129": mag + 0.3 * colour,
            "mag_f158": mag,
            "mag_f184": mag - 0.3 * colour,
            "hlr_arcsec": np.where(star, 0.0, rng.uniform(0.1, 0.3, count)),
            "ellipticity": np.where(star, 0.0, rng.uniform(0.0, 0.5, count)),
            "pa_deg": rng.uniform(0, 180, count),
            "star_flag": star,
        }
    )
    truth = pl.DataFrame(
        {
            "id": catalogue["id"],
            "class": np.where(star, "star", "galaxy"),
            "z": redshift,
            "ha_flux": line,
            "mag_f158": mag,
        }
    )
    return catalogue, truth


def _places(count: int, radius: float, rng: np.random.Generator) -> tuple[F64, F64]:
    """Places (count,) within a circle [px], none nearer to another than a catalogue tells them apart."""
    places = np.empty((0, 2))
    while len(places) < count:
        distance, angle = radius * np.sqrt(rng.random()), 2 * np.pi * rng.random()
        place = distance * np.array([np.cos(angle), np.sin(angle)])
        if not len(places) or np.hypot(*(places - place).T).min() > APART_PX:
            places = np.vstack([places, place])
    return places[:, 0], places[:, 1]


def _give_spectra(scene: Scene, sources: SourceList, truth: pl.DataFrame, brightness: Mapping[int, float]) -> None:
    """Continua of the colours, with the lines of the truth, 150 km/s wide; some sources brighter than they were."""
    wave, width = scene.centres * 1e3, np.diff(scene.grid) * 1e3
    for source in scene.sources:
        row = truth.filter(pl.col("id") == int(sources.id[source.index])).row(0, named=True)
        spectrum = source.spectrum * brightness.get(int(row["id"]), 1.0)
        for rest, share in LINES.values() if row["class"] == "galaxy" else ():
            centre = rest * (1 + row["z"])
            sigma = np.hypot(centre * 150 / 2.998e5, 0.4 * width.mean())
            shape = np.exp(-0.5 * ((wave - centre) / sigma) ** 2)
            if (total := float((shape * width).sum())) > 0.5 * sigma:
                spectrum += row["ha_flux"] * share * shape / total
        scene.set_spectrum(source, spectrum)


def _write(
    field: DispersedField, folder: Path, number: int, day: str, roll: float, image: F64, rng: np.random.Generator
) -> Path:
    """One exposure: noise, defects, header."""
    from roman_assets.products.asdf_bytes import write_asdf

    side = max(field.width, field.height)
    start = datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC) + timedelta(hours=12, minutes=10 * number)
    config = MiniSurvey(
        seed=field.seed,
        detectors=(field.detector,),
        size_px=side,
        optical_element="F158",
        ra=field.ra,
        dec=field.dec,
        exposure_time_s=field.exposure_time_s,
        first_day=field.days[0],
        program=5,
    )
    defects = bad_pixels(config, 0)[: field.height, : field.width]
    frame: Frame = expose(image, config, rng, defects)
    facts = ExposureFacts(config, Visit(0, number + 1, start, 0.0, 0.0), field.detector, field.frame(roll))
    model: Any = image_model(facts, frame)
    name = facts.filename.replace("_f158_", f"_{field.element.lower()}_")
    model.meta.filename = name
    model.meta.instrument.optical_element = field.element
    model.meta.exposure.type = "WFI_SPECTRAL"
    model.meta.program.title, model.meta.program.subcategory = PROGRAMS[field.element]
    model.meta.wcsinfo.s_region = field.frame(roll).footprint((field.height, field.width))
    model.meta["subarray"] = {
        "xstart": int(field.window.xstart),
        "ystart": int(field.window.ystart),
        "gain": config.gain,
    }
    model.validate()
    path = folder / name
    part = path.with_name(f".{name}.{os.getpid()}.part")
    with part.open("wb") as stream:
        write_asdf(stream, {"roman": model._instance})
    os.replace(part, path)
    return path
