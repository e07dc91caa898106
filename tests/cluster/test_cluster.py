"""The platform on a real cluster, one story in order: arrival, photometry under fire, a season, the same bits, a stop.

Run by `make test-cluster`. Each test goes on from the one before.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import pytest
from packaging.utils import canonicalize_name

from roman_assets.orchestration.backfill import launch
from roman_assets.orchestration.processing import survey_steps
from roman_assets.orchestration.reconcile import reconcile
from roman_assets.platform import arithmetic
from roman_assets.platform.workspace import Workspace
from roman_assets.simulate.survey import SimulatedSurvey
from roman_assets.survey.partitions import day_detector_key
from roman_assets.systems.msos.system import SYSTEM
from tests.cluster.hurting import hurt_each_run
from tests.cluster.platform import OP, ROOT, Platform, kubectl, wait_until

DAY_ASSETS = tuple(asset.name for asset in SYSTEM.of_job("process_day"))
SEASON_ASSETS = tuple(asset.name for asset in SYSTEM.of_job("close_season"))
SURVEY_ASSETS = tuple(asset.name for asset in SYSTEM.of_job("join_survey"))
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

DAYS = ("2027-03-01", "2027-03-02")
DETECTORS = ("WFI01", "WFI02")
#: What was measured on the way; written at the end to ROMAN_CLUSTER_RESULTS, if set.
MEASURED: dict[str, Any] = {}


def finished(platform: Platform, job: str, number: int, seconds: float) -> list[dg.RunRecord]:
    """Runs of a job once at least `number` were launched and no run is going on; retries are among them."""

    def over() -> list[dg.RunRecord]:
        # In this order: records taken before the last run ended would still call it started.
        return platform.runs(job) if len(platform.runs(job)) >= number and platform.idle() else []

    return wait_until(f"{number} runs of {job} are over", over, seconds, pause=3)


def newest_by_partition(records: list[dg.RunRecord]) -> dict[str, dg.DagsterRun]:
    """The last run of each partition."""
    return {r.dagster_run.tags["dagster/partition"]: r.dagster_run for r in records}


def told(platform: Platform, run_id: str) -> str:
    """Everything that a run's log says, for assertions about reasons."""
    with platform.instance() as instance:
        return "\n".join(
            f"{e.user_message} {e.dagster_event.event_specific_data if e.dagster_event else ''}"
            for e in instance.all_logs(run_id)
        )


# --- the image -----------------------------------------------------------------------------------------

_LOOK = """
import importlib.metadata, json, os, shutil, sys
site = next(p for p in sys.path if p.endswith('site-packages'))
print(json.dumps({
    'uid': os.getuid(), 'tools': [t for t in ('gcc', 'cc', 'make', 'git') if shutil.which(t)],
    'installed': {d.metadata['Name']: d.version for d in importlib.metadata.distributions(path=[site])},
}))
"""


def test_the_image_is_small_bare_and_pinned(platform: Platform) -> None:
    """No root, no compiler, under 1.5 GB unpacked, and every distribution at the version of the constraints."""
    daemon = ("exec", "deploy/roman-daemon", "-c", "main", "--")
    found = json.loads(kubectl(*daemon, "python", "-c", _LOOK))
    assert found["uid"] == 10001
    assert found["tools"] == []
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        pinned[canonicalize_name(name)] = version
    loose = {n: v for n, v in found["installed"].items() if pinned.get(canonicalize_name(n)) != v}
    assert set(loose) == {"roman-assets"}, loose
    size = int(kubectl(*daemon, "sh", "-c", "du -sxm / 2>/dev/null || true").split()[0])
    MEASURED["image_mib"] = size
    assert size < 1430, "1.5 GB"


# --- arrival -------------------------------------------------------------------------------------------


def test_arrivals_are_processed_with_a_pod_per_step(platform: Platform, survey: SimulatedSurvey) -> None:
    """Exposures in the landing bucket: the sensor asks for four runs, and each of their steps has a pod."""
    client = boto3.client("s3")
    for path in [*survey.exposures, survey.manifest]:
        client.upload_file(str(path), "roman-landing", f"level2/{path.name}")
    MEASURED["webserver_idle_mib"] = round(platform.memory_mib("roman-webserver"))
    MEASURED["daemon_idle_mib"] = round(platform.memory_mib("roman-daemon"))
    platform.start_sensor("landing_sensor")
    records = finished(platform, "process_day", 4, 600)
    assert {r.dagster_run.tags["dagster/partition"] for r in records} == {
        f"{day}|{detector}" for day in DAYS for detector in DETECTORS
    }
    assert [r.dagster_run.status.value for r in records] == ["SUCCESS"] * 4
    for record in records:
        assert record.dagster_run.tags["dagster/priority"] == "20"
        pods = {pod.metadata.labels.get(OP) for pod in platform.pods(run_id=record.dagster_run.run_id)}
        assert pods == {None, *DAY_ASSETS}, "a pod for the run, and one for each step"
    _measure_overhead(platform, records)


