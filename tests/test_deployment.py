"""What is deployed, checked by meaning: Helm values, image, Dagster+ file, Makefile and pins; pods: test_pods.py."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from roman_assets.platform import pods
from roman_assets.platform.workspace import HOME, VARIABLES
from tests.test_pods import check_pod_config

ROOT = Path(__file__).resolve().parents[1]
#: What every deployment loads: a module of the package, since the wheel has no other.
CODE_LOCATION = "roman_assets.orchestration.code_location"
TAG = "dagster-k8s/config"
#: Variables that an installation on S3 and PostgreSQL must set; a calendar, ePSFs and a processing release have defaults.
OPTIONAL = ("calendar_path", "epsf_folder", "reference_folder", "sources", "processing_id")
REQUIRED = {HOME} | {v for k, v in VARIABLES.items() if k not in OPTIONAL}


def values() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "helm_values" / "base.yaml").read_text())


def code_location() -> dict[str, Any]:
    (deployment,) = values()["dagster-user-deployments"]["deployments"]
    return deployment


def snake(value: Any) -> Any:
    """Helm's camelCase keys as dagster.yaml writes them."""
    if isinstance(value, Mapping):
        return {re.sub(r"(?<!^)(?=[A-Z])", "_", k).lower(): snake(v) for k, v in value.items()}
    return value


# --- Helm values ---------------------------------------------------------------------------------------


def test_database_driver_is_named():
    from dagster_postgres.utils import get_conn_string
    from sqlalchemy.engine import make_url

    database = values()["postgresql"]
    assert database["enabled"] is False
    url = get_conn_string(
        database["postgresqlUsername"],
        "secret",
        database["postgresqlHost"],
        database["postgresqlDatabase"],
        str(database["service"]["port"]),
        scheme=database["postgresqlScheme"],
    )
    assert make_url(url).get_driver_name() == "psycopg2"
    assert "postgresqlPassword" not in database
    assert values()["generatePostgresqlPasswordSecret"] is False
    assert values()["global"]["postgresqlSecretName"] in example_secrets()


def example_secrets() -> dict[str, dict[str, str]]:
    documents = yaml.safe_load_all((ROOT / "helm_values" / "secrets.example.yaml").read_text())
    return {document["metadata"]["name"]: document["stringData"] for document in documents}


def test_code_location_has_every_variable_of_the_workspace():
    from sqlalchemy.engine import make_url

    secrets = example_secrets()
    given = {item["name"]: item["value"] for item in code_location()["env"]}
    (places,) = code_location()["envConfigMaps"]
    environment = yaml.safe_load((ROOT / "helm_values" / "manifests" / "base" / "environment.yaml").read_text())
    assert environment["metadata"]["name"] == places["name"]
    given |= environment["data"]
    for source in code_location()["envSecrets"]:
        given |= secrets[source["name"]]
    source = "".join(path.read_text() for path in (ROOT / "roman_assets").rglob("*.py"))
    read = set(re.findall(r"ROMAN_[A-Z0-9_]+", source))
    assert given.keys() >= REQUIRED | {VARIABLES["processing_id"]}
    assert {name for name in given if name.startswith("ROMAN_")} <= read, "a variable that nothing reads"
    assert all(isinstance(value, str) for value in given.values())
    for name in ("ROMAN_INDEX_URL", "ROMAN_REGISTRY_URL"):
        assert make_url(given[name]).get_driver_name() == "psycopg2"
        assert "CHANGE-ME" in given[name]
    for name in ("ROMAN_PRODUCTS", "ROMAN_LANDING", "ROMAN_QUARANTINE"):
        assert given[name].startswith("s3://"), "pods share no disk"
    assert code_location()["includeConfigInLaunchedRuns"] == {"enabled": True}
    assert "dagsterApiGrpcArgs" not in code_location()


def test_webserver_is_reachable_without_root():
    web = values()["dagsterWebserver"]
    assert web["enableReadOnly"] is True  # a second webserver, beside the operators'
    assert web["service"]["port"] == web["readinessProbe"]["httpGet"]["port"] == 3000


