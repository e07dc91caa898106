"""A valid call of every public wrapper of a kernel, whose arguments tests change one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from roman_assets.kernels import dispersion, events, exposure, grid, photometry, redshift, spectra

PSF = photometry.SplinePsf(np.outer(*[np.exp(-(np.linspace(-2, 2, 33) ** 2))] * 2), 4)
FRAME = photometry.PaddedFrame(24, 20, 24)
STARS = photometry.Stars.of([5.0, 9.5, 14.25], [6.0, 12.5, 8.0], [3, 7, 3])
FIELD = exposure.PsfField.of(PSF)
STAMPS = dispersion.Stamps(np.full((2, 30, 30), 0.01), (2, 2), -7, -7, None)
TRACE = dispersion.BinTrace(np.linspace(30, 31, 9), np.linspace(20, 28, 9), np.zeros(8, np.int32), np.full(8, 0.5))
BOX = TRACE.box(STAMPS, 60)
GEOMETRY = spectra.Geometry(10.0, 10.0, -1.0, 1.0, 100.0, 3e-5)
OPTICS = spectra.Optics(
    np.ones((2, 2)),
    np.ones((2, 2)),
    np.ones((2, 2, 2)),
    np.ones((2, 2, 2)),
    reference=1.5,
    logarithmic=True,
    geometry=GEOMETRY,
)
_LOG = np.arange(5.0, 8.0, 0.01)
LINES = redshift.LineTable.of([656.0, 500.0], [1.0, 1.0], [1e-3, 1e-3], [0, 1], 2)
TEMPLATES = redshift.ScanTemplates(_LOG, np.ones((2, len(_LOG))), LINES)
IMAGE = np.zeros(FRAME.shape, np.float32)
WEIGHT = FRAME.padded(np.ones((FRAME.ny, FRAME.nx)))


@dataclass(frozen=True)
class Call:
    """A wrapper, arguments that it takes, and which of them are arrays, whole numbers and numbers."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    arrays: tuple[str, ...]
    counts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    fixed: dict[str, Any] = field(default_factory=dict)

    def __call__(self, **change: Any) -> Any:
        """Calls with some arguments changed; arrays are copies, since some wrappers write into theirs."""
        given = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in self.arguments.items()}
        return self.function(**self.fixed, **(given | change))


_SEARCH = {"teff_min": 0.1, "teff_max": 1.0, "teff_ratio": 1.5, "steps_per_teff": 3.0, "reach": 4.0, "high_sigma": 3.0}
_LENS = {"tolerance": 1e-4, "u0_max": 5.0}