def _measure_overhead(platform: Platform, records: list[dg.RunRecord]) -> None:
    """Seconds from the tick to the first step, and what a pod per step adds to what the steps do."""
    begun: list[float] = []
    extra: list[float] = []
    for record in records:
        times: dict[str, dict[str, float]] = defaultdict(dict)
        for entry in platform.events(record.dagster_run.run_id):
            event = entry.dagster_event
            if event.step_key:
                times[event.step_key].setdefault(event.event_type_value, entry.timestamp)
        begun.append(min(t["STEP_START"] for t in times.values()))
        for t in times.values():
            extra.append(t["STEP_START"] - t["STEP_WORKER_STARTING"])
    ticks = [r.create_timestamp.timestamp() for r in records]
    MEASURED["tick_to_first_step_s"] = round(min(begun) - min(ticks), 1)
    MEASURED["tick_to_last_first_step_s"] = round(max(begun) - min(ticks), 1)
    MEASURED["pod_overhead_per_step_s"] = {
        "median": round(statistics.median(extra), 1),
        "min": round(min(extra), 1),
        "max": round(max(extra), 1),
        "steps": len(extra),
        "runs at once": len(records),
    }


# --- under fire ----------------------------------------------------------------------------------------


def test_photometry_survives_oom_deletion_and_killed_containers(platform: Platform) -> None:
    """Four runs of photometry, each hurt in another way while its step works: all partitions end green."""
    before = {record.dagster_run.run_id for record in platform.runs()}
    platform.start_sensor("season_sensor")
    hurt = dict(hurt_each_run(platform, before, 600))
    assert set(hurt) == {"oom", "run pod deleted", "step killed", "run killed"}
    finished(platform, "process_day", 8, 900)
    newest = newest_by_partition(platform.runs("process_day"))
    assert {key: run.status.value for key, run in newest.items()} == dict.fromkeys(newest, "SUCCESS")
    assert len(newest) == 4
    MEASURED["faults"] = {}
    for fault, run_id in hurt.items():
        with platform.instance() as instance:
            run = instance.get_run_by_id(run_id)
        assert run is not None
        retried = any(r.dagster_run.parent_run_id == run_id for r in platform.runs("process_day"))
        MEASURED["faults"][fault] = {"run": run.status.value, "retried as a run": retried}
    # A lost step is done again within its run; a lost run is failed and launched again.
    text = told(platform, hurt["oom"])
    assert "failed health check" in text
    assert MEASURED["faults"]["oom"] == {"run": "SUCCESS", "retried as a run": False}
    assert MEASURED["faults"]["step killed"] == {"run": "SUCCESS", "retried as a run": False}
    assert MEASURED["faults"]["run pod deleted"] == {"run": "FAILURE", "retried as a run": True}
    assert MEASURED["faults"]["run killed"] == {"run": "FAILURE", "retried as a run": True}


def test_seasons_survive_crashes_of_the_database(platform: Platform) -> None:
    """PostgreSQL crashes twice while two seasons are worked on, the second time for longer; they end green."""
    keys = [f"{detector}|s01" for detector in DETECTORS]
    assert launch(platform.web, list(SEASON_ASSETS), keys).partitions == 2
    away = []
    for op in ("season_light_curves", "difference_sources"):
        wait_until(f"{op} works", lambda op=op: platform.pods(op=op, phase="Running"), 300, 0.3)  # type: ignore[misc]
        platform.restart_postgresql()
        began = time.monotonic()
        wait_until("PostgreSQL is back", lambda: _answers(platform), 120)
        away.append(round(time.monotonic() - began, 1))
    MEASURED["database_away_s"] = away
    wait_until("both seasons have events", lambda: _seasons_done(platform), 900, 5)
    wait_until("every run is over", platform.idle, 300, 5)


