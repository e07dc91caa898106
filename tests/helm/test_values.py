"""Helm values by type and by meaning, for every environment; with the chart itself: test_chart.py."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from tests.helm.files import ENVIRONMENTS, ROOT, code_location, kustomized, leaves, merged, named

#: Top-level values of the official chart, 1.13.
CHART_KEYS = {
    "global",
    "dagsterHome",
    "imagePullSecrets",
    "nameOverride",
    "fullnameOverride",
    "rbacEnabled",
    "dagsterWebserver",
    "dagster-user-deployments",
    "postgresql",
    "generatePostgresqlPasswordSecret",
    "generateCeleryConfigSecret",
    "rabbitmq",
    "redis",
    "flower",
    "ingress",
    "computeLogManager",
    "scheduler",
    "runLauncher",
    "pythonLogs",
    "dagsterDaemon",
    "busybox",
    "migrate",
    "telemetry",
    "serviceAccount",
    "retention",
    "concurrency",
    "additionalInstanceConfig",
    "extraManifests",
    "pipelineRun",
}
#: Values of a webserver, a daemon and a code location, 1.13.
COMPONENT_KEYS = {
    "replicaCount",
    "image",
    "nameOverride",
    "service",
    "workspace",
    "env",
    "envConfigMaps",
    "envSecrets",
    "labels",
    "deploymentLabels",
    "nodeSelector",
    "affinity",
    "tolerations",
    "podSecurityContext",
    "securityContext",
    "resources",
    "readinessProbe",
    "livenessProbe",
    "startupProbe",
    "annotations",
    "enableReadOnly",
    "dbStatementTimeout",
    "dbPoolRecycle",
    "logLevel",
    "schedulerName",
    "volumes",
    "volumeMounts",
    "pathPrefix",
    "enabled",
    "runCoordinator",
    "heartbeatTolerance",
    "runMonitoring",
    "runRetries",
    "sensors",
    "schedules",
    "name",
    "port",
    "codeServerArgs",
    "dagsterApiGrpcArgs",
    "includeConfigInLaunchedRuns",
    "initContainerResources",
    "deploymentStrategy",
    "serviceAccount",
    "initContainers",
    "sidecarContainers",
}


# --- values of the official chart --------------------------------------------------------------------------------


def test_every_key_is_one_of_the_chart(values: dict[str, Any]) -> None:
    """Helm takes a misspelt key without a word."""
    assert values.keys() <= CHART_KEYS
    for component in (values["dagsterWebserver"], values["dagsterDaemon"], code_location(values)):
        assert component.keys() <= COMPONENT_KEYS


def test_ports_probes_and_scheme(values: dict[str, Any]) -> None:
    from sqlalchemy.engine import make_url

    web, database = values["dagsterWebserver"], values["postgresql"]
    assert web["service"] == {"type": "ClusterIP", "port": 3000}
    assert web["readinessProbe"]["httpGet"]["port"] == 3000
    assert database["enabled"] is False
    assert make_url(f"{database['postgresqlScheme']}://u@h/d").get_driver_name() == "psycopg2"
    assert isinstance(database["service"]["port"], int)
    assert code_location(values)["port"] == 3030
    assert "dagsterApiGrpcArgs" not in code_location(values)


def test_limits_are_in_one_place(values: dict[str, Any]) -> None:
    """Dagster refuses an instance with limits of runs in the coordinator beside pools: no webserver, no daemon."""
    from dagster._core.errors import DagsterInvalidConfigError
    from dagster._core.instance.config import validate_concurrency_config

    from tests.test_deployment import snake

    coordinator = values["dagsterDaemon"]["runCoordinator"]
    queue = snake(coordinator["config"]["queuedRunCoordinator"])
    limits = values["concurrency"]
    assert limits["enabled"] is True
    instance = {
        "run_coordinator": {"class": coordinator["type"], "config": queue},
        "concurrency": {name: snake(limits[name]) for name in ("pools", "runs")},
    }
    validate_concurrency_config(instance)
    runs = limits["runs"]
    assert all(0 < item["limit"] <= runs["maxConcurrentRuns"] for item in runs["tagConcurrencyLimits"])
    with pytest.raises(DagsterInvalidConfigError, match="incompatible"):
        validate_concurrency_config(
            {
                **instance,
                "run_coordinator": {**instance["run_coordinator"], "config": {**queue, "max_concurrent_runs": 5}},
            }
        )


def test_runs_are_looked_after_as_without_the_chart(values: dict[str, Any]) -> None:
    """As deploy/base/dagster.yaml has it; the chart's own default frees no slot of a crashed run, ever."""
    from roman_assets.platform import pods
    from tests.test_deployment import snake

    alone = yaml.safe_load((ROOT / "deploy" / "base" / "dagster.yaml").read_text())
    monitoring = snake(values["dagsterDaemon"]["runMonitoring"])
    for name in ("max_runtime_seconds", "max_resume_run_attempts", "free_slots_after_run_end_seconds"):
        assert monitoring[name] == alone["run_monitoring"][name], name
    assert monitoring["cancel_timeout_seconds"] > pods.GRACE_S
    assert snake(values["dagsterDaemon"]["runRetries"]) == alone["run_retries"]
    pod = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]
    assert pod["terminationGracePeriodSeconds"] == pods.GRACE_S


