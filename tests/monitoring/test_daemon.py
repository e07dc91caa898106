"""The alert sensors as they run: under a real daemon, posting to a real server."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest

from roman_assets.monitoring.webhook import WEBHOOK
from roman_assets.orchestration.backfill import launch
from roman_assets.platform.sensors import SENSORS
from roman_assets.platform.workspace import Workspace
from roman_assets.survey.calendar_file import write_calendar
from tests.dagster_server import dagster_server
from tests.monitoring.conftest import CALENDAR, Channel, arrive

pytestmark = pytest.mark.slow
DAY = "2020-03-01"


def wait_for(channel: Channel, kind: str, seconds: float) -> dict[str, object]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for message in list(channel.received):
            if message["kind"] == kind:
                return message
        time.sleep(0.5)
    raise AssertionError(f"no {kind} alert in {seconds} s")


def test_lateness_and_a_failed_run_reach_the_webhook(
    tmp_path: Path, channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the webhook set nobody has to switch anything on; the run fails for good after its retry, and is told once."""
    monkeypatch.setenv(WEBHOOK, channel.url)
    # The day must not have been processed before the index is destroyed.
    monkeypatch.setenv(SENSORS, "off")
    channel.answers = [503, 200]  # the first post is turned away
    home = tmp_path / "home"
    home.mkdir()
    (season, *_) = CALENDAR.seasons
    write_calendar(
        replace(CALENDAR, seasons=(replace(season, days=(DAY,)),), spectroscopic_days=()), home / "calendar.toml"
    )
    workspace = Workspace(home)
    arrive(workspace, DAY, "WFI01")
    workspace.registry.close()
    with dagster_server(workspace) as url:
        late = wait_for(channel, "lag", 600)
        assert "exposures" in str(late["text"])
        assert "has no exposures" not in str(late["text"])
        (home / "products").mkdir(exist_ok=True)
        (home / "products" / "index.sqlite").write_bytes(b"this is no database, and so every step fails" * 100)
        launch(url, ["exposures"], [f"{DAY}|WFI01"])
        failed = wait_for(channel, "run_failure", 600)
    (run,) = failed["runs"]  # type: ignore[misc]
    assert run["partition"] == f"{DAY}|WFI01"
    assert "file is not a database" in run["reason"]
    assert channel.url not in (home / "ui.log").read_text()
    assert "T0KEN" not in (home / "ui.log").read_text()
    assert [m["kind"] for m in channel.received].count("run_failure") == 1
