"""The `sh cluster` blocks of docs/operations.md, run as they stand on the platform that the tests before have used.

Only names are changed, by the guide's own table of them: the platform is that of deploy/. What runs nowhere is listed in
tests/operations/test_guide.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from roman_assets.products.index_tables import products
from roman_assets.systems.msos.system import SYSTEM
from tests.cluster.platform import IMAGES, NAMESPACE, ROOT, Platform, kubectl, render, wait_until
from tests.dagster_server import free_port
from tests.operations.guide import GUIDE, run, sections

SEASON_ASSETS = tuple(asset.name for asset in SYSTEM.of_job("close_season"))
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]

BLOCKS = sections("cluster")
#: Heading and number of each block that was run.
DONE: set[tuple[str, int]] = set()


def names() -> dict[str, str]:
    """What the chart calls things, and what deploy/ calls them: the guide's table, the longest first."""
    table = GUIDE.partition("| with the chart | without it |\n")[2].partition("\n\n")[0]
    found = {f"-n {name} ": f"-n {NAMESPACE} " for name in re.findall(r"`-n (\w+)`", table)}
    for row in table.splitlines():
        left, right = (re.findall(r"`([^`]+)`", cell) for cell in row.strip("|").split("|"))
        if left and not left[0].startswith("-n"):
            found |= dict(zip(left, right, strict=True))
    assert len(found) == 4
    return dict(sorted(found.items(), key=lambda pair: -len(pair[0])))


def perform(folder: Path, heading: str, number: int = 0, **given: str) -> str:
    """Runs a block, whose every command must succeed; returns what it said, in one line."""
    body = BLOCKS[heading][number]
    for here, there in names().items():
        body = body.replace(here, there)
    code, text = run(body, folder, 900, **given)
    assert code == 0, text[-4000:]
    DONE.add((heading, number))
    return " ".join(text.split())  # long lines are broken


def pods(label: str) -> dict[str, Any]:
    """Pods with a label by their identifier, those that are being deleted left out."""
    found = json.loads(kubectl("get", "pods", "-o", "json", "-l", label))["items"]
    return {pod["metadata"]["uid"]: pod for pod in found if "deletionTimestamp" not in pod["metadata"]}


def ready(pod: dict[str, Any]) -> bool:
    return all(container["ready"] for container in pod["status"].get("containerStatuses", [{"ready": False}]))


# --- looking, deploying, upgrading ---------------------------------------------------------------------


def test_products_are_listed_from_the_exporters_pod(platform: Platform, tmp_path: Path) -> None:
    told = perform(tmp_path, "")
    kinds = {record.kind for record in platform.workspace.products.current()}
    assert len(kinds) > 8
    assert [kind for kind in kinds if kind not in told] == []


@pytest.fixture
def monitoring(tmp_path: Path) -> Iterator[Path]:
    """A folder with the repository's `deploy/monitoring` only, and the namespace that its objects go to."""
    if kubectl("get", "namespace", "monitoring", "--ignore-not-found"):
        pytest.skip("this cluster has a namespace `monitoring`, and what is in it is somebody's")
    (tmp_path / "deploy").mkdir()
    (tmp_path / "deploy" / "monitoring").symlink_to(ROOT / "deploy" / "monitoring")
    kubectl("create", "namespace", "monitoring")
    yield tmp_path
    kubectl("delete", "namespace", "monitoring", "--wait=false")


def test_dashboards_are_installed(monitoring: Path) -> None:
    perform(monitoring, "Deploy")
    maps = json.loads(kubectl("get", "configmaps", "-n", "monitoring", "-l", "grafana_dashboard=1", "-o", "json"))[
        "items"
    ]
    (one,) = maps
    there = {name: json.loads(text)["title"] for name, text in one["data"].items()}
    assert there.keys() == {path.name for path in (ROOT / "deploy" / "monitoring" / "dashboards").glob("*.json")}


def test_migration_between_minor_versions(platform: Platform, tmp_path: Path) -> None:
    """The daemon is away while the tables are changed, and another one is there afterwards."""
    label = "app.kubernetes.io/name=roman-daemon"
    before, runs = pods(label), len(platform.runs())
    told = perform(tmp_path, "Upgrade")
    assert 0 < told.index("condition met") < told.index("dagster instance migrate"), (
        "it did not wait for the daemon's end"
    )
    after = pods(label)
    assert len(before) == len(after) == 1
    assert not before.keys() & after.keys()
    assert all(ready(pod) for pod in after.values())
    assert len(platform.runs()) == runs


# --- working -------------------------------------------------------------------------------------------


def test_a_backfill_through_a_forwarded_port(platform: Platform, tmp_path: Path) -> None:
    """What is there is left out; what is asked for runs in pods, and the command returns when it has ended."""
    before = {record.dagster_run.run_id for record in platform.runs()}
    told = perform(tmp_path, "Backfill a season", PORT=str(free_port()), ROMAN_HOME=str(tmp_path / "home"))
    assert "nothing to do: every partition is materialized" in told
    assert "1 partitions of season_events" in told
    assert "completed success" in told
    (run_id,) = {record.dagster_run.run_id for record in platform.runs()} - before
    ops = {pod.metadata.labels.get("dagster/op") for pod in platform.pods(run_id=run_id)}
    assert ops == {None, SEASON_ASSETS[-1]} == {None, "season_events"}