def _answers(platform: Platform) -> bool:
    try:
        platform.runs()
    except Exception:
        return False
    return True


def _seasons_done(platform: Platform) -> bool:
    with platform.instance() as instance:
        done = [instance.get_materialized_partitions(dg.AssetKey(name)) for name in SEASON_ASSETS]
    return all(len(keys) == 2 for keys in done)


# --- what came of it -----------------------------------------------------------------------------------


def test_products_equal_those_of_an_embedded_run(platform: Platform, survey: SimulatedSurvey, tmp_path: Path) -> None:
    """The same files through the same stages in one process on this machine: the same bytes, all of them."""
    # Alerts look back at the days that were there: of days done side by side, the later ones are done once more.
    keys = [f"{day}|{detector}" for day in DAYS for detector in DETECTORS]
    assert launch(platform.web, ["daily_light_curves"], keys).partitions == 4
    regions = [str(step.partition) for step in survey_steps(platform.workspace)]
    assert regions
    assert launch(platform.web, list(SURVEY_ASSETS), regions).partitions == len(regions)
    embedded = Workspace(tmp_path / "home")
    command = [sys.executable, "-m", "tests.cluster.embedded", str(embedded.home), *map(str, survey.exposures)]
    bare = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "ROMAN_", "DAGSTER_"))}
    subprocess.run(command, check=True, env={**bare, **arithmetic.SETTINGS}, cwd=ROOT)
    finished(platform, "__ASSET_JOB", 2 + len(keys) + len(regions), 600)
    here, there = _hashes(embedded), _hashes(platform.workspace)
    assert set(there) == set(here)
    different = sorted(key for key in here if here[key] != there[key])
    assert not different, f"{len(different)} of {len(here)} differ: {different[:5]}"
    MEASURED["products_equal_to_the_embedded_run"] = len(here)


def _hashes(workspace: Workspace) -> dict[tuple[str, str, str], str]:
    records = workspace.products.current()
    found = {(r.kind, r.partition, r.part): r.sha256 for r in records}
    assert len(found) == len(records), "a product is doubled"
    return found


