"""What files say is shown, not obeyed, and chooses no path."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table
from typer.testing import CliRunner

from roman_assets.cli import app, common
from roman_assets.cli.common import file_names, print_reasons, untrusted

HOSTILE = [
    "[red]x[/red]",
    "[/]",
    "[link=http://example.org]x",
    "[bold",
    "a\x1b[31mb",
    "a\rb\nc",
    ":bomb:",
    "\udcff",
    "x\\[bold]y",
]


def shown_by(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Where the console of the commands writes to, as on a terminal of many colours."""
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, emoji=False, width=200, color_system="truecolor")
    monkeypatch.setattr(common, "console", console)
    return stream


@pytest.mark.parametrize("text", HOSTILE)
def test_untrusted_text_is_shown_as_it_is(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = shown_by(monkeypatch)
    common.console.print(f"before {untrusted(text)} after", highlight=False)
    table = Table("name")
    table.add_row(untrusted(text))
    common.console.print(table)
    print_reasons([(text, text)])
    plain = text.encode("unicode_escape").decode().replace("\\\\", "\\")
    assert f"before {plain} after" in stream.getvalue()
    assert stream.getvalue().count(plain) == 4
    assert "\x1b[31m" not in stream.getvalue()
    assert "\x1b]8" not in stream.getvalue()


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("UDS/1234", "UDS_1234.png"),
        ("1234", "1234.png"),
        ("J1234+05.6-x", "J1234+05.6-x.png"),
        ("../../x", "_.._.._x.png"),
        ("/etc/passwd", "_etc_passwd.png"),
        ("..", "_...png"),
        ("", "_.png"),
        ("-rf", "_-rf.png"),
        ("a\0b\nc", "a_b_c.png"),
        ("\udcff", "_.png"),
        ("C:\\x", "C__x.png"),
    ],
)
def test_a_name_of_an_id_stays_in_its_folder(id: str, name: str, tmp_path: Path) -> None:
    assert file_names([id], ".png") == {id: name}
    path = tmp_path / name
    path.write_bytes(b"x")
    assert [path] == list(tmp_path.iterdir())


def test_different_ids_have_different_names(tmp_path: Path) -> None:
    once = file_names(["UDS/1", "UDS_1"], ".png")
    ids = [
        "UDS/1",
        "UDS_1",
        "uds_1",
        once["UDS/1"].removesuffix(".png"),
        "x" * 300,
        "x" * 301,
        "x" * 100,
        "",
        "_",
        "é",
        "è",
    ]
    found = file_names(ids, ".png")
    assert list(found) == ids
    assert len({name.lower() for name in found.values()}) == len(ids)
    for name in found.values():
        (tmp_path / name).write_bytes(b"x")
    assert len(list(tmp_path.iterdir())) == len(ids)
    assert file_names(["UDS_1", "UDS/1"], ".png") == once  # in whatever order a table has them


def spectra_of(path: Path, names: list[str]) -> None:
    """A table of spectra by identifier: a flat continuum."""
    import polars as pl

    wavelength = np.arange(1000.0, 1900.0, 1.1)
    noise = np.random.default_rng(3).normal(0, 1e-20, (len(names), wavelength.size))
    rows = [{"id": n, "wavelength": w, "flux": f, "flux_err": 1e-20} for n, one in zip(names, noise, strict=True)
            for w, f in zip(wavelength, 1e-19 + one, strict=True)]  # fmt: skip
    pl.DataFrame(rows).write_parquet(path)


def test_pictures_of_redshifts_stay_in_their_folder(tmp_path: Path) -> None:
    """Hostile ids neither choose a path, nor lose the table, nor reach the formula writer of the pictures."""
    import polars as pl

    names = ["UDS/1234", "../escaped", "$\\frac$ [red]x"]
    spectra_of(tmp_path / "s.parquet", names)
    plots = tmp_path / "a" / "plots"
    units = ["--unit", "wavelength=nm", "--unit", "flux=W m-2 nm-1", "--unit", "flux_err=W m-2 nm-1"]
    arguments = ["redshift", str(tmp_path / "s.parquet"), "--plot", str(plots), "--out", str(tmp_path / "z.parquet")]
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, [*arguments, *units])
    assert result.exit_code == 0, result.output
    assert "$\\frac$ [red]x" in result.output
    assert sorted(path.name for path in plots.iterdir()) == sorted(file_names(names, ".png").values())
    assert {path.name for path in tmp_path.iterdir()} == {"s.parquet", "z.parquet", "a"}
    assert pl.read_parquet(tmp_path / "z.parquet")["id"].to_list() == names


def test_a_picture_that_cannot_be_made_loses_no_redshift(tmp_path: Path) -> None:
    import polars as pl

    spectra_of(tmp_path / "s.parquet", ["one"])
    (tmp_path / "plots").write_text("a file, not a folder")
    units = ["--unit", "wavelength=nm", "--unit", "flux=W m-2 nm-1", "--unit", "flux_err=W m-2 nm-1"]
    arguments = ["redshift", str(tmp_path / "s.parquet"), "--plot", str(tmp_path / "plots"), "--out"]
    result = CliRunner().invoke(app, [*arguments, str(tmp_path / "z.parquet"), *units])
    assert result.exit_code == 2
    assert "no picture of one" in result.output
    assert pl.read_parquet(tmp_path / "z.parquet").height == 1
