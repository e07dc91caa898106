"""Commands on a user's own light curves: find-events and fit-event."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich import box
from rich.table import Table

from roman_assets.cli.common import OWN_DATA, console, print_reasons, untrusted
from roman_assets.errors import InputError

if TYPE_CHECKING:
    from roman_assets.systems.msos.models.point_lens import LightCurve, PointLensFit

Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--column", help="Name of a column that is not guessed, such as time=BJD_TDB or flux=f; may be repeated."
    ),
]
Values = Annotated[str, typer.Option(help="Whether the values are `flux` or `mag`, where the file does not say.")]


def find_events(
    path: Annotated[Path, typer.Argument(help="Parquet, CSV, IPAC or text file of light curves.")],
    column: Columns = None,
    values: Values = "auto",
    out: Annotated[Path | None, typer.Option(help="Parquet file to write all candidates to.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Show candidates of every class, not only microlensing.")
    ] = False,
) -> None:
    """Search light curves of your own for microlensing events, fit and classify them."""
    from roman_assets.systems.msos.events.finder import find_events_in_curves, microlensing

    curves = _read(path, column, values)
    found = find_events_in_curves(curves)
    if out is not None:
        found.write_parquet(out)
    shown = (found if every else microlensing(found)).sort("dchi2_flat", descending=True)
    table = Table(title=f"{shown.height} of {len(curves)} light curves", box=box.SIMPLE_HEAD)
    for heading in ("id", "t0", "u0", "tE (d)", "Δχ²", "χ²/dof", "class"):
        table.add_column(heading, no_wrap=True)
    for row in shown.iter_rows(named=True):
        table.add_row(
            untrusted(row["id"]),
            f"{row['t0']:.4f}",
            f"{row['u0']:.4f}",
            f"{row['te']:.3f}",
            f"{row['dchi2_flat']:.0f}",
            f"{row['chi2'] / max(row['dof'], 1):.2f}",
            row["event_class"],
        )
    console.print(table)
    print_reasons([(row["id"], row["reason"]) for row in shown.iter_rows(named=True)])
    if not every and found.height > shown.height:
        console.print(f"{found.height - shown.height} other candidates: --all shows them with their reasons")
    if out is not None:
        console.print(f"written: {untrusted(out)}")


def fit_event(
    path: Annotated[Path, typer.Argument(help="Parquet, CSV, IPAC or text file with the light curve.")],
    id: Annotated[str | None, typer.Option("--id", help="Which light curve, where the file has several.")] = None,
    t0: Annotated[float | None, typer.Option(help="Where to start; not needed.")] = None,
    te: Annotated[float | None, typer.Option("--te", help="Where to start [d]; not needed.")] = None,
    no_blend: Annotated[bool, typer.Option("--no-blend", help="Fix the blend flux to zero.")] = False,
    column: Columns = None,
    values: Values = "auto",
    plot: Annotated[Path | None, typer.Option(help="PNG to write.")] = None,
) -> None:
    """Fit a point lens to one light curve of your own."""
    from roman_assets.systems.msos.models.point_lens import fit_point_lens

    curve = _one(_read(path, column, values), id, path)
    seeds = _seeds(curve, t0, te)
    fit = fit_point_lens(curve, seeds, blend="zero" if no_blend else "auto")
    if not fit.fitted:
        raise InputError("the light curve has too few points for a fit", file=path, remedy="at least 6 usable points")
    _show(fit)
    if plot is not None:
        plot.write_bytes(_picture(curve, fit))
        console.print(f"plot: {untrusted(plot)}")


def _read(path: Path, column: list[str] | None, values: str) -> dict[str, LightCurve]:
    from roman_assets.systems.msos.events.light_curve_files import read_light_curves

    if values not in ("auto", "flux", "mag"):
        raise InputError(f"{values!r} is no kind of value", field="--values", remedy="use flux, mag or auto")
    names = {}
    for item in column or []:
        key, _, name = item.partition("=")
        if not name:
            raise InputError(f"{item!r} names no column", field="--column", remedy="write time=NAME")
        names[key] = name
    return read_light_curves(path, columns=names or None, values=values)  # type: ignore[arg-type]


def _one(curves: dict[str, LightCurve], wanted: str | None, path: Path) -> LightCurve:
    if wanted is None and len(curves) == 1:
        return next(iter(curves.values()))
    if wanted is None or wanted not in curves:
        some = ", ".join(list(curves)[:8])
        raise InputError(
            f"the file has {len(curves)} light curves",
            file=path,
            field="--id",
            remedy=f"choose one of {some} with --id",
        )
    return curves[wanted]


def _seeds(curve: LightCurve, t0: float | None, te: float | None) -> list[tuple[float, float]]:
    """Starting (t0, teff) [d]: what the user gives, else the best window of the search."""
    from roman_assets.systems.msos.search.templates import search

    band = max(curve.bands, key=len)
    if t0 is not None and not np.isfinite(t0):
        raise InputError(f"t0 {t0}", field="--t0", remedy="give a time of the light curve, or none")
    if te is not None and not (np.isfinite(te) and te > 0):
        raise InputError(f"tE {te}", field="--te", remedy="give a positive number of days, or none")
    found = search(band.mjd, band.flux[None], band.flux_err[None])
    start = (float(found["t0"][0]), float(found["teff"][0])) if found.height else (float(np.median(band.mjd)), 10.0)
    seeds = [start]
    if t0 is not None or te is not None:
        seeds.insert(0, (start[0] if t0 is None else t0, start[1] if te is None else 0.3 * te))
    return seeds


def _show(fit: PointLensFit) -> None:
    table = Table(title="point lens", show_header=False)
    for name, value, error in (("t0", fit.t0, fit.t0_err), ("u0", fit.u0, fit.u0_err), ("tE (d)", fit.te, fit.te_err)):
        table.add_row(name, f"{value:.5f} ± {error:.5f}")
    for band, fs, fs_err, fb, fb_err in zip(fit.bands, fit.fs, fit.fs_err, fit.fb, fit.fb_err, strict=True):
        table.add_row(f"source flux {untrusted(band)}", f"{fs:.4f} ± {fs_err:.4f}")
        table.add_row(
            f"blend flux {untrusted(band)}", f"{fb:.4f} ± {fb_err:.4f}" + (" (fixed)" if fit.blend == "zero" else "")
        )
    table.add_row("χ²", f"{fit.chi2:.3f} for {fit.dof} degrees of freedom")
    table.add_row("Δχ² over a constant", f"{fit.dchi2:.1f}")
    if fit.degenerate:
        table.add_row("note", "u0, tE and blend are degenerate here: only t0, teff and the peak are known")
    if not fit.converged:
        table.add_row("note", "the fit did not converge")
    console.print(table)


def _picture(curve: LightCurve, fit: PointLensFit) -> bytes:
    from roman_assets.systems.msos.events.pictures import event_picture

    event = {
        "object_id": "point lens",
        "bands": list(fit.bands),
        "fs": list(fit.fs),
        "fb": list(fit.fb),
        "t0": fit.t0,
        "u0": fit.u0,
        "te": fit.te,
        "teff": fit.teff,
        "dchi2_flat": fit.dchi2,
    }
    return event_picture(event, [(b.name, b.mjd, b.flux, b.flux_err) for b in curve.bands if b.name in fit.bands])


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (find_events, fit_event):
        app.command(rich_help_panel=OWN_DATA)(command)
