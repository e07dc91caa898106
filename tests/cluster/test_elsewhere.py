"""The ways that a cluster elsewhere needs, taken here on purpose: forwarded ports, and a container killed from a pod."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from tests.cluster.platform import NAMESPACE, Platform, address, connect, kill_from_a_pod, kubectl, stop, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("cluster")]
VIEWER = "roman-webserver-readonly"


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Services are reached as if this machine could not reach them itself."""
    monkeypatch.setenv("ROMAN_TEST_FORWARD", "1")
    monkeypatch.setenv("AWS_ENDPOINT_URL", os.environ["AWS_ENDPOINT_URL"])  # what is connected to changes it
    begun: list[subprocess.Popen[bytes]] = []
    yield begun
    stop(begun)


def test_the_platform_is_seen_through_forwarded_ports(
    platform: Platform, forwards: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """Database, bucket and webserver answer, and say what they say without."""
    there = connect(tmp_path, forwards)
    assert len(forwards) == 3
    assert there.web.startswith("http://127.0.0.1:")
    assert there.web != platform.web
    assert {r.dagster_run.run_id for r in there.runs()} == {r.dagster_run.run_id for r in platform.runs()}
    assert there.graphql("{ version }", {}) == platform.graphql("{ version }", {})
    kept = there.workspace.products.current(kind="reference_catalog")[0]
    body = boto3.client("s3").get_object(Bucket="roman-products", Key=f"assets/{kept.key}")["Body"].read()
    assert len(body) == kept.size


def viewer() -> Any:
    """The read-only webserver's pod."""
    from kubernetes import client

    label = f"app.kubernetes.io/name={VIEWER}"
    (pod,) = client.CoreV1Api().list_namespaced_pod(NAMESPACE, label_selector=label).items
    return pod


def test_a_pod_kills_a_container_of_its_node(platform: Platform, forwards: list[subprocess.Popen[bytes]]) -> None:
    """What `kill_container` does where this machine is not the node; the port that led to it is forwarded again."""
    seen = Platform(platform.workspace, platform.folder, web=f"http://{address(VIEWER, 3000, forwards)}")
    query = "{ runsOrError(limit: 1) { __typename } }"
    assert seen.graphql(query, {})["runsOrError"]["__typename"] == "Runs"
    before = viewer()
    kill_from_a_pod(before)

    def ended() -> Any:
        (container,) = viewer().status.container_statuses
        more = container.restart_count > before.status.container_statuses[0].restart_count
        return container.last_state.terminated if more else None

    assert wait_until("the container was started again", ended, 60).exit_code == 137
    kubectl("rollout", "status", f"deployment/{VIEWER}", "--timeout=180s")
    assert viewer().metadata.uid == before.metadata.uid, "its container was killed, not the pod"

    def answer() -> Any:
        try:
            return seen.graphql(query, {})
        except OSError:
            return None

    assert wait_until("it answers through its port", answer, 60)["runsOrError"]["__typename"] == "Runs"
