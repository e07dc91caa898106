"""Commands that look at products: products, light-curve, events, export-hats."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.table import Table

from roman_assets.cli.common import SCIENCE_PRODUCTS, console, print_reasons, size_text, untrusted, workspace
from roman_assets.errors import InputError
from roman_assets.products.caveats import counted
from roman_assets.products.records import KindSummary, ProductRecord, partition_keys


def products(
    kind: Annotated[str | None, typer.Argument(help="Kind, such as season_events; none for a summary.")] = None,
    season: Annotated[str | None, typer.Option()] = None,
    day: Annotated[str | None, typer.Option()] = None,
    detector: Annotated[str | None, typer.Option()] = None,
    near: Annotated[str | None, typer.Option(help="Products within 0.2 degrees of RA,DEC [deg].")] = None,
    limit: Annotated[int, typer.Option(help="Rows shown.")] = 40,
    paths: Annotated[bool, typer.Option("--paths", help="Print the places of the files only.")] = False,
) -> None:
    """Ask the product index: what exists, how large, from what, with which caveats."""
    place = workspace().products
    wanted = {k: v for k, v in (("season", season), ("day", day), ("detector", detector)) if v}
    if kind is None and near is None and not paths:
        _summary(place.index.summary(wanted))
        return
    if near is not None:
        records = [r for r in place.near(*_position(near), 0.2, kind) if _fits(r, wanted)]
        count = len(records)
    else:
        records = place.index.current(kind, attributes=wanted, limit=None if paths else limit)
        count = place.index.count(kind, wanted)
    if paths:
        for record in records:
            print(place.store.location(record.key))
        return
    if not records:
        console.print(f"no {untrusted(kind or 'product')} that fits: `roman products` lists the kinds there are")
        raise typer.Exit(1)
    table = Table(title=f"{untrusted(kind or 'products')}: {count} products")
    for heading in ("partition", "part", "rows", "size", "sequence", "code", "caveats", "sha256"):
        table.add_column(heading, overflow="fold")
    for record in records[:limit]:
        table.add_row(
            untrusted(record.partition),
            untrusted(record.part),
            "" if record.rows is None else str(record.rows),
            size_text(record.size),
            str(record.sequence),
            untrusted(record.code_version),
            ", ".join(f"{code} {n}" for code, n in counted(record.caveats).items()),
            record.sha256[:12],
        )
    console.print(table)
    if count > limit:
        console.print(f"… and {count - limit} more (--limit)")


def _fits(record: ProductRecord, wanted: dict[str, str]) -> bool:
    keys = {**partition_keys(record.partition), **record.attributes}
    return all(str(keys.get(name)) == value for name, value in wanted.items())


def _position(text: str) -> tuple[float, float]:
    try:
        ra, dec = (float(part) for part in text.split(","))
    except ValueError as error:
        raise InputError(
            f"{text!r} is no position", field="--near", remedy="write RA,DEC in degrees: 268.0,-29.2"
        ) from error
    return ra, dec


def _summary(kinds: Sequence[KindSummary]) -> None:
    table = Table(title="Products")
    for heading in ("kind", "products", "rows", "size", "caveats"):
        table.add_column(heading, justify="left" if heading in ("kind", "caveats") else "right")
    for found in kinds:
        table.add_row(
            untrusted(found.kind),
            str(found.products),
            f"{found.rows:,}",
            size_text(found.size),
            ", ".join(f"{code} {count}" for code, count in sorted(found.caveats.items())),
        )
    console.print(table)


def light_curve(
    object_id: Annotated[int | None, typer.Argument(help="object_id of a season catalogue.")] = None,
    at: Annotated[str | None, typer.Option("--at", help="Position RA,DEC [deg] instead: the nearest object.")] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG to write (default: light_curve_<object_id>.png).")] = None,
    table: Annotated[Path | None, typer.Option(help="CSV or Parquet file to write the points to.")] = None,
) -> None:
    """Light curve of one object: a table, and a plot."""
    from roman_assets.systems.msos.lookup import find_light_curve

    position = None if at is None else _position(at)
    if object_id is None and position is None:
        raise InputError("no object", remedy="give an object_id, or a position with --at RA,DEC")
    found = find_light_curve(workspace(), object_id=object_id, position=position)
    console.print(
        f"object {found.object_id}  RA {found.ra:.7f}  Dec {found.dec:.7f}  {untrusted(found.season)} "
        f"{untrusted(found.detector)} star {found.star}  {found.points.height} points"
    )
    if table is not None:
        if table.suffix == ".parquet":
            found.points.write_parquet(table)
        else:
            found.points.write_csv(table)
        console.print(f"points: {untrusted(table)}")
    else:
        shown = Table()
        for heading in ("mjd", "element", "flux [DN/s]", "error", "flag"):
            shown.add_column(heading, justify="right")
        for row in found.points.head(20).iter_rows(named=True):
            shown.add_row(
                f"{row['mjd']:.5f}",
                untrusted(row["optical_element"]),
                f"{row['flux']:.4f}",
                f"{row['flux_err']:.4f}",
                str(row["flag"]),
            )
        console.print(shown)
        if found.points.height > 20:
            console.print("… more with --table FILE")
    target = plot or Path(f"light_curve_{found.object_id}.png")
    target.write_bytes(found.picture())
    console.print(f"plot: {untrusted(target)}")


def events(
    season: Annotated[str | None, typer.Option()] = None,
    every: Annotated[bool, typer.Option("--all", help="Candidates of every class, not only microlensing.")] = False,
    limit: Annotated[int, typer.Option(help="Rows shown.")] = 40,
) -> None:
    """The event catalogue: best candidates first, with class and reason."""
    import polars as pl

    from roman_assets.systems.msos.events.classify import MICROLENSING

    place = workspace().products
    wanted = {"season": season} if season else {}
    frames = [place.read_table(r) for r in place.current("season_events", **wanted)]
    if not frames:
        console.print("there is no event catalogue yet: `roman process` makes it")
        raise typer.Exit(1)
    table = pl.concat(frames, how="diagonal_relaxed").sort("dchi2_flat", descending=True)
    if not every:
        table = table.filter(pl.col("event_class").is_in(MICROLENSING))
    shown = Table(title=f"{table.height} events", box=box.SIMPLE_HEAD)
    for heading in ("object_id", "t0 [MJD]", "u0", "tE (d)", "Δχ²", "class"):
        shown.add_column(heading, no_wrap=True)
    for row in table.head(limit).iter_rows(named=True):
        error = "" if row["t0_err"] is None else f" ± {row['t0_err']:.3f}"
        shown.add_row(
            str(row["object_id"]),
            f"{row['t0']:.3f}{error}",
            f"{row['u0']:.3f}",
            f"{row['te']:.3f}",
            f"{row['dchi2_flat']:.0f}",
            untrusted(row["event_class"]),
        )
    console.print(shown)
    print_reasons(
        [
            (f"{row['object_id']} ({row['season']} {row['detector']})", row["reason"])
            for row in table.head(limit).iter_rows(named=True)
        ]
    )


def export_hats(
    out: Annotated[Path, typer.Argument(help="Folder to write the collections into.")],
    replace: Annotated[bool, typer.Option(help="Replace collections that are there.")] = False,
) -> None:
    """Export object and event catalogues as HATS collections, which lsdb opens."""
    from roman_assets.systems.msos.export import export_catalogues

    written = export_catalogues(workspace(), out, replace=replace)
    for name, rows, folder in written:
        console.print(f"{name}: {rows} rows in {untrusted(folder)}")
    if not written:
        console.print("there is no catalogue with rows yet: `roman process` makes them")
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (products, events, light_curve, export_hats):
        app.command(rich_help_panel=SCIENCE_PRODUCTS)(command)
