"""The platform in a cluster, as the tests see it: install it, ask it, hurt it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import dagster as dg
import yaml

from roman_assets.platform.workspace import Workspace
from tests.processes import end

ROOT = Path(__file__).resolve().parents[2]
OVERLAY = Path(__file__).parent / "overlay"
NAMESPACE = "roman-test"
IMAGES = {
    "localhost/roman-assets:test": "ROMAN_TEST_IMAGE",
    "localhost/roman-services:test": "ROMAN_TEST_SERVICES_IMAGE",
}
RUN_ID, OP = "dagster/run-id", "dagster/op"

_SENSOR = """
mutation($s: SensorSelector!) { startSensor(sensorSelector: $s) {
  __typename ... on Sensor { name } ... on PythonError { message } } }"""
_LAUNCH = """
mutation($p: ExecutionParams!) { launchPipelineExecution(executionParams: $p) {
  __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
_TERMINATE = """
mutation($id: String!) { terminateRun(runId: $id) {
  __typename ... on TerminateRunFailure { message } ... on PythonError { message } } }"""


def render() -> list[dict[str, Any]]:
    """The overlay's manifests, with the images that the environment names."""
    command = [_tool("kubectl"), "kustomize", str(OVERLAY)]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    for image, variable in IMAGES.items():
        text = text.replace(image, os.environ.get(variable) or image)
    return [document for document in yaml.safe_load_all(text) if document]


def _tool(name: str) -> str:
    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


def kubectl(*arguments: str, text: str | None = None, check: bool = True) -> str:
    """Output of a kubectl command in the namespace of the test."""
    command = [_tool("kubectl"), "-n", NAMESPACE, *arguments]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)
    if check and done.returncode:
        raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def wait_until(what: str, condition: Callable[[], Any], seconds: float, pause: float = 1.0) -> Any:
    """The condition's first true value; AssertionError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds:.0f} s still not: {what}")
        time.sleep(pause)


@dataclass
class Platform:
    """An installed platform: addresses of its services, its workspace seen from outside, and the clients."""

    workspace: Workspace
    folder: Path
    forwards: list[subprocess.Popen[bytes]] = field(default_factory=list)
    web: str = ""

    # ---- asking ----------------------------------------------------------------------------------------

    def graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The data of one answer of the operators' webserver."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.web}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert not answer.get("errors"), answer["errors"]
        return dict(answer["data"])

    @contextmanager
    def instance(self) -> Iterator[dg.DagsterInstance]:
        """Dagster's own view, from its database."""
        with dg.DagsterInstance.from_config(str(self.folder)) as instance:
            yield instance

    def runs(self, job: str | None = None) -> list[dg.RunRecord]:
        """Records of the runs of a job (None: all), oldest first."""
        with self.instance() as instance:
            return list(instance.get_run_records(filters=dg.RunsFilter(job_name=job)))[::-1]

    def events(self, run_id: str) -> list[Any]:
        """Dagster events of a run, with their time, in order."""
        with self.instance() as instance:
            return [entry for entry in instance.all_logs(run_id) if entry.dagster_event is not None]

    def pods(self, *, run_id: str | None = None, op: str | None = None, phase: str | None = None) -> list[Any]:
        """Pods of runs and steps."""
        from kubernetes import client

        labels = [RUN_ID if run_id is None else f"{RUN_ID}={run_id}"] + ([f"{OP}={op}"] if op else [])
        found = client.CoreV1Api().list_namespaced_pod(NAMESPACE, label_selector=",".join(labels)).items
        return [pod for pod in found if phase is None or pod.status.phase == phase]

    def active_jobs(self) -> list[str]:
        """Names of the Jobs of runs and steps that are not over."""
        from kubernetes import client

        jobs = client.BatchV1Api().list_namespaced_job(NAMESPACE, label_selector=RUN_ID).items
        over = ("Complete", "Failed")
        return [j.metadata.name for j in jobs if not any(c.type in over for c in j.status.conditions or [])]

    def idle(self) -> bool:
        """True if no run is queued or going on."""
        return all(record.dagster_run.is_finished for record in self.runs())

    # ---- doing -----------------------------------------------------------------------------------------

    def start_sensor(self, name: str) -> None:
        """What the UI's switch does."""
        selector = {"repositoryName": "__repository__", "repositoryLocationName": "roman_assets", "sensorName": name}
        answer = self.graphql(_SENSOR, {"s": selector})["startSensor"]
        assert answer["__typename"] == "Sensor", answer

    def launch(self, job: str, tags: dict[str, str]) -> str:
        """Launch a job as the UI does; returns the run's identifier."""
        selector = {"pipelineName": job, "repositoryName": "__repository__", "repositoryLocationName": "roman_assets"}
        metadata = {"tags": [{"key": key, "value": value} for key, value in tags.items()]}
        parameters = {"selector": selector, "executionMetadata": metadata, "mode": "default"}
        answer = self.graphql(_LAUNCH, {"p": parameters})["launchPipelineExecution"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        """What the UI's button does."""
        answer = self.graphql(_TERMINATE, {"id": run_id})["terminateRun"]
        assert answer["__typename"] == "TerminateRunSuccess", answer

    def restart_postgresql(self) -> None:
        """Stop the server at once, as a crash would; the kubelet starts its container again."""
        stop = "pg_ctl -D $PGDATA -m immediate stop"
        kubectl("exec", "roman-postgresql-0", "--", "sh", "-c", stop, check=False)

    def memory_mib(self, deployment: str) -> float:
        """Proportional memory of all processes of a deployment's container."""
        script = "cat /proc/[0-9]*/smaps_rollup 2>/dev/null | grep ^Pss:"
        lines = kubectl("exec", f"deploy/{deployment}", "-c", "main", "--", "sh", "-c", script).splitlines()
        return sum(int(line.split()[1]) for line in lines) / 1024


#: SIGKILL for the first process of the container whose identifier is given, by the /proc that is; ends with 1 if none is.
_KILL = """
import os, pathlib, signal, sys
for folder in sorted(pathlib.Path(sys.argv[2]).glob('[0-9]*'), key=lambda folder: int(folder.name)):
    try:
        if sys.argv[1] in (folder / 'cgroup').read_text() and int(folder.name) != os.getpid():
            os.kill(int(folder.name), signal.SIGKILL)
            sys.exit(0)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        continue
sys.exit(1)
"""


def kill_container(pod: Any) -> None:
    """Kill a pod's container from its node's side: from here, or from a pod beside it that sees the node's processes."""
    identifier = pod.status.container_statuses[0].container_id.rpartition("/")[2]
    if subprocess.run([sys.executable, "-c", _KILL, identifier, "/proc"], check=False).returncode != 0:
        kill_from_a_pod(pod)


def kill_from_a_pod(pod: Any) -> None:
    """Kill a pod's container by a privileged pod on its node."""
    identifier = pod.status.container_statuses[0].container_id.rpartition("/")[2]
    name = f"killer-{identifier[:8]}"
    kubectl("apply", "-f", "-", text=yaml.safe_dump(killer(name, pod.spec.node_name, identifier)))
    phase = ("get", "pod", name, "-o", "jsonpath={.status.phase}")
    end = wait_until(f"{name} has done its work", lambda: {"Succeeded", "Failed"} & {kubectl(*phase)}, 60)
    assert end == {"Succeeded"}, f"{name} did not find {identifier}: {kubectl('logs', name, check=False)}"
    kubectl("delete", "pod", name, "--wait=false")


def killer(name: str, node: str, identifier: str) -> dict[str, Any]:
    """A pod on a node, with its processes in view and the right to stop them (the cluster must admit such pods)."""
    image = next(iter(IMAGES))
    container = {
        "name": "kill",
        "image": os.environ.get(IMAGES[image]) or image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", _KILL, identifier, "/proc"],
        "securityContext": {"privileged": True, "runAsUser": 0},
    }
    spec = {"hostPID": True, "nodeName": node, "restartPolicy": "Never", "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


#: Fills a container's memory with many small processes, so that the kernel's OOM killer takes the container's first.
_HOG = """
import os, pathlib, time
pathlib.Path('/proc/1/oom_score_adj').write_text('1000')
for _ in range(64):
    if os.fork() == 0:
        held = bytearray(b'x' * (48 << 20))
        time.sleep(60)
        os._exit(0)
time.sleep(60)
"""


def fill_memory(pod: Any) -> None:
    """Have the kernel kill a step's process for want of memory."""
    kubectl("exec", pod.metadata.name, "--", "python", "-c", _HOG, check=False)


#: Pods with what they wait for, such as an image that is not in the cluster's reach.
_REASONS = (
    "custom-columns=POD:.metadata.name,PHASE:.status.phase,WAITS:.status.containerStatuses[*].state.waiting.message,"
    "FIRST:.status.initContainerStatuses[*].state.waiting.message"
)


@contextmanager
def installed(folder: Path) -> Iterator[Platform]:
    """The platform of deploy/, in a namespace of its own that is removed at the end.

    For work on the tests: ROMAN_TEST_KEEP=1 keeps it, and ROMAN_TEST_REUSE=1 takes the one that was kept.
    """
    forwards: list[subprocess.Popen[bytes]] = []
    if os.environ.get("ROMAN_TEST_REUSE"):
        try:
            yield connect(folder, forwards)
        finally:
            stop(forwards)
        return
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")
    kubectl("delete", "pods", "--all", "--force", "--grace-period=0", check=False)
    kubectl("wait", "--for=delete", f"namespace/{NAMESPACE}", "--timeout=120s", check=False)
    kubectl("create", "namespace", NAMESPACE)
    try:
        kubectl("apply", "--validate=false", "-f", "-", text=yaml.safe_dump_all(render()))
        try:
            kubectl("wait", "--for=condition=complete", "job/roman-migrate", "--timeout=280s")
            for name in ("roman-code", "roman-daemon", "roman-webserver", "roman-webserver-readonly"):
                kubectl("rollout", "status", f"deployment/{name}", "--timeout=280s")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{kubectl('get', 'pods', '-o', _REASONS, check=False)}") from error
        yield connect(folder, forwards)
    finally:
        stop(forwards)
        if not os.environ.get("ROMAN_TEST_KEEP"):
            kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def connect(folder: Path, forwards: list[subprocess.Popen[bytes]]) -> Platform:
    database, s3, web = (
        address(name, port, forwards)
        for name, port in (("roman-postgresql", 5432), ("roman-s3", 8333), ("roman-webserver", 3000))
    )
    secret = next(d for d in render() if d["kind"] == "Secret" and d["metadata"]["name"] == "roman-database")
    given = secret["stringData"]
    os.environ["AWS_ENDPOINT_URL"] = f"http://{s3}"
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        os.environ[name] = given[name]
    os.environ.setdefault("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    for name in {"roman-products", "roman-landing", "roman-logs"} - there:
        client.create_bucket(Bucket=name)
    url = given["ROMAN_INDEX_URL"].replace("roman-postgresql:5432", database)
    folder.mkdir(parents=True, exist_ok=True)
    storage = {"postgres_url": url.rpartition("/")[0] + "/dagster"}
    settings = {"storage": {"postgres": storage}, "telemetry": {"enabled": False}}
    (folder / "dagster.yaml").write_text(yaml.safe_dump(settings))
    workspace = Workspace(
        folder,
        products_root="s3://roman-products/assets",
        index_url=url,
        registry_url=url,
        landing_root="s3://roman-landing/level2",
        quarantine_root="s3://roman-products/quarantine",
    )
    return Platform(workspace, folder, forwards, f"http://{web}")


def address(service: str, port: int, forwards: list[subprocess.Popen[bytes]]) -> str:
    """Address of a service: its own where this machine reaches it, else (or with ROMAN_TEST_FORWARD) a forwarded port."""
    cluster_ip = kubectl("get", "service", service, "-o", "jsonpath={.spec.clusterIP}")
    if not os.environ.get("ROMAN_TEST_FORWARD") and answers(cluster_ip, port, 5.0):
        return f"{cluster_ip}:{port}"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        local = int(probe.getsockname()[1])
    command = [_tool("kubectl"), "-n", NAMESPACE, "port-forward", f"service/{service}", f"{local}:{port}"]
    # A forwarded port ends with the container that it leads to, and the test restarts PostgreSQL's.
    again = ["sh", "-c", 'while :; do "$@"; sleep 0.5; done', "forward", *command]
    forwards.append(
        subprocess.Popen(again, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    )
    wait_until(f"{service} answers through a forwarded port", lambda: answers("127.0.0.1", local, 1.0), 120)
    return f"127.0.0.1:{local}"


def stop(forwards: list[subprocess.Popen[bytes]]) -> None:
    for forward in forwards:
        end(forward, group=True)


def answers(host: str, port: int, seconds: float) -> bool:
    try:
        with socket.create_connection((host, port), timeout=seconds):
            return True
    except OSError:
        return False