def test_secrets_are_references_only(values: dict[str, Any]) -> None:
    checked = 0
    for path, value in leaves(values):
        name = path.rsplit(".", 1)[-1].lower()
        if re.search(r"password|secret|token|webhook|accesskey", name) and "secretname" not in name:
            checked += 1
            assert isinstance(value, bool), f"{path} holds something"
        assert not re.search(r"://[^/\s]+:[^@\s]+@", str(value)), f"{path} has a password in a URL"
        assert not re.match(r"(AKIA|ASIA)[A-Z0-9]{16}", str(value)), path
    assert checked
    assert values["generatePostgresqlPasswordSecret"] is False
    assert values["global"]["postgresqlSecretName"] == "dagster-postgresql"
    assert {s["name"] for s in code_location(values)["envSecrets"]} == {"roman-database", "roman-alerts"}


def test_images_are_pinned_and_one_for_all(values: dict[str, Any]) -> None:
    tags = {path: value for path, value in leaves(values) if path.endswith(".tag")}
    assert len(tags) >= 3
    assert not {"", "latest", None} & set(tags.values()), tags
    images = [values["dagsterWebserver"]["image"], values["dagsterDaemon"]["image"], code_location(values)["image"]]
    assert all(image == images[0] for image in images)


def test_every_container_asks_for_what_it_needs(values: dict[str, Any]) -> None:
    from kubernetes.utils.quantity import parse_quantity

    run = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["containerConfig"]
    for component in (values["dagsterWebserver"], values["dagsterDaemon"], code_location(values), run):
        asked, most = component["resources"]["requests"], component["resources"]["limits"]
        assert parse_quantity(asked["cpu"]) > 0
        assert 0 < parse_quantity(asked["memory"]) <= parse_quantity(most["memory"])
        assert "cpu" not in most, "a limit of CPU throttles and saves nothing"


def test_variables_are_read_by_the_package(values: dict[str, Any], manifests: list[dict[str, Any]]) -> None:
    source = {
        name
        for path in (ROOT / "roman_assets").rglob("*.py")
        for name in re.findall(r"ROMAN_[A-Z0-9_]+", path.read_text())
    }
    given = {item["name"] for item in code_location(values)["env"]}
    given |= named(manifests, "ConfigMap", "roman-environment")["data"].keys()
    ours = {name for name in given if name.startswith("ROMAN_")}
    assert ours <= source
    dagster = {name for name in given if name.startswith("DAGSTER_")}
    assert dagster <= {"DAGSTER_EVENT_BATCH_SIZE", "DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS"}


def test_production_is_on_eks() -> None:
    v = merged("production")
    assert v["serviceAccount"]["annotations"]["eks.amazonaws.com/role-arn"].startswith("arn:aws:iam::")
    assert v["serviceAccount"]["name"] == v["global"]["serviceAccountName"]
    assert v["postgresql"]["postgresqlParams"] == {"sslmode": "require"}
    assert v["dagsterWebserver"]["enableReadOnly"] is True
    assert v["dagsterWebserver"]["replicaCount"] >= 2
    run = v["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    assert run["podTemplateSpecMetadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    for component in (v["dagsterWebserver"], v["dagsterDaemon"], run["podSpecConfig"]):
        assert component["nodeSelector"] == {"roman-assets/pool": "platform"}
    assert "endpointUrl" not in v["computeLogManager"]["config"]["s3ComputeLogManager"]


def test_environments_share_no_bucket_account_or_database() -> None:
    staging, production = merged("staging"), merged("production")
    for path in (("postgresql", "postgresqlHost"), ("serviceAccount", "annotations"), ("computeLogManager", "config")):
        first, second = staging, production
        for key in path:
            first, second = first[key], second[key]
        assert first != second, path
    data = [
        named(kustomized(f"helm_values/manifests/{e}"), "ConfigMap", "roman-environment")["data"] for e in ENVIRONMENTS
    ]
    for name in ("ROMAN_PRODUCTS", "ROMAN_LANDING", "ROMAN_QUARANTINE"):
        assert len({d[name] for d in data}) == len(ENVIRONMENTS)


def test_run_configuration_makes_valid_pods(values: dict[str, Any]) -> None:
    from dagster_k8s.job import UserDefinedDagsterK8sConfig
    from dagster_k8s.models import k8s_model_from_dict
    from kubernetes.client import models

    from tests.test_deployment import snake
    from tests.test_pods import check_pod_config

    config = values["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    metadata = config.pop("podTemplateSpecMetadata", {})
    selector = config["podSpecConfig"].pop("nodeSelector", {})
    check_pod_config(snake(config))
    parsed = UserDefinedDagsterK8sConfig.from_dict({"pod_template_spec_metadata": metadata})
    assert k8s_model_from_dict(models.V1ObjectMeta, dict(parsed.pod_template_spec_metadata)) is not None
    assert all(isinstance(item, str) for pair in selector.items() for item in pair)