def test_the_limit_of_a_pool_is_set(platform: Platform, tmp_path: Path) -> None:
    """From what the first migration gave it, and back."""

    def limits() -> dict[str, int]:
        with platform.instance() as instance:
            return {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}

    before = limits()["images"]
    told = perform(tmp_path, "Backfill a season", 1)
    assert limits()["images"] == 400 != before
    assert '"images"' in told
    with platform.instance() as instance:
        instance.event_log_storage.set_concurrency_slots("images", before)


NEVER = """
apiVersion: v1
kind: Pod
metadata: {name: too-large}
spec:
  containers: [{name: sleep, image: IMAGE, resources: {requests: {cpu: "4000"}}}]
"""


def test_why_nothing_runs_is_seen(platform: Platform, tmp_path: Path) -> None:
    """A pod that no node has room for: it is pending, and the events say why; the daemon's log is there."""
    kubectl("apply", "--validate=false", "-f", "-", text=NEVER.replace("IMAGE", next(iter(IMAGES))))
    try:
        wait_until("it was looked at", lambda: "too-large" in kubectl("get", "events", "-o", "name"), 60)
        told = perform(tmp_path, "Something is late")
    finally:
        kubectl("delete", "pod", "too-large", "--wait=false")
    assert re.search(r"pod/too-large\s+\S+\s+Pending", told)
    assert re.search(r"FailedScheduling\s+pod/too-large\s+.*Insufficient cpu", told)
    assert re.search(r"job.batch/dagster-run-", told)
    assert "SensorDaemon" in told, "the daemon's log"


# --- restoring -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def retention(platform: Platform) -> Iterator[None]:
    """The nightly job, which the overlay leaves out."""
    job = yaml.safe_load((ROOT / "deploy" / "base" / "retention.yaml").read_text())
    served = {r["name"] for r in json.loads(kubectl("get", "--raw", "/apis/batch/v1"))["resources"]}
    if "cronjobs" not in served:
        job["apiVersion"] = "batch/v1beta1"  # Kubernetes before 1.21
    kubectl("apply", "--validate=false", "-f", "-", text=yaml.safe_dump(job))
    yield
    kubectl("delete", "cronjob", "roman-retention")


def suspended() -> str:
    return kubectl("get", "cronjob", "roman-retention", "-o", "jsonpath={.spec.suspend}")


def test_the_database_is_another_one(platform: Platform, retention: None, tmp_path: Path) -> None:
    """Retention stops, and whatever holds connections is started again."""
    before = pods("pod-template-hash")
    perform(tmp_path, "Restore from backups")
    assert suspended() == "true"
    after = pods("pod-template-hash")
    deployments = {d["metadata"]["name"] for d in render() if d["kind"] == "Deployment"}
    assert {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in after.values()} == deployments
    assert not before.keys() & after.keys()
    assert all(ready(pod) for pod in after.values())


def test_what_was_restored_is_verified(platform: Platform, retention: None, tmp_path: Path) -> None:
    """Every product of the index is read from the bucket; then retention may go on."""
    told = perform(tmp_path, "Restore from backups", 1)
    assert re.search(r"[1-9]\d* partitions compared: 0 were reported", told)
    assert "0 products are damaged" in told
    assert suspended() == "false"


def test_a_postgresql_of_ones_own_is_dumped_and_restored(platform: Platform, tmp_path: Path) -> None:
    """Rows of the index and a run's record are deleted in between: afterwards all are there as they were."""
    wait_until("nothing goes on", platform.idle, 120)
    index = platform.workspace.index
    kept = {(r.kind, r.partition, r.part): r.sha256 for r in index.current()}
    runs = {record.dagster_run.run_id for record in platform.runs()}
    label = "app.kubernetes.io/name=roman-daemon"
    perform(tmp_path, "Restore from backups", 2)
    assert {path.name for path in tmp_path.glob("*.dump")} == {"dagster.dump", "roman.dump"}
    index.database.write(lambda connection: connection.execute(products.delete().where(products.c.kind == "exposures")))
    with platform.instance() as instance:
        instance.delete_run(min(runs))
    assert len(index.current()) < len(kept)
    told = perform(tmp_path, "Restore from backups", 3)
    assert {(r.kind, r.partition, r.part): r.sha256 for r in index.current()} == kept
    assert {record.dagster_run.run_id for record in platform.runs()} == runs
    assert "partitions compared: 0 were reported" in told
    kubectl("rollout", "status", "deployment/roman-daemon", "--timeout=180s")
    assert len(pods(label)) == 1
    with platform.instance() as instance:
        assert instance.get_materialized_partitions(dg.AssetKey("exposures"))


def test_every_block_was_run() -> None:
    """Of a run of this whole file: what somebody adds to the guide is either tried here or marked otherwise."""
    assert {(heading, number) for heading, found in BLOCKS.items() for number in range(len(found))} == DONE
