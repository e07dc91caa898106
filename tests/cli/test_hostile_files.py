"""Commands on files of users: whatever is in them, a result or one line that says what is wrong, never a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from roman_assets.cli import app
from roman_assets.errors import InputError
from tests.hostile import NOTHING, parquet

T = np.arange(30.0)
CURVES: dict[str, dict[str, object]] = {
    "huge fluxes": {"time": T, "flux": T * 1e300, "flux_err": T * 0 + 1e290},
    "tiny errors": {"time": T, "flux": T, "flux_err": T * 0 + 1e-160},
    "huge errors": {"time": T, "flux": T, "flux_err": T * 0 + 1e150},
    "infinite times": {"time": [np.inf] * 29 + [1.0], "flux": T, "flux_err": T * 0 + 1},
    "huge times": {"time": T * 1e300, "flux": T, "flux_err": T * 0 + 1},
    "one time": {"time": T * 0, "flux": T, "flux_err": T * 0 + 1},
    "two points": {"time": T[:2], "flux": T[:2], "flux_err": T[:2] + 1},
    "denormal times": {"time": T * 5e-324, "flux": T, "flux_err": T * 0 + 1},
    "a long span": {"time": T**20, "flux": T, "flux_err": T * 0 + 1},
    "constant": {"time": T, "flux": T * 0, "flux_err": T * 0 + 1},
    "negative": {"time": -T, "flux": -T, "flux_err": T * 0 + 1},
    "magnitudes at their ends": {"time": T, "mag": T * 0 + 44.9, "mag_err": T * 0 + 1e300},
    "an odd id": {"time": T, "flux": T, "flux_err": T + 1, "id": ["\x1b[2J[red]"] * 30},
}
WAVE = np.linspace(1000.0, 1900.0, 300)
SPECTRA: dict[str, dict[str, object]] = {
    "zero": {"flux": WAVE * 0, "error": WAVE * 0 + 1},
    "huge": {"flux": WAVE * 1e300, "error": WAVE * 0 + 1e300},
    "tiny": {"flux": WAVE * 1e-300, "error": WAVE * 0 + 1e-300},
    "errors below the smallest": {"flux": WAVE, "error": WAVE * 0 + 1e-320},
    "no good pixel": {"flux": WAVE * np.nan, "error": WAVE},
    "one good pixel": {"flux": np.where(WAVE > 1899, 1, np.nan), "error": WAVE},
    "far ultraviolet": {"wavelength": WAVE * 1e-6, "flux": WAVE, "error": WAVE},
    "radio": {"wavelength": WAVE * 1e6, "flux": WAVE, "error": WAVE},
    "from atoms to stars": {"wavelength": np.geomspace(1e-200, 1e200, 300), "flux": WAVE, "error": WAVE},
    "close pixels": {"wavelength": 1500 + np.arange(300) * 1e-9, "flux": WAVE, "error": WAVE, "lsf": WAVE * 1e-10},
    "narrow lsf": {"flux": WAVE, "error": WAVE, "lsf": WAVE * 1e-300},
    "wide lsf": {"flux": WAVE, "error": WAVE, "lsf": WAVE * 0.4},
}


def outcome(*arguments: str) -> str:
    """What a user sees: "result", or the error's sentence; any other exception is the test's failure."""
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, InputError):
        assert "\n" not in str(result.exception)
        assert result.exception.remedy
        return str(result.exception)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return "result"


@pytest.mark.parametrize("command", ["find-events", "fit-event"])
@pytest.mark.parametrize("name", CURVES)
@pytest.mark.filterwarnings("ignore")
def test_extreme_light_curves(tmp_path: Path, name: str, command: str) -> None:
    file = tmp_path / "curve.parquet"
    file.write_bytes(parquet(**CURVES[name]))
    outcome(command, str(file))


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.filterwarnings("ignore")
def test_extreme_spectra(tmp_path: Path, name: str) -> None:
    file = tmp_path / "spectrum.parquet"
    file.write_bytes(parquet(**({"wavelength": WAVE} | SPECTRA[name])))
    outcome("redshift", str(file), "--unit", "wavelength=nm", "--unit", "flux=W m-2 nm-1")


@pytest.mark.parametrize("command", ["find-events", "fit-event", "redshift"])
@pytest.mark.parametrize("name", ["empty", "random", "not utf-8", "cut gzip", "parquet magic only"])
def test_files_of_nothing_invalid(tmp_path: Path, name: str, command: str) -> None:
    for suffix in ("parquet", "fits", "csv"):
        file = tmp_path / f"own.{suffix}"
        file.write_bytes(NOTHING[name]())
        assert file.name in outcome(command, str(file))


@pytest.mark.parametrize(
    "options",
    [
        ["--t0", "nan"],
        ["--t0", "inf"],
        ["--te", "0"],
        ["--te", "-5"],
        ["--te", "nan"],
        ["--te", "1e300"],
        ["--column", "x"],
        ["--column", "x=y"],
        ["--values", "jansky"],
        ["--id", "nobody"],
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_options_of_a_fit(tmp_path: Path, options: list[str]) -> None:
    file = tmp_path / "curve.parquet"
    file.write_bytes(parquet(time=T, flux=10 + 50 / (1 + (T - 14) ** 2), flux_err=T * 0 + 1))
    seen = outcome("fit-event", str(file), *options)
    assert (seen == "result") == (options[0] in ("--t0", "--te") and options[1] == "1e300")


@pytest.mark.parametrize("lsf", ["0", "-1", "nan", "1e6"])
def test_lsf_of_a_redshift_invalid(tmp_path: Path, lsf: str) -> None:
    file = tmp_path / "spectrum.parquet"
    file.write_bytes(parquet(wavelength=WAVE, flux=WAVE, error=WAVE))
    assert "lsf" in outcome("redshift", str(file), "--lsf", lsf, "--unit", "wavelength=nm", "--unit", "flux=W m-2 nm-1")


@pytest.mark.parametrize("option", ["--days", "--visits", "--size", "--seasons"])
@pytest.mark.parametrize("value", ["0", "-3", "1000000000"])
def test_surveys_without_sense_invalid(tmp_path: Path, option: str, value: str) -> None:
    assert "Remedy" in outcome("simulate", str(tmp_path / "out"), option, value)
    assert not (tmp_path / "out").exists()
