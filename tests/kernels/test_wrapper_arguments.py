"""Every wrapper of a kernel refuses what C could not take: shapes, types, values, sizes, and nothing at all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from roman_assets.errors import InputError
from roman_assets.kernels import dispersion, events, grid, photometry, spectra
from roman_assets.kernels.call import KernelError
from tests.kernels.calls import CALLS, FIELD, FRAME, IMAGE, PSF, STAMPS, TRACE, Call

ARRAYS = [(name, argument) for name, call in CALLS.items() for argument in call.arrays]
COUNTS = [(name, argument) for name, call in CALLS.items() for argument in call.counts]
NUMBERS = [(name, argument) for name, call in CALLS.items() for argument in call.numbers]
#: Broadcast, so that any shape that fits the others will do.
FREE = {("trace_points", a) for a in ("x0", "y0", "wavelength")} | {
    ("trace_slopes", a) for a in ("x0", "y0", "wavelength")
}


def refused(call: Call, **change: Any) -> InputError:
    with pytest.raises(InputError) as caught:
        call(**change)
    assert caught.value.field
    return caught.value


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_valid(name: str) -> None:
    CALLS[name]()


@pytest.mark.parametrize(("name", "argument"), [a for a in ARRAYS if a not in FREE])
def test_dimensions_shape(name: str, argument: str) -> None:
    """One dimension too many is another shape, whatever the other arguments are."""
    call = CALLS[name]
    error = refused(call, **{argument: call.arguments[argument][None]})
    names = {argument, "samples", "factors", "sums"}
    assert error.field in names


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
@pytest.mark.parametrize("bad", ["text", "complex", "objects", "ragged", "masked", "dates"])
def test_types_invalid(name: str, argument: str, bad: str) -> None:
    call = CALLS[name]
    value = call.arguments[argument]
    values: dict[str, Any] = {
        "text": value.astype(str),
        "complex": value.astype(complex) + 1j,
        "objects": np.full(value.shape, None),
        "ragged": [[1.0], [1.0, 2.0]],
        "masked": np.ma.masked_array(value, np.ones(value.shape, bool)),
        "dates": value.astype(np.int64).astype("datetime64[s]"),
    }
    refused(call, **{argument: values[bad]})


#: Arrays that need no others, of which none in is none out.
ALONE = {
    ("point_lens_excess", "time"),
    ("finite_source", "u"),
    ("redshift_scan", "log_1pz"),
    ("trace_grid", "wavelength"),
    ("disperse_onto", "image"),
}


@pytest.mark.parametrize(("name", "argument"), [a for a in ARRAYS if a not in FREE | ALONE])
def test_nothing_empty(name: str, argument: str) -> None:
    """No elements in one array where the others have some."""
    call = CALLS[name]
    refused(call, **{argument: call.arguments[argument][..., :0]})


#: Arrays in which NaN says that there is nothing, or which C may read as they are.
MAY_BE_NAN = {
    ("splat", "image"),
    ("render", "out"),
    ("padded", "image"),
    ("matched_sums", "image"),
    ("matched_sums", "weight"),
    ("position_sums", "image"),
    ("position_sums", "weight"),
    ("event_search", "flux"),
    ("event_search", "flux_err"),
    ("point_lens_fit", "seed_t0"),
    ("point_lens_fit", "seed_teff"),
    ("trace_grid", "x0"),
    ("trace_grid", "y0"),
    ("trace_grid", "wavelength"),
    ("disperse_onto", "image"),
    ("disperse_adjoint", "pixels"),
    ("add_exposure sums", "sums"),
}


@pytest.mark.parametrize(("name", "argument"), [a for a in ARRAYS if a not in FREE | MAY_BE_NAN])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_invalid(name: str, argument: str, bad: float) -> None:
    call = CALLS[name]
    values = call.arguments[argument].astype(float)
    values.flat[-1] = bad
    refused(call, **{argument: values})


@pytest.mark.parametrize(("name", "argument"), sorted(MAY_BE_NAN))
def test_nan_is_no_crash(name: str, argument: str) -> None:
    call = CALLS[name]
    values = call.arguments[argument].copy()
    values.flat[:] = np.nan
    call(**{argument: values})


@pytest.mark.parametrize(("name", "argument"), COUNTS)
@pytest.mark.parametrize("bad", [-(10**9), 2**31, 10**30, 2.5, float("nan"), "7", None, np.ones(2)])
def test_counts_invalid(name: str, argument: str, bad: Any) -> None:
    if argument == "coarse_above" and isinstance(bad, int) and bad == 2**31:
        bad = 2**63  # of 64 bits, unlike the others
    assert refused(CALLS[name], **{argument: bad}).field in {argument, "shape", "ny, nx", "ny, nx, pad"}


@pytest.mark.parametrize(("name", "argument"), NUMBERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf"), "a", None, 1j, [1.0, 2.0]])
def test_numbers_invalid(name: str, argument: str, bad: Any) -> None:
    assert refused(CALLS[name], **{argument: bad}).field in {argument, "optics"}


@pytest.mark.parametrize(
    ("name", "change", "field"),
    [
        ("event_search", {"mjd": np.arange(40.0)[::-1]}, "mjd"),
        ("event_search", {"teff_min": 0.0}, "teff_min"),
        ("event_search", {"teff_max": 0.01}, "teff_max"),
        ("event_search", {"mjd": np.linspace(0, 1e9, 40), "teff_min": 1e-4}, "teff_min"),
        ("point_lens_fit", {"start": np.array([0, 30, 20])}, "start"),
        ("point_lens_fit", {"start": np.array([0, 25, 41])}, "start"),
        ("point_lens_fit", {"start": np.array([-1, 25, 40])}, "start"),
        ("point_lens_fit", {"start": np.array([0, 40])}, "start"),
        ("point_lens_fit", {"start": np.array([0.0, 24.5, 40.0])}, "start"),
        ("point_lens_fit", {"seed_start": np.array([0, 2])}, "seed_start"),
        ("point_lens_fit", {"seed_start": np.array([1, 1])}, "seed_start"),
        ("point_lens_fit", {"n_bands": 0}, "n_bands"),
        ("point_lens_fit", {"n_bands": 9}, "n_bands"),
        ("point_lens_fit", {"time": np.arange(40.0)[::-1]}, "time"),
        ("point_lens_fit", {"weight": np.zeros(40)}, "weight"),
        ("point_lens_fit", {"u0": np.zeros(2)}, "u0"),
        ("point_lens_excess", {"te": 0.0}, "te"),
        ("finite_source", {"rho": 0.0}, "rho"),
        ("finite_source", {"limb": 1.01}, "limb"),
        ("nnls", {"matrix": np.eye(25), "right": np.ones(25)}, "matrix"),
        ("nnls", {"matrix": np.ones((3, 2))}, "matrix"),
        ("nnls", {"matrix": np.full((3, 3), 1e308)}, "matrix"),
        ("nnls", {"matrix": np.eye(3) * 1e-300}, "matrix"),
        ("LineTable", {"column": np.array([1])}, "column"),
        ("LineTable", {"column": np.array([-1])}, "column"),
        ("LineTable", {"width": np.array([1.0])}, "width"),
        ("LineTable", {"flux": np.array([-1.0])}, "flux"),
        ("LineTable", {"wavelength": np.array([0.0])}, "wavelength"),
        ("redshift_scan", {"lsf": np.zeros(60)}, "lsf"),
        ("redshift_scan", {"rate": -np.ones(2)}, "rate"),
        ("redshift_scan", {"wavelength": np.linspace(-1, 1, 60)}, "wavelength"),
        ("BinTrace", {"plane": np.full(8, -1)}, "plane"),
        ("BinTrace", {"plane": np.arange(8)[::-1]}, "plane"),
        ("BinTrace", {"plane": np.full(8, 2**31)}, "plane"),
        ("BinTrace", {"share": np.full(8, 1.5)}, "share"),
        ("BinTrace", {"x": np.full(9, 1e7)}, "x, y"),
        ("joint_fit", {"basis": np.ones((9, *FRAME.shape))}, "basis"),
        ("exposure_fit", {"basis": np.ones((9, *FRAME.shape))}, "basis"),
        ("exposure_fit", {"basis": np.ones((0, *FRAME.shape))}, "basis"),
        ("exposure_fit", {"weight": -np.ones(FRAME.shape)}, "weight"),
        ("Stamps", {"samples": np.ones((2, 29, 30))}, "samples"),
        ("Stamps factors", {"along": np.ones((2, 30, 3)), "across": np.ones((3, 30))}, "samples"),
        ("SplinePsf", {"oversample": 65}, "oversample"),
        ("Stars", {"half": np.array([3.5, 7, 3])}, "half"),
        ("Stars", {"half": np.array([3, 7, 2**31])}, "half"),
    ],
)
def test_ranges_invalid(name: str, change: dict[str, Any], field: str) -> None:
    assert refused(CALLS[name], **change).field == field


@pytest.mark.parametrize("half", [0, -5, 4, 67])
@pytest.mark.parametrize(
    "name", ["psf_stamps", "splat", "render", "matched_sums", "position_sums", "joint_fit", "exposure_fit"]
)
def test_stars_invalid(name: str, half: int) -> None:
    call = CALLS[name]
    for stars, at in (
        (photometry.Stars.of([5.0], [5.0], half), "half"),
        (photometry.Stars.of([1e15], [5.0], 3), "x, y"),
        (photometry.Stars.of([5.0], [-40.0], 3), "x, y"),
    ):
        if name == "psf_stamps" and at == "x, y":
            continue
        change = {a: np.ones(1) for a in ("scale", "flux", "start", "expected") if a in call.arguments}
        given = call.fixed | {"stars": [stars] if name == "joint_fit" else stars}
        changed = Call(call.function, call.arguments, (), fixed=given)
        assert refused(changed, **change).field == at


NO_STARS = photometry.Stars.of([], [], 3)


def test_no_stars_empty() -> None:
    """No stars are an image of nothing, and no rows; a fit of none is refused by name."""
    assert photometry.psf_stamps(PSF, NO_STARS) == []
    assert not photometry.render(PSF, FRAME, NO_STARS, []).any()
    assert not photometry.splat(PSF, FRAME, NO_STARS, [], IMAGE).any()
    assert photometry.matched_sums(PSF, FRAME, NO_STARS, IMAGE, IMAGE).shape == (0, 2)
    assert photometry.position_sums(PSF, FRAME, NO_STARS, IMAGE, IMAGE).shape == (0, 9)
    for name in ("joint_fit", "exposure_fit"):
        call = CALLS[name]
        given = call.fixed | {"stars": [NO_STARS] if name == "joint_fit" else NO_STARS}
        assert refused(Call(call.function, call.arguments, (), fixed=given)).field == "stars"


def test_no_curves_empty() -> None:
    none = np.zeros(0)
    change = {
        "start": [0],
        "time": none,
        "flux": none,
        "weight": none,
        "seed_start": [0],
        "seed_t0": none,
        "seed_teff": none,
    }
    assert CALLS["point_lens_fit"](**change).theta.shape == (0, 3)
    assert refused(CALLS["point_lens_fit"], **(change | {"start": []})).field == "start"
    # A curve without points, and one without seeds.
    change |= {"start": [0, 0, 0], "seed_start": [0, 0]}
    assert np.isnan(CALLS["point_lens_fit"](**change).theta).all()


def test_nothing_in_nothing_out_empty() -> None:
    none = np.zeros(0)
    assert events.point_lens_excess(none, 0, 1, 1).shape == (0,)
    assert events.finite_source(none, 0.1).shape == (0,)
    assert len(CALLS["event_search"](mjd=none, flux=np.zeros((2, 0)), flux_err=np.zeros((2, 0))).t0) == 2
    assert CALLS["redshift_scan"](log_1pz=none).amplitude.shape == (0, 4)
    assert refused(CALLS["redshift_scan"], wavelength=none, flux=none, weight=none, lsf=none).field == "wavelength"
    assert refused(CALLS["nnls"], matrix=np.zeros((0, 0)), right=none).field == "matrix"
    assert spectra.trace_grid(CALLS["trace_grid"].fixed["optics"], none, none, none)[0].shape == (0, 0)
    assert spectra.trace_points(CALLS["trace_grid"].fixed["optics"], none, none, none)[0].shape == (0,)
    row, column, area, start = dispersion.clip_quads(np.zeros((0, 4)), np.zeros((0, 4)), (5, 5))
    assert (len(row), len(column), len(area), start.tolist()) == (0, 0, 0, [0])
    assert refused(CALLS["BinTrace"], x=[1.0], y=[1.0], plane=none, share=none).field == "x"
    sums = grid.GridSums.zeros((0, 0))
    grid.add_exposure(sums, FIELD, FRAME, np.zeros((2, 0, 0)), IMAGE, IMAGE)
    assert sums.signal.size == 0


def test_planes_beyond_the_stamps_invalid() -> None:
    trace = dispersion.BinTrace(TRACE.x, TRACE.y, np.ones(8), np.full(8, 0.5))
    for call in (
        lambda: dispersion.disperse(STAMPS, trace, np.ones(8), trace.box(STAMPS, 60)),
        lambda: dispersion.disperse_adjoint(STAMPS, trace, np.ones((60, 80)), dispersion.CutoutBox(0, 0, 60, 80)),
    ):
        with pytest.raises(InputError, match="field plane"):
            call()
    with pytest.raises(InputError, match="box"):
        dispersion.disperse(STAMPS, TRACE, np.ones(8), dispersion.CutoutBox(0, 0, 20, 20))


@pytest.mark.parametrize("sizes", [(2**20, 2**20, 0), (2**16, 2**16, 0), (5, 5, 2**20)])
def test_sizes_beyond_32_bits_invalid(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(InputError, match="elements"):
        photometry.PaddedFrame(*sizes)
    with pytest.raises(InputError):
        grid.GridSums.zeros((2**19, 2**19))
    with pytest.raises(InputError, match="elements"):
        dispersion.CutoutBox(0, 0, 2**20, 2**20)
    with pytest.raises(InputError, match="elements"):  # a quadrilateral over a whole huge image
        dispersion.clip_quads([[-1.0, 2e6, 2e6, -1.0]], [[-1.0, -1.0, 2e6, 2e6]], (2**20, 2**20))


def test_what_is_written_to_invalid() -> None:
    fixed = np.zeros(FRAME.shape, np.float32)
    fixed.flags.writeable = False
    raw = np.zeros(4 * FRAME.shape[0] * FRAME.shape[1] + 1, np.uint8)[1:].view(np.float32).reshape(FRAME.shape)
    for out in (fixed, raw, IMAGE.astype(">f4"), IMAGE.tolist(), IMAGE[:, ::2], IMAGE.T):
        assert refused(CALLS["render"], out=out).field == "out"
    sums = np.zeros((2, 2, 32, 32), np.float32)
    sums.flags.writeable = False
    assert refused(CALLS["add_exposure sums"], sums=sums).field == "sums"


def test_unusual_layouts_are_converted() -> None:
    """Strides, byte orders and types do not matter to arguments that are only read."""
    expected = CALLS["finite_source"]()
    u = CALLS["finite_source"].arguments["u"]
    for layout in (np.repeat(u, 2)[::2], u.astype(">f8"), list(u), np.array(list(u), object), u.astype(np.longdouble)):
        assert CALLS["finite_source"](u=layout).tobytes() == expected.tobytes()


# --- anything at all ------------------------------------------------------------------------------------

DTYPES = st.sampled_from(["f4", "f8", ">f8", "i4", "i8", "u1", "u8", "?", "c8", "f2", "S3", "U2", "M8[s]", "O"])
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=7)
SPECIAL = [0, 1, -1, 2, 3, 7, 1e-320, 1e-30, 0.5, 1e6, 1e9, 2**31, 1e30, 1e300, np.nan, np.inf, -np.inf]


def _any_array(draw: st.DrawFn, call: Call, argument: str) -> Any:
    like = call.arguments[argument]
    kind = draw(st.sampled_from(["shape", "values", "dtype", "view"]))
    if kind == "shape":
        shape = draw(SHAPES)
        return np.full(shape, draw(st.sampled_from(SPECIAL)))
    if kind == "values":
        values = like.astype(float)
        for _ in range(draw(st.integers(1, 4))):
            values.flat[draw(st.integers(0, max(values.size - 1, 0)))] = draw(st.sampled_from(SPECIAL))
        return values
    if kind == "dtype":
        with np.errstate(all="ignore"):
            return like.astype(draw(DTYPES))
    return draw(
        st.sampled_from([like[::-1], like[..., ::2], like[:0], like[..., None], np.asfortranarray(like), like.T])
    )


def outcome(call: Call, change: dict[str, Any]) -> str:
    with np.errstate(all="ignore"):
        try:
            call(**change)
        except InputError as error:
            return "error that names its argument" if error.field else f"{error} of nothing"
        except KernelError as error:
            return "not constrained" if "not constrained" in str(error) else str(error)
    return "result"


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("name", CALLS)
def test_anything_invalid(name: str, data: st.DataObject) -> None:
    """Random shapes, types and values of some arguments: a result or an error that names one, never a crash."""
    call = CALLS[name]
    arguments = [*call.arrays, *call.counts, *call.numbers]
    chosen = data.draw(st.lists(st.sampled_from(arguments), min_size=1, max_size=3, unique=True))
    change: dict[str, Any] = {}
    for argument in chosen:
        if argument in call.arrays:
            change[argument] = _any_array(data.draw, call, argument)
        else:
            change[argument] = data.draw(st.sampled_from([*SPECIAL, 5, 64, True, "3", None]))
    if name in ("PaddedFrame", "GridSums.zeros"):  # sizes are asked for, not filled
        change = {k: v for k, v in change.items() if not (isinstance(v, (int, float)) and 1e5 < v < 1e7)}
    assert outcome(call, change) in {"result", "error that names its argument", "not constrained"}
