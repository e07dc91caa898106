"""A small calendar, and instances whose events are reported rather than run."""

from __future__ import annotations

import datetime as dt
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import dagster as dg
import pytest

from roman_assets.exposures.tables import COUNTERS, EXPOSURES
from roman_assets.platform.workspace import Workspace
from roman_assets.survey.model import Calendar, Season

DAYS = ("2027-03-01", "2027-03-02", "2027-03-03")
CALENDAR = Calendar(
    "test",
    (Season("s01", DAYS), Season("s02", ("2027-09-01",))),
    ("WFI01", "WFI02"),
    spectroscopic_days=("2027-03-10",),
)


def at(text: str) -> dt.datetime:
    """A UTC time."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """An empty installation with the small calendar."""
    place = Workspace(tmp_path / "home")
    place.__dict__["calendar"] = CALENDAR  # the cached property
    return place


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of its own."""
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.local_temp(str(home), overrides={"telemetry": {"enabled": False}}) as made:
        yield made


def materialize(
    instance: dg.DagsterInstance, asset: str, *keys: str, metadata: dict[str, object] | None = None
) -> None:
    """Report partitions as materialized."""
    for key in keys:
        instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=key, metadata=metadata or {}))


def arrive(workspace: Workspace, day: str, detector: str, survey: str = "bulge") -> None:
    """A row of the registry, without a file."""
    registry = workspace.registry
    with registry.database.engine.begin() as connection:
        change = registry.last_change() + 1
        name = f"{day}-{detector}-{survey}"
        text = {c.name: "x" for c in EXPOSURES.columns}
        numbers = {
            "size": 1,
            "exposure": 1,
            "mid_mjd": 1.0,
            "exptime_s": 1.0,
            "ny": 1,
            "nx": 1,
            "ra_center": 0.0,
            "dec_center": 0.0,
            "program": 1,
            "conversion_megajanskys": 1.0,
            "pixel_area_sr": 1.0,
        }
        times = {"start_time": dt.datetime(2027, 3, 1), "registered_at": dt.datetime(2027, 3, 1)}
        row = {
            **text,
            **numbers,
            **times,
            "exposure_id": name,
            "change": change,
            "day": day,
            "detector": detector,
            "survey": survey,
            "inside_calendar": True,
            "status": "good",
            "caveats": "[]",
        }
        connection.execute(EXPOSURES.insert(), [row])
        connection.execute(COUNTERS.update().values(value=change))


@dataclass
class Channel:
    """A webhook: what it got, and the status codes it answers with, one after the other (the last for ever)."""

    url: str
    answers: list[int] = field(default_factory=lambda: [200])
    headers: dict[str, str] = field(default_factory=dict)
    received: list[dict[str, object]] = field(default_factory=list)
    requests: int = 0
    delay_s: float = 0.0


@pytest.fixture
def channel() -> Iterator[Channel]:
    """A local HTTP server that takes alerts."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            status = state.answers[min(state.requests, len(state.answers) - 1)]
            state.requests += 1
            if state.delay_s:
                threading.Event().wait(state.delay_s)
            if status == 200:
                state.received.append(json.loads(body))
            try:
                self.send_response(status)
                for name, value in state.headers.items():
                    self.send_header(name, value)
                self.end_headers()
            except BrokenPipeError:
                pass

        def log_message(self, format: str, *args: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    state = Channel(f"http://127.0.0.1:{server.server_port}/services/T0KEN")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield state
    server.shutdown()
    server.server_close()
