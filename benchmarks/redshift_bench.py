"""Redshifts beside redrock: the same spectra, templates and redshifts, one core.

846 pixels, 1420 redshifts, 6 continua and 4 line templates, non-negative amplitudes; in redrock the line-spread
function is a resolution matrix. Redrock rebins its templates once for all spectra that share a wavelength grid: that
is not held against it. CPU time, best of several, all in one run. Run: ``python -m benchmarks.redshift_bench``.
"""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.spectra_simulation import LSF_NM, WAVELENGTH, Simulated, scene_spectra
from roman_assets.kernels.redshift import LineTable, ScanTemplates, redshift_scan
from roman_assets.systems.gdps.redshift.measure import measure_redshift, prepare
from roman_assets.systems.gdps.redshift.posterior import RedshiftConfig
from roman_assets.systems.gdps.redshift.templates import LIGHT_KM_S, lsf_key, scan_templates

Row = dict[str, Any]
F64 = NDArray[np.float64]
N_Z, STEP, Z_MIN, SPECTRA = 1420, 7e-4, 0.35, 24
#: H-alpha + [N II] + [S II], [O III] + H-beta, [O II], [S III]: wavelength [nm], flux, column.
LINES = (
    (656.461, 1.0, 0),
    (658.527, 0.3, 0),
    (671.829, 0.15, 0),
    (673.267, 0.12, 0),
    (500.824, 1.0, 1),
    (496.030, 0.336, 1),
    (486.269, 0.3, 1),
    (372.988, 0.57, 2),
    (372.709, 0.43, 2),
    (953.321, 1.0, 3),
    (907.110, 0.4, 3),
)
WIDTH = 110 / LIGHT_KM_S


def rows(data_folder: Path) -> list[Row]:
    """name, ours, peer, unit, ratio, setup."""
    simulated = [s for s in scene_spectra(data_folder, 1, seed=3) if max(s.line_sn.values(), default=0) > 7]
    chosen = list(islice(simulated, SPECTRA))
    log_z = np.log1p(Z_MIN) + STEP * np.arange(N_Z)
    templates = _ours()
    ours_s, ours = _best(lambda: [_scan(templates, s, log_z) for s in chosen], 5)
    setup = (
        f"{len(WAVELENGTH)} px, {N_Z} z, 10 non-negative columns, {len(chosen)} spectra of grism_scene with a line at "
        "S/N > 7, one core, CPU time per spectrum, best of 5; lowest chi2 within 0.003 (1+z) of the truth: "
        f"ours {_right(ours, chosen):.0f} %"
    )
    try:
        peer_s, peer = _best(_redrock(chosen, log_z), 1)
        rate = len(chosen) / peer_s
        setup = f"{setup}, redrock {_right(peer, chosen):.0f} % (by NNLS; its rebinning is not counted)"
    except ImportError as error:
        rate, setup = None, f"{setup}; peer missing: {error.name}"
    result = [_row("redshift.spectra_per_s", len(chosen) / ours_s, rate, setup)]
    full_s, full = _best(lambda: [measure_redshift(s.spectrum) for s in chosen], 3)
    classes = "galaxies to z 4, quasars to z 6.5, stars; refined maxima, pdf, solutions, lines"
    right = 100 * np.mean([abs(r.z - s.z) < 0.003 * (1 + s.z) for r, s in zip(full, chosen, strict=True)])
    setup = f"measure_redshift: {classes}; right {right:.0f} %"
    return [*result, _row("redshift.measured_per_s", len(chosen) / full_s, None, setup)]


def _ours() -> ScanTemplates:
    source = scan_templates("galaxy", lsf_key(LSF_NM / 1450))
    grid = np.arange(source.log_wavelength[0], source.log_wavelength[-1], STEP)
    continua = np.array([np.interp(grid, source.log_wavelength, row) for row in source.continua])
    wave, flux, column = (np.array(v) for v in zip(*LINES, strict=True))
    return ScanTemplates(grid, continua, LineTable.of(wave, flux, np.full(len(wave), WIDTH), column, 4))


def _scan(templates: ScanTemplates, one: Simulated, log_z: F64) -> float:
    """Redshift of the lowest chi2, from the spectrum as it was extracted."""
    data = prepare(one.spectrum, RedshiftConfig(template_error=0.0))
    scan = redshift_scan(templates, data.wavelength, data.flux, data.weight, data.lsf, log_z, np.zeros(4))
    return float(np.expm1(log_z[np.argmin(scan.chi2)]))


def _right(found: list[float], chosen: list[Simulated]) -> float:
    return 100 * float(np.mean([abs(z - s.z) < 0.003 * (1 + s.z) for z, s in zip(found, chosen, strict=True)]))


def _redrock(chosen: list[Simulated], log_z: F64) -> Callable[[], list[float]]:
    """Redrock's scan of the same spectra by the same templates, made ready."""
    from redrock.targets import Spectrum, Target
    from redrock.templates import DistTemplate, Template
    from redrock.zscan import calc_zchi2
    from scipy import sparse

    z = np.expm1(log_z)
    fine = np.exp(np.arange(np.log(150), np.log(1935 / (1 + Z_MIN)), 1e-4))
    source = _ours()
    basis = source.columns(fine, np.full(len(fine), 1e-6), 0.0).T
    with contextlib.redirect_stdout(io.StringIO()):
        template = Template(
            spectype="GALAXY", subtype="", redshifts=z, wave=10 * fine, flux=basis, method="NMF", igm_model="None"
        )
    targets = []
    for number, one in enumerate(chosen):
        s = one.spectrum
        away = (WAVELENGTH[:, None] - WAVELENGTH[None, :]) / s.lsf_sigma[:, None]
        kernel = np.where(np.abs(away) < 5, np.exp(-0.5 * away**2), 0)
        resolution = sparse.dia_matrix(kernel / kernel.sum(axis=1, keepdims=True))
        scale = float(np.median(np.sqrt(s.variance)))
        spectrum = Spectrum(
            10 * WAVELENGTH, s.flux / scale, scale**2 / s.variance, resolution, resolution.tocsr(), band="G"
        )
        targets.append(Target(number, [spectrum]))
    rebinned = DistTemplate(template, {"G": 10 * WAVELENGTH})

    def scan() -> list[float]:
        chi2 = calc_zchi2([t.id for t in targets], targets, rebinned)[0]
        return [float(z[k]) for k in np.argmin(chi2, axis=1)]

    return scan


def _best(call: Callable[[], Any], repeats: int) -> tuple[float, Any]:
    """Least CPU time of this thread, after one call that compiles and fills caches."""
    call()
    times, result = [], None
    for _ in range(repeats):
        start = time.thread_time()
        result = call()
        times.append(time.thread_time() - start)
    return min(times), result


def _row(name: str, ours: float, peer: float | None, setup: str) -> Row:
    ratio = None if peer is None else ours / peer
    return {"name": name, "ours": ours, "peer": peer, "unit": "spectra/s", "ratio": ratio, "setup": setup}


if __name__ == "__main__":
    from benchmarks.collect import data_folder as folder

    for row in rows(folder()):
        print(row)
