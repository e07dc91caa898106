"""Commands on a user's own spectra and dispersed exposures: redshift, extract, export-spectrum."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from rich import box
from rich.table import Table

from roman_assets.cli.common import OWN_DATA, SCIENCE_PRODUCTS, console, file_names, untrusted, workspace
from roman_assets.errors import InputError

if TYPE_CHECKING:
    import polars as pl

    from roman_assets.systems.gdps.spectra.spectrum import Spectrum


def redshift(
    path: Annotated[Path, typer.Argument(help="FITS or Parquet file of one-dimensional spectra.")],
    id: Annotated[list[str] | None, typer.Option("--id", help="Only these spectra; may be repeated.")] = None,
    unit: Annotated[
        list[str] | None,
        typer.Option("--unit", help="Unit the file does not give, such as wavelength=Angstrom; may be repeated."),
    ] = None,
    lsf: Annotated[float | None, typer.Option("--lsf", help="Sigma of the line-spread function [nm].")] = None,
    out: Annotated[Path | None, typer.Option(help="Parquet file for redshifts, densities and lines.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Folder for a picture of every redshift.")] = None,
) -> None:
    """Measure redshifts, their probabilities and emission lines of spectra of your own."""
    import polars as pl

    from roman_assets.systems.gdps.redshift.figure import redshift_figure
    from roman_assets.systems.gdps.redshift.measure import SCHEMA, measure_redshift, record
    from roman_assets.systems.gdps.spectra.files import read_spectra

    if wrong := [item for item in unit or () if "=" not in item]:
        raise InputError(f"{wrong[0]!r} names no unit", field="--unit", remedy="write it as wavelength=Angstrom")
    units = dict(item.split("=", 1) for item in unit or ())
    spectra = _chosen(read_spectra(path, units=units or None, lsf_sigma=lsf), id, path)
    rows, problems = [], []
    pictures = file_names(spectra, ".png")
    for name, spectrum in spectra.items():
        found = measure_redshift(spectrum)
        rows.append({"id": name, **record(found)})
        if plot is not None:
            try:  # the table is the result: what was measured is not lost with a picture
                plot.mkdir(parents=True, exist_ok=True)
                (plot / pictures[name]).write_bytes(redshift_figure(spectrum, found, name))
            except (OSError, ValueError, RuntimeError) as error:
                problems.append(f"no picture of {name}: {error}")
    table = pl.DataFrame(rows, schema={"id": pl.String, **SCHEMA})
    _show(table)
    if out is not None:
        table.write_parquet(out)
        console.print(f"written: {untrusted(out)}")
    for problem in problems:
        console.print(f"[yellow]{untrusted(problem)}[/yellow]", soft_wrap=True, highlight=False)
    if problems:
        raise typer.Exit(2)


def _chosen(spectra: dict[str, Spectrum], wanted: list[str] | None, path: Path) -> dict[str, Spectrum]:
    if not wanted:
        return spectra
    if missing := [name for name in wanted if name not in spectra]:
        raise InputError(
            f"no spectrum {', '.join(missing)}", file=path, field="--id", remedy="leave --id out to see all"
        )
    return {name: spectra[name] for name in wanted}


def _show(table: pl.DataFrame) -> None:
    from roman_assets.systems.gdps.redshift.zwarn import names

    shown = Table(title=f"{table.height} spectra", box=box.SIMPLE_HEAD)
    for heading in ("id", "z", "±", "class", "P", "lines", "warnings"):
        shown.add_column(heading, no_wrap=heading != "warnings")
    for row in table.iter_rows(named=True):
        first = row["solutions"][0]["probability"] if row["solutions"] else float("nan")
        lines = ", ".join(f"{line['name']} {line['sn']:.0f}σ" for line in row["lines"] if line["sn"] > 5)
        shown.add_row(
            untrusted(row["id"]),
            f"{row['z']:.5f}",
            f"{row['z_err']:.5f}",
            untrusted(row["class"] or "-"),
            f"{first:.3f}",
            lines or "-",
            ", ".join(names(row["zwarn"])) or "-",
        )
    console.print(shown)


def extract(
    exposures: Annotated[list[Path], typer.Argument(help="Dispersed Level 2 exposures, any number of rolls.")],
    catalogue: Annotated[Path, typer.Option(help="Source catalogue: Parquet file or folder.")],
    out: Annotated[Path, typer.Option(help="Folder for the spectra.")],
    reference: Annotated[
        Path | None, typer.Option(help="Folder of optical model and effective areas; the nominal ones otherwise.")
    ] = None,
    traces: Annotated[
        Path | None,
        typer.Option(help="aXe or GRISMCONF configuration of traces and dispersion, instead of the optical model."),
    ] = None,
    jointly: Annotated[
        bool, typer.Option(help="Solve for spectra that overlap over all exposures together: more memory and time.")
    ] = False,
) -> None:
    """Extract decontaminated spectra from dispersed exposures of your own, and combine them over the exposures."""

    from roman_assets.products.parquet import encode_table
    from roman_assets.products.schemas import conform
    from roman_assets.systems.gdps.own_files import extract_files
    from roman_assets.systems.gdps.tables import COMBINED_SPECTRA, SPECTRA_1D_PART

    found = extract_files(exposures, catalogue, reference, progress=_say, jointly=jointly, traces=traces)
    out.mkdir(parents=True, exist_ok=True)
    for name, schema in (("spectra_1d", SPECTRA_1D_PART), ("combined_spectra", COMBINED_SPECTRA)):
        # As the products are: units are in the file's own schema, and beside them what the spectra were made with.
        described = {"title": schema.title, **found.references}
        content = encode_table(conform(found.tables[name], schema), schema, described)
        (out / f"{name}.parquet").write_bytes(content)
    combined: pl.DataFrame = found.tables["combined_spectra"]
    for problem in found.caveats:
        console.print(f"[yellow]{untrusted(problem)}[/yellow]", soft_wrap=True, highlight=False)
    console.print(
        f"{combined.height} sources in {untrusted(out)}: spectra_1d.parquet by exposure, combined_spectra.parquet. "
        f"Next: roman redshift {untrusted(out / 'combined_spectra.parquet')}",
        soft_wrap=True,
    )


def _say(text: str) -> None:
    console.print(untrusted(text))


def export_spectrum(
    source: Annotated[int, typer.Argument(help="Identifier in the source catalogue.")],
    out: Annotated[Path, typer.Option(help="FITS file; specutils reads it as tabular-fits.")],
) -> None:
    """Write the combined spectrum of one source of this installation as FITS."""
    import polars as pl

    place = workspace()
    for record in place.products.current("combined_spectra"):
        table = place.products.read_table(record).filter(pl.col("source_id") == source)
        if table.height:
            write_fits(table.row(0, named=True), out)
            console.print(f"written: {untrusted(out)}")
            return
    raise InputError(
        f"no combined spectrum of source {source}", field="source", remedy="see `roman products redshifts`"
    )


def write_fits(row: dict[str, Any], out: Path) -> None:
    """A spectrum's row as a FITS table: wavelength, flux, uncertainty with their units."""
    from astropy import units
    from astropy.table import QTable

    density = units.W / units.m**2 / units.nm
    table = QTable(
        {
            "wavelength": np.asarray(row["wavelength"]) * units.nm,
            "flux": np.asarray(row["flux"], dtype=float) * density,
            "uncertainty": np.asarray(row["flux_err"], dtype=float) * density,
            "contamination": np.asarray(row["contamination"], dtype=float) * density,
            "flags": np.asarray(row["flags"], dtype=np.int32),
            "lsf_sigma": np.asarray(row["lsf_sigma"]) * units.nm,
        }
    )
    table.meta |= {"SOURCE": int(row["source_id"]), "RA": row["ra"], "DEC": row["dec"]}
    table.write(out, format="fits", overwrite=True)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (redshift, extract):
        app.command(rich_help_panel=OWN_DATA)(command)
    app.command(rich_help_panel=SCIENCE_PRODUCTS)(export_spectrum)