def _calls() -> dict[str, Call]:
    stars = {"psf": PSF, "frame": FRAME, "stars": STARS}
    t = np.linspace(0, 20, 40)
    bump = 5 + 30 / np.sqrt(0.05 + (t - 9) ** 2)
    wave = np.linspace(1000.0, 1900.0, 60)
    one = np.ones(60)
    return {
        "SplinePsf": Call(
            photometry.SplinePsf, {"coefficients": np.ones((9, 9)), "oversample": 4}, ("coefficients",), ("oversample",)
        ),
        "Stars": Call(
            photometry.Stars, {"x": np.ones(3), "y": np.ones(3), "half": np.array([3, 7, 3])}, ("x", "y", "half")
        ),
        "Stars.of": Call(
            photometry.Stars.of, {"x": np.ones(3), "y": np.ones(3), "half": np.array([3, 7, 3])}, ("x", "y", "half")
        ),
        "PaddedFrame": Call(photometry.PaddedFrame, {"ny": 5, "nx": 6, "pad": 7}, (), ("ny", "nx", "pad")),
        "padded": Call(FRAME.padded, {"image": np.ones((24, 20))}, ("image",)),
        "psf_stamps": Call(
            photometry.psf_stamps, {"derivative": 0}, (), ("derivative",), fixed={"psf": PSF, "stars": STARS}
        ),
        "splat": Call(photometry.splat, {"scale": np.ones(3), "image": IMAGE}, ("scale", "image"), fixed=stars),
        "render": Call(photometry.render, {"flux": np.ones(3), "out": IMAGE}, ("flux", "out"), fixed=stars),
        "matched_sums": Call(
            photometry.matched_sums, {"image": IMAGE, "weight": WEIGHT}, ("image", "weight"), fixed=stars
        ),
        "position_sums": Call(
            photometry.position_sums, {"image": IMAGE, "weight": WEIGHT}, ("image", "weight"), fixed=stars
        ),
        "joint_fit": Call(
            photometry.joint_fit,
            {
                "data": IMAGE[None],
                "weight": WEIGHT[None],
                "basis": np.ones((1, *FRAME.shape)),
                "start": np.ones(3),
                "tolerance": 1e-3,
                "max_iterations": 50,
                "core_half": 2,
            },
            ("data", "weight", "basis", "start"),
            ("max_iterations", "core_half"),
            ("tolerance",),
            {**stars, "stars": [STARS]},
        ),
        "PsfField": Call(exposure.PsfField, {"cell_px": 8.0}, (), (), ("cell_px",), {"rows": [[PSF, PSF]]}),
        "exposure_fit": Call(
            exposure.exposure_fit,
            {
                "data": IMAGE,
                "weight": WEIGHT,
                "basis": np.ones((1, *FRAME.shape)),
                "expected": np.ones(3),
                "tolerance": 1e-2,
                "strength": 1.0,
                "spread": 0.1,
                "release": 4.0,
                "max_rounds": 9,
                "threads": 1,
            },
            ("data", "weight", "basis", "expected"),
            ("max_rounds", "threads"),
            ("tolerance", "strength", "spread", "release"),
            {**stars, "psf": FIELD},
        ),
        "GridSums.zeros": Call(lambda ny, nx: grid.GridSums.zeros((ny, nx)), {"ny": 20, "nx": 20}, (), ("ny", "nx")),
        "add_exposure": Call(
            lambda **a: grid.add_exposure(grid.GridSums.zeros((24, 20)), **a),
            {"offset": np.zeros((2, 2, 2)), "residual": IMAGE, "weight": WEIGHT},
            ("offset", "residual", "weight"),
            fixed={"psf": FIELD, "frame": FRAME},
        ),
        "add_exposure sums": Call(
            lambda sums: grid.add_exposure(
                grid.GridSums(sums, sums, sums, sums), FIELD, FRAME, np.zeros((2, 2, 2)), IMAGE, WEIGHT
            ),
            {"sums": np.zeros((2, 2, 32, 32), np.float32)},
            ("sums",),
        ),
        "event_search": Call(
            events.event_search,
            {"mjd": t, "flux": bump[None], "flux_err": np.ones((1, 40)), **_SEARCH},
            ("mjd", "flux", "flux_err"),
            (),
            tuple(_SEARCH),
        ),
        "point_lens_fit": Call(
            events.point_lens_fit,
            {
                "start": np.array([0, 25, 40]),
                "time": np.concatenate([t[:25], t[:15]]),
                "flux": bump,
                "weight": np.ones(40),
                "seed_start": np.array([0, 1]),
                "seed_t0": np.array([9.0]),
                "seed_teff": np.array([1.0]),
                "n_bands": 2,
                "u0": np.array([0.1, 1.0]),
                "max_iterations": 30,
                "coarse_above": 1000,
                **_LENS,
            },
            ("start", "time", "flux", "weight", "seed_start", "seed_t0", "seed_teff", "u0"),
            ("n_bands", "max_iterations", "coarse_above"),
            tuple(_LENS),
            {"free_blend": True, "te_range": (1e-3, 1e4)},
        ),
        "point_lens_excess": Call(
            events.point_lens_excess, {"time": t, "t0": 9.0, "u0": 0.1, "te": 3.0}, ("time",), (), ("t0", "u0", "te")
        ),
        "finite_source": Call(events.finite_source, {"u": t, "rho": 0.1, "limb": 0.5}, ("u",), (), ("rho", "limb")),
        "nnls": Call(redshift.nnls, {"matrix": np.eye(3) * 4, "right": np.ones(3)}, ("matrix", "right")),
        "LineTable": Call(
            redshift.LineTable.of,
            {
                "wavelength": np.array([656.0]),
                "flux": np.ones(1),
                "width": np.array([1e-3]),
                "column": np.array([0]),
                "n_columns": 1,
            },
            ("wavelength", "flux", "width", "column"),
            ("n_columns",),
        ),
        "ScanTemplates": Call(
            redshift.ScanTemplates,
            {"log_wavelength": _LOG, "continua": np.ones((2, len(_LOG)))},
            ("log_wavelength", "continua"),
            fixed={"lines": LINES},
        ),
        "redshift_scan": Call(
            redshift.redshift_scan,
            {
                "wavelength": wave,
                "flux": one,
                "weight": one,
                "lsf": 2 * one,
                "log_1pz": np.array([0.3, 0.5]),
                "rate": np.ones(2),
            },
            ("wavelength", "flux", "weight", "lsf", "log_1pz", "rate"),
            fixed={"templates": TEMPLATES},
        ),
        "Optics": Call(
            spectra.Optics,
            {
                "xmap": np.ones((2, 2)),
                "ymap": np.ones((2, 2)),
                "ids": np.ones((2, 2, 2)),
                "crv": np.ones((2, 2, 2)),
                "reference": 1.5,
            },
            ("xmap", "ymap", "ids", "crv"),
            (),
            ("reference",),
            {"logarithmic": True, "geometry": GEOMETRY},
        ),
        "trace_points": _places(spectra.trace_points),
        "trace_slopes": _places(spectra.trace_slopes),
        "trace_grid": _places(spectra.trace_grid),
        "CutoutBox": Call(
            dispersion.CutoutBox, {"row": 1, "column": 2, "ny": 3, "nx": 4}, (), ("row", "column", "ny", "nx")
        ),
        "Stamps": Call(
            dispersion.Stamps,
            {"samples": np.ones((2, 30, 30)), "slopes": np.zeros(2), "row": -7, "column": -7},
            ("samples", "slopes"),
            ("row", "column"),
            fixed={"over": (2, 2)},
        ),
        "Stamps factors": Call(
            lambda along, across: dispersion.Stamps(dispersion.Factors(along, across), (2, 2), -7, -7, np.zeros(2)),
            {"along": np.ones((2, 30, 4)), "across": np.ones((4, 30))},
            ("along", "across"),
        ),
        "BinTrace": Call(
            dispersion.BinTrace,
            {"x": np.ones(9), "y": np.arange(9.0), "plane": np.zeros(8, np.int32), "share": np.zeros(8)},
            ("x", "y", "plane", "share"),
        ),
        "disperse": Call(
            dispersion.disperse, {"light": np.ones(8)}, ("light",), fixed={"stamps": STAMPS, "trace": TRACE, "box": BOX}
        ),
        "disperse_onto": Call(
            dispersion.disperse_onto,
            {"image": np.zeros((50, 60), np.float32), "light": np.ones(8)},
            ("image", "light"),
            fixed={
                "stamps": dispersion.Stamps(np.ones((2, 30, 30)), (2, 2), -7, -7, np.full(2, 1 / 8)),
                "trace": TRACE,
            },
        ),
        "disperse_adjoint": Call(
            dispersion.disperse_adjoint,
            {"pixels": np.ones((BOX.ny, BOX.nx))},
            ("pixels",),
            fixed={"stamps": STAMPS, "trace": TRACE, "box": BOX},
        ),
        "clip_quads": Call(
            dispersion.clip_quads,
            {"x": np.array([[0.0, 3.0, 3.0, 0.0]]), "y": np.array([[0.0, 0.0, 3.0, 3.0]])},
            ("x", "y"),
            fixed={"shape": (9, 9)},
        ),
    }


def _places(function: Callable[..., Any]) -> Call:
    given = {"x0": np.ones(3), "y0": np.ones(3), "wavelength": np.full(3, 1.2)}
    return Call(function, given, ("x0", "y0", "wavelength"), fixed={"optics": OPTICS})


CALLS = _calls()
