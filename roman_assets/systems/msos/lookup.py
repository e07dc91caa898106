"""Finding one object's light curve in the products."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from roman_assets.errors import InputError
from roman_assets.platform.workspace import Workspace
from roman_assets.products.records import ProductRecord
from roman_assets.survey.sky import unit_vectors
from roman_assets.systems.msos.light_curves.series import UNUSED_FLAGS
from roman_assets.systems.msos.stages.season_curves import DIFFERENCE_CURVES, epochs_of

#: A position finds the nearest object within this distance [deg].
SEARCH_RADIUS_DEG = 1.0 / 3600


@dataclass(frozen=True)
class FoundLightCurve:
    """Points of one object (exposure_id, mjd, optical_element, flux, flux_err [DN/s], flag) and where they are from."""

    object_id: int
    ra: float
    dec: float
    season: str
    detector: str
    star: int
    points: pl.DataFrame
    event: dict[str, object] | None

    def picture(self) -> bytes:
        """Light curve of the usable points; with its model where the object is a catalogued event."""
        from roman_assets.systems.msos.events.pictures import event_picture
        from roman_assets.systems.msos.plots import light_curve_figure

        good = self.points.filter((pl.col("flag") & UNUSED_FLAGS) == 0)
        if good.is_empty():
            good = self.points.filter(pl.col("flux").is_not_nan())  # nothing usable: show what there is
        series = []
        for (element,), rows in good.group_by("optical_element", maintain_order=True):
            mjd, flux, error = (rows[name].to_numpy().astype(np.float64) for name in ("mjd", "flux", "flux_err"))
            series.append((str(element), mjd, flux, error))
        if self.event is not None and series:
            bands = self.event["bands"]
            assert isinstance(bands, list)
            return event_picture(self.event, [s for s in series if s[0] in bands])
        return light_curve_figure(series, None, f"{self.object_id}  {self.season} {self.detector}")


def find_light_curve(
    workspace: Workspace, *, object_id: int | None = None, position: tuple[float, float] | None = None
) -> FoundLightCurve:
    """The light curve of an object by its identifier, or of the object nearest to a position [deg].

    Raises
    ------
    InputError
        There is no such object.
    """
    best: tuple[float, ProductRecord, dict[str, object]] | None = None
    records = [r for kind in ("season_light_curves", DIFFERENCE_CURVES) for r in workspace.products.current(kind)]
    for record in records:
        keys = workspace.products.read_table(record, ["object_id", "star", "ra", "dec"])
        if object_id is not None:
            rows = keys.filter(pl.col("object_id") == object_id)
            if rows.height:
                return _read(workspace, record, rows.row(0, named=True))
        elif position is not None and keys.height:
            distance = _distances(keys, position)
            nearest = int(np.argmin(distance))
            if distance[nearest] < SEARCH_RADIUS_DEG and (best is None or distance[nearest] < best[0]):
                best = (float(distance[nearest]), record, keys.row(nearest, named=True))
    if best is not None:
        return _read(workspace, best[1], best[2])
    wanted = f"object {object_id}" if object_id is not None else f"object within 1 arcsec of {position}"
    raise InputError(
        f"no {wanted} in the season light curves", field="object", remedy="see `roman products season_objects`"
    )


def _distances(keys: pl.DataFrame, position: tuple[float, float]) -> NDArray[np.float64]:
    """Distance of every object from a position [deg]."""
    (point,) = unit_vectors(np.array([position[0]]), np.array([position[1]]))
    chord = np.linalg.norm(unit_vectors(keys["ra"].to_numpy(), keys["dec"].to_numpy()) - point, axis=1)
    return np.asarray(np.rad2deg(2 * np.arcsin(chord / 2)))


def _read(workspace: Workspace, record: ProductRecord, key: dict[str, object]) -> FoundLightCurve:
    curves = workspace.products.read_rows(
        record, ["optical_element", "flux", "flux_err", "flag"], ("object_id", key["object_id"])
    )
    epochs_record = epochs_of(workspace, record)
    epochs = workspace.products.read_table(epochs_record, ["optical_element", "epoch", "exposure_id", "mjd"])
    points = []
    for row in curves.iter_rows(named=True):
        times = epochs.filter(pl.col("optical_element") == row["optical_element"]).sort("epoch")
        points.append(
            times.select("exposure_id", "mjd", "optical_element").with_columns(
                flux=pl.Series(row["flux"], dtype=pl.Float32),
                flux_err=pl.Series(row["flux_err"], dtype=pl.Float32),
                flag=pl.Series(row["flag"], dtype=pl.UInt8),
            )
        )
    event = None
    for candidate in workspace.products.current("season_events", record.partition, record.part):
        rows = workspace.products.read_table(candidate).filter(pl.col("object_id") == key["object_id"])
        event = rows.row(0, named=True) if rows.height else event
    return FoundLightCurve(
        int(str(key["object_id"])),
        float(str(key["ra"])),
        float(str(key["dec"])),
        str(record.attributes["season"]),
        str(record.attributes["detector"]),
        int(str(key["star"])),
        pl.concat(points).sort("mjd"),
        event,
    )
