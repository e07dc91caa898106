"""Headers and images: values, footprints, and files that are whole but wrong."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from roman_assets.exposures.level2.header import (
    FOOTPRINT_FROM_TARGET,
    PHOTOMETRY_MISSING,
    PHOTOMETRY_NOT_POSITIVE,
    VISIT_FROM_NAME,
)
from roman_assets.exposures.level2.reader import CONSTANT_IMAGE, PixelGates, read_header, read_image, validate
from roman_assets.exposures.rejection import Reason, Rejected
from tests.exposures.level2_files import NAME, SIDE, SKY, write


def refused(path, check=read_header, **options) -> Reason:
    with pytest.raises(Rejected, match="Remedy") as caught:
        check(path, **options)
    return caught.value.reason


def test_header_values(parts, tmp_path):
    header = read_header(write(tmp_path, parts))
    assert header.exposure_id == "r0000201001001001001_0001_wfi01_f146"
    assert (header.visit_id, header.exposure, header.program) == ("0000201001001001001", 1, 2)
    assert (header.detector, header.optical_element, header.kind) == ("WFI01", "F146", "imaging")
    assert header.start_time.isoformat() == "2027-03-01T02:00:00+00:00"
    assert header.day == "2027-03-01"
    # 2027-03-01T02:00:33 UTC
    assert header.mid_mjd == pytest.approx(61465 + (2 * 3600 + 33) / 86400, abs=1e-9)
    assert header.exptime_s == 66.0
    assert header.shape == (SIDE, SIDE)
    assert (header.ra_center, header.dec_center) == pytest.approx((268.0, -29.2), abs=1e-9)
    assert (header.conversion_megajanskys, header.pixel_area_sr) == (0.25, 2.8e-13)
    assert header.caveats == ()
    assert header.schema == "wfi_image-2.2.0"


def test_footprint_is_that_of_gwcs(parts, tmp_path):
    image = read_image(write(tmp_path, parts))
    numbers = [float(text) for text in image.header.s_region.split()[2:]]
    edge = SIDE - 0.5
    for i, (x, y) in enumerate([(-0.5, -0.5), (edge, -0.5), (edge, edge), (-0.5, edge)]):
        ra, dec = image.wcs(x, y)
        assert numbers[2 * i : 2 * i + 2] == pytest.approx([ra, dec], abs=1e-9)


def test_footprints_of_shared_files_are_those_of_gwcs(shared_data):
    """Distortion polynomials, affine matrices and a frame in between, against gwcs."""
    paths = [
        *sorted(shared_data.glob("bulge_scene/wfi0*/*.asdf"))[::27],
        *sorted(shared_data.glob("grism_scene/*.asdf"))[:1],
    ]
    assert len(paths) >= 3
    for path in paths:
        image = read_image(path)
        header = image.header
        assert FOOTPRINT_FROM_TARGET not in header.caveats
        ny, nx = header.shape
        ra, dec = image.wcs((nx - 1) / 2, (ny - 1) / 2)
        assert (header.ra_center, header.dec_center) == pytest.approx((ra, dec), abs=1e-9)
        corner = image.wcs(nx - 0.5, ny - 0.5)
        assert [float(t) for t in header.s_region.split()[6:8]] == pytest.approx(list(corner), abs=2e-9)


def test_dispersed_shared_file(shared_data):
    path = sorted(shared_data.glob("grism_scene/*_grism_cal.asdf"))[0]
    header = read_header(path)
    assert (header.kind, header.optical_element, header.exposure_type) == ("spectral", "GRISM", "WFI_SPECTRAL")
    assert set(header.caveats) == {VISIT_FROM_NAME, PHOTOMETRY_MISSING}
    assert np.isnan(header.conversion_megajanskys)


def test_reading_a_header_imports_no_slow_package(parts, tmp_path):
    code = (
        "import sys; from roman_assets.exposures.level2.reader import read_header; read_header(sys.argv[1]); "
        "print([m for m in ('asdf', 'roman_datamodels', 'gwcs', 'astropy', 'dagster') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(write(tmp_path, parts))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_image_planes(parts, tmp_path):
    path = write(tmp_path, parts)
    image = read_image(path)
    assert image.data.dtype == image.err.dtype == image.var_poisson.dtype == np.float32
    assert image.dq.dtype == np.uint32
    assert image.data.shape == image.dq.shape == (SIDE, SIDE)
    assert np.median(image.data) == pytest.approx(SKY, abs=0.2)
    assert image.err[0, 0] == 0.5
    assert image.var_poisson[0, 0] == np.float32(np.float16(0.2))
    assert image.wcs.bounding_box is None
    assert np.isfinite(image.wcs(-100, 5000)[0])
    image.data += 1.0  # the planes are the caller's own
    checked, _ = validate(path)
    assert read_image(path, sha256=checked.sha256).header == image.header
    assert refused(path, read_image, sha256="0" * 64) is Reason.SHA256_MISMATCH


def test_float16_planes_do_not_overflow(parts, tmp_path):
    """Summed as float16, a plane of 60000 overflows at the second pixel."""
    large = parts.pixels("err", np.full((SIDE, SIDE), 60000, np.float16))
    assert read_image(write(tmp_path, large)).err.sum() == 60000.0 * SIDE * SIDE


# ---- name against header ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        ("detector: WFI01", "detector: WFI02"),
        ("optical_element: F146", "optical_element: F087"),
        ("visit_id: '0000201001001001001'", "visit_id: '0000201001001001002'"),
        ("exposure: 1,", "exposure: 2,"),
        (f"filename: {NAME}", f"filename: {NAME.replace('_0001_', '_0002_')}"),
    ],
)
def test_name_unlike_header(parts, tmp_path, change):
    assert refused(write(tmp_path, parts.edit(change))) is Reason.NAME_HEADER_MISMATCH


def test_name_without_element_takes_that_of_the_header(parts, tmp_path):
    path = write(tmp_path, parts, NAME.replace("_f146", ""))
    assert read_header(path).exposure_id == "r0000201001001001001_0001_wfi01_f146"


def test_filler_in_the_header_is_a_caveat(parts, tmp_path):
    filler = parts.edit(("visit_id: '0000201001001001001'", "visit_id: '?'"), (NAME, "'?'"))
    assert read_header(write(tmp_path, filler)).caveats == (VISIT_FROM_NAME,)


def test_bad_name(parts, tmp_path):
    assert refused(write(tmp_path, parts, "image.asdf")) is Reason.BAD_NAME


# ---- photometry ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conversion", "area", "caveats"),
    [
        ("0.25", "2.8e-13", ()),
        ("-0.25", "-2.8e-13", (PHOTOMETRY_NOT_POSITIVE,)),  # romanisim without CRDS: their product is positive
        ("-0.25", "2.8e-13", (PHOTOMETRY_NOT_POSITIVE,)),
        ("0.0", "2.8e-13", (PHOTOMETRY_NOT_POSITIVE,)),
        ("0.25", "-999999.0", (PHOTOMETRY_NOT_POSITIVE,)),
        ("null", "null", (PHOTOMETRY_MISSING,)),
        (".nan", "2.8e-13", (PHOTOMETRY_MISSING,)),
        ("null", "-1.0", (PHOTOMETRY_MISSING, PHOTOMETRY_NOT_POSITIVE)),
    ],
)
def test_photometry_is_reported(parts, tmp_path, conversion, area, caveats):
    edited = parts.edit(
        ("conversion_megajanskys: 0.25", f"conversion_megajanskys: {conversion}"),
        ("pixel_area: 2.8e-13", f"pixel_area: {area}"),
    )
    assert read_header(write(tmp_path, edited)).caveats == caveats


# ---- headers that are wrong ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("optical_element: F146", "optical_element: F999"), Reason.HEADER_INVALID),
        (("exposure_time: 66.0", "exposure_time: -1.0"), Reason.HEADER_INVALID),
        (("exposure_time: 66.0", "exposure_time: .inf"), Reason.HEADER_INVALID),
        (("      exposure_time: 66.0\n", ""), Reason.HEADER_MISSING),
        (("02:01:06.000", "01:01:06.000"), Reason.HEADER_INVALID),
        (("2027-03-01T02:00:00.000", "yesterday"), Reason.HEADER_INVALID),
        (("type: WFI_IMAGE", "type: WFI_SPECTRAL"), Reason.HEADER_INVALID),
        (("detector: WFI01", "detector: WFI99"), Reason.HEADER_INVALID),
        (("datatype: float32", "datatype: int32"), Reason.HEADER_INVALID),
        ((f"shape: [{SIDE}, {SIDE}]", "shape: [16, 32]"), Reason.HEADER_INVALID),
        ((f"shape: [{SIDE}, {SIDE}]", "shape: [1024]"), Reason.HEADER_INVALID),
        (("\n  err: ", "\n  error: "), Reason.HEADER_MISSING),
        (("wfi_image-2.2.0", "mosaic-2.2.0"), Reason.NOT_LEVEL_2),
        (("\nroman: ", "\nroamn: "), Reason.NOT_LEVEL_2),
    ],
)
def test_wrong_header(parts, tmp_path, change, reason):
    path = write(tmp_path, parts.edit(change))
    assert refused(path) is reason
    assert refused(path, validate) is reason


@pytest.mark.parametrize(
    "change",
    [
        ("factor: -3.0555555555555554e-05", "factor: 0.0"),
        ("factor: 3.0555555555555554e-05", "factor: 3.0"),
        ("factor: 3.0555555555555554e-05", "factor: .nan"),
    ],
)
def test_degenerate_wcs(parts, tmp_path, change):
    assert refused(write(tmp_path, parts.edit(change))) is Reason.WCS


def test_wcs_that_only_gwcs_can_evaluate(parts, tmp_path):
    """The cheap path says that it took the target; the full validation computes the footprint."""
    odd = parts.edit(("!transform/gnomonic-1.4.0", "!transform/stereographic-1.4.0"))
    path = write(tmp_path, odd)
    cheap = read_header(path)
    assert cheap.caveats == (FOOTPRINT_FROM_TARGET,)
    assert (cheap.ra_center, cheap.dec_center) == (268.0, -29.2)
    _, full = validate(path)
    assert full.caveats == ()
    assert full.s_region.startswith("POLYGON ICRS 268.0")


def test_time_scale_other_than_utc(parts, tmp_path):
    tai = parts.edit(
        (
            "start_time: !time/time-1.4.0 2027-03-01T02:00:00.000",
            "start_time: !time/time-1.4.0 {value: '2027-03-01T02:00:00.000', scale: tai}",
        )
    )
    assert refused(write(tmp_path, tai)) is Reason.HEADER_INVALID


# ---- schema and pixels -----------------------------------------------------------------------------------


def test_missing_meta_fails_the_schema_on_ingest(parts, tmp_path):
    """roman_datamodels notices on save only."""
    path = write(tmp_path, parts.sub(r"\n    telescope: ROMAN", ""))
    assert refused(path, validate) is Reason.SCHEMA
    _, header = validate(path, full=False)
    assert header.exposure_id == "r0000201001001001001_0001_wfi01_f146"
    _, header = validate(path, waived=lambda sha256: {Reason.SCHEMA})
    assert header.caveats == ("released_schema",)


def test_unknown_schema_version(parts, tmp_path):
    path = write(tmp_path, parts.edit(("tags/wfi_image-2.2.0", "tags/wfi_image-99.0.0")))
    assert refused(path, validate) is Reason.SCHEMA


def test_all_nan_image(parts, tmp_path):
    path = write(tmp_path, parts.pixels("data", np.full((SIDE, SIDE), np.nan, np.float32)))
    assert refused(path, validate) is Reason.FINITE_FRACTION
    _, header = validate(path, waived=lambda sha256: {Reason.FINITE_FRACTION})
    assert header.caveats == ("released_finite_fraction",)
    validate(path, gates=None)


def test_finite_fraction_counts_usable_pixels_only(parts, tmp_path):
    data = np.full((SIDE, SIDE), 5, np.float32)
    data[: 3 * SIDE // 4] = np.nan
    dq = np.zeros((SIDE, SIDE), np.uint32)
    assert refused(write(tmp_path, parts.pixels("data", data)), validate) is Reason.FINITE_FRACTION
    dq[: 3 * SIDE // 4] = 1  # DO_NOT_USE
    flagged = parts.pixels("data", data).pixels("dq", dq)
    assert validate(write(tmp_path, flagged))[1].caveats == (CONSTANT_IMAGE,)
    dq[: 3 * SIDE // 4] = 4  # JUMP_DET is repaired: the pixel counts
    flagged = parts.pixels("data", data).pixels("dq", dq)
    assert refused(write(tmp_path, flagged), validate) is Reason.FINITE_FRACTION


@pytest.mark.parametrize("level", [-1e4, 1e6, 1e30])
def test_absurd_sky(parts, tmp_path, level):
    path = write(tmp_path, parts.pixels("data", np.full((SIDE, SIDE), level, np.float32)))
    assert refused(path, validate) is Reason.SKY_LEVEL
    validate(path, gates=PixelGates(min_sky=-1e38, max_sky=1e38))


@pytest.mark.parametrize(
    ("plane", "values", "reason"),
    [
        ("err", np.zeros((SIDE, SIDE), np.float16), Reason.ERROR_PLANE),
        ("dq", np.full((SIDE, SIDE), 2, np.uint32), Reason.SATURATED),
        (
            "data",
            np.where(np.arange(SIDE) % 3, 5, 3e38).astype(np.float32)[:, None].repeat(SIDE, 1),
            Reason.PIXEL_VALUES,
        ),
    ],
)
def test_judgements_of_planes_can_be_overruled(parts, tmp_path, plane, values, reason):
    path = write(tmp_path, parts.pixels(plane, values))
    assert refused(path, validate) is reason
    _, header = validate(path, waived=lambda sha256: {reason})
    assert f"released_{reason.value}" in header.caveats


@pytest.mark.parametrize("version", ["1.0.0", "1.3.0", "2.1.0"])
def test_headers_of_earlier_versions_of_the_data_model(parts, tmp_path, version):
    header = read_header(write(tmp_path, parts.edit(("wfi_image-2.2.0", f"wfi_image-{version}"))))
    assert (header.schema, header.caveats) == (f"wfi_image-{version}", ())


def test_footprint_counted_along_the_other_axis_is_the_same(parts, tmp_path):
    """gwcs counts corners along y first; a part of a detector has the footprint of all of it."""
    ours = read_header(write(tmp_path, parts)).s_region.split()
    pairs = [ours[i : i + 2] for i in (2, 4, 6, 8)]
    other = " ".join(["POLYGON ICRS", *(word for i in (0, 3, 2, 1) for word in pairs[i])])
    whole = "POLYGON ICRS 268.001 -29.201 267.999 -29.201 267.999 -29.199 268.001 -29.199"
    for region in (" ".join(ours), other, whole, "POLYGON ICRS 1 2 3", "CIRCLE 1 2 3"):
        edited = parts.edit(("s_region: '?'", f"s_region: {region}"))
        assert read_header(write(tmp_path, edited)).caveats == ()
    mirrored = " ".join(["POLYGON ICRS", *(word for i in (1, 0, 3, 2) for word in pairs[i])])
    edited = parts.edit(("s_region: '?'", f"s_region: {mirrored}"))
    assert read_header(write(tmp_path, edited)).caveats == ("wcs_unlike_footprint",)


def test_a_footprint_that_only_gwcs_can_evaluate_is_compared_too(parts, tmp_path):
    region = "POLYGON ICRS 267.999 -29.201 268.001 -29.201 268.001 -29.199 267.999 -29.199"
    odd = parts.edit(
        ("!transform/gnomonic-1.4.0", "!transform/stereographic-1.4.0"), ("s_region: '?'", f"s_region: {region}")
    )
    _, header = validate(write(tmp_path, odd))
    assert header.caveats == ("wcs_unlike_footprint",)