def test_nothing_is_lost_doubled_or_half_visible(
    platform: Platform, survey: SimulatedSurvey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Index, bucket and Dagster agree after all that, and no identity ever gave other bytes."""
    monkeypatch.setenv("DAGSTER_HOME", str(platform.folder))
    found = reconcile(platform.workspace, dry_run=True, verify=True)
    assert found.compared >= 4 * len(DAY_ASSETS) + 2 * len(SEASON_ASSETS)
    assert (found.reported, found.unbacked, found.damaged) == ([], [], [])
    assert platform.workspace.products.incidents() == []
    logs = boto3.client("s3").list_objects_v2(Bucket="roman-logs", Prefix="dagster/").get("Contents", [])
    assert len(logs) >= len(platform.runs()), "what steps print is kept"
    assert platform.workspace.registry.counts()["exposures"] == len(survey.exposures)


# --- stopping and cleaning -----------------------------------------------------------------------------


def test_terminating_a_run_stops_its_pods(platform: Platform) -> None:
    """The UI's button: the run is cancelled, and neither its pod nor its step's goes on."""
    run_id = platform.launch(
        "measure_efficiency",
        {"dagster/partition": "WFI01|s01", "dagster/partition/season": "s01", "dagster/partition/detector": "WFI01"},
    )
    wait_until("the step works", lambda: platform.pods(run_id=run_id, op="detection_efficiency", phase="Running"), 180)
    began = time.monotonic()
    platform.terminate(run_id)
    wait_until("its pods are gone", lambda: not platform.pods(run_id=run_id, phase="Running"), 120)
    MEASURED["terminate_to_no_pod_s"] = round(time.monotonic() - began, 1)
    status = wait_until("the run is over", lambda: _ended(platform, run_id), 240)
    assert status == "CANCELED"
    assert [name for name in platform.active_jobs() if run_id in name] == []


def _ended(platform: Platform, run_id: str) -> str:
    with platform.instance() as instance:
        run = instance.get_run_by_id(run_id)
    return run.status.value if run is not None and run.is_finished else ""


ORPHAN = """
apiVersion: batch/v1
kind: Job
metadata:
  name: dagster-step-orphan
  labels: {dagster/run-id: 00000000-0000-0000-0000-000000000000, app.kubernetes.io/component: step_worker}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      containers:
        - {name: sleep, image: IMAGE, imagePullPolicy: IfNotPresent, command: [sleep, "3600"]}
"""


def test_no_orphan_job_remains_and_one_would_be_cleaned(platform: Platform) -> None:
    """After all faults no Job is active; `roman clean-jobs` removes one whose run nobody knows, and only that."""
    assert platform.active_jobs() == []
    image = kubectl("get", "deployment", "roman-code", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
    kubectl("apply", "--validate=false", "-f", "-", text=ORPHAN.replace("IMAGE", image))
    time.sleep(2)
    told = kubectl("exec", "deploy/roman-daemon", "-c", "main", "--", "roman", "clean-jobs", "--settle", "1")
    assert "dagster-step-orphan" in told
    assert "1 Jobs were deleted" in told
    assert platform.active_jobs() == []


def test_the_viewer_cannot_launch_or_stop(platform: Platform) -> None:
    """The read-only webserver shows runs; what changes something is refused."""
    address = platform.web
    ip = kubectl("get", "service", "roman-webserver-readonly", "-o", "jsonpath={.spec.clusterIP}")
    platform.web = f"http://{ip}:3000"
    try:
        assert platform.graphql("{ runsOrError(limit: 1) { __typename } }", {})["runsOrError"]["__typename"] == "Runs"
        with pytest.raises(AssertionError, match="UnauthorizedError"):
            platform.start_sensor("landing_sensor")
        with pytest.raises(AssertionError, match="UnauthorizedError"):
            platform.launch("measure_efficiency", {"dagster/partition": "WFI01|s01"})
    finally:
        platform.web = address


_LINEAGE = "{ assetNodes { assetKey { path } partitionStats { numMaterialized numPartitions numFailed } } }"
_PARTITIONS = """
query($key: AssetKeyInput!) { assetNodeOrError(assetKey: $key) { ... on AssetNode {
  partitionKeysByDimension { name partitionKeys }
  assetPartitionStatuses { ... on MultiPartitionStatuses { ranges { primaryDimStartKey primaryDimEndKey } } } } } }"""


def test_pages_with_every_partition_materialized(platform: Platform) -> None:
    """What the lineage page and an asset's partitions page ask, with 6,696 partitions of an asset materialized."""
    keys = [
        str(day_detector_key(day, detector))
        for season in platform.workspace.calendar.seasons
        for day in season.days
        for detector in platform.workspace.calendar.detectors
    ]
    with platform.instance() as instance:
        known = instance.get_materialized_partitions(dg.AssetKey("psf_photometry"))

        def report(key: str) -> None:
            instance.report_runless_asset_event(dg.AssetMaterialization("psf_photometry", partition=key))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(report, [key for key in keys if key not in known]))
    seconds: dict[str, list[float]] = {"lineage": [], "partitions": []}
    for _ in range(3):
        began = time.monotonic()
        nodes = platform.graphql(_LINEAGE, {})["assetNodes"]
        seconds["lineage"].append(round(time.monotonic() - began, 2))
        began = time.monotonic()
        platform.graphql(_PARTITIONS, {"key": {"path": ["psf_photometry"]}})
        seconds["partitions"].append(round(time.monotonic() - began, 2))
    (stats,) = [n["partitionStats"] for n in nodes if n["assetKey"]["path"] == ["psf_photometry"]]
    assert stats["numMaterialized"] == stats["numPartitions"] == len(keys) == 6696
    MEASURED["query_with_6696_partitions_s"] = {name: {"first": t[0], "then": min(t)} for name, t in seconds.items()}
    assert max(t[0] for t in seconds.values()) < 60


def test_measurements_are_kept(platform: Platform) -> None:
    """Memory after the work; all figures of this file go to ROMAN_CLUSTER_RESULTS."""
    for name in ("webserver", "daemon", "code", "exporter"):
        MEASURED[f"{name}_after_mib"] = round(platform.memory_mib(f"roman-{name}"))
        assert MEASURED[f"{name}_after_mib"] < 2000
    MEASURED["runs"] = len(platform.runs())
    assert MEASURED["tick_to_first_step_s"] < 180
    assert MEASURED["pod_overhead_per_step_s"]["median"] < 60
    if os.environ.get("ROMAN_CLUSTER_RESULTS"):
        Path(os.environ["ROMAN_CLUSTER_RESULTS"]).write_text(json.dumps(MEASURED, indent=1) + "\n")