def test_no_pod_runs_as_root():
    from dagster_k8s.models import k8s_model_from_dict, k8s_snake_case_dict
    from kubernetes.client import models

    run = values()["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    pods_of = [
        (x["podSecurityContext"], x["securityContext"])
        for x in (values()["dagsterWebserver"], values()["dagsterDaemon"], code_location())
    ]
    pods_of.append((run["podSpecConfig"]["securityContext"], run["containerConfig"]["securityContext"]))
    for pod, container in pods_of:
        made = k8s_model_from_dict(models.V1PodSecurityContext, k8s_snake_case_dict(models.V1PodSecurityContext, pod))
        assert made.run_as_non_root is True
        assert made.run_as_user > 0
        inner = k8s_model_from_dict(models.V1SecurityContext, k8s_snake_case_dict(models.V1SecurityContext, container))
        assert inner.allow_privilege_escalation is False


def test_run_pods_are_valid():
    launcher = values()["runLauncher"]
    assert launcher["type"] == "K8sRunLauncher"
    config = snake(launcher["config"]["k8sRunLauncher"]["runK8sConfig"])
    check_pod_config(config)
    # A finished Job is kept for a day at least, then cleaned up.
    assert config["job_spec_config"]["ttl_seconds_after_finished"] >= 3600


def test_instance_that_the_values_make_is_valid():
    """The dagster.yaml that the chart writes from these values, against Dagster's own configuration."""
    from dagster._config import validate_config
    from dagster._config.field_utils import Shape
    from dagster._core.instance.config import dagster_instance_config_schema
    from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
    from dagster_k8s.launcher import K8sRunLauncher

    v = values()
    daemon = v["dagsterDaemon"]
    logs = snake(v["computeLogManager"]["config"]["s3ComputeLogManager"])
    launcher = snake(v["runLauncher"]["config"]["k8sRunLauncher"])
    del launcher["image_pull_policy"]
    launcher |= {"image_pull_policy": "IfNotPresent", "service_account_name": v["serviceAccount"]["name"]}
    launcher |= {"instance_config_map": "dagster-instance", "postgres_password_secret": "p", "dagster_home": "/d"}
    for schema, config in ((S3ComputeLogManager.config_type(), logs), (K8sRunLauncher.config_type(), launcher)):
        result = validate_config(Shape(schema), config)
        assert result.success, [error.message for error in result.errors or []]
    instance = {
        "run_monitoring": snake(daemon["runMonitoring"]),
        "run_retries": snake(daemon["runRetries"]),
        "sensors": snake(daemon["sensors"]),
        "schedules": snake(daemon["schedules"]),
        "concurrency": {"pools": snake(v["concurrency"]["pools"])},
        "retention": {kind: snake(v["retention"][kind]) for kind in ("sensor", "schedule")},
        "telemetry": v["telemetry"],
    }
    result = validate_config(Shape(dagster_instance_config_schema()), instance)
    assert result.success, [error.message for error in result.errors or []]
    assert instance["run_retries"]["retry_on_asset_or_op_failure"] is False
    assert instance["telemetry"]["enabled"] is False


def test_runs_outlive_the_longest_step():
    """Run monitoring must not kill a run whose steps are still within their own deadlines."""
    longest = max(p.deadline_s for p in vars(pods).values() if isinstance(p, pods.PodProfile))
    assert values()["dagsterDaemon"]["runMonitoring"]["maxRuntimeSeconds"] > 3 * longest


def test_one_image_for_all():
    v = values()
    images = [v["dagsterWebserver"]["image"], v["dagsterDaemon"]["image"], code_location()["image"]]
    assert all(image == images[0] for image in images)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert images[0]["tag"] == project["version"]


# --- image, Dagster+, pins, Makefile -------------------------------------------------------------------


