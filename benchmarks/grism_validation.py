"""Spectra of the shared grism scene judged against their truth.

A row is ``{name, value, required, data_set, passed}``; `required` is text. Everything is done as the platform does
it: profiles from the direct image, PSF width from the stars, contamination from the exposure itself.
Run: ``python -m benchmarks.run_validation``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.exposures.level2.frames import Frame, prepare
from roman_assets.exposures.level2.reader import read_image
from roman_assets.kernels.dispersion import CutoutBox
from roman_assets.systems.gdps.extraction.combination import combine
from roman_assets.systems.gdps.extraction.contamination import ContaminationConfig, fit_sources
from roman_assets.systems.gdps.extraction.exposure import (
    ExposureSpectra,
    ExtractedSource,
    extract_exposure,
    psf_of_exposure,
)
from roman_assets.systems.gdps.extraction.scene import build_scene
from roman_assets.systems.gdps.optics.dispersion import Window, add_cutout, take_cutout
from roman_assets.systems.gdps.optics.optical_model import OpticalTrace, read_optical_model
from roman_assets.systems.gdps.optics.throughput import Throughput, read_throughput
from roman_assets.systems.gdps.optics.traces import MAIN
from roman_assets.systems.gdps.sources.direct_image import profiles_by_image
from roman_assets.systems.gdps.sources.morphology import SpectralPsf
from roman_assets.systems.gdps.sources.source_list import SourceList
from roman_assets.systems.gdps.spectra.spectrum import Spectrum

Row = dict[str, Any]
F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
DATA_SET = "grism_scene"
BAND_NM = (1050.0, 1850.0)
#: erg/s/cm2/Angstrom to W/m2/nm, and erg/s/cm2 to W/m2.
DENSITY, FLUX = 1e-2, 1e-3
ISOLATED, BRIGHT_MAG = 0.15, 21.5


@dataclass
class Exposure:
    """One dispersed exposure with what was made of it."""

    number: int
    frame: Frame
    window: Window
    spectra: ExposureSpectra
    psf: SpectralPsf


@dataclass
class Scene:
    """The scene, measured."""

    truth: pl.DataFrame
    sources: SourceList
    trace: OpticalTrace
    throughput: Throughput
    exposures: list[Exposure]


def rows(data_folder: str | Path) -> list[Row]:
    """All rows; a missing scene is a row that says so."""
    folder = Path(data_folder) / DATA_SET
    if not folder.is_dir():
        return [_row("grism scene", float("nan"), "the scene", False)]
    scene = measure(folder)
    return [
        _zero_point(scene),
        *_continua(scene),
        *_lines(scene),
        _contamination(scene),
        _flux_left(scene),
        _signal_to_noise(scene),
        *_image(scene),
    ]


def measure(folder: Path) -> Scene:
    """Spectra of all exposures."""
    table = pl.read_parquet(folder / "exposures.parquet")
    model = read_optical_model(folder / "optical_model.yaml")
    trace, throughput = model.on("WFI01"), read_throughput(folder / "sensitivity.parquet")
    sources = SourceList.of(pl.read_parquet(folder / "catalog.parquet"))
    frames = {row["file"]: prepare(read_image(_file(folder, row["file"]))) for row in table.iter_rows(named=True)}
    grism = table.filter(pl.col("kind") == "grism")
    windows = {r["file"]: Window(r["xstart"], r["ystart"], r["nx"], r["ny"]) for r in grism.iter_rows(named=True)}
    first = grism["file"][0]
    psf = psf_of_exposure(frames[first], windows[first], sources, trace, throughput)
    direct = table.filter(pl.col("kind") == "direct")["file"][0]
    sources = profiles_by_image(frames[direct], sources, psf)
    exposures = []
    for number, name in enumerate(grism["file"]):
        psf = psf_of_exposure(frames[name], windows[name], sources, trace, throughput)
        spectra = extract_exposure(frames[name], windows[name], sources, trace, throughput, psf)
        exposures.append(Exposure(number, frames[name], windows[name], spectra, psf))
    return Scene(pl.read_parquet(folder / "truth.parquet"), sources, trace, throughput, exposures)


def _file(folder: Path, name: str) -> Path:
    given = folder / name
    return given if given.is_file() else folder / f"{name}.asdf"


def as_seen(spectrum: Spectrum, wavelength_nm: F64, flux: F64) -> F64:
    """A true spectrum at the pixels of an extracted one, through its LSF."""
    result = np.empty(len(spectrum))
    for k, (centre, sigma) in enumerate(zip(spectrum.wavelength, spectrum.lsf_sigma, strict=True)):
        low, high = np.searchsorted(wavelength_nm, [centre - 5 * sigma - 1, centre + 5 * sigma + 1])
        kernel = np.exp(-0.5 * ((wavelength_nm[low:high] - centre) / sigma) ** 2)
        result[k] = kernel @ flux[low:high] / kernel.sum()
    return result


def _true(scene: Scene, source_id: int) -> tuple[dict[str, Any], F64, F64]:
    row = scene.truth.filter(pl.col("id") == source_id).row(0, named=True)
    return row, np.asarray(row["wave"]) * 1e3, np.asarray(row["flux"]) * DENSITY


def _in_band(spectrum: Spectrum) -> NDArray[np.bool_]:
    return (spectrum.flags == 0) & (spectrum.wavelength > BAND_NM[0]) & (spectrum.wavelength < BAND_NM[1])


def _isolated(spectrum: Spectrum, use: NDArray[np.bool_]) -> bool:
    flux = float(np.median(spectrum.flux[use]))
    return flux > 0 and float(np.mean(spectrum.contamination[use])) < ISOLATED * flux


def _zero_point(scene: Scene) -> Row:
    """Median offset of bright emission lines [px]."""
    offsets = []
    for source_id, spectrum in _combined(scene).items():
        for wave, flux, error, shift in _fitted_lines(scene, source_id, spectrum):
            del wave
            if flux > 15 * error:
                offsets.append(shift)
    value = float(np.median(offsets)) if len(offsets) >= 5 else float("nan")
    return _row(f"wavelength zero point of {len(offsets)} bright lines [px]", value, "within 0.3", abs(value) <= 0.3)


def _continua(scene: Scene) -> list[Row]:
    """Flux of isolated bright sources over the truth, stars and galaxies."""
    ratios: dict[str, list[float]] = {"star": [], "galaxy": []}
    for exposure in scene.exposures:
        for source in exposure.spectra.sources:
            row, wave, flux = _true(scene, source.source_id)
            spectrum = source.spectrum
            use = _in_band(spectrum)
            if row["f158_mag"] > BRIGHT_MAG or use.sum() < 300 or not _isolated(spectrum, use):
                continue
            expected, weight = as_seen(spectrum, wave, flux)[use], 1 / spectrum.variance[use]
            ratios[row["class"]].append(
                float((weight * expected) @ spectrum.flux[use] / ((weight * expected) @ expected))
            )
    result = []
    for kind, values in ratios.items():
        bias = float(np.median(values)) - 1 if values else float("nan")
        result.append(
            _row(
                f"continuum of isolated {kind} spectra < {BRIGHT_MAG:g} mag, median bias ({len(values)})",
                bias,
                "within 0.03",
                abs(bias) <= 0.03,
            )
        )
        scatter = float(1.4826 * np.median(np.abs(np.array(values) - np.median(values)))) if values else float("nan")
        result.append(_row(f"its scatter, {kind} spectra", scatter, "<= 0.05", scatter <= 0.05))
    return result


def _combined(scene: Scene) -> dict[int, Spectrum]:
    """Combined spectra by source."""
    by_source: dict[int, list[Spectrum]] = {}
    for exposure in scene.exposures:
        for source in exposure.spectra.sources:
            by_source.setdefault(source.source_id, []).append(source.spectrum)
    return {k: combine(v) for k, v in by_source.items()}


def _fitted_lines(scene: Scene, source_id: int, spectrum: Spectrum) -> list[tuple[float, float, float, float]]:
    """Lines of a source at their true places: wavelength [nm], flux and error [W m-2], offset [px].

    Gaussians as wide as LSF and velocities, all lines that overlap together, on a straight continuum.
    """
    row, _, _ = _true(scene, source_id)
    places = np.array(row["line_rest_um"] or []) * (1 + row["z_true"]) * 1e3
    found = []
    inside = (places > BAND_NM[0]) & (places < BAND_NM[1])
    for place in places[inside]:
        sigma = _line_sigma(row, spectrum, place)
        near = np.abs(spectrum.wavelength - place) < 10 * sigma + 10
        use = near & (spectrum.flags == 0)
        if use.sum() < 0.8 * near.sum() or near.sum() < 15:
            continue
        others = places[(np.abs(places - place) < 12 * sigma + 12) & (places != place)]
        wave = spectrum.wavelength[use]
        columns = [_gauss(wave, c, _line_sigma(row, spectrum, c)) for c in (place, *others)]
        x = (wave - place) / 20
        step = 0.2
        moved = (_gauss(wave, place + step, sigma) - columns[0]) / step
        terms = np.stack([*columns, np.ones_like(wave), x])
        flux, error = _solved(terms, spectrum, use)
        # The offset is a further term, scaled by the flux just found.
        shift, _ = _solved(np.stack([moved, *terms]), spectrum, use)
        pixel = float(np.median(np.diff(spectrum.wavelength)))
        found.append((float(place), flux[0], error[0], shift[0] / flux[0] / pixel if flux[0] else float("nan")))
    return found


def _line_sigma(row: dict[str, Any], spectrum: Spectrum, place: float) -> float:
    lsf = float(np.interp(place, spectrum.wavelength, spectrum.lsf_sigma))
    return float(np.hypot(lsf, place * (row["sigma_v_kms"] or 0.0) / 299792.458))


def _gauss(wave: F64, place: float, sigma: float) -> F64:
    return np.asarray(np.exp(-0.5 * ((wave - place) / sigma) ** 2) / (sigma * np.sqrt(2 * np.pi)))


def _solved(terms: F64, spectrum: Spectrum, use: NDArray[np.bool_]) -> tuple[F64, F64]:
    weight = 1 / spectrum.variance[use]
    matrix = (terms * weight) @ terms.T
    scale = 1 / np.sqrt(np.diag(matrix))
    inverse = np.linalg.pinv(matrix * np.outer(scale, scale), rcond=1e-10) * np.outer(scale, scale)
    return inverse @ ((terms * weight) @ spectrum.flux[use]), np.sqrt(np.diag(inverse))


def _lines(scene: Scene) -> list[Row]:
    """Pulls of line fluxes: of single exposures and combined."""
    single = [(s.source_id, s.spectrum) for e in scene.exposures for s in e.spectra.sources]
    result = []
    for name, spectra in (("single exposures", single), ("combined", list(_combined(scene).items()))):
        pulls, ratios = [], []
        for source_id, spectrum in spectra:
            row, _, _ = _true(scene, source_id)
            places = np.array(row["line_rest_um"] or []) * (1 + row["z_true"]) * 1e3
            for place, flux, error, _ in _fitted_lines(scene, source_id, spectrum):
                true = float(row["line_flux"][int(np.argmin(np.abs(places - place)))]) * FLUX
                pulls.append((flux - true) / error)
                if true > 10 * error:
                    ratios.append(flux / true)
        width = float(1.4826 * np.median(np.abs(pulls - np.median(pulls)))) if pulls else float("nan")
        result.append(
            _row(f"pulls of {len(pulls)} line fluxes, {name}: width", width, "0.9 to 1.2", 0.9 <= width <= 1.2)
        )
        bias = float(np.median(ratios)) - 1 if ratios else float("nan")
        result.append(
            _row(
                f"flux of {len(ratios)} lines above 10 sigma, {name}: median bias",
                bias,
                "within 0.10",
                abs(bias) <= 0.10,
            )
        )
    return result


def _contamination(scene: Scene) -> Row:
    """Error of the contamination along a trace over the contamination, against a model of the true scene."""
    errors = []
    for exposure in scene.exposures:
        truth, own = _true_model(scene, exposure)
        for source in exposure.spectra.sources:
            if (value := _contamination_error(source, truth, own)) is not None:
                errors.append(value)
    value = float(np.median(errors)) if errors else float("nan")
    name = f"contamination, mean error over mean contamination in 16 px, median of {len(errors)} traces"
    return _row(name, value, "< 0.10", value < 0.10)


def _flux_left(scene: Scene) -> Row:
    """What subtraction leaves in the band of contaminated traces, over the contamination: no model is asked."""
    shares = []
    for exposure in scene.exposures:
        for source in exposure.spectra.sources:
            spectrum = source.spectrum
            use = _in_band(spectrum)
            if use.sum() < 300:
                continue
            _, wave, flux = _true(scene, source.source_id)
            contamination = float(spectrum.contamination[use].mean())
            noise = float(np.sqrt(spectrum.variance[use].sum()) / use.sum())
            if contamination > 10 * noise:
                left = float((spectrum.flux[use] - as_seen(spectrum, wave, flux)[use]).mean())
                shares.append(abs(left) / contamination)
    value = float(np.median(shares)) if shares else float("nan")
    name = f"flux left in the band over the contamination, median of {len(shares)} contaminated traces"
    return _row(name, value, "< 0.10", value < 0.10)


def _true_model(scene: Scene, exposure: Exposure) -> tuple[F64, dict[int, tuple[CutoutBox, F32]]]:
    """Image of all sources with true places, shapes (Sersic indices as bulge shares) and spectra; order 1 of each."""
    renamed = scene.truth.rename({c: f"mag_{c[:4]}" for c in scene.truth.columns if c.endswith("_mag")})
    table = renamed.with_columns(bulge=((pl.col("sersic_n") - 1) / 3).clip(0, 1), star_flag=pl.col("class") == "star")
    model = build_scene(
        SourceList.of(table), exposure.frame.to_pixels, exposure.window, scene.trace, scene.throughput, exposure.psf
    )
    for source in model.sources:
        wave, flux = (np.asarray(scene.truth[c][source.index]) for c in ("wave", "flux"))
        model.set_spectrum(source, np.interp(model.centres, wave, flux) * DENSITY)
    own = {}
    for source in model.sources:
        if MAIN in source.images:
            own[int(scene.truth["id"][source.index])] = (source.orders[MAIN].box, source.images[MAIN])
    return model.model(), own


def _contamination_error(source: ExtractedSource, truth: F64, own: dict[int, tuple[CutoutBox, F32]]) -> float | None:
    cutout = source.cutout
    found = own.get(source.source_id)
    if found is None:
        return None
    true = take_cutout(truth, cutout.box)
    canvas = np.zeros_like(truth)
    add_cutout(canvas, *found)
    true -= take_cutout(canvas, cutout.box)
    inside = take_cutout(np.ones_like(truth), cutout.box) > 0
    profile = np.where(inside, cutout.model.astype(np.float64), 0)
    norm = (profile**2).sum(axis=1)
    band = (cutout.wavelength[:, 0] > BAND_NM[0]) & (cutout.wavelength[:, 0] < BAND_NM[1]) & (norm > 0)
    if band.sum() < 200:
        return None

    def along(image: F64) -> F64:
        values = (image * profile).sum(axis=1)[band] / norm[band]
        n = len(values) // 16 * 16
        return np.asarray(values[:n].reshape(-1, 16).mean(axis=1))

    expected, got = along(np.where(inside, true, 0)), along(cutout.contamination.astype(np.float64))
    # In units of the source: less than a tenth of it is no contamination to speak of.
    return float(np.abs(got - expected).sum() / np.abs(expected).sum()) if expected.mean() > 0.1 else None


def _signal_to_noise(scene: Scene) -> Row:
    """Signal to noise of isolated stars over that of an ideal extraction with the true flux and known noise."""
    ratios = []
    for exposure in scene.exposures:
        frame, config = exposure.frame, ContaminationConfig(iterations=0, profile_error=0.0, recentre=False)
        stars = scene.sources.select(scene.sources.half_light == 0)
        ideal = build_scene(stars, frame.to_pixels, exposure.window, scene.trace, scene.throughput, exposure.psf)
        for placed in ideal.sources:
            _, wave, flux = _true(scene, int(stars.id[placed.index]))
            ideal.set_spectrum(placed, np.interp(ideal.centres * 1e3, wave, flux))
        model = fit_sources(frame, ideal, config)
        variance = frame.read_variance + frame.poisson_slope * (ideal.model() + np.median(model.background))
        measured = {s.source_id: s.spectrum for s in exposure.spectra.sources}
        for placed in ideal.sources:
            spectrum = measured.get(int(stars.id[placed.index]))
            if spectrum is None or placed.response is None:
                continue
            use = _in_band(spectrum)
            if use.sum() < 300 or not _isolated(spectrum, use):
                continue
            main = placed.orders[MAIN]
            good = take_cutout(frame.good, main.box) > 0
            noise = np.where(good, take_cutout(variance, main.box), np.inf)
            information = (placed.response.astype(np.float64) ** 2 / noise).sum(axis=1)
            rows_at = np.interp(spectrum.wavelength[use] / 1e3, ideal.grid, main.trace.y) - main.box.row
            best = np.interp(rows_at, np.arange(main.box.ny), information)
            ratios.append(float(np.median(np.sqrt(1 / spectrum.variance[use] / best))))
    value = float(np.median(ratios)) if ratios else float("nan")
    name = f"signal to noise of {len(ratios)} isolated stars over the optimum"
    return _row(name, value, "0.9 to 1.1", 0.9 <= value <= 1.1)


def _image(scene: Scene) -> list[Row]:
    """chi2 of the pixels that sources dominate, and of all."""
    every, bright = [], []
    for exposure in scene.exposures:
        frame, model = exposure.frame, exposure.spectra.model
        variance = frame.read_variance + frame.poisson_slope * np.maximum(model.sources + model.background, 0)
        chi2 = exposure.spectra.residual.astype(np.float64) ** 2 / variance
        every.append(float(chi2[frame.good].mean()))
        bright.append(float(chi2[frame.good & (model.sources > 0.3 * model.background)].mean()))
    worst, worst_bright = max(every), max(bright)
    return [
        _row("chi2 per pixel of the models of the exposures", worst, "<= 1.05", worst <= 1.05),
        _row("chi2 per pixel where sources are bright", worst_bright, "<= 2", worst_bright <= 2),
    ]


def _row(name: str, value: float, required: str, passed: bool) -> Row:
    return {"name": name, "value": value, "required": required, "data_set": DATA_SET, "passed": bool(passed)}


if __name__ == "__main__":
    import os

    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    for line in rows(os.environ.get("ROMAN_VALIDATION_DATA", default)):
        print(f"{'ok  ' if line['passed'] else 'FAIL'} {line['value']:9.4f} {line['required']:>12} {line['name']}")
