"""Spectra of the user's own: layouts, units, uncertainties, and errors that say what to do."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.io import fits
from astropy.table import Table

from roman_assets.errors import InputError
from roman_assets.systems.gdps.redshift.measure import measure_redshift
from roman_assets.systems.gdps.spectra.files import GRISM_LSF_SIGMA, read_spectra
from tests.systems.gdps.galaxy_spectra import NOISE, WAVELENGTH, star_forming

SPECTRUM = star_forming(1.55)
#: 1 W m-2 nm-1 is 100 erg s-1 cm-2 Angstrom-1.
CGS = 100.0
CGS_UNIT = "erg/(s cm2 Angstrom)"


def table(**changes):
    columns = {
        "WAVELENGTH": (10 * WAVELENGTH, "Angstrom"),
        "FLUX": (CGS * SPECTRUM.flux, CGS_UNIT),
        "ERROR": (np.full(len(WAVELENGTH), CGS * NOISE), CGS_UNIT),
    } | changes
    result = Table()
    for name, found in columns.items():
        if found is not None:
            result[name] = found[0]
            result[name].unit = found[1]
    return result


def written(folder, found, name="spectrum.fits"):
    path = folder / name
    found.write(path)
    return path


def same(spectrum):
    np.testing.assert_allclose(spectrum.wavelength, WAVELENGTH, rtol=1e-9)
    np.testing.assert_allclose(spectrum.flux, SPECTRUM.flux, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(spectrum.variance, NOISE**2, rtol=1e-6)


def test_fits_with_units(tmp_path):
    (spectrum,) = read_spectra(written(tmp_path, table())).values()
    same(spectrum)
    assert spectrum.lsf_sigma == pytest.approx(GRISM_LSF_SIGMA)
    assert measure_redshift(spectrum).z == pytest.approx(1.55, abs=5e-4)


@pytest.mark.parametrize(
    "column", [{"IVAR": np.full(846, (CGS * NOISE) ** -2)}, {"VARIANCE": np.full(846, (CGS * NOISE) ** 2)}]
)
def test_other_uncertainties(tmp_path, column):
    ((name, values),) = column.items()
    (spectrum,) = read_spectra(written(tmp_path, table(ERROR=None, **{name: (values, None)}))).values()
    same(spectrum)


def test_ivar_zero_is_no_weight(tmp_path):
    ivar = np.full(846, (CGS * NOISE) ** -2)
    ivar[:10] = 0
    (spectrum,) = read_spectra(written(tmp_path, table(ERROR=None, IVAR=(ivar, None)))).values()
    assert spectrum.good.sum() == 836


def test_flux_per_frequency(tmp_path):
    """f_nu = f_lambda lambda^2 / c, here in microjansky."""
    jansky = SPECTRUM.flux * 1e9 * (WAVELENGTH * 1e-9) ** 2 / 299792458.0 / 1e-32
    error = NOISE * 1e9 * (WAVELENGTH * 1e-9) ** 2 / 299792458.0 / 1e-32
    (spectrum,) = read_spectra(written(tmp_path, table(FLUX=(jansky, "uJy"), ERROR=(error, "uJy")))).values()
    same(spectrum)


def test_units_from_the_caller_and_log_wavelengths(tmp_path):
    found = table(
        WAVELENGTH=None,
        LOGLAM=(np.log10(10 * WAVELENGTH), None),
        FLUX=(CGS * SPECTRUM.flux, None),
        ERROR=(np.full(846, CGS * NOISE), None),
    )
    path = written(tmp_path, found)
    (spectrum,) = read_spectra(path, units={"flux": CGS_UNIT}, lsf_sigma=1.2).values()
    same(spectrum)
    assert (spectrum.lsf_sigma == 1.2).all()
    with pytest.raises(InputError, match="states no unit") as error:
        read_spectra(path)
    assert error.value.field == "flux"


def test_optional_columns(tmp_path):
    extra = {
        "FLAGS": (np.arange(846) % 2, None),
        "CONTAM": (np.full(846, CGS * 1e-20), CGS_UNIT),
        "LSF_SIGMA": (np.full(846, 15.0), "Angstrom"),
    }
    (spectrum,) = read_spectra(written(tmp_path, table(**extra))).values()
    assert spectrum.good.sum() == 423
    assert spectrum.contamination == pytest.approx(1e-20)
    assert spectrum.lsf_sigma == pytest.approx(1.5)


def test_extensions_and_rows_and_ids(tmp_path):
    units = fits.HDUList([fits.PrimaryHDU()])
    for name in ("A", "B"):
        hdu = fits.table_to_hdu(table())
        hdu.name = name
        units.append(hdu)
    units.writeto(tmp_path / "many.fits")
    assert list(read_spectra(tmp_path / "many.fits")) == ["A", "B"]
    vectors = Table({"TARGETID": [7, 8]})
    for name, values in (("WAVE", WAVELENGTH), ("FLUX", SPECTRUM.flux), ("ERR", np.full(846, NOISE))):
        vectors[name] = np.tile(values, (2, 1))
    vectors["WAVE"].unit, vectors["FLUX"].unit = "nm", "W / (m2 nm)"
    found = read_spectra(written(tmp_path, vectors, "rows.fits"))
    assert list(found) == ["7", "8"]
    same(found["8"])


def arrow(names, metadata=None):
    fields = [pa.field(n, v.type, metadata={"unit": (metadata or {}).get(n, "")}) for n, v in names.items()]
    return pa.Table.from_arrays(list(names.values()), schema=pa.schema(fields))


def test_parquet_long_and_lists(tmp_path):
    values = {"wavelength": WAVELENGTH, "flux": SPECTRUM.flux, "variance": np.full(846, NOISE**2)}
    units = {"wavelength": "nm", "flux": "W m-2 nm-1"}
    long = {"id": pa.array(["a"] * 846 + ["b"] * 846)} | {k: pa.array(np.tile(v, 2)) for k, v in values.items()}
    pq.write_table(arrow(long, units), tmp_path / "long.parquet")
    lists = {"source_id": pa.array([1, 2])} | {k: pa.array([v.tolist()] * 2) for k, v in values.items()}
    pq.write_table(arrow(lists, units), tmp_path / "lists.parquet")
    for name, ids in (("long", ["a", "b"]), ("lists", ["1", "2"])):
        found = read_spectra(tmp_path / f"{name}.parquet")
        assert list(found) == ids
        same(found[ids[1]])
    pq.write_table(arrow(long), tmp_path / "bare.parquet")
    with pytest.raises(InputError, match="states no unit"):
        read_spectra(tmp_path / "bare.parquet")


@pytest.mark.filterwarnings("ignore:.*did not parse as fits unit")
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ERROR": None}, "no uncertainty"),
        ({"FLUX": None}, "no table with a wavelength and a flux"),
        ({"FLUX": (SPECTRUM.flux, "kg")}, "cannot become"),
        ({"FLUX": (SPECTRUM.flux, "furlong")}, "unknown"),
        ({"WAVELENGTH": (WAVELENGTH[::-1].copy(), "nm")}, "increasing"),
        ({"WAVELENGTH": (np.full(846, np.nan), "nm")}, "increasing"),
        ({"FLUX": (np.array(["x"] * 846), CGS_UNIT)}, "not numeric"),
    ],
)
def test_errors_say_what_to_do(tmp_path, changes, words):
    path = written(tmp_path, table(**changes))
    with pytest.raises(InputError, match=words) as error:
        read_spectra(path)
    assert "spectrum.fits" in str(error.value)
    assert error.value.remedy


def test_unreadable_files(tmp_path):
    for name in ("a.fits", "b.parquet"):
        (tmp_path / name).write_bytes(b"nothing of the kind" * 200)
        with pytest.raises(InputError, match="cannot be read"):
            read_spectra(tmp_path / name)
    with pytest.raises(InputError, match="no such file"):
        read_spectra(tmp_path / "c.fits")
    with pytest.raises(InputError, match="positive sigma"):
        read_spectra(written(tmp_path, table()), lsf_sigma=-1)


def test_air_wavelengths_are_refused(tmp_path):
    hdu = fits.table_to_hdu(table())
    hdu.header["AIRORVAC"] = "air"
    hdu.writeto(tmp_path / "air.fits")
    with pytest.raises(InputError, match="air"):
        read_spectra(tmp_path / "air.fits")


def test_twice_the_same_id(tmp_path):
    vectors = Table({"ID": ["x", "x"]})
    for name in ("WAVE", "FLUX", "ERR"):
        vectors[name] = np.tile(WAVELENGTH, (2, 1))
    vectors["WAVE"].unit, vectors["FLUX"].unit = "nm", "W / (m2 nm)"
    with pytest.raises(InputError, match="two spectra are called 'x'"):
        read_spectra(written(tmp_path, vectors, "twice.fits"))
