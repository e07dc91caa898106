"""What goes beside the chart, in every environment, by type and by meaning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.files import ROOT, VALUES, VERSIONS, code_location, containers, kustomized, leaves, named


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