def test_dagster_cloud_file():
    from dagster_cloud_cli.config.models import load_dagster_cloud_yaml
    from dagster_k8s.container_context import K8sContainerContext

    (location,) = load_dagster_cloud_yaml((ROOT / "dagster_cloud.yaml").read_text()).locations
    assert location.code_source.module_name == CODE_LOCATION
    context = location.container_context
    K8sContainerContext.create_from_config(context)
    given = {line.split("=", 1)[0] for line in context["k8s"]["env_vars"]}
    for secret in context["k8s"]["env_secrets"]:
        given |= example_secrets()[secret].keys()
    assert given >= REQUIRED
    check_pod_config(context["k8s"]["run_k8s_config"])
    check_pod_config(context["k8s"]["server_k8s_config"])
    source = "".join(path.read_text() for path in (ROOT / "roman_assets").rglob("*.py"))
    assert {name for name in given if name.startswith("ROMAN_")} <= set(re.findall(r"ROMAN_[A-Z0-9_]+", source))
    assert location.location_name.isidentifier()
    assert (ROOT / location.build.directory / "Dockerfile").exists()
    assert location.working_directory in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"module_name: {CODE_LOCATION}", f"modul_name: {CODE_LOCATION}"),
        ("location_name: roman_assets", "locatoin_name: roman_assets"),
        ("    build:\n", "    biuld:\n"),
        (f"module_name: {CODE_LOCATION}", f"module_name: {CODE_LOCATION}\n      package_name: roman_assets"),
    ],
)
def test_mistakes_in_the_dagster_cloud_file_are_caught(old, new):
    """The model forbids keys that it does not know, and more than one source of code."""
    from dagster_cloud_cli.config.models import load_dagster_cloud_yaml
    from pydantic import ValidationError

    text = (ROOT / "dagster_cloud.yaml").read_text()
    assert old in text
    with pytest.raises(ValidationError, match=r"(?s)(extra|unexpected|forbidden|exactly|required|only one)"):
        load_dagster_cloud_yaml(text.replace(old, new))


def test_dagster_cloud_misspelt_pod_settings_are_caught():
    from dagster._core.errors import DagsterInvalidConfigError
    from dagster_k8s.container_context import K8sContainerContext

    context = yaml.safe_load((ROOT / "dagster_cloud.yaml").read_text())["locations"][0]["container_context"]
    context["k8s"]["env_secret"] = context["k8s"].pop("env_secrets")
    with pytest.raises(DagsterInvalidConfigError, match="env_secret"):
        K8sContainerContext.create_from_config(context)


def test_image_has_what_it_runs():
    text = (ROOT / "Dockerfile").read_text()
    joined = text.replace("\\\n", " ")
    stages = re.findall(r"^FROM (\S+)", joined, flags=re.MULTILINE)
    assert stages == ["docker.io/library/python:3.12-slim", "dependencies", "docker.io/library/python:3.12-slim"]
    final = joined[joined.rindex("\nFROM ") :]
    assert re.search(r"^USER 10001", final, flags=re.MULTILINE)
    assert "gcc" not in final
    assert '"code-server", "start"' in final
    assert f'"--module-name", "{CODE_LOCATION}"' in final
    assert code_location()["codeServerArgs"] == ["--module-name", CODE_LOCATION]
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = " ".join(re.findall(r"^COPY (?!--from)(.+) \S+$", joined, flags=re.MULTILINE)).split()
    assert {"pyproject.toml", "constraints.txt", "csrc", "roman_assets"} <= set(copied)
    for source in copied:
        assert (ROOT / source).exists(), source
        assert any(line.startswith(f"!{source}") for line in ignored), f"{source} is ignored"


def test_pins_agree_with_the_project():
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            pins[canonicalize_name(requirement.name)] = specifier.version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for extra in project["optional-dependencies"].values() for r in extra]
    for text in project["dependencies"] + extras:
        requirement = Requirement(text)
        if requirement.name != project["name"]:
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), text


@pytest.mark.parametrize(
    "path",
    [
        "constraints.txt",
        "Makefile",
        ".ci/run",
        "Dockerfile",
        "helm_values/base.yaml",
        "tests/cluster/run",
        "deploy/base/environment.env",
        "deploy/base/dagster.yaml",
        "tests/cluster/services/Dockerfile",
    ],
)
def test_no_machine_or_registry_is_named(path):
    text = (ROOT / path).read_text().replace("docker.io/library/", "")
    assert not re.search(r"https?://|file://|/home/|/root/|/work/", text)


def test_makefile_has_the_documented_targets():
    text = (ROOT / "Makefile").read_text()
    targets = "demo install test test-all test-cluster ctest bench validate ui docs lint sbom audit release clean"
    for target in targets.split():
        assert re.search(rf"^{target}:", text, flags=re.MULTILINE), target
    stages = (ROOT / ".ci" / "run").read_text()
    for target in ("install", "test", "demo", "audit"):
        assert re.search(rf"^stage {target} \d+ make --no-print-directory {target}\b", stages, flags=re.MULTILINE), (
            target
        )
    assert "\n.ci/cluster " in stages, "what `make test-cluster` runs, within a time and with a verdict"
